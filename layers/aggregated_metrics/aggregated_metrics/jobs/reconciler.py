"""What reconciler does with its event.

    {"accountId", "start", "end", "recordTypes"?, "repair"?}   a range, newest day first
    {"repair"?}                                                the closed pending hours
    {"onFailure": …}                                           the hours of a lost batch
    {"plan": {"accountId", "start", "end", …}}                 a backfill's days, as events

A range is done day by day until the time is nearly over; then `next` is the event to go on with.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aggregated_metrics.adapters.observability import Report
from aggregated_metrics.adapters.pending_hours import Mark, PendingHours
from aggregated_metrics.adapters.source_rows import Counted
from aggregated_metrics.core import buckets
from aggregated_metrics.core.changes import fold, touched
from aggregated_metrics.core.errors import ContentionError, EventError
from aggregated_metrics.core.hours import HourId, Series
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.ranges import DAY, Range, parse_range, plan
from aggregated_metrics.core.record_types import model_of
from aggregated_metrics.jobs.checker import Checker, Drift, Findings

MARKS_PER_RUN = 2000
LISTED = 200
"""At most so many buckets are listed in a result, which a state machine takes up to 256 KB of."""
LOGGED = 10
"""So many are in the log line: enough to say where to look."""
_SPARE_SECONDS = 15.0
_SHAPES = "see events/reconciler/ for the events that this function takes"


_TOO_MANY_ROWS = (
    "a day has too many rows for one invocation: ask for fewer recordTypes or hours, "
    "or use the command line"
)


class OutOfTimeError(Exception):
    """Reading the source took what time there was."""


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Carries out the reconciler's events; every port is an argument."""

    checker: Checker
    pending: PendingHours
    source_tables: Mapping[str, str]
    time_left: Callable[[], float]

    def run(self, event: Any, report: Report) -> dict[str, Any]:
        """Do what the event asks for; the result is JSON (see events/reconciler/).

        Raises:
            EventError: the event is none of the shapes above.
            AggregatedMetricsError: something could not be done; what was repaired is valid.
        """
        if not isinstance(event, Mapping):
            raise EventError(f"the event is not a JSON object: {_SHAPES}")
        if "plan" in event:
            return {"days": plan(event["plan"])}
        rest: Range | None = None
        if "onFailure" in event:
            event = {"repair": True, **event}
            ids = hours_of_batch(event["onFailure"], self.source_tables)
            findings = self._check_batch(ids, repair=_repair(event))
        elif "accountId" in event:
            findings, rest = self._check_days(parse_range(event), repair=_repair(event))
        elif set(event) <= {"repair"}:
            findings, waiting = self.check_closed(repair=_repair(event))
            report["waiting"] = waiting
        else:
            raise EventError(f"accountId is missing: {_SHAPES}")
        report |= _numbers(findings)
        if findings.drift:
            report["drifted"] = [_place(drift) for drift in findings.drift[:LOGGED]]
        return result(findings, rest, repair=_repair(event))

    def _check_batch(self, ids: Sequence[HourId], *, repair: bool) -> Findings:
        try:
            return self.checker.check(ids, repair=repair)
        except OutOfTimeError as error:
            raise ContentionError(_TOO_MANY_ROWS) from error

    def _check_days(self, asked: Range, *, repair: bool) -> tuple[Findings, Range | None]:
        findings = Findings()
        done = False
        for day in asked.days():
            rest = Range(asked.account_id, asked.record_types, asked.start, day.end)
            if done and self.time_left() < _SPARE_SECONDS + self.checker.settle:
                return findings, rest
            try:
                findings.add(self.checker.check(day.hours(), repair=repair))
            except OutOfTimeError as error:
                if not done:
                    raise ContentionError(_TOO_MANY_ROWS) from error
                return findings, rest
            done = True
        return findings, None

    def check_closed(self, *, repair: bool) -> tuple[Findings, int]:
        """Check the closed hours; gives back how many still wait as well.

        The newest days come first: the older a day, the more rows an index by updatedAt lists, and
        one that takes too long must not keep the others from being checked.
        """
        groups = _by_account_model_and_day(self.pending.closed(MARKS_PER_RUN))
        findings = Findings()
        waiting = sum(map(len, groups))
        for marks in groups:
            if findings.hours and self.time_left() < _SPARE_SECONDS + self.checker.settle:
                break
            try:
                found = self.checker.check([mark.hour for mark in marks], repair=repair)
            except OutOfTimeError as error:
                if findings.hours:
                    break
                raise ContentionError(_TOO_MANY_ROWS) from error
            unsettled = {drift.hour for drift in (*found.drift, *found.moving)}
            for mark in marks:
                if mark.hour not in unsettled:
                    self.pending.remove(mark)
            findings.add(found)
            waiting -= len(marks)
        return findings, waiting


