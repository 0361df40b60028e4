"""Events of the reconciler: what they ask for, what they may not be, and stopping in time."""

import json
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from aggregated_metrics.adapters.pending_hours import Mark, PendingHours
from aggregated_metrics.adapters.source_rows import Counted
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import ContentionError, EventError
from aggregated_metrics.core.hours import HourId, Series
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.jobs.checker import Checker, Drift, Findings
from aggregated_metrics.jobs.reconciler import (
    LISTED,
    LOGGED,
    OutOfTimeError,
    Reconciler,
    result,
    stop_in_time,
)

from testbench.in_process import ROOT

TEN = buckets.to_minute(datetime(2026, 11, 22, 10, tzinfo=UTC))
RANGE = {"accountId": "a", "start": "2026-11-20T00:00:00Z", "end": "2026-11-23T00:00:00Z"}


class _Checker:
    """Finds what it is told to; each check takes its time."""

    settle = 60

    def __init__(self, seconds: float = 0.0, find: Callable[[HourId], bool] | None = None) -> None:
        self.left, self.seconds = 900.0, seconds
        self.find = find or (lambda _: False)
        self.checked: list[tuple[list[HourId], bool]] = []
        self.fail: set[int] = set()

    def check(self, ids: Collection[HourId], *, repair: bool) -> Findings:
        if len(self.checked) in self.fail:
            raise OutOfTimeError
        self.left -= self.seconds
        self.checked.append((list(ids), repair))
        found = Findings(hours=len(ids))
        found.drift = [
            Drift(hour, hour.start, 1, Measures(), Measures(1), None)
            for hour in ids
            if self.find(hour)
        ]
        return found


class _Pending:
    def __init__(self, *hours: HourId) -> None:
        self.marks = [Mark(hour, 0, 0, str(number)) for number, hour in enumerate(hours)]
        self.removed: list[HourId] = []

    def closed(self, limit: int) -> list[Mark]:
        return self.marks[:limit]

    def remove(self, mark: Mark) -> bool:
        self.removed.append(mark.hour)
        return True


def _checks(reconciler: _Checker, pending: _Pending | None = None) -> Reconciler:
    return Reconciler(
        cast("Checker", reconciler),
        cast("PendingHours", pending or _Pending()),
        {},
        lambda: reconciler.left,
    )


def _days(reconciler: _Checker) -> list[str]:
    return [buckets.iso(ids[0].start)[8:10] for ids, _ in reconciler.checked]


def test_a_range_is_checked_day_by_day_the_newest_first() -> None:
    reconciler = _Checker()
    given = _checks(reconciler).run(RANGE, {})
    assert _days(reconciler) == ["22", "21", "20"]
    assert (given["done"], given["next"], given["hours"]) == (True, None, 3 * 24 * 8)
    assert all(repair is False for _, repair in reconciler.checked)


def test_it_stops_in_time_and_says_where_to_go_on() -> None:
    reconciler = _Checker(seconds=430.0)
    given = _checks(reconciler).run(RANGE | {"repair": True, "recordTypes": ["items"]}, {})
    assert _days(reconciler) == ["22", "21"]
    assert given["done"] is False
    assert given["next"] == RANGE | {
        "recordTypes": ["items"],
        "repair": True,
        "end": "2026-11-21T00:00:00Z",
    }


def test_following_next_checks_every_hour_once() -> None:
    event: dict[str, Any] | None = RANGE | {"recordTypes": ["tasks"]}
    hours: list[HourId] = []
    while event is not None:
        reconciler = _Checker(seconds=850.0)
        event = _checks(reconciler).run(event, {})["next"]
        hours += [hour for ids, _ in reconciler.checked for hour in ids]
    assert len(hours) == len(set(hours)) == 72


def test_a_day_that_the_time_ran_out_for_is_left_to_the_next_invocation() -> None:
    reconciler = _Checker()
    reconciler.fail = {1}
    given = _checks(reconciler).run(RANGE, {})
    assert given["next"]["end"] == "2026-11-22T00:00:00Z"


@pytest.mark.parametrize("event", [RANGE, {"repair": True}])
def test_what_is_too_much_for_one_invocation_is_an_error_with_a_cure(event: Any) -> None:
    reconciler = _Checker()
    reconciler.fail = {0}
    pending = _Pending(HourId(Series("a", "items"), TEN))
    with pytest.raises(ContentionError, match="fewer recordTypes or hours"):
        _checks(reconciler, pending).run(event, {})
    assert pending.removed == []


def test_so_is_a_lost_batch() -> None:
    reconciler = _Checker()
    reconciler.fail = {0}
    event = json.loads((ROOT / "events/reconciler/on_failure.json").read_text())
    with pytest.raises(ContentionError, match="command line"):
        _checks(reconciler).run(event, {})


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
    _checks(reconciler, _Pending(*hours)).run({}, report)
    assert [len(ids) for ids, _ in reconciler.checked] == [4, 2, 4, 2, 2, 1, 2, 1]
    assert report["waiting"] == 0
    assert report["hours"] == 18


def test_closed_hours_that_drift_or_move_are_not_forgotten() -> None:
    right, wrong = (HourId(Series("a", "items"), TEN + hour) for hour in (0, 60))
    pending = _Pending(right, wrong)
    _checks(_Checker(find=lambda hour: hour == wrong), pending).run({"repair": True}, {})
    assert pending.removed == [right]


def test_closed_hours_beyond_the_time_wait() -> None:
    hours = [HourId(Series("a", "items"), TEN + 1440 * day) for day in range(3)]
    reconciler, report = _Checker(seconds=850.0), cast("dict[str, Any]", {})
    _checks(reconciler, _Pending(*hours)).run({}, report)
    assert (report["hours"], report["waiting"]) == (1, 2)
    reconciler = _Checker()
    reconciler.fail = {1}
    _checks(reconciler, _Pending(*hours)).run({}, report)
    assert report["waiting"] == 2


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
        _checks(reconciler).run(event, {})
    assert reconciler.checked == []


def test_a_plan_checks_nothing() -> None:
    reconciler = _Checker()
    assert len(_checks(reconciler).run({"plan": RANGE}, {})["days"]) == 12
    assert reconciler.checked == []


def test_a_lost_batch_is_repaired_unless_told_otherwise() -> None:
    event = json.loads((ROOT / "events/reconciler/on_failure.json").read_text())
    reconciler = _Checker()
    _checks(reconciler).run(event, {})
    _checks(reconciler).run(event | {"repair": False}, {})
    assert [repair for _, repair in reconciler.checked] == [True, False]


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
    _checks(reconciler).run(RANGE | {"recordTypes": ["items"]}, report)
    assert report["drift"] == 1
    assert report.keys() >= {"drift", "repaired", "moving", "hours", "rows", "behindSeconds"}


def test_the_report_names_the_first_buckets_that_drifted() -> None:
    report: dict[str, Any] = {}
    _checks(_Checker(find=lambda hour: hour.start >= TEN)).run(RANGE, report)
    assert report["drift"] > len(report["drifted"]) == LOGGED
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
    _checks(_Checker()).run(RANGE, report)
    assert "drifted" not in report
