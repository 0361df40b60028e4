"""What bucket_sweeper does: visits the hours that are due and closes what has elapsed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from aggregated_metrics.adapters.hour_store import HOURS_PER_LOAD, HourStore, Outcome, side_by_side
from aggregated_metrics.adapters.observability import Report
from aggregated_metrics.adapters.pending_hours import Mark, PendingHours
from aggregated_metrics.core.errors import AggregatedMetricsError
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
        total = Outcome()
        done = closed = 0
        errors: list[AggregatedMetricsError] = []
        for visit in side_by_side(self._visit, groups):
            if isinstance(visit, AggregatedMetricsError):
                errors.append(visit)
            elif visit is not None:
                total.add(visit[0])
                done += len(visit[0].hours)
                closed += visit[1]
        report |= {
            "due": len(marks),
            "swept": done,
            "closed": closed,
            "waiting": len(marks) - done,
            "oldestPendingSeconds": max(0.0, round(now - marks[0].due, 1)) if marks else 0.0,
            "written": total.written,
            "conflicts": total.conflicts,
            "retries": total.retries,
            "overflowed": total.tally.overflowed,
            "failedGroups": len(errors),
        }
        if errors:
            raise errors[0]

    def _visit(self, marks: Sequence[Mark]) -> tuple[Outcome, int] | AggregatedMetricsError | None:
        if self.time_left() < _SPARE_SECONDS:
            return None
        try:
            outcome = self.store.change([mark.hour for mark in marks], self._close)
            closed = 0
            for mark in marks:
                if mark.hour not in outcome.parents_left:
                    due = outcome.hours[mark.hour].due(self.grace)
                    closed += self.pending.settle(mark, due) == "closed"
        except AggregatedMetricsError as error:
            return error
        return outcome, closed

    def _close(self, hour: Hour) -> None:
        hour.roll_up()
        hour.close(self.clock(), self.grace)
