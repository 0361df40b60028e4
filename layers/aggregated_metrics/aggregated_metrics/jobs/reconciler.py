"""What reconciler does with its event.

    {"accountId", "start", "end", "recordTypes"?, "repair"?}   a range, each row read once a look
    {"repair"?}                                                the closed pending hours
    {"onFailure": …}                                           the hours of a lost batch
    {"plan": {"accountId", "start", "end", …}}                 a backfill's units, as events

A range is done window by window, the newest first, until the time is nearly over; then `next` is
the event to go on with. A model that is listed by updatedAt is read once for all windows.
Each group (account, model, window) fails alone: the others are checked and reported, and then the
invocation fails with all their names.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from types import MappingProxyType
from typing import Any

from aggregated_metrics.adapters.observability import Report, logger
from aggregated_metrics.adapters.pending_hours import Mark, PendingHours
from aggregated_metrics.adapters.quarantine import Quarantine
from aggregated_metrics.adapters.source_rows import Counted
from aggregated_metrics.core import buckets
from aggregated_metrics.core.buckets import DAY
from aggregated_metrics.core.changes import Folded, fold
from aggregated_metrics.core.errors import (
    AggregatedMetricsError,
    ChecksFailedError,
    ContentionError,
    EventError,
    TooManyRowsError,
)
from aggregated_metrics.core.hours import HourId
from aggregated_metrics.core.listing import Listed
from aggregated_metrics.core.ranges import Range, parse_range, plan, steps
from aggregated_metrics.core.record_types import RECORD_TYPES, extra_of, model_of
from aggregated_metrics.jobs.checker import (
    Checker,
    Drift,
    Findings,
    Group,
    Reading,
    groups,
    scope_of,
)
from aggregated_metrics.jobs.long_ranges import LongRange

LISTED = 200
"""At most so many buckets are listed in a result, which a state machine takes up to 256 KB of."""
LOGGED = 10
"""So many are in the log line: enough to say where to look."""
_SPARE_SECONDS = 15.0
_SHAPES = "see events/reconciler/ for the events that this function takes"


_TOO_MANY_ROWS = (
    "there are too many rows for one invocation: ask for fewer recordTypes or hours, "
    "use the command line, or a backfill of whole tables"
)


class OutOfTimeError(AggregatedMetricsError):
    """Reading the source took what time there was."""


@dataclass(slots=True)
class Closed:
    """What a check of the closed hours came to.

    Attributes:
        findings: of all groups that were checked.
        waiting: hours that still wait.
        set_aside: hours that no run can check by itself, because they list too many rows.
        failed: a line for each group that could not be checked.
        oldest: seconds since the longest waiting hour was closed.
    """

    findings: Findings = field(default_factory=Findings)
    waiting: int = 0
    set_aside: int = 0
    failed: list[str] = field(default_factory=list)
    oldest: float = 0.0


type _Marks = list[Mark]


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Carries out the reconciler's events; every port is an argument."""

    checker: Checker
    pending: PendingHours
    quarantine: Quarantine
    source_tables: Mapping[str, str]
    time_left: Callable[[], float]
    clock: Callable[[], datetime]
    rows_limit: int | None = None
    breakdowns: Collection[str] = frozenset()
    counted: Sequence[str] = RECORD_TYPES

    def run(self, event: Any, report: Report) -> dict[str, Any]:
        """Do what the event asks for; the result is JSON (see events/reconciler/).

        Raises:
            EventError: the event is none of the shapes above.
            ChecksFailedError: some groups could not be checked; the report holds all the others.
            AggregatedMetricsError: something could not be done; what was repaired is valid.
        """
        if not isinstance(event, Mapping):
            raise EventError(f"the event is not a JSON object: {_SHAPES}")
        if "plan" in event:
            return {"units": plan(event["plan"], self.counted)}
        repair = _repair(event, otherwise="onFailure" in event)
        if set(event) <= {"repair"}:
            closed = Closed()
            try:
                self.check_closed(closed, repair=repair)
            finally:  # what was repaired is reported whatever comes after it
                report |= _numbers(closed.findings) | {
                    "waiting": closed.waiting,
                    "setAside": closed.set_aside,
                    "oldestClosedSeconds": round(closed.oldest, 1),
                    "failedGroups": len(closed.failed),
                }
            return _reported(closed.findings, closed.failed, None, report, repair=repair)
        rest: Range | None = None
        if "onFailure" in event:
            folded = folded_batch(event["onFailure"], self.source_tables, self.breakdowns)
            report["quarantined"] = self.quarantine.send(folded.rejects)
            try:
                findings, failed = self.check_all(
                    folded.hours(), repair=repair, listed=folded.listed()
                )
            except OutOfTimeError as error:
                raise ContentionError(_TOO_MANY_ROWS) from error
        elif "accountId" in event:
            findings, failed, rest = self._check_range(
                parse_range(event, self.counted), repair=repair
            )
        else:
            raise EventError(f"accountId is missing: {_SHAPES}")
        numbers = _numbers(findings)
        numbers |= {"rangeDrift": numbers.pop("drift"), "rangeRepaired": numbers.pop("repaired")}
        report |= numbers | {"failedGroups": len(failed)}
        return _reported(findings, failed, rest, report, repair=repair)

    def check_all(
        self,
        ids: Collection[HourId],
        *,
        repair: bool,
        listed: Mapping[HourId, Collection[Listed]] = MappingProxyType({}),
    ) -> tuple[Findings, list[str]]:
        """Check hours, each group alone; gives back a line for each that could not be checked.

        Args:
            ids: the hours.
            repair: whether to set right what is wrong.
            listed: rows of the hours that the caller knows to be listed elsewhere.
        """
        findings = Findings()
        failed: list[str] = []
        readings = []
        for group in groups(ids, listed):
            try:
                readings.append(self.checker.look(group))
            except OutOfTimeError:
                raise  # nothing is repaired yet: the caller says where to go on
            except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
                failed.append(_failure(group, error))
        self.checker.wait(readings)
        for reading in readings:
            try:
                findings.add(self.checker.confirm(reading, repair=repair))
            except Exception as error:  # noqa: BLE001 - as above
                findings.add(reading.found)  # it names what has been repaired by then
                failed.append(_failure(reading.group, error))
        return findings, failed

    def _check_range(
        self, asked: Range, *, repair: bool
    ) -> tuple[Findings, list[str], Range | None]:
        findings = Findings()
        failed: list[str] = []
        done = False
        rest: Range | None = asked
        for rest, part in steps(asked):
            if done and self.time_left() < _SPARE_SECONDS + self.checker.settle:
                return findings, failed, rest
            try:
                found, wrong = self.check_part(part, repair=repair)
            except OutOfTimeError as error:
                if done:
                    return findings, failed, rest
                if part.is_long() or part.days == 1:
                    raise ContentionError(_TOO_MANY_ROWS) from error
                return findings, failed, replace(rest, days=part.days // 2)
            findings.add(found)
            findings.forget_repaired()
            failed += wrong
            done = True
        return findings, failed, None

    def check_part(self, part: Range, *, repair: bool) -> tuple[Findings, list[str]]:
        """Check one step of a range; gives back a line for each group that could not be."""
        if not part.is_long():
            return self.check_all(part.hours(), repair=repair)
        try:
            return LongRange(self.checker, part).check(repair=repair), []
        except OutOfTimeError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
            (group,) = groups(part.hours())
            return Findings(), [_failure(group, error)]

    def check_closed(self, done: Closed, *, repair: bool) -> None:
        """Check the closed hours while there is time, those that waited longest first.

        First looks go on until the rest of the time is needed for the second ones; then one wait
        serves all. A group that fails waits behind the others next time.
        """
        marks = self.pending.closed()
        now = self.clock().timestamp()
        done.waiting = len(marks)
        done.oldest = max((now - mark.closed for mark in marks if mark.closed), default=0.0)
        waiting = _by_account_model_and_day(marks)
        while waiting and self.time_left() >= 2 * _SPARE_SECONDS + self.checker.settle:
            self._check_round(waiting, done, repair=repair)

    def _check_round(self, waiting: list[_Marks], done: Closed, *, repair: bool) -> None:
        readings: list[tuple[_Marks, Reading]] = []
        again = 0.0
        while waiting:
            if self.time_left() < 2 * _SPARE_SECONDS + self.checker.settle + again:
                break
            marks = waiting.pop(0)
            before = self.time_left()
            reading = self._apart(marks, done, partial(self._look, marks, waiting))
            if reading is not None:
                again += (before - self.time_left()) if reading.wrong else 0.0
                readings.append((marks, reading))
        self.checker.wait([reading for _, reading in readings])
        for marks, reading in readings:
            found = self._apart(marks, done, partial(self.checker.confirm, reading, repair=repair))
            done.findings.add(reading.found)
            if found is not None:
                self._settle(marks, found, done)

    def _look(self, marks: _Marks, waiting: list[_Marks]) -> Reading | None:
        """The first look at a group; one with too many rows is halved, down to single hours."""
        (group,) = groups([mark.hour for mark in marks])
        try:
            return self.checker.look(group, self.rows_limit)
        except TooManyRowsError:
            parts = _halves(marks)
            if len(parts) < 2:  # noqa: PLR2004 - it was one hour
                raise
            waiting[:0] = parts
            return None

    def _settle(self, marks: _Marks, found: Findings, done: Closed) -> None:
        """Forget the hours that are right; the others stay, to be looked at again."""
        unsettled = {drift.hour for drift in (*found.drift, *found.moving)}
        for mark in marks:
            done.waiting -= 1
            if mark.hour not in unsettled:
                self.pending.remove(mark)
            else:
                self.pending.postpone(mark)

    def _apart[Made](self, marks: _Marks, done: Closed, work: Callable[[], Made]) -> Made | None:
        """Do something for a group; where it fails the group waits behind the others."""
        try:
            return work()
        except (TooManyRowsError, KeyError) as error:
            # No later run could do more: too many rows, or a record type that nobody counts.
            done.set_aside += len(marks)
            done.waiting -= len(marks)
            _log_aside(marks, error)
            for mark in marks:
                self.pending.set_aside(mark)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
            done.failed.append(f"{_names(marks)}: {type(error).__name__}: {error}")
            for mark in marks:
                self.pending.postpone(mark)
        return None


def stop_in_time(time_left: Callable[[], float]) -> Callable[[Counted], None]:
    """A Checker's `on_page` that stops between two pages when the time is nearly over."""

    def check(_: Counted) -> None:
        if time_left() < _SPARE_SECONDS:
            raise OutOfTimeError(_TOO_MANY_ROWS)

    return check


def _log_aside(marks: _Marks, error: Exception) -> None:
    logger.warning("hours are set aside", extra={"group": _names(marks), "reason": str(error)})


def _names(marks: _Marks) -> str:
    series, start = marks[0].hour
    return f"{series.account_id} {series.record_type} {buckets.iso(start)[:10]}"


def _failure(group: Group, error: Exception) -> str:
    day = buckets.iso(group.hours[0].start)[:10]
    return f"{group.account_id} {group.model.name} {day}: {type(error).__name__}: {error}"


def _halves(marks: _Marks) -> list[_Marks]:
    """The marks of the earlier and of the later hours; only one part if it is one hour."""
    starts = sorted({mark.hour.start for mark in marks})
    middle = starts[len(starts) // 2]
    parts = [
        [mark for mark in marks if (mark.hour.start < middle) is early] for early in (True, False)
    ]
    return [part for part in parts if part]


def _by_account_model_and_day(marks: Sequence[Mark]) -> list[_Marks]:
    """The groups in the order in which their longest waiting hours were given."""
    groups: dict[tuple[int, str, str], _Marks] = {}
    for mark in marks:
        series = mark.hour.series
        key = (mark.hour.start // DAY, series.account_id, _model_name(series.record_type))
        groups.setdefault(key, []).append(mark)
    return list(groups.values())


def _model_name(record_type: str) -> str:
    try:
        return model_of(record_type).name
    except KeyError:
        return record_type  # a group of its own: nobody counts it any more


def _reported(
    findings: Findings,
    failed: Sequence[str],
    rest: Range | None,
    report: Report,
    *,
    repair: bool,
) -> dict[str, Any]:
    if findings.drift:
        report["drifted"] = [_place(drift) for drift in findings.drift[:LOGGED]]
    if failed:
        raise ChecksFailedError(
            f"{len(failed)} groups could not be checked, the others were: "
            + "; ".join(failed[:LOGGED])
        )
    return result(findings, rest, repair=repair)


def result(findings: Findings, rest: Range | None, *, repair: bool) -> dict[str, Any]:
    """An invocation's result."""
    return {
        "hours": findings.hours,
        "minutes": findings.minutes,
        "rows": findings.rows,
        "driftCount": findings.drifted,
        "drift": [drift.as_json() for drift in findings.drift[:LISTED]],
        "repaired": findings.set_right,
        "movingCount": len(findings.moving),
        "moving": [drift.as_json() for drift in findings.moving[:LISTED]],
        "completed": findings.completed,
        "unreadable": findings.unreadable,
        "done": rest is None,
        "next": None if rest is None else rest.as_event(repair=repair),
    }


def _repair(event: Mapping[str, Any], *, otherwise: bool) -> bool:
    repair = event.get("repair", otherwise)
    if not isinstance(repair, bool):
        raise EventError(f"repair is {repair!r}, not true or false")
    return repair


def _numbers(findings: Findings) -> Report:
    return {
        "hours": findings.hours,
        "minutes": findings.minutes,
        "rows": findings.rows,
        "pages": findings.pages,
        "drift": findings.drifted,
        "repaired": findings.set_right,
        "moving": len(findings.moving),
        "completed": findings.completed,
        "unreadable": findings.unreadable,
    }


def _place(drift: Drift) -> dict[str, Any]:
    """A wrong bucket for the log: where it is and what it counts, nothing of its rows."""
    series = drift.hour.series
    extra = extra_of(series.record_type)
    stored, expected = drift.stored.named(extra), drift.expected.named(extra)
    return {
        "accountId": series.account_id,
        "recordType": series.record_type,
        **scope_of(series),
        "timeRangeStart": buckets.iso(drift.start),
        "numberOfMinutes": drift.size,
        "storedCount": drift.stored[0],
        "countedCount": drift.expected[0],
        "differs": [name for name, was in stored.items() if was != expected[name]],
    }


def folded_batch(
    given: Any, source_tables: Mapping[str, str], breakdowns: Collection[str] = frozenset()
) -> Folded:
    """What the records of an on-failure object come to; `given` may be its payload.

    Raises:
        EventError: it is neither.
    """
    try:
        if isinstance(given, Mapping) and "payload" in given:
            given = given["payload"]
        event = json.loads(given) if isinstance(given, str) else given
        return fold(event, source_tables, breakdowns)
    except ValueError as error:
        raise EventError(
            f"onFailure is neither an on-failure object nor its payload ({error}): {_SHAPES}"
        ) from error
