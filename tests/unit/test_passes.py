"""A pass reads newest first and hands hours on only when no more of their rows can come."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aggregated_metrics.adapters.source_rows import Condition, Page
from aggregated_metrics.core.models import BUILT_IN, Model
from aggregated_metrics.core.series import HourId, Series, Target
from aggregated_metrics.core.totals import Totals
from aggregated_metrics.jobs import passes
from aggregated_metrics.jobs.passes import IndexPass, Wanted

from testbench import rows
from testbench.hours import SERIES, TEN
from testbench.world import Clock

ITEM, TASK = BUILT_IN["Item"], BUILT_IN["Task"]
TASKS = Series(rows.ACCOUNT, "tasks")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)

type Pages = Sequence[Sequence[Mapping[str, Any]]]


class Index:
    """An index whose pages are given; what is asked of it takes a second, and is kept."""

    def __init__(self, pages: Pages, *, by: str, tails: Sequence[Pages] = ()) -> None:
        self.clock = Clock(NOW)
        self.given, self.by, self.tails = list(pages), by, list(tails)
        self.asked: list[tuple[Condition, bool]] = []
        self.unverified: Collection[int] = ()
        self.is_blind = False

    def __call__(
        self, model: Model, account_id: str, condition: Condition, *, newest_first: bool = True
    ) -> Iterator[Page]:
        self.asked.append((condition, newest_first))
        given = self.given if newest_first else self.tails.pop(0) if self.tails else []
        for page in given:
            self.clock.advance(1)
            last = str(page[-1][self.by]) if page else ""
            yield page, last, tuple(self.unverified), self.is_blind


def reading(
    index: Index,
    hours: Collection[int],
    model: Model = TASK,
    *,
    rows_limit: int = 1_000,
    seconds: float = 600,
    breakdowns: Collection[str] = (),
) -> IndexPass:
    """A pass over hours, so many before ten o'clock, of the model's plain record type."""
    series = Series(rows.ACCOUNT, model.record_type)
    by_start = {TEN - 60 * n: {HourId(series, TEN - 60 * n)} for n in hours}
    wanted = Wanted(model, rows.ACCOUNT, by_start, breakdowns)
    source: Any = index
    return IndexPass(source, wanted, index.clock, rows_limit, seconds)


def handed_on(made: IndexPass, stored: Any = lambda *_: ()) -> list[tuple[list[int], Totals]]:
    """What a pass hands on: hours before ten o'clock, and the totals beside them."""
    return [([(TEN - h.start) // 60 for h in hours], found) for hours, found in made.parts(stored)]


def at(hours_ago: float) -> str:
    """A time so many hours before 10:05:30."""
    moment = datetime(2026, 11, 22, 10, 5, 30, tzinfo=UTC) - timedelta(hours=hours_ago)
    return moment.isoformat().replace("+00:00", "Z")


def task(name: str, created: float, updated: float | None = None, **changes: Any) -> dict[str, Any]:
    """A row, by how long before 10:05:30 it was created and updated."""
    updated_at = at(created if updated is None else updated)
    return rows.task(name, createdAt=at(created), updatedAt=updated_at, **changes)


def count(totals: Totals, hours_ago: int = 0, series: Series = TASKS) -> int:
    found = totals.at(Target(series, TEN - 60 * hours_ago + 5))
    return found.indexed.count if found else 0


# What is read -------------------------------------------------------------------------------------


def test_an_index_by_creation_is_read_in_the_ranges_of_the_hours_newest_first() -> None:
    index = Index([], by="createdAt")
    assert handed_on(reading(index, [0, 1, 5], ITEM))[0][0] == [0, 1, 5]
    assert index.asked == [
        ({"between": ["2026-11-22T09:", "2026-11-22T10:~"]}, True),
        ({"between": ["2026-11-22T05:", "2026-11-22T05:~"]}, True),
    ]


def test_an_index_by_update_is_read_once_from_now_down_to_the_oldest_hour() -> None:
    index = Index([], by="updatedAt")
    handed_on(reading(index, [0, 700]))
    assert index.asked[0] == ({"ge": "2026-10-24T06:"}, True)


@pytest.mark.parametrize("model", [ITEM, TASK], ids=lambda model: model.name)
def test_only_rows_that_count_into_wanted_hours_and_are_indexed_are_totalled(model: Model) -> None:
    make = rows.MAKERS[model.name]
    good = make("good", createdAt=at(0), updatedAt=at(0))
    others = [
        good | {"id": "uncountable", "createdAt": "soon"},
        good | {"id": "another hour", "createdAt": at(3)},
        good | {"id": "unindexed", "createdAt": "2026-11-22T21:05:30+11:00", "updatedAt": at(9)},
    ]
    by = "createdAt" if model is ITEM else "updatedAt"
    made = reading(Index([[good, *others]], by=by), [0], model)
    ((_, totals),) = handed_on(made)
    ((target, total),) = totals.items()
    assert target == Target(Series(rows.ACCOUNT, model.record_type), TEN + 5)
    assert (total.indexed.count, total.unindexed.count) == (1, 0)
    assert (made.rows, made.pages) == (4, 1)


# When hours are handed on -------------------------------------------------------------------------


def test_an_hour_is_handed_on_when_rows_below_it_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "PART_HOURS", 1)
    index = Index([[task("a", 0)], [task("b", 0), task("c", 1)], [task("d", 1)]], by="updatedAt")
    parts = handed_on(reading(index, [0, 1]))
    assert [hours for hours, _ in parts] == [[0], [1]]
    assert [count(totals, n) for n, (_, totals) in enumerate(parts)] == [2, 2]


def test_an_empty_page_says_nothing_of_what_is_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "PART_HOURS", 1)
    made = reading(Index([[], [task("a", 0)]], by="updatedAt"), [0])
    assert [count(totals) for _, totals in handed_on(made)] == [1]


def test_hours_without_rows_are_handed_on_too_and_in_parts() -> None:
    made = reading(Index([], by="updatedAt"), range(700))
    parts = handed_on(made)
    assert [n for hours, _ in parts for n in hours] == list(range(700))
    assert max(len(hours) for hours, _ in parts) <= passes.PART_HOURS
    assert made.not_reached == []


def test_a_part_is_measured_in_hours_of_series_and_a_clock_hour_stays_whole() -> None:
    scores = [Series(rows.ACCOUNT, "scoreResultsByScore", "card", f"score-{n}") for n in range(120)]
    by_start = {TEN - 60 * n: [HourId(score, TEN - 60 * n) for score in scores] for n in range(9)}
    index: Any = Index([], by="updatedAt")
    wanted = Wanted(BUILT_IN["ScoreResult"], rows.ACCOUNT, by_start)
    made = IndexPass(index, wanted, index.clock, 1_000, 600)
    sizes = [len(hours) for hours, _ in made.parts(lambda *_: ())]
    assert (sum(sizes), max(sizes) <= passes.PART_HOURS) == (9 * 120, True)
    assert all(size % 120 == 0 for size in sizes)


def test_a_row_that_moves_up_while_it_is_read_is_found_by_the_tail() -> None:
    """It was below the first page when that was read, and above the second one afterwards."""
    index = Index([[task("a", 0)]], by="updatedAt", tails=[[[task("moved", 0, -26)]]])
    ((_, totals),) = handed_on(reading(index, [0]))
    assert count(totals) == 2


def test_a_row_counts_as_it_was_first_seen() -> None:
    index = Index([[task("a", 0)]], by="updatedAt", tails=[[[task("a", 0, -26, status="FAILED")]]])
    ((_, totals),) = handed_on(reading(index, [0]))
    (total,) = (total for _, total in totals.items())
    assert (total.indexed.count, total.indexed.errorCount) == (1, 0)


def test_a_tail_begins_ten_seconds_before_the_one_before_it_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(passes, "PART_HOURS", 1)
    pages = [[task("a", 0)], [task("b", 1)], [task("c", 2)]]
    index = Index(pages, by="updatedAt", tails=[[[]], [[task("late", 2, -26)]]])
    parts = handed_on(reading(index, [0, 1, 2]))
    tails = [condition["ge"] for condition, newest_first in index.asked if not newest_first]
    assert tails == ["2026-11-23T11:59:50", "2026-11-23T11:59:52", "2026-11-23T11:59:54"]
    assert count(parts[2][1], 2) == 2, "a tail's rows count for hours further down, too"


def test_an_index_by_creation_needs_no_tail() -> None:
    index = Index([[rows.item()]], by="createdAt")
    handed_on(reading(index, [0], ITEM))
    assert all(newest_first for _, newest_first in index.asked)


# Where it stops -----------------------------------------------------------------------------------


def _pages_without_end() -> list[list[dict[str, Any]]]:
    return [[task(f"{page}-{n}", page + n / 100) for n in range(10)] for page in range(50)]


@pytest.mark.parametrize(
    ("options", "is_limit"),
    [({"rows_limit": 30}, True), ({"seconds": 3}, False)],
    ids=["rows", "time"],
)
def test_a_reading_that_stops_hands_on_what_is_whole_and_names_the_rest(
    options: Mapping[str, Any], is_limit: bool
) -> None:
    made = reading(Index(_pages_without_end(), by="updatedAt"), range(50), **options)
    parts = handed_on(made)
    reached = [n for hours, _ in parts for n in hours]
    assert 0 < len(reached) < 5
    assert {hour.start for hour in made.not_reached} == {
        TEN - 60 * n for n in range(50) if n not in reached
    }
    assert sum(total.indexed.count for _, found in parts for _, total in found.items()) == 10 * len(
        reached
    )
    assert made.is_over_limit is is_limit


@pytest.mark.parametrize("pages", [1, 50])
def test_a_tail_ends_with_the_time_though_rows_are_updated_faster_than_it_reads(pages: int) -> None:
    """Before its end no hour may be handed on: a row that moves ahead of it would be lowered."""
    tail = [[task(str(n), 0, -26)] for n in range(100)]
    index = Index(_pages_without_end()[:pages], by="updatedAt", tails=[tail, tail])
    made = reading(index, range(50), seconds=3)
    assert handed_on(made) == []
    assert (len(made.not_reached), made.is_over_limit) == (50, False)
    assert index.clock() - NOW <= timedelta(seconds=3 + passes.TAIL_SECONDS + 2)


def test_a_reading_stops_before_it_holds_too_many_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "MOST_MINUTES", 3)
    old_rows = [[task(f"{n}", n, 0)] for n in range(9)]
    made = reading(Index(old_rows, by="updatedAt"), range(9))
    assert handed_on(made) == []
    assert (made.is_over_limit, len(made.not_reached)) == (True, 9)


