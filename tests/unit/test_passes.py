"""A pass reads newest first and hands hours on only when no more of their rows can come."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aggregated_metrics.adapters.source_rows import Condition, Page
from aggregated_metrics.core.models import BUILT_IN, Model
from aggregated_metrics.core.series import HourId, Series
from aggregated_metrics.jobs import passes
from aggregated_metrics.jobs.passes import IndexPass, Wanted

from testbench import rows
from testbench.hours import TEN
from testbench.world import Clock

ITEM, TASK, SCORE_RESULT = BUILT_IN["Item"], BUILT_IN["Task"], BUILT_IN["ScoreResult"]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

type Pages = Sequence[Sequence[Mapping[str, Any]]]


class Index:
    """An index whose pages are given; what is asked of it takes a second, and is kept."""

    def __init__(
        self,
        pages: Pages,
        *tails: Pages,
        by: str = "updatedAt",
        unverified: Sequence[int] = (),
        is_blind: bool = False,
    ) -> None:
        self.clock = Clock(NOW)
        self.given, self.by, self.tails = list(pages), by, list(tails)
        self.not_given = unverified, is_blind
        self.asked: list[tuple[Condition, bool]] = []

    def __call__(
        self, model: Model, account_id: str, condition: Condition, *, newest_first: bool = True
    ) -> Iterator[Page]:
        self.asked.append((condition, newest_first))
        given = self.given if newest_first else self.tails.pop(0) if self.tails else []
        for page in given:
            self.clock.advance(1)
            yield page, str(page[-1][self.by]) if page else "", *self.not_given


def reading(
    index: Any,
    hours: Collection[int],
    model: Model = TASK,
    *,
    rows_limit: int = 1_000,
    seconds: float = 600,
    breakdowns: Collection[str] = (),
    names: Collection[str] = ("",),
) -> IndexPass:
    """A pass over hours, so many before ten o'clock, of the model's plain record type.

    With names, over those of so many scores.
    """
    by_start = {
        TEN - 60 * n: [
            HourId(Series(rows.ACCOUNT, model.record_type, name or None), TEN - 60 * n)
            for name in names
        ]
        for n in hours
    }
    wanted = Wanted(model, rows.ACCOUNT, by_start, breakdowns)
    return IndexPass(index, wanted, index.clock, rows_limit, seconds)


def handed_on(made: IndexPass) -> list[list[int]]:
    """What a pass hands on, part by part: hours before ten o'clock, the newest first."""
    return [ago(hours) for hours, _ in made.parts(lambda *_: ())]


def ago(hours: Collection[HourId]) -> list[int]:
    return sorted((TEN - hour.start) // 60 for hour in hours)


def counts(made: IndexPass) -> list[dict[int, int]]:
    """The rows that a pass counts, part by part, by hour before ten o'clock."""
    return [
        {
            ago([hour])[0]: sum(total.indexed.count for total in totals.hour(hour).values())
            for hour in totals.hours()
        }
        for _, totals in made.parts(lambda *_: ())
    ]


def at(hours_ago: float) -> str:
    """A time so many hours before 10:05:30."""
    moment = datetime(2026, 11, 22, 10, 5, 30, tzinfo=UTC) - timedelta(hours=hours_ago)
    return moment.isoformat().replace("+00:00", "Z")


def task(name: str, created: float, updated: float | None = None, **changes: Any) -> dict[str, Any]:
    """A row, by how long before 10:05:30 it was created and updated."""
    updated_at = at(created if updated is None else updated)
    return rows.task(name, createdAt=at(created), updatedAt=updated_at, **changes)


@pytest.fixture
def hour_by_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "PART_HOURS", 1)


def test_an_index_by_creation_is_read_in_the_ranges_of_the_hours_newest_first() -> None:
    """It needs no tail."""
    index = Index([[rows.item()]], by="createdAt")
    assert handed_on(reading(index, [0, 1, 5], ITEM)) == [[0, 1, 5]]
    assert index.asked == [
        ({"between": ["2026-11-22T09:", "2026-11-22T10:~"]}, True),
        ({"between": ["2026-11-22T05:", "2026-11-22T05:~"]}, True),
    ]


