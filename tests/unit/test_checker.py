"""What two looks make of stored hours and counted rows; the races are in tests/integration."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aggregated_metrics.adapters.hour_store import Outcome
from aggregated_metrics.adapters.source_rows import Counted
from aggregated_metrics.core import buckets
from aggregated_metrics.core.hours import Hour, HourId, Series, composite_key
from aggregated_metrics.core.measures import INT_MAX, Measures
from aggregated_metrics.core.record_types import Model
from aggregated_metrics.jobs.checker import Checker, Drift, Findings

NOW = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)
TEN = buckets.to_minute(datetime(2026, 11, 22, 10, tzinfo=UTC))
ITEMS = HourId(Series("a", "items"), TEN)

type Stored = Mapping[tuple[int, int], int]


def _hour(hour_id: HourId, stored: Stored, version: str = "2026-11-22T10:00:00Z") -> Hour:
    return Hour(
        hour_id,
        [
            {
                "compositeKey": composite_key(hour_id.series, TEN + minute, size),
                "count": count,
                "complete": False,
                "updatedAt": version,
            }
            for (minute, size), count in stored.items()
        ],
    )


class _World:
    """Store, source, lag and sleep as a reconciler's ports; what is stored and counted is given."""

    def __init__(self, stored: Stored, rows: Mapping[int, int], *, limit: int = 1) -> None:
        self.stored, self.rows, self.limit = stored, dict(rows), limit
        self.slept: list[float] = []
        self.asked: list[tuple[str, str, list[int]]] = []
        self.loads: list[list[HourId]] = []
        self.unsure: set[tuple[str, int]] = set()
        self.between: Callable[[], None] = lambda: None
        self.outcome = Outcome()
        self.lags = 0

    def load(self, ids: Sequence[HourId]) -> list[Hour]:
        self.loads.append(list(ids))
        return [_hour(hour_id, self.stored) for hour_id in ids]

    def change(self, ids: Collection[HourId], change: Any, before_save: Any) -> Outcome:
        for hour_id in ids:
            change(_hour(hour_id, self.stored))
        return self.outcome

    def count(self, model: Model, account_id: str, hours: Collection[int], _: Any) -> Counted:
        self.asked.append((model.name, account_id, sorted(hours)))
        sums = {("items", TEN + minute): Measures(count) for minute, count in self.rows.items()}
        return Counted(sums, rows=10, pages=2, unsure=set(self.unsure))

    def seconds(self) -> float:
        self.lags += 1
        return 0.0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.between()

    def reconciler(self, **changes: Any) -> Checker:
        ports: dict[str, Any] = {"store": self, "source": self, "pending": None, "lag": self}
        ports |= {"clock": lambda: NOW, "grace": 120, "settle": 60, "sleep": self.sleep}
        return Checker(**(ports | changes))

    def check(self, *ids: HourId, repair: bool = False) -> Findings:
        return self.reconciler().check(ids or (ITEMS,), repair=repair)


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
    assert (world.slept, world.lags, len(world.asked)) == ([], 0, 1)


def test_verifying_does_not_ask_how_far_the_stream_is_behind() -> None:
    world = _World(_all(7, 3), {7: 4})
    assert _places(world.check().drift) == {(7, 1): (3, 4)}
    assert (world.slept, world.lags) == ([60], 0)


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
        (_all(7, INT_MAX), {7: INT_MAX + 5}, {}),
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
        "a sum beyond 32 bits",
        "empty minutes need no parents",
    ],
)
def test_drift_is_exactly_what_is_wrong(
    stored: Stored, rows: Mapping[int, int], wrong: Mapping[tuple[int, int], tuple[int, int]]
) -> None:
    assert _places(_World(stored, rows).check().drift) == wrong


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
    assert (found.hours, found.rows, found.pages) == (2, 10, 2)


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
def test_what_changes_between_the_looks_is_moving(change: str) -> None:
    world = _World(_all(7, 3), {7: 4})
    world.between = lambda: world.rows.update({7: 5 if change == "source" else 3})
    found = world.check(repair=True)
    assert (found.drift, len(found.moving), found.repaired) == ([], 1, [])


def test_a_new_version_between_the_looks_is_moving() -> None:
    world = _World(_all(7, 3), {7: 4})
    first = world.load

    def load(ids: Sequence[HourId]) -> list[Hour]:
        version = "2026-11-22T10:00:00.000001Z" if world.slept else "2026-11-22T10:00:00Z"
        return [_hour(hour_id, world.stored, version) for hour_id in ids]

    world.load = load  # type: ignore[method-assign]
    assert first is not load
    assert len(world.check().moving) == 1


def test_a_minute_that_could_not_be_counted_for_sure_is_moving() -> None:
    world = _World(_all(7, 3), {7: 4})
    world.unsure = {("items", TEN + 7), ("items", TEN + 9)}
    found = world.check(repair=True)
    assert (found.drift, _places(found.moving)) == ([], {(7, 1): (3, 4)})


def test_a_parent_left_to_the_sweeper_is_not_called_repaired() -> None:
    world = _World(_all(7, 3) | {(5, 5): 9}, {7: 3})
    world.outcome.parents_left.add(ITEMS)
    found = world.check(repair=True)
    assert (len(found.drift), len(found.moving), found.repaired) == (1, 1, [])


def test_an_hour_of_the_lifetimes_length_is_expired_from_its_start() -> None:
    for age, drift in ((timedelta(hours=4), 1), (timedelta(hours=4, seconds=-1), 0)):
        world = _World(_all(7, 3), {7: 1})
        found = world.reconciler(lifetimes={"Item": age}).check([ITEMS], repair=False)
        assert len(found.drift) == drift, age


def test_findings_add_up() -> None:
    drift = Drift(ITEMS, TEN, 1, Measures(1), Measures(2), None)
    findings = Findings(1, 2, 3, 4, [drift], [], [drift], None)
    findings.add(Findings(10, 20, 30, 40, [], [replace(drift, size=5)], [], 7.0))
    findings.add(Findings(behind=9.0))
    assert (findings.hours, findings.minutes, findings.rows, findings.pages) == (11, 22, 33, 44)
    assert (len(findings.drift), len(findings.moving), len(findings.repaired)) == (1, 1, 1)
    assert findings.behind == 7.0