@pytest.mark.parametrize("model", [ITEM, TASK], ids=lambda model: model.name)
@pytest.mark.parametrize("seconds", [0, -5.0])
def test_a_reading_without_time_hands_on_nothing(model: Model, seconds: float) -> None:
    """Hours handed on unread would have no rows, and be lowered to zero."""
    index = Index([[]], by="createdAt")
    made = reading(index, [0, 1], model, seconds=seconds)
    assert handed_on(made) == []
    assert (len(made.not_reached), made.is_over_limit, index.asked) == (2, False, [])


def test_hours_of_a_model_without_an_index_are_handed_on_without_reading() -> None:
    declared = Model(ITEM.declaration.model_copy(update={"listing": None}))
    index = Index([[rows.item()]], by="createdAt")
    ((hours, totals),) = handed_on(reading(index, [0, 1], declared))
    assert (hours, len(totals), index.asked) == ([0, 1], 0, [])


# What the API cannot give -------------------------------------------------------------------------


def test_rows_that_the_api_could_not_give_are_known_by_their_minute() -> None:
    index = Index([[task("a", 0)]], by="updatedAt")
    index.unverified, index.is_blind = [TEN + 5], True
    made = reading(index, [0])
    handed_on(made)
    assert (made.unverified, made.is_blind) == ({TEN + 5}, True)


