"""What reconciler does with its event.

    {"accountId", "start", "end", "recordTypes"?, "repair"?}   a range, each row read once a look
    {"repair"?}                                                the closed pending hours
    {"onFailure": …}                                           the hours of a lost batch
    {"plan": {"accountId", "start", "end", …}}                 a backfill's units, as events, which
                                                               repair unless it says "repair": false

A range is done window by window, the newest first, until the time is nearly over; then `next` is
the event to go on with. A model that is listed by updatedAt is read once for all windows.
Each group (account, model, window) fails alone: the others are checked and reported, and then the
invocation fails with the names of the first 10 (LOGGED), and how many they are.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from aggregated_metrics.adapters.observability import Report
from aggregated_metrics.adapters.pending_hours import PendingHours
from aggregated_metrics.adapters.quarantine import Quarantine
from aggregated_metrics.core import buckets
from aggregated_metrics.core.changes import Folded, fold
from aggregated_metrics.core.errors import (
    ChecksFailedError,
    ContentionError,
    EventError,
    OutOfTimeError,
    QuarantineError,
)
from aggregated_metrics.core.findings import Drift, Findings
from aggregated_metrics.core.ranges import Range, parse_range, plan, repair_of
from aggregated_metrics.core.record_types import RECORD_TYPES, extra_of
from aggregated_metrics.jobs.checker import Checker
from aggregated_metrics.jobs.closed_hours import Closed, ClosedHours
from aggregated_metrics.jobs.range_check import check_range

LISTED = 200
"""At most so many buckets are listed in a result, which a state machine takes up to 256 KB of."""
LOGGED = 10
"""So many are in the log line: enough to say where to look."""
_BATCH_TOO_LARGE = (
    "its hours list too many rows for one invocation: use the command line (repair-batches)"
)
_SHAPES = "see events/reconciler/ for the events that this function takes"


@dataclass(frozen=True, slots=True)
class Planned:
    """A backfill's units, each an event."""

    units: list[dict[str, Any]]

    def as_report(self) -> Report:
        """Nothing was done that could be measured."""
        return {}

    def result(self) -> dict[str, Any]:
        """What the function returns."""
        return {"units": self.units}


@dataclass(frozen=True, slots=True)
class Checked:
    """What checking came to.

    Attributes:
        findings: of all groups; its `failed` names those that could not be checked.
        repair: whether what was wrong was to be set right.
        closed: of a check of the closed hours, what is left.
        rest: of a range, what is still to be done.
        quarantined: of a lost batch that is done, how many records cannot be counted.
        error: what ended it half way; what was done by then is in the findings.
    """

    findings: Findings
    repair: bool
    closed: Closed | None = None
    rest: Range | None = None
    quarantined: int | None = None
    error: Exception | None = None

    def as_report(self) -> Report:
        """For the invocation's line and its metrics: the hourly check's have names of their own."""
        report = _numbers(self.findings)
        report["failedGroups"] = len(self.findings.failed)
        if self.closed is not None:
            report |= {
                "waiting": self.closed.waiting,
                "setAside": self.closed.set_aside,
                "oldestClosedSeconds": round(self.closed.oldest, 1),
            }
        else:
            report |= {"rangeDrift": report.pop("drift"), "rangeRepaired": report.pop("repaired")}
        if self.quarantined is not None:
            report["quarantined"] = self.quarantined
        if self.findings.drift:
            report["drifted"] = [_place(drift) for drift in self.findings.drift[:LOGGED]]
        return report

    def is_settled(self) -> bool:
        """Whether all hours are known to be right now."""
        found = self.findings
        return not (self.error or found.failed or found.moving or found.undecided)

    def raise_failure(self) -> None:
        """Fail where not everything was done.

        Raises:
            ChecksFailedError: some groups could not be checked.
            AggregatedMetricsError: it ended half way.
        """
        if self.error is not None:
            raise self.error
        if failed := self.findings.failed:
            raise ChecksFailedError(
                f"{len(failed)} groups could not be checked, the others were: "
                + "; ".join(failed[:LOGGED])
            )

    def result(self) -> dict[str, Any]:
        """What the function returns.

        Raises:
            AggregatedMetricsError: as `raise_failure`.
        """
        self.raise_failure()
        return result(self.findings, self.rest, repair=self.repair)


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

    def run(self, event: Any) -> Planned | Checked:
        """Do what the event asks for (see events/reconciler/).

        Raises:
            EventError: the event is none of the shapes above.
            AggregatedMetricsError: something could not be done, and nothing was.
        """
        if not isinstance(event, Mapping):
            raise EventError(f"the event is not a JSON object: {_SHAPES}")
        if "plan" in event:
            return Planned(plan(event["plan"], self.counted))
        repair = repair_of(event, otherwise="onFailure" in event)
        if set(event) <= {"repair"}:
            return self._check_closed(repair=repair)
        if "onFailure" in event:
            return self.check_batch(event["onFailure"], repair=repair)
        if "accountId" not in event:
            raise EventError(f"accountId is missing: {_SHAPES}")
        asked = parse_range(event, self.counted)
        findings = Findings()
        try:
            rest = check_range(self.checker, asked, self.time_left, findings, repair=repair)
        except ContentionError as error:
            return Checked(findings, repair, error=error)
        return Checked(findings, repair, rest=rest)

    def check_batch(self, given: Any, *, repair: bool) -> Checked:
        """Check the hours that the records of an on-failure object touch.

        Once these are right, its records that cannot be counted go to quarantine: a batch that is
        tried again does not send them again.

        Raises:
            EventError: it is no such object.
        """
        folded = folded_batch(given, self.source_tables, self.breakdowns)
        checked = Checked(Findings(), repair)
        try:
            self.checker.check(
                folded.hours(), repair=repair, listed=folded.listed(), findings=checked.findings
            )
            if repair and checked.is_settled():
                sent = self.quarantine.send(folded.rejects)
                return replace(checked, quarantined=sent)
        except OutOfTimeError:
            return replace(checked, error=ContentionError(_BATCH_TOO_LARGE))
        except QuarantineError as error:
            return replace(checked, error=error)
        return checked

    def _check_closed(self, *, repair: bool) -> Checked:
        check = ClosedHours(self.checker, self.pending, self.time_left, self.clock, self.rows_limit)
        error = None
        try:
            check.check(repair=repair)
        except Exception as failure:  # noqa: BLE001 - what was repaired by then is reported first
            error = failure
        return Checked(check.done.findings, repair, closed=check.done, error=error)


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
        "undecidedCount": len(findings.undecided),
        "undecided": findings.undecided_as_json(LISTED),
        "done": rest is None,
        "next": None if rest is None else rest.as_event(repair=repair),
    }


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
        **undecided(findings),
    }


def undecided(findings: Findings) -> Report:
    """How many hours their rows do not decide, and which the first ones are."""
    report: Report = {"undecided": len(findings.undecided)}
    if findings.undecided:
        report["undecidedHours"] = findings.undecided_as_json(LOGGED)
    return report


def _place(drift: Drift) -> dict[str, Any]:
    """A wrong bucket for the log: where it is and what it counts, nothing of its rows."""
    series = drift.hour.series
    extra = extra_of(series.record_type)
    stored, expected = drift.stored.named(extra), drift.expected.named(extra)
    return {
        "accountId": series.account_id,
        "recordType": series.record_type,
        **series.scope_as_json(),
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
