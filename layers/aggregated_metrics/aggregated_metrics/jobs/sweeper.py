"""What bucket_sweeper does: visits the hours that are due and completes what has elapsed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched, chain
from typing import TYPE_CHECKING

from aggregated_metrics.adapters.hour_store import HOURS_PER_LOAD, HourStore, Outcome
from aggregated_metrics.adapters.observability import Report
from aggregated_metrics.adapters.pending_hours import Entry, PendingHours
from aggregated_metrics.adapters.retries import map_concurrently
from aggregated_metrics.core.hour import Hour
from aggregated_metrics.core.models import Models

if TYPE_CHECKING:
    from aggregated_metrics.core.series import BucketId, HourId

HOURS_PER_RUN = 10_000
SWEEP_SECONDS = 60
"""Between two sweeps: as of that is older stands still."""
_SPARE_SECONDS = 5.0

type _Visited = tuple[Outcome, int, Exception | None]
"""An outcome, how many buckets have become complete, and why the visit failed."""


@dataclass(frozen=True, slots=True)
class Sweeper:
    """Completes elapsed buckets, `grace` seconds after their end, as far as streams are applied.

    An hour that may not be completed yet is due again after `hold_seconds`, behind the others.
    """

    store: HourStore
    pending: PendingHours
    models: Models
    clock: Callable[[], datetime]
    grace: int
    time_left: Callable[[], float]
    complete_until: Callable[[str], float]
    hold_seconds: int

    def sweep(self, report: Report) -> None:
        """Visit every hour that is due: rollups become sums, elapsed buckets complete.

        What does not fit into the time stays due for the next run.

        Raises:
            ServiceError: the table of pending hours did not answer.
            AggregatedMetricsError: the first hour's that could not be visited; the others were.
        """
        entries = self.pending.due(HOURS_PER_RUN)
        now = self.clock().timestamp()
        counted = [entry for entry in entries if self.pending.is_counted(entry, self.models)]
        groups = list(batched(counted, HOURS_PER_LOAD, strict=False))
        outcome, completed, errors = Outcome(), 0, list[Exception]()
        for part, number, error in chain.from_iterable(map_concurrently(self._visit, groups)):
            outcome.add(part)
            completed += number
            errors += [error] if error else []
        oldest = now - (entries[0].due or now) if entries else 0.0
        report |= {
            "due": len(entries),
            "swept": outcome.hours,
            "completed": completed,
            "waiting": len(entries) - outcome.hours,
            "oldestPendingSeconds": max(0.0, round(oldest, 1)),
            **outcome.as_report(),
            "failedHours": len(errors),
        }
        if errors:
            raise errors[0]

    def _visit(self, entries: Sequence[Entry]) -> list[_Visited]:
        """Visit a group of hours; where that fails, hour by hour: one bad hour costs no other."""
        if self.time_left() < _SPARE_SECONDS:
            return []
        try:
            return [(*self._complete(entries), None)]
        except Exception as error:  # noqa: BLE001 - whatever it is, the other hours go on
            if len(entries) == 1:
                return [(Outcome(), 0, error)]
            return [*chain.from_iterable(self._visit([entry]) for entry in entries)]

    def _complete(self, entries: Sequence[Entry]) -> tuple[Outcome, int]:
        """Complete what has elapsed of some hours; how many buckets that were."""
        dues: dict[HourId, int | None] = {}
        completed: set[BucketId] = set()

        def close(hour: Hour) -> None:
            hour.roll_up()
            elapsing = [bucket for bucket in hour if not bucket.complete]
            hour.close(self.complete_until(hour.id.series.record_type), self.grace)
            completed.update((hour.id, b.size, b.start) for b in elapsing if b.complete)

        def done(hour: Hour) -> None:
            # A minute that cannot be read is replaced by a check: nothing to come again for.
            dues[hour.id] = None if hour.has_unreadable_minutes else hour.due(self.grace)

        # 1. The buckets first. Dead after it: the hours are still due, and nothing is left to be
        #    written when they are visited again.
        outcome = self.store.update([entry.hour for entry in entries], close, done=done)
        # 2. Then the entries, each unless its hour was touched meanwhile: a writer that touched it
        #    is still to come. A rollup that is left keeps its hour due.
        for entry in entries:
            if entry.hour not in outcome.rollups_left:
                self.pending.reschedule(entry, self._next(entry, dues[entry.hour]))
        return outcome, len(completed & outcome.saved)

    def _next(self, entry: Entry, due: int | None) -> int | None:
        """When to visit an hour again: not once all is complete, and no writer is about to write.

        Before the hour is over a process that has touched it may write it without a new touch.
        """
        now = int(self.clock().timestamp())
        if due is not None:
            until = self.complete_until(entry.hour.series.record_type)
            # What has elapsed since as of was asked for: the next sweep completes it.
            is_held = due <= now and until < now - SWEEP_SECONDS
            return now + self.hold_seconds if is_held else due
        quiet = max(entry.until, entry.over)
        return quiet if quiet > now else None