def test_an_index_by_update_is_read_once_from_now_down_to_the_oldest_hour() -> None:
    index = Index([])
    handed_on(reading(index, [0, 700]))
    assert index.asked[0] == ({"ge": "2026-10-24T06:"}, True)


@pytest.mark.parametrize("model", [ITEM, TASK], ids=lambda model: model.name)
def test_only_rows_that_count_into_wanted_hours_and_are_indexed_are_totalled(model: Model) -> None:
    good = rows.MAKERS[model.name]("good", createdAt=at(0), updatedAt=at(0))
    others = [
        good | {"id": "uncountable", "createdAt": "soon"},
        good | {"id": "another hour", "createdAt": at(3)},
        good | {"id": "unindexed", "createdAt": "2026-11-22T21:05:30+11:00", "updatedAt": at(9)},
    ]
    made = reading(Index([[good, *others]], by=str(model.listing and model.listing.by)), [0], model)
    assert counts(made) == [{0: 1}]
    assert (made.rows, made.pages) == (4, 1)


def test_rows_that_the_api_could_not_give_are_known_by_their_minute() -> None:
    made = reading(Index([[task("a", 0)]], unverified=[TEN + 5], is_blind=True), [0])
    handed_on(made)
    assert (made.unverified, made.is_blind) == ({TEN + 5}, True)


@pytest.mark.usefixtures("hour_by_hour")
@pytest.mark.parametrize(
    "pages",
    [
        [[task("a", 0)], [task("b", 0), task("c", 1)], [task("d", 1)]],
        [[], [task("a", 0), task("b", 0)], [], [task("c", 1), task("d", 1)]],
    ],
    ids=["in the middle of a page", "with empty pages"],
)
def test_an_hour_is_handed_on_when_rows_below_it_are_read(pages: Pages) -> None:
    assert counts(reading(Index(pages), [0, 1])) == [{0: 2}, {1: 2}]


def test_hours_without_rows_are_handed_on_too_and_in_parts() -> None:
    made = reading(Index([]), range(700))
    parts = handed_on(made)
    assert [n for hours in parts for n in hours] == list(range(700))
    assert {len(hours) for hours in parts} == {passes.PART_HOURS, 100}
    assert made.not_reached == []


def test_a_part_is_measured_in_hours_of_series_and_a_clock_hour_stays_whole() -> None:
    names = [f"score-{n}" for n in range(120)]
    parts = handed_on(reading(Index([]), range(9), SCORE_RESULT, names=names))
    assert [len(hours) for hours in parts] == [360, 360, 360]


@pytest.mark.parametrize(("name", "count"), [("moved", 2), ("a", 1)])
def test_a_row_that_moves_up_while_it_is_read_counts_once_as_it_was_first_seen(
    name: str, count: int
) -> None:
    """It was below the first page when that was read, and above the second one afterwards."""
    made = reading(Index([[task("a", 0)]], [[task(name, 0, -26, status="FAILED")]]), [0])
    ((_, totals),) = made.parts(lambda *_: ())
    (total,) = totals.hour(HourId(Series(rows.ACCOUNT, "tasks"), TEN)).values()
    assert (total.indexed.count, total.indexed.errorCount) == (count, count - 1)


@pytest.mark.usefixtures("hour_by_hour")
def test_a_tail_begins_ten_seconds_before_the_one_before_it_began() -> None:
    """Its rows count for hours further down, too."""
    index = Index([[task(name, n)] for n, name in enumerate("abc")], [[]], [[task("late", 2, -26)]])
    assert counts(reading(index, [0, 1, 2])) == [{0: 1}, {1: 1}, {2: 2}]
    tails = [condition["ge"] for condition, newest_first in index.asked if not newest_first]
    assert tails == ["2026-11-23T11:59:50", "2026-11-23T11:59:52", "2026-11-23T11:59:54"]


ENDLESS = [[task(f"{page}-{n}", page + n / 100) for n in range(10)] for page in range(50)]


@pytest.mark.parametrize(
    ("options", "is_limit"),
    [({"rows_limit": 30}, True), ({"seconds": 3}, False)],
    ids=["rows", "time"],
)
def test_a_reading_that_stops_hands_on_what_is_whole_and_names_the_rest(
    options: Mapping[str, Any], is_limit: bool
) -> None:
    made = reading(Index(ENDLESS), range(50), **options)
    assert counts(made) == [{0: 10, 1: 10}]
    assert ago(made.not_reached) == list(range(2, 50))
    assert (made.is_over_limit, made.is_slow) == (is_limit, not is_limit)


