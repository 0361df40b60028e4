"""What bucket_sweeper does: visits the hours that are due and closes what has elapsed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import batched

from aggregated_metrics.adapters.concurrency import map_concurrently
from aggregated_metrics.adapters.hour_reader import HOURS_PER_LOAD
from aggregated_metrics.adapters.hour_store import HourStore, Outcome
from aggregated_metrics.adapters.observability import Report
from aggregated_metrics.adapters.pending_hours import Mark, PendingHours
from aggregated_metrics.core.hours import Hour

HOURS_PER_RUN = 10_000
_SPARE_SECONDS = 5.0


@dataclass(slots=True)
class Swept:
    """What visiting hours came to.

    Attributes:
        due: how many were due.
        oldest: seconds for which the first of them had been.
        outcome: of those that were visited.
        closed: hours that are closed now.
        errors: one for each hour that could not be visited.
    """

    due: int = 0
    oldest: float = 0.0
    outcome: Outcome = field(default_factory=Outcome)
    closed: int = 0
    errors: list[Exception] = field(default_factory=list)

    def as_report(self) -> Report:
        """For the invocation's line and its metrics."""
        outcome, visited = self.outcome, len(self.outcome.hours)
        return {
            "due": self.due,
            "swept": visited,
            "closed": self.closed,
            "waiting": self.due - visited,
            "oldestPendingSeconds": max(0.0, round(self.oldest, 1)),
            "written": outcome.written,
            "conflicts": outcome.conflicts,
            "retries": outcome.retries,
            "overflowed": outcome.tally.overflowed,
            "failedHours": len(self.errors),
        }

    def raise_failure(self) -> None:
        """Fail with the first hour's error, if any hour could not be visited."""
        if self.errors:
            raise self.errors[0]


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Closes elapsed buckets; every port is an argument."""

    store: HourStore
    pending: PendingHours
    clock: Callable[[], datetime]
    grace: int
    time_left: Callable[[], float]

    def sweep(self) -> Swept:
        """Visit every hour that is due: parents become sums, elapsed buckets complete.

        What does not fit into the time stays due for the next run. An hour that cannot be visited
        is among the errors, and the others are visited all the same.

        Raises:
            PendingHoursError: the table of pending hours did not answer.
        """
        marks = self.pending.due(HOURS_PER_RUN)
        now = self.clock().timestamp()
        groups = list(batched(marks, HOURS_PER_LOAD, strict=False))
        swept = _together(map_concurrently(self._visit, groups))
        swept.due = len(marks)
        swept.oldest = now - marks[0].due if marks else 0.0
        return swept

    def _visit(self, marks: Sequence[Mark]) -> Swept:
        """Visit a group of hours; where that fails, hour by hour: one bad hour costs no other."""
        if self.time_left() < _SPARE_SECONDS:
            return Swept()
        swept = Swept()
        try:
            # 1. The buckets first. Dead after it: the hours are still due, and nothing is left to
            #    be written when they are visited again.
            hours = [mark.hour for mark in marks]
            self.store.update(hours, self._close, outcome=swept.outcome)
            # 2. Then the marks, each unless its hour was marked again meanwhile: a writer that
            #    marked it is still to come. A parent that is left keeps its hour due.
            for mark in marks:
                if mark.hour not in swept.outcome.parents_left:
                    due = swept.outcome.hours[mark.hour].due(self.grace)
                    swept.closed += self.pending.reschedule(mark, due) == "closed"
        except Exception as error:  # noqa: BLE001 - whatever it is, the other hours go on
            if len(marks) > 1:
                return _together([swept, *(self._visit([mark]) for mark in marks)])
            swept.errors.append(error)
        return swept

    def _close(self, hour: Hour) -> None:
        now = self.clock()
        hour.roll_up(now)
        hour.close(now, self.grace)


def _together(visits: Iterable[Swept]) -> Swept:
    whole = Swept()
    for visit in visits:
        whole.outcome.add(visit.outcome)
        whole.closed += visit.closed
        whole.errors += visit.errors
    return whole
