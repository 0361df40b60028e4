"""What bucket_sweeper does: visits the hours that are due and completes what has elapsed.

First it asks how far the streams are applied, and stores that for the readers of counts.
"""

from collections.abc import Sequence
from itertools import batched, chain, islice

from aggregated_metrics.adapters import consumers
from aggregated_metrics.adapters.consumers import NEVER, AsOf
from aggregated_metrics.adapters.hour_store import HOURS_PER_LOAD, Outcome
from aggregated_metrics.adapters.observability import Report
from aggregated_metrics.adapters.pending_hours import Entry
from aggregated_metrics.adapters.retries import map_concurrently
from aggregated_metrics.core.hour import Hour
from aggregated_metrics.core.series import HourId
from aggregated_metrics.wiring import Process, TimeLeft

HOURS_PER_RUN = 10_000
SWEEP_SECONDS = 60
"""Between two sweeps: as of that is older stands still."""
_SPARE_SECONDS = 5.0


class Sweeper:
    """Completes elapsed buckets, grace after their end, as far as their streams are applied."""

    def __init__(self, process: Process, time_left: TimeLeft) -> None:
        self._process, self._settings = process, process.settings
        self._store, self._pending = process.store(time_left), process.pending()
        self._grace = process.settings.complete_after
        self._now, self._time_left = process.now, time_left
        self._as_of: AsOf = {}
        self._errors: list[Exception] = []

    def run(self, report: Report) -> None:
        """Ask how far the streams are applied, and visit every hour that is due.

        Raises:
            ServiceError: what consumes the streams, or which hours are due, is not known.
            AggregatedMetricsError: the first hour's that could not be visited; the others were.
        """
        settings, aws = self._settings, self._process.aws
        try:
            found = consumers.consumers(
                aws("lambda"), aws("dynamodb"), settings.STREAM_FUNCTION, settings.streams
            )
            report.update(consumers.not_consumed(found))
            self._as_of = consumers.update_as_of(
                found, self._store, self._pending, settings, self._now()
            )
        finally:  # run both even if one fails; without as of nothing is completed
            self._sweep(report)

    def _sweep(self, report: Report) -> None:
        """Visit every hour that is due; what does not fit into the time stays due."""
        entries = list(islice(self._pending.due(), HOURS_PER_RUN))
        now = self._now()
        counted = [
            entry for entry in entries if self._pending.is_counted(entry, self._settings.models)
        ]
        groups = list(batched(counted, HOURS_PER_LOAD, strict=False))
        outcome = Outcome()
        for part in chain.from_iterable(map_concurrently(self._visit, groups)):
            outcome.add(part)
        oldest = now - (entries[0].due or now) if entries else 0.0
        report |= {
            "due": len(entries),
            "swept": outcome.hours,
            "waiting": len(entries) - outcome.hours,
            "oldestPendingSeconds": max(0.0, round(oldest, 1)),
            **outcome.as_report(),
            "failedHours": len(self._errors),
        }
        if self._errors:
            raise self._errors[0]

    def _visit(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Visit a group of hours; where that fails, hour by hour: one bad hour costs no other."""
        if self._time_left() < _SPARE_SECONDS:
            return []
        try:
            return [self._complete(entries)]
        except Exception as error:  # noqa: BLE001 - whatever it is, the other hours go on
            if len(entries) == 1:
                self._errors.append(error)
                return []
            return [*chain.from_iterable(self._visit([entry]) for entry in entries)]

    def _complete(self, entries: Sequence[Entry]) -> Outcome:
        dues = dict[HourId, int | None]()

        def close(hour: Hour) -> None:
            hour.roll_up()
            hour.close(self._until(hour.id), self._grace)

        def done(hour: Hour) -> None:
            # A minute that cannot be read is replaced by a check: nothing to come again for.
            dues[hour.id] = None if hour.has_unreadable_minutes else hour.due(self._grace)

        # 1. The buckets first. Dead after it: the hours are still due, and nothing is left to be
        #    written when they are visited again.
        outcome = self._store.update([entry.hour for entry in entries], close, done=done)
        # 2. Then the entries, each unless its hour was touched meanwhile: a writer that touched it
        #    is still to come. A rollup that is left keeps its hour due.
        for entry in entries:
            if entry.hour not in outcome.rollups_left:
                self._pending.reschedule(entry, self._next(entry, dues[entry.hour]))
        return outcome

    def _next(self, entry: Entry, due: int | None) -> int | None:
        """When to visit an hour again: not once all is complete, and no writer is about to write.

        Before the hour is over a process that has touched it may write it without a new touch.
        """
        now = int(self._now())
        if due is not None:
            # What has elapsed since as of was asked for: the next sweep completes it. An hour that
            # may not be completed yet comes behind the others.
            is_held = due <= now and self._until(entry.hour) < now - SWEEP_SECONDS
            return now + self._settings.hold_seconds if is_held else due
        quiet = max(entry.until, entry.over)
        return quiet if quiet > now else None

    def _until(self, hour: HourId) -> float:
        return self._as_of.get(hour.series.record_type, NEVER)