@pytest.mark.usefixtures("hour_by_hour")
@pytest.mark.parametrize(("seconds", "slow"), [(30, False), (2, True)])
def test_a_reading_is_slow_only_by_its_own_time(seconds: int, *, slow: bool) -> None:
    """What is done with its parts takes twenty seconds each."""
    index = Index(ENDLESS)
    made = reading(index, range(50), seconds=seconds)
    for _ in made.parts(lambda *_: ()):
        index.clock.advance(20)
    assert made.not_reached
    assert made.is_slow is slow


@pytest.mark.parametrize("pages", [1, 50])
def test_a_tail_ends_with_the_time_though_rows_are_updated_faster_than_it_reads(pages: int) -> None:
    """Before its end no hour may be handed on: a row that moves ahead of it would be lowered."""
    tail = [[task(str(n), 0, -26)] for n in range(100)]
    index = Index(ENDLESS[:pages], tail, tail)
    made = reading(index, range(50), seconds=3)
    assert handed_on(made) == []
    assert (len(made.not_reached), made.is_over_limit) == (50, False)
    assert index.clock() - NOW <= timedelta(seconds=3 + passes.TAIL_SECONDS + 2)


def test_a_reading_stops_before_it_holds_too_many_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "MOST_MINUTES", 3)
    made = reading(Index([[task(f"{n}", n, 0)] for n in range(9)]), range(9))
    assert handed_on(made) == []
    assert (made.is_over_limit, len(made.not_reached)) == (True, 9)


@pytest.mark.parametrize("model", [ITEM, TASK], ids=lambda model: model.name)
@pytest.mark.parametrize("seconds", [0, -5.0])
def test_a_reading_without_time_hands_on_nothing(model: Model, seconds: float) -> None:
    """Hours handed on unread would have no rows, and be lowered to zero."""
    index = Index([[]])
    made = reading(index, [0, 1], model, seconds=seconds)
    assert handed_on(made) == []
    assert (len(made.not_reached), made.is_over_limit, made.is_slow) == (2, False, False)
    assert index.asked == []


def test_hours_of_a_model_without_an_index_are_handed_on_without_reading() -> None:
    declared = Model(ITEM.declaration.model_copy(update={"listing": None}))
    index = Index([[rows.item()]])
    assert handed_on(reading(index, [0, 1], declared)) == [[0, 1]]
    assert index.asked == []


@pytest.mark.parametrize("breakdowns", [["scoreResultsByScore"], []])
def test_every_scope_of_a_breakdown_that_is_asked_for_is_handed_on(breakdowns: list[str]) -> None:
    """Whether it is counted, or only stored."""
    by_score = Series(rows.ACCOUNT, "scoreResultsByScore", "card", "gone")
    asked: list[tuple[Any, ...]] = []

    def stored(spans: Iterable[tuple[Any, ...]]) -> Collection[HourId]:
        asked.extend(spans)
        return {HourId(by_score, TEN), HourId(by_score, TEN - 600)}

    index = Index([[rows.score_result(scoreId="there", cost=None)]])
    made = reading(index, [0], SCORE_RESULT, breakdowns=breakdowns)
    ((hours, totals),) = made.parts(stored)
    scopes = {hour.series.score_id for hour in hours if hour.series.score_id}
    assert (scopes, asked) == (
        ({"gone", "there"}, [(rows.ACCOUNT, "scoreResultsByScore", TEN, TEN + 60)])
        if breakdowns
        else (set(), [])
    )
    assert totals.hours() <= set(hours)


def test_hours_wanted_alone_are_all_that_is_wanted() -> None:
    whole = reading(Index([]), [0, 1, 2]).wanted
    now, before, _ = (hour for (hour,) in whole.hours.values())
    again = whole.only([before])
    assert (before in again, now in again) == (True, False)
    assert HourId(Series(rows.ACCOUNT, "items"), before.start) not in again
    assert again.name == "acct-1: Task"