def stop_in_time(time_left: Callable[[], float]) -> Callable[[Counted], None]:
    """A Checker's `on_page` that stops between two pages when the time is nearly over."""

    def check(_: Counted) -> None:
        if time_left() < _SPARE_SECONDS:
            raise OutOfTimeError

    return check


def _by_account_model_and_day(marks: Sequence[Mark]) -> list[list[Mark]]:
    groups: dict[tuple[int, str, str], list[Mark]] = {}
    for mark in marks:
        series = mark.hour.series
        key = (-(mark.hour.start // DAY), series.account_id, model_of(series.record_type).name)
        groups.setdefault(key, []).append(mark)
    return [group for _, group in sorted(groups.items())]


def result(findings: Findings, rest: Range | None, *, repair: bool) -> dict[str, Any]:
    """An invocation's result."""
    return {
        "hours": findings.hours,
        "minutes": findings.minutes,
        "rows": findings.rows,
        "driftCount": len(findings.drift),
        "drift": [drift.as_json() for drift in findings.drift[:LISTED]],
        "repaired": len(findings.repaired),
        "movingCount": len(findings.moving),
        "moving": [drift.as_json() for drift in findings.moving[:LISTED]],
        "behindSeconds": findings.behind,
        "done": rest is None,
        "next": None if rest is None else rest.as_event(repair=repair),
    }


def _repair(event: Mapping[str, Any]) -> bool:
    repair = event.get("repair", False)
    if not isinstance(repair, bool):
        raise EventError(f"repair is {repair!r}, not true or false")
    return repair


def _numbers(findings: Findings) -> Report:
    return {
        "hours": findings.hours,
        "minutes": findings.minutes,
        "rows": findings.rows,
        "pages": findings.pages,
        "drift": len(findings.drift),
        "repaired": len(findings.repaired),
        "moving": len(findings.moving),
        "behindSeconds": findings.behind,
    }


def _place(drift: Drift) -> dict[str, Any]:
    """A wrong bucket for the log: where it is and what it counts, nothing of its rows."""
    series = drift.hour.series
    pairs = zip(Measures._fields, drift.stored, drift.expected, strict=True)
    return {
        "accountId": series.account_id,
        "recordType": series.record_type,
        "timeRangeStart": buckets.iso(drift.start),
        "numberOfMinutes": drift.size,
        "storedCount": drift.stored[0],
        "countedCount": drift.expected[0],
        "differs": [name for name, was, rows in pairs if was != rows],
    }


def hours_of_batch(given: Any, source_tables: Mapping[str, str]) -> Sequence[HourId]:
    """The hours that the records of an on-failure object touch; `given` may be its payload.

    Raises:
        EventError: it is neither.
    """
    try:
        if isinstance(given, Mapping) and "payload" in given:
            given = given["payload"]
        payload = json.loads(given) if isinstance(given, str) else given
        targets = touched(fold(payload, source_tables).batches)
    except ValueError as error:
        raise EventError(
            f"onFailure is neither an on-failure object nor its payload ({error}): {_SHAPES}"
        ) from error
    return sorted(
        {
            HourId(
                Series(target.account_id, target.record_type),
                buckets.floor(target.minute, buckets.HOUR),
            )
            for target in targets
        }
    )
