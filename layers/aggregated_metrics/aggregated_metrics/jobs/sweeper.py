"""What bucket_sweeper does: visits the hours that are due and closes what has elapsed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from aggregated_metrics.adapters.concurrency import map_concurrently
from aggregated_metrics.adapters.hour_reader import HOURS_PER_LOAD
from aggregated_metrics.adapters.hour_store import HourStore, Outcome
from aggregated_metrics.adapters.observability import Report
from aggregated_metrics.adapters.pending_hours import Mark, PendingHours
from aggregated_metrics.core.hours import Hour

HOURS_PER_RUN = 10_000
_SPARE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Closes elapsed buckets; every port is an argument."""

    store: HourStore
    pending: PendingHours
    clock: Callable[[], datetime]
    grace: int
    time_left: Callable[[], float]

    def sweep(self, report: Report) -> None:
        """Visit every hour that is due: parents become sums, elapsed buckets complete.

        What does not fit into the time stays due for the next run.

        Raises:
            AggregatedMetricsError: an hour could not be visited; the others were.
        """
        marks = self.pending.due(HOURS_PER_RUN)
        now = self.clock().timestamp()
        groups = [
            marks[first : first + HOURS_PER_LOAD] for first in range(0, len(marks), HOURS_PER_LOAD)
        ]
        visits = _together(map_concurrently(self._visit, groups))
        total, done = visits.outcome, len(visits.outcome.hours)
        report |= {
            "due": len(marks),
            "swept": done,
            "closed": visits.closed,
            "waiting": len(marks) - done,
            "oldestPendingSeconds": max(0.0, round(now - marks[0].due, 1)) if marks else 0.0,
            "written": total.written,
            "conflicts": total.conflicts,
            "retries": total.retries,
            "overflowed": total.tally.overflowed,
            "failedHours": len(visits.errors),
        }
        if visits.errors:
            raise visits.errors[0]

    def _visit(self, marks: Sequence[Mark]) -> "_Visit":
        """Visit a group of hours; where that fails, hour by hour: one bad hour costs no other."""
        visit = _Visit()
        if self.time_left() < _SPARE_SECONDS:
            return visit
        try:
            self._visit_all(marks, visit)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other hours go on
            if len(marks) == 1:
                visit.errors.append(error)
                return visit
            return _together([self._visit([mark]) for mark in marks])
        return visit

    def _visit_all(self, marks: Sequence[Mark], visit: "_Visit") -> None:
        outcome = self.store.update([mark.hour for mark in marks], self._close)
        visit.outcome.add(outcome)
        for mark in marks:
            if mark.hour not in outcome.parents_left:
                due = outcome.hours[mark.hour].due(self.grace)
                visit.closed += self.pending.reschedule(mark, due) == "closed"

    def _close(self, hour: Hour) -> None:
        now = self.clock()
        hour.roll_up(now)
        hour.close(now, self.grace)


@dataclass(slots=True)
class _Visit:
    """What visiting some hours came to."""

    outcome: Outcome = field(default_factory=Outcome)
    closed: int = 0
    errors: list[Exception] = field(default_factory=list)


def _together(visits: Iterable[_Visit]) -> _Visit:
    whole = _Visit()
    for visit in visits:
        whole.outcome.add(visit.outcome)
        whole.closed += visit.closed
        whole.errors += visit.errors
    return whole
