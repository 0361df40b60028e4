"""What stream_aggregator does with a batch.

Delivery guarantee: a batch may come any number of times, beginning or ending elsewhere, and any
invocation may die at any point; each row is counted once all the same. The order is what makes it
so: fold, note that the batch is late, load, put the hours' entries, save under conditions, open
checks of hours that were left out, quarantine.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aggregated_metrics.adapters.hour_store import HourStore, Outcome
from aggregated_metrics.adapters.observability import Report, logger
from aggregated_metrics.adapters.pending_hours import PendingHours
from aggregated_metrics.adapters.queues import Queue, send_rejects
from aggregated_metrics.core.changes import fold
from aggregated_metrics.core.hour import Hour
from aggregated_metrics.core.models import Models

LATE_SECONDS = 60
"""A batch is late whose first record is older than this and the batching window."""
_LOGGED = 10


@dataclass(frozen=True, slots=True)
class Aggregator:
    """Applies stream batches; `window` is the mapping's batching window, in seconds."""

    store: HourStore
    pending: PendingHours
    quarantine: Queue
    models: Models
    source_tables: Mapping[str, str]
    clock: Callable[[], datetime]
    grace: int
    window: int

    def aggregate(self, event: Any, report: Report) -> None:
        """Count a batch's records; `report` gets numbers, never contents.

        Raises:
            EventError: the event is not one of a DynamoDB stream.
            AggregatedMetricsError: something could not be done, and the batch must come again.
        """
        batch = fold(event, self.models, self.source_tables)
        report |= {
            "shard": batch.shard or None,
            "records": len(event.get("Records") or ()),
            "hours": len(batch.hours),
        }
        # 1. A late batch says so before it is applied: until it is, no bucket of its time may be
        #    completed. Dead after it: the note stands for ten minutes, and the batch comes again.
        late = self.clock().timestamp() - self.window - LATE_SECONDS
        if batch.first is not None and batch.first < late:
            self.pending.put_note(batch.model, batch.shard, batch.first)
        # 2. The hours, each with an entry before it is written: HourStore says what a crash leaves.
        outcome = self.store.update(
            batch.hours,
            lambda hour: hour.apply_batch(batch, self.clock()),
            before_save=self._touch,
        )
        report |= outcome.as_report() | {
            "rollupsLeft": len(outcome.rollups_left),
            "checkpointsEvicted": outcome.evicted,
        }
        # 3. Rollups that are left make their hours due at once. Dead before: their first entry
        #    stands, and the batch comes again.
        now = self.clock().timestamp()
        self.pending.touch(dict.fromkeys(outcome.rollups_left, int(now)))
        # 4. An hour that was left out is counted by a Scan. Dead before: the batch comes again.
        self._defer(outcome)
        # 5. Quarantine last: a batch that fails before comes again and would send them twice. One
        #    that fails here comes again and counts nothing twice.
        report["quarantined"] = send_rejects(
            self.quarantine, batch.rejects, self.clock(), self.models.attributes
        )
        if batch.newest is not None:
            report["freshnessSeconds"] = round(now - batch.newest, 3)

    def _touch(self, hours: Sequence[Hour]) -> None:
        self.pending.touch({hour.id: hour.due(self.grace) for hour in hours})

    def _defer(self, outcome: Outcome) -> None:
        for hour, key in outcome.left_out.items():
            self.pending.expect(hour, f"a stored record cannot be read: {key}", deferred=True)
        if outcome.unreadable:
            keys = sorted(outcome.unreadable.values())[:_LOGGED]
            logger.error("stored records cannot be read", extra={"keys": keys})
