"""What two looks make of stored hours and counted rows; the races are in tests/integration."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aggregated_metrics.adapters.hour_store import Outcome
from aggregated_metrics.adapters.source_rows import Counted
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import ContentionError, PendingHoursError
from aggregated_metrics.core.findings import Drift, Findings
from aggregated_metrics.core.groups import groups
from aggregated_metrics.core.hours import Hour, HourId, Series, composite_key
from aggregated_metrics.core.listing import Range
from aggregated_metrics.core.measures import INT_MAX, Measures
from aggregated_metrics.core.metadata import Fence
from aggregated_metrics.core.series import BucketId, Target
from aggregated_metrics.core.source_models import Model
from aggregated_metrics.jobs.checker import Checker

NOW = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
TEN = buckets.to_minute(datetime(2026, 11, 22, 10, tzinfo=UTC))
ITEMS = HourId(Series("a", "items"), TEN)


def at(minute: int) -> Target:
    return Target(ITEMS.series, TEN + minute)


type Stored = Mapping[tuple[int, int], int]


def _hour(
    hour_id: HourId,
    stored: Stored,
    version: str,
    metadata: Mapping[int, Any],
    *,
    complete: bool = True,
) -> Hour:
    return Hour(
        hour_id,
        [
            {
                "compositeKey": composite_key(hour_id.series, TEN + minute, size),
                "count": count,
                "complete": complete,
                "createdAt": version,
                "updatedAt": version,
                "metadata": metadata.get(minute) if size == 1 else None,
            }
            for (minute, size), count in stored.items()
        ],
    )


class _World:
    """The ports of a checker; what is stored and counted is given."""

    def __init__(self, stored: Stored, rows: Mapping[int, int]) -> None:
        self.stored, self.rows = stored, dict(rows)
        self.version = "2026-11-22T10:00:00Z"
        self.slept: list[float] = []
        self.asked: list[tuple[str, str, list[int]]] = []
        self.since: list[datetime | None] = []
        self.loads: list[list[HourId]] = []
        self.unsure: set[Target] = set()
        self.unclear: set[Target] = set()
        self.unplaced = 0
        self.metadata: dict[int, Any] = {}
        self.between: Callable[[], None] = lambda: None
        self.before_writing: Callable[[], None] = lambda: None
        self.outcome = Outcome()
        self.set: dict[int, tuple[int, Fence | None]] = {}
        self.marked: list[HourId] = []
        self.now = NOW

    def _hour(self, hour_id: HourId) -> Hour:
        return _hour(hour_id, self.stored, self.version, self.metadata)

    def load(self, ids: Sequence[HourId]) -> list[Hour]:
        self.loads.append(list(ids))
        return [self._hour(hour_id) for hour_id in ids]

    def update(
        self,
        ids: Collection[HourId],
        edit: Any,
        before_save: Any = None,
        outcome: Outcome | None = None,
    ) -> None:
        self.before_writing()
        for hour_id in ids:
            hour = self._hour(hour_id)
            edit(hour)
            for bucket in hour:
                if bucket.dirty and bucket.size == 1:
                    fence = bucket.metadata.fence
                    self.set[bucket.start - TEN] = (bucket.measures.count, fence)
        if outcome is not None:
            outcome.add(self.outcome)

    def mark(self, hours: Mapping[HourId, int | None]) -> int:
        self.marked += hours
        return len(hours)

    def count(
        self,
        model: Model,
        account_id: str,
        hours: Collection[int],
        ranges: Sequence[Range],
        since: datetime | None,
        on_page: Callable[[Counted], None],
    ) -> Counted:
        self.asked.append((model.name, account_id, sorted(hours)))
        self.since.append(since)
        self.now += timedelta(seconds=2)
        sums = {at(minute): Measures(count) for minute, count in self.rows.items()}
        counted = Counted(
            sums,
            set(self.unsure),
            set(self.unclear),
            rows=10,
            pages=2,
            unreadable=self.unplaced,
            unplaced=self.unplaced,
        )
        on_page(counted)
        return counted

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)
        self.between()

    def reconciler(self, **changes: Any) -> Checker:
        ports: dict[str, Any] = {"store": self, "source": self, "pending": self}
        ports |= {"clock": lambda: self.now, "grace": 120, "settle": 60, "sleep": self.sleep}
        return Checker(**(ports | changes))

    def check(self, *ids: HourId, repair: bool = False) -> Findings:
        found = self.reconciler().check(ids or (ITEMS,), repair=repair)
        assert found.failed == []
        return found


def _all(minute: int, count: int) -> dict[tuple[int, int], int]:
    return {(minute - minute % size, size): count for size in buckets.SIZES}


def _places(drifts: Sequence[Drift]) -> dict[tuple[int, int], tuple[int, int]]:
    return {
        (drift.start - TEN, drift.size): (drift.stored[0], drift.expected[0]) for drift in drifts
    }


def test_what_is_right_is_looked_at_once() -> None:
    world = _World(_all(7, 3), {7: 3})
    found = world.check(repair=True)
    assert (found.drift, found.moving, found.minutes, found.hours) == ([], [], 1, 1)
    assert (world.slept, len(world.asked)) == ([], 1)


def test_verifying_looks_twice_and_writes_nothing() -> None:
    world = _World(_all(7, 3), {7: 4})
    assert _places(world.check().drift) == {(7, 1): (3, 4)}
    assert (world.slept, len(world.asked), world.set, world.marked) == ([60], 2, {}, [])


@pytest.mark.parametrize(
    ("stored", "rows", "wrong"),
    [
        ({}, {7: 2}, {(7, 1): (0, 2)}),
        (_all(7, 2), {}, {(7, 1): (2, 0)}),
        (_all(7, 2) | {(5, 5): 9}, {7: 2}, {(5, 5): (9, 2)}),
        ({(7, 1): 2, (0, 60): 2}, {7: 2}, {(5, 5): (0, 2), (0, 15): (0, 2)}),
        (_all(7, 2) | {(30, 15): 1}, {7: 2}, {(30, 15): (1, 0)}),
        (_all(7, 2) | {(7, 1): 5}, {7: 2}, {(7, 1): (5, 2)}),
        ({(7, 1): 5, (5, 5): 5, (0, 15): 4, (0, 60): 2}, {7: 2}, {(7, 1): (5, 2), (0, 15): (4, 2)}),
        ({(7, 1): 0, (9, 1): 0}, {}, {}),
    ],
    ids=[
        "a missing minute",
        "a surplus minute",
        "a wrong parent",
        "missing parents",
        "a surplus parent",
        "a wrong minute under right parents",
        "a parent may follow its minute or the rows",
        "empty minutes need no parents",
    ],
)
def test_drift_is_exactly_what_is_wrong(
    stored: Stored, rows: Mapping[int, int], wrong: Mapping[tuple[int, int], tuple[int, int]]
) -> None:
    assert _places(_World(stored, rows).check().drift) == wrong


def test_a_sum_beyond_32_bits_is_compared_whole() -> None:
    world = _World(_all(7, INT_MAX), {7: INT_MAX + 5})
    world.metadata = {7: {"beyond": {"count": "5"}}}
    assert world.check().drift == []
    world.rows = {7: INT_MAX + 6}
    assert _places(world.check().drift) == {(7, 1): (INT_MAX + 5, INT_MAX + 6)}


def test_the_first_look_loads_before_it_counts_and_the_second_after() -> None:
    world = _World(_all(7, 3), {7: 4})
    order: list[str] = []
    load, count = world.load, world.count
    world.load = lambda ids: order.append("load") or load(ids)  # type: ignore[method-assign, func-returns-value]
    world.count = lambda *of: order.append("count") or count(*of)  # type: ignore[method-assign, func-returns-value]
    world.check()
    assert order == ["load", "count", "count", "load"]


def test_the_second_look_takes_only_the_hours_that_differ() -> None:
    later = HourId(ITEMS.series, TEN + 60)
    world = _World({}, {7: 1})
    found = world.check(ITEMS, later)
    assert world.loads == [[ITEMS, later], [ITEMS]]
    assert [asked[2] for asked in world.asked] == [[TEN, TEN + 60], [TEN]]
    assert (found.hours, found.rows, found.pages) == (2, 20, 4)


def test_one_reading_counts_all_hours_and_splits_of_an_account_and_model() -> None:
    ids = [
        HourId(Series(account, record_type), TEN + hour)
        for account in ("a", "b")
        for record_type in ("items", "predictionItems", "tasks")
        for hour in (0, 60)
    ]
    world = _World({}, {})
    world.check(*ids)
    assert world.asked == [
        (model, account, [TEN, TEN + 60]) for account in ("a", "b") for model in ("Item", "Task")
    ]


@pytest.mark.parametrize("change", ["source", "right again"])
def test_what_changes_between_the_looks_is_moving_and_marked(change: str) -> None:
    world = _World(_all(7, 3), {7: 4})
    world.between = lambda: world.rows.update({7: 5 if change == "source" else 3})
    found = world.check(repair=True)
    assert (found.drift, len(found.moving), found.repaired) == ([], 1, [])
    assert (world.set, world.marked) == ({}, [ITEMS])


@pytest.mark.parametrize("when", ["between", "before_writing"])
def test_a_minute_whose_version_changed_is_moving_and_not_set(when: str) -> None:
    world = _World(_all(7, 3), {7: 4})

    def write() -> None:
        world.version = "2026-11-22T10:00:00.000001Z"

    setattr(world, when, write)
    found = world.check(repair=True)
    assert (len(found.moving), found.repaired, world.set) == (1, [], {})


def test_a_minute_with_a_row_updated_since_the_first_look_began_is_moving() -> None:
    world = _World(_all(7, 3), {7: 4})
    world.unsure = {at(7), at(9)}
    found = world.check(repair=True)
    assert (found.drift, _places(found.moving)) == ([], {(7, 1): (3, 4)})
    assert world.since == [NOW, NOW]


def test_the_fence_is_the_middle_of_the_gap_between_the_looks() -> None:
    world = _World(_all(7, 3), {7: 4})
    world.check(repair=True)
    began = NOW.timestamp()
    middle = began + 2 + 60 / 2
    read = (("2026-11-22T10:", "2026-11-22T10:~"),)
    assert world.set == {7: (4, Fence(began, middle, began + 64, read))}


def test_a_minute_with_a_row_that_only_the_stream_can_judge_is_left() -> None:
    world = _World(_all(7, 3), {7: 0, 9: 1})
    world.unclear = {at(7)}
    found = world.check(repair=True)
    assert _places(found.drift).keys() == {(9, 1)}
    assert found.undecided == set()  # the stream may have counted it
    world.stored = {(7, 1): 0}
    world.rows = {7: 1}
    assert len(world.check().undecided) == 1


@pytest.mark.parametrize("why", ["unlisted", "unplaced"])
def test_where_a_row_may_be_missing_nothing_is_lowered_and_the_rest_is_raised(why: str) -> None:
    world = _World({**_all(7, 3), (20, 1): 1, (20, 5): 1, (15, 15): 1, (0, 60): 4}, {7: 2, 20: 2})
    if why == "unlisted":
        world.metadata = {7: {"unlisted": 1}}
    else:
        world.unplaced = 1
    found = world.check(repair=True)
    assert {place: drift for place, drift in _places(found.repaired).items() if place[1] == 1} == {
        (20, 1): (1, 2)
    }


def test_elapsed_buckets_that_nobody_sweeps_are_completed_and_counted() -> None:
    world = _World({}, {})
    world._hour = lambda hour_id: _hour(  # type: ignore[method-assign]
        hour_id, _all(7, 3), world.version, {}, complete=False
    )
    world.rows = {7: 3}
    assert world.check().completed == 0
    assert world.check(repair=True).completed == 4


def test_a_parent_whose_minutes_and_rows_are_gone_is_left() -> None:
    world = _World({(5, 5): 6, (0, 15): 6, (0, 60): 6, (40, 1): 0}, {7: 5})
    world.version = "2026-11-20T10:00:00Z"
    found = world.check(repair=True)
    assert (found.drift, found.moving, world.set) == ([], [], {})


def test_minutes_that_were_pruned_are_set_again_where_the_rows_still_come_to_as_much() -> None:
    world = _World({(5, 5): 6, (0, 15): 6, (0, 60): 6}, {7: 4, 8: 2})
    world.version = "2026-11-20T10:00:00Z"
    parents: list[dict[int, int]] = []

    def update(
        ids: Collection[HourId], edit: Any, before_save: Any = None, outcome: Any = None
    ) -> None:
        hour = world._hour(ITEMS)
        edit(hour)
        hour.roll_up(NOW)
        parents.append({bucket.size: bucket.measures.count for bucket in hour if bucket.size > 1})

    world.update = update  # type: ignore[method-assign]
    assert len(world.check(repair=True).repaired) == 2
    assert parents == [{5: 6, 15: 6, 60: 6}]


def test_a_parent_left_to_the_sweeper_is_not_called_repaired() -> None:
    world = _World(_all(7, 3) | {(5, 5): 9}, {7: 3})
    world.outcome.parents_left.add(ITEMS)
    found = world.check(repair=True)
    assert (len(found.drift), len(found.moving), found.repaired) == (0, 1, [])


def test_an_hour_of_the_lifetimes_length_is_expired_from_its_start() -> None:
    for age, drift in ((timedelta(hours=4), 1), (timedelta(hours=4, seconds=-1), 0)):
        world = _World(_all(7, 3), {7: 1})
        checker = world.reconciler(lifetimes={"Item": age}, clock=lambda: NOW)
        found = checker.check([ITEMS], repair=False)
        assert len(found.drift) == drift, age


def test_a_second_look_that_fails_tells_what_it_has_repaired_by_then() -> None:
    """Marking what moves comes after the repair: its failure must not hide that."""
    world = _World(_all(7, 3) | _all(20, 1) | {(0, 60): 4}, {7: 4, 20: 2})
    world.between = lambda: world.rows.update({20: 1})
    checker, group = world.reconciler(), groups([ITEMS])[0]
    reading = checker.look(group)
    checker.wait([reading])
    marked = world.mark

    def mark(hours: Mapping[HourId, int | None]) -> int:
        if None in hours.values():
            raise PendingHoursError("no answer")
        return marked(hours)

    world.mark = mark  # type: ignore[method-assign]
    found = checker.confirm(reading, repair=True)
    assert found.failed == ["a Item 2026-11-22: PendingHoursError: no answer"]
    assert _places(found.repaired) == {(7, 1): (3, 4)}
    assert _places(found.moving) == {(20, 1): (1, 2)}
    assert reading.found.repaired == reading.found.moving == [], "a reading stays as it was"


def test_a_repair_that_fails_half_way_tells_what_it_has_set_right() -> None:
    """The other minute drifts on: the next check finds it."""
    world = _World(_all(7, 3) | _all(20, 1) | {(0, 60): 4}, {7: 4, 20: 2})

    def update(
        ids: Collection[HourId], edit: Any, before_save: Any = None, outcome: Any = None
    ) -> None:
        outcome.saved.add(BucketId(ITEMS, 1, TEN + 7))
        raise ContentionError("the time is over")

    world.update = update  # type: ignore[method-assign]
    found = world.reconciler().check([ITEMS], repair=True)
    assert found.failed == ["a Item 2026-11-22: ContentionError: the time is over"]
    assert _places(found.drift) == {(7, 1): (3, 4), (20, 1): (1, 2)}
    assert _places(found.repaired) == {(7, 1): (3, 4)}
    assert found.written == 1


def test_findings_add_up() -> None:
    drift = Drift(ITEMS, TEN, 1, Measures(1), Measures(2), None)
    findings = Findings(1, 2, 3, 4, [drift], [], [drift], 5, unreadable=6)
    findings.add(Findings(10, 20, 30, 40, [], [replace(drift, size=5)], [], 50, unreadable=60))
    assert (findings.hours, findings.minutes, findings.rows, findings.pages) == (11, 22, 33, 44)
    assert (len(findings.drift), len(findings.moving), len(findings.repaired)) == (1, 1, 1)
    assert (findings.completed, findings.unreadable) == (55, 66)


def test_a_long_list_of_wrong_buckets_is_cut_but_counted() -> None:
    drifts = [Drift(ITEMS, TEN + i, 1, Measures(1), Measures(2), None) for i in range(10)]
    findings = Findings(drift=drifts[:], repaired=drifts[:6])
    findings.shorten(most=3)
    findings.shorten(most=3)
    assert findings.repaired == drifts[:3]
    assert findings.drift == drifts[:3] + drifts[6:9]
    assert (findings.drifted, findings.set_right) == (10, 6)
    findings.add(Findings(drift=drifts[:1]))
    assert (findings.drifted, findings.set_right) == (11, 6)
