"""Events of the reconciler: what they ask for, what they may not be, and stopping in time."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from aggregated_metrics.adapters.pending_hours import Mark, PendingHours
from aggregated_metrics.adapters.quarantine import Quarantine
from aggregated_metrics.adapters.source_rows import Counted
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import (
    ChecksFailedError,
    ContentionError,
    EventError,
    OutOfTimeError,
    TooManyRowsError,
)
from aggregated_metrics.core.findings import Drift, Findings, Reading
from aggregated_metrics.core.groups import Group
from aggregated_metrics.core.hours import HourId, Series
from aggregated_metrics.core.measures import Measures, zero
from aggregated_metrics.core.record_types import extra_of
from aggregated_metrics.jobs.checker import Checker
from aggregated_metrics.jobs.range_check import stop_in_time
from aggregated_metrics.jobs.reconciler import LISTED, LOGGED, Reconciler, result

from testbench.in_process import ROOT

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
TEN = buckets.to_minute(datetime(2026, 11, 22, 10, tzinfo=UTC))
RANGE = {
    "accountId": "a",
    "recordTypes": ["items"],
    "start": "2026-11-20T00:00:00Z",
    "end": "2026-11-23T00:00:00Z",
    "days": 1,
}
"""Three windows of a day: a model that is listed by createdAt (test_long_ranges has the others)."""


class _Checker:
    """Finds what it is told to; each first look takes its time."""

    settle = 60

    def __init__(self, seconds: float = 0.0, find: Callable[[HourId], bool] | None = None) -> None:
        self.left, self.seconds = 900.0, seconds
        self.find = find or (lambda _: False)
        self.looked: list[list[HourId]] = []
        self.confirmed: list[tuple[list[HourId], bool]] = []
        self.waits: list[int] = []
        self.fail: dict[int, Exception] = {}
        self.fail_confirming: dict[int, Exception] = {}
        self.rows: Callable[[HourId], int] = lambda _: 1

    def look(self, group: Group, rows_limit: int | None = None, on_page: Any = None) -> Reading:
        number = len(self.looked)
        self.looked.append(list(group.hours))
        self.left -= self.seconds
        if number in self.fail:
            raise self.fail[number]
        if rows_limit is not None and sum(map(self.rows, group.hours)) > rows_limit:
            raise TooManyRowsError("it lists too many rows")
        found = Findings(hours=len(group.hours))
        drifts = [
            Drift(hour, hour.start, 1, *_sums(hour), None)
            for hour in group.hours
            if self.find(hour)
        ]
        wrong = {drift.bucket: drift for drift in drifts}
        return Reading(group, found, wrong, (), (), NOW, NOW, {})

    def wait(self, readings: Sequence[Reading]) -> None:
        self.waits.append(len(readings))

    def confirm(self, reading: Reading, *, repair: bool) -> Findings:
        number = len(self.confirmed)
        self.confirmed.append((list(reading.group.hours), repair))
        found = Findings()
        found.add(reading.found)
        if isinstance(self.fail_confirming.get(number), OutOfTimeError):
            raise self.fail_confirming[number]
        found.drift = list(reading.wrong.values())
        if repair:
            found.repaired = list(found.drift)
        if number in self.fail_confirming:
            found.failed.append(reading.group.failure(self.fail_confirming[number]))
        return found

    check = Checker.check


class _Pending:
    def __init__(self, *hours: HourId) -> None:
        self.marks = [
            Mark(hour, 0, 0, str(number), closed=int(NOW.timestamp()) - 100 * number)
            for number, hour in enumerate(hours)
        ]
        self.removed: list[HourId] = []
        self.postponed: list[HourId] = []
        self.aside: list[HourId] = []

    def closed(self) -> list[Mark]:
        return self.marks

    def remove(self, mark: Mark) -> bool:
        self.removed.append(mark.hour)
        return True

    def postpone(self, mark: Mark) -> bool:
        self.postponed.append(mark.hour)
        return True

    def set_aside(self, mark: Mark) -> bool:
        self.aside.append(mark.hour)
        return True


def _checks(
    checker: _Checker, pending: _Pending | None = None, rows_limit: int | None = None
) -> Reconciler:
    return Reconciler(
        checker=cast("Checker", checker),
        pending=cast("PendingHours", pending or _Pending()),
        quarantine=Quarantine(cast("Any", None), "", clock=lambda: NOW),
        source_tables={},
        time_left=lambda: checker.left,
        clock=lambda: NOW,
        rows_limit=rows_limit,
    )


def _run(
    checker: _Checker,
    event: Any,
    report: dict[str, Any] | None = None,
    *,
    pending: _Pending | None = None,
    rows_limit: int | None = None,
) -> dict[str, Any]:
    """What the function returns; the report is filled as its handler fills it."""
    done = _checks(checker, pending, rows_limit).run(event)
    if report is not None:
        report.update(done.as_report())
    return done.result()


def _sums(hour: HourId) -> tuple[Measures, Measures]:
    nothing = zero(extra_of(hour.series.record_type))
    return nothing, Measures(1, *nothing[1:])


def _days(reconciler: _Checker) -> list[str]:
    days = [buckets.iso(ids[0].start)[8:10] for ids in reconciler.looked]
    return list(dict.fromkeys(days))


def test_a_range_is_checked_window_by_window_the_newest_first() -> None:
    reconciler = _Checker()
    given = _run(reconciler, RANGE)
    assert _days(reconciler) == ["22", "21", "20"]
    assert (given["done"], given["next"], given["hours"]) == (True, None, 3 * 24)
    assert all(repair is False for _, repair in reconciler.confirmed)


def test_it_stops_in_time_and_says_where_to_go_on() -> None:
    reconciler = _Checker(seconds=430.0)
    given = _run(reconciler, RANGE | {"repair": True, "recordTypes": ["items"]})
    assert _days(reconciler) == ["22", "21"]
    assert given["done"] is False
    assert given["next"] == RANGE | {
        "recordTypes": ["items"],
        "repair": True,
        "end": "2026-11-21T00:00:00Z",
    }


def test_following_next_checks_every_hour_once() -> None:
    event: dict[str, Any] | None = RANGE
    hours: list[HourId] = []
    while event is not None:
        reconciler = _Checker(seconds=850.0)
        event = _run(reconciler, event)["next"]
        hours += [hour for ids in reconciler.looked for hour in ids]
    assert len(hours) == len(set(hours)) == 72


def test_a_day_that_the_time_ran_out_for_is_left_to_the_next_invocation() -> None:
    reconciler = _Checker()
    reconciler.fail = {1: OutOfTimeError()}
    given = _run(reconciler, RANGE)
    assert given["next"]["end"] == "2026-11-22T00:00:00Z"


def test_a_range_that_is_too_much_for_one_invocation_is_an_error_with_a_cure() -> None:
    reconciler = _Checker()
    reconciler.fail = {0: OutOfTimeError()}
    with pytest.raises(ContentionError, match="fewer recordTypes or hours"):
        _run(reconciler, RANGE)


def test_so_is_a_lost_batch() -> None:
    reconciler = _Checker()
    reconciler.fail = {0: OutOfTimeError()}
    event = json.loads((ROOT / "events/reconciler/on_failure.json").read_text())
    with pytest.raises(ContentionError, match="command line"):
        _run(reconciler, event)


def test_what_was_repaired_is_reported_where_the_time_then_ends_in_a_second_look() -> None:
    reconciler, report = _Checker(find=lambda hour: hour.start == TEN), cast("dict[str, Any]", {})
    reconciler.fail_confirming = {1: OutOfTimeError("no time")}
    day = {"start": "2026-11-22T00:00:00Z", "end": "2026-11-23T00:00:00Z"}
    both = RANGE | day | {"repair": True, "recordTypes": ["items", "tasks"]}
    with pytest.raises(ContentionError):
        _run(reconciler, both, report)
    assert report["rangeRepaired"] == 1


@pytest.mark.parametrize("error", [KeyError("x"), ValueError("odd")])
def test_a_group_of_a_range_that_fails_is_named_and_the_others_are_checked(
    error: Exception,
) -> None:
    reconciler, report = _Checker(find=lambda hour: hour.start == TEN), cast("dict[str, Any]", {})
    reconciler.fail_confirming = {0: error}
    with pytest.raises(ChecksFailedError, match="a Item 2026-11-22"):
        _run(reconciler, RANGE | {"repair": True}, report)
    assert len(reconciler.confirmed) == len(reconciler.looked) == 3
    assert (report["failedGroups"], report["rangeRepaired"]) == (1, 1)


def test_reading_stops_between_pages_when_the_time_is_nearly_over() -> None:
    left = 16.0
    stop = stop_in_time(lambda: left)
    stop(Counted())
    left = 14.0
    with pytest.raises(OutOfTimeError):
        stop(Counted())


def test_closed_hours_are_grouped_by_account_model_and_day() -> None:
    hours = [
        HourId(Series(account, record_type), TEN + 60 * hour)
        for hour in (-24, 0, 1)
        for account in ("a", "b")
        for record_type in ("items", "predictionItems", "tasks")
    ]
    reconciler = _Checker()
    report: dict[str, Any] = {}
    _run(reconciler, {}, report, pending=_Pending(*hours))
    assert [len(ids) for ids in reconciler.looked] == [2, 1, 2, 1, 4, 2, 4, 2]
    assert report["waiting"] == 0
    assert report["hours"] == 18


def test_closed_hours_wait_once_for_all_groups() -> None:
    hours = [HourId(Series(f"a{n}", "items"), TEN) for n in range(30)]
    reconciler = _Checker(find=lambda _: True)
    _run(reconciler, {}, pending=_Pending(*hours))
    assert reconciler.waits == [30]


def test_closed_hours_that_drift_are_looked_at_again_later() -> None:
    right, wrong = (HourId(Series("a", "items"), TEN + hour) for hour in (0, 60))
    pending = _Pending(right, wrong)
    _run(_Checker(find=lambda hour: hour == wrong), {"repair": True}, pending=pending)
    assert (pending.removed, pending.postponed) == ([right], [wrong])


def test_closed_hours_beyond_the_time_wait_and_all_that_wait_are_told() -> None:
    hours = [HourId(Series("a", "items"), TEN + 1440 * day) for day in range(2_504)]
    reconciler, report = _Checker(seconds=0.5), cast("dict[str, Any]", {})
    _run(reconciler, {}, report, pending=_Pending(*hours))
    checked = len(reconciler.looked)
    assert (report["hours"], report["waiting"]) == (checked, 2_504 - checked)
    assert checked > 1_000
    assert reconciler.left >= reconciler.settle + 15
    assert report["oldestClosedSeconds"] == 250_300


@pytest.mark.parametrize("looking", [True, False], ids=["first look", "second look"])
def test_a_closed_group_that_fails_waits_behind_the_others_and_fails_the_run(
    *, looking: bool
) -> None:
    hours = [HourId(Series("a", "items"), TEN + 1440 * day) for day in range(3)]
    reconciler, report = _Checker(find=lambda _: True), cast("dict[str, Any]", {})
    if looking:
        reconciler.fail = {0: OverflowError("date value out of range")}
    else:
        reconciler.fail_confirming = {0: OverflowError("date value out of range")}
    pending = _Pending(*hours)
    with pytest.raises(ChecksFailedError, match="a Item 2026-11-22: OverflowError: date value"):
        _run(reconciler, {"repair": True}, report, pending=pending)
    assert hours[0] in pending.postponed
    assert report["failedGroups"] == 1
    assert report["repaired"] == (2 if looking else 3), "what was repaired by then is told"
    assert report["waiting"] == 1


def test_a_mark_of_a_record_type_that_is_gone_is_set_aside_and_fails_nothing() -> None:
    gone, there = (HourId(Series("a", name), TEN) for name in ("calls", "items"))
    pending, report = _Pending(gone, there), cast("dict[str, Any]", {})
    _run(_Checker(), {}, report, pending=pending)
    assert (pending.aside, pending.removed) == ([gone], [there])
    assert (report["setAside"], report["waiting"], report["failedGroups"]) == (1, 0, 0)


def test_only_an_hour_with_too_many_rows_is_set_aside_not_its_neighbours() -> None:
    hours = [HourId(Series("a", "items"), TEN + 60 * n) for n in range(12)]
    checker = _Checker()
    checker.rows = lambda hour: 5_000 if hour == hours[5] else 300
    pending, report = _Pending(*hours), cast("dict[str, Any]", {})
    _run(checker, {}, report, pending=pending, rows_limit=1_000)
    assert pending.aside == [hours[5]]
    assert sorted(pending.removed) == sorted({*hours} - {hours[5]})
    assert (report["setAside"], report["waiting"]) == (1, 0)


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (None, "not a JSON object"),
        ([], "not a JSON object"),
        ({"start": "2026-11-22T10:00:00Z"}, "accountId is missing"),
        ({"source": "aws.scheduler"}, "accountId is missing"),
        ({"repair": "yes"}, "not true or false"),
        (RANGE | {"repair": 1}, "not true or false"),
        ({"plan": RANGE | {"end": None}}, "accountId, start and end"),
        ({"onFailure": {}}, "no list of Records"),
        ({"onFailure": "{"}, "neither an on-failure object nor its payload"),
        ({"onFailure": {"payload": None}}, "no list of Records"),
        ({"onFailure": 5}, "no list of Records"),
        ({"onFailure": {"payload": '{"Records": [5]}'}}, "no list of Records"),
    ],
)
def test_an_event_of_another_shape_is_refused_with_its_cure(event: Any, says: str) -> None:
    reconciler = _Checker()
    with pytest.raises(EventError, match=says):
        _run(reconciler, event)
    assert reconciler.looked == []


def test_a_plan_checks_nothing() -> None:
    reconciler = _Checker()
    assert len(_run(reconciler, {"plan": RANGE})["units"]) == 3
    assert reconciler.looked == []


def test_a_lost_batch_is_repaired_unless_told_otherwise() -> None:
    event = json.loads((ROOT / "events/reconciler/on_failure.json").read_text())
    reconciler = _Checker()
    _run(reconciler, event)
    _run(reconciler, event | {"repair": False})
    assert [repair for _, repair in reconciler.confirmed] == [True, False]


def test_a_result_lists_some_and_counts_all() -> None:
    hour = HourId(Series("a", "items"), TEN)
    drift = [Drift(hour, TEN, 1, Measures(), Measures(1), None)] * (LISTED + 1)
    given = result(Findings(drift=drift, moving=drift), None, repair=False)
    assert (given["driftCount"], len(given["drift"])) == (LISTED + 1, LISTED)
    assert (given["movingCount"], len(given["moving"])) == (LISTED + 1, LISTED)
    assert json.loads(json.dumps(given)) == given


def test_the_report_has_the_numbers_of_the_alarms() -> None:
    report: dict[str, Any] = {}
    reconciler = _Checker(find=lambda hour: hour.start == TEN)
    _run(reconciler, RANGE | {"recordTypes": ["items"]}, report)
    assert report["rangeDrift"] == 1
    assert report.keys() >= {"rangeRepaired", "moving", "hours", "rows", "completed", "unreadable"}
    assert not report.keys() & {"drift", "repaired"}, "those are of the hourly check"
    closed: dict[str, Any] = {}
    pending = _Pending(HourId(Series("a", "items"), TEN))
    _run(_Checker(find=lambda _: True), {"repair": True}, closed, pending=pending)
    assert (closed["drift"], closed["repaired"]) == (1, 1)
    assert not closed.keys() & {"rangeDrift", "rangeRepaired"}


def test_the_report_names_the_first_buckets_that_drifted() -> None:
    report: dict[str, Any] = {}
    _run(_Checker(find=lambda hour: hour.start >= TEN), RANGE, report)
    assert report["rangeDrift"] > len(report["drifted"]) == LOGGED
    assert report["drifted"][0] == {
        "accountId": "a",
        "recordType": "items",
        "timeRangeStart": "2026-11-22T10:00:00Z",
        "numberOfMinutes": 1,
        "storedCount": 0,
        "countedCount": 1,
        "differs": ["count"],
    }


def test_a_report_without_drift_names_no_bucket() -> None:
    report: dict[str, Any] = {}
    _run(_Checker(), RANGE, report)
    assert "drifted" not in report