# Breakdowns ---------------------------------------------------------------------------------------


def test_every_scope_of_a_breakdown_is_handed_on_counted_or_only_stored() -> None:
    by_score = Series(rows.ACCOUNT, "scoreResultsByScore", "card", "gone")
    asked: list[tuple[int, int]] = []

    def stored(wanted: Wanted, first: int, last: int) -> Collection[HourId]:
        asked.append((first, last))
        return {HourId(by_score, TEN), HourId(by_score, TEN - 600)}

    model = BUILT_IN["ScoreResult"]
    index = Index([[rows.score_result(scoreId="there", cost=None)]], by="updatedAt")
    made = reading(index, [0], model, breakdowns=["scoreResultsByScore"])
    ((hours, totals),) = made.parts(stored)
    assert [hour.series.score_id for hour in hours] == [None, "gone", "there"]
    assert asked == [(TEN, TEN + 60)]
    assert totals.hours() <= set(hours)


def test_a_breakdown_that_was_not_asked_for_is_not_totalled() -> None:
    index = Index([[rows.score_result(cost=None)]], by="updatedAt")
    ((hours, totals),) = reading(index, [0], BUILT_IN["ScoreResult"]).parts(lambda *_: ())
    assert [hour.series.record_type for hour in hours] == ["scoreResults"]
    assert len(totals) == 1


def test_hours_wanted_alone_are_all_that_is_wanted() -> None:
    whole = reading(Index([], by="updatedAt"), [0, 1, 2]).wanted
    hour = HourId(TASKS, TEN - 60)
    again = whole.only([hour])
    assert hour in again
    assert HourId(TASKS, TEN) not in again
    assert HourId(SERIES, TEN - 60) not in again
    assert again.name == "acct-1: Task"
