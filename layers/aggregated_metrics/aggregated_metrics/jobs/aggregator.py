"""What stream_aggregator does with a batch.

Delivery guarantee: a batch may come any number of times, beginning or ending elsewhere, and any
invocation may die at any point; each row is counted once all the same. The order is what makes it
so: fold, note that the batch is late, load, put the hours' entries, save under conditions, open
checks of hours that were left out, quarantine.
"""

from collections.abc import Sequence
from typing import Any

from aggregated_metrics.adapters.observability import Report
from aggregated_metrics.adapters.queues import send_rejects
from aggregated_metrics.core.changes import fold
from aggregated_metrics.core.hour import Hour
from aggregated_metrics.wiring import Process, TimeLeft

LATE_SECONDS = 60
"""A batch is late whose first record is older than this and the batching window."""


def aggregate(process: Process, time_left: TimeLeft, event: Any, report: Report) -> None:
    """Count a batch's records; `report` gets numbers, never contents.

    Raises:
        EventError: the event is not one of a DynamoDB stream.
        AggregatedMetricsError: something could not be done, and the batch must come again.
    """
    settings, clock, pending = process.settings, process.clock, process.pending()
    batch = fold(event, settings.models, settings.SOURCE_TABLES)
    report |= {
        "shard": batch.shard or None,
        "records": len(event.get("Records") or ()),
        "hours": len(batch.hours),
    }
    # 1. A late batch says so before it is applied: until it is, no bucket of its time may be
    #    completed. Dead after it: the note stands for ten minutes, and the batch comes again.
    late = process.now() - settings.BATCHING_WINDOW_SECONDS - LATE_SECONDS
    if batch.first is not None and batch.first < late:
        pending.put_note(batch.model, batch.shard, batch.first)

    def touch(hours: Sequence[Hour]) -> None:
        pending.touch({hour.id: hour.due(settings.complete_after) for hour in hours})

    # 2. The hours, each with an entry before it is written: HourStore says what a crash leaves.
    store = process.store(time_left)
    outcome = store.update(
        batch.hours, lambda hour: hour.apply_batch(batch, clock()), before_save=touch
    )
    report |= outcome.as_report()
    # 3. Rollups that are left make their hours due at once. Dead before: their first entry
    #    stands, and the batch comes again.
    now = process.now()
    pending.touch(dict.fromkeys(outcome.rollups_left, int(now)))
    # 4. An hour that was left out is counted by a Scan. Dead before: the batch comes again.
    for hour, key in outcome.left_out.items():
        pending.expect(hour, f"a stored record cannot be read: {key}", deferred=True)
    # 5. Quarantine last: a batch that fails before comes again and would send them twice. One
    #    that fails here comes again and counts nothing twice.
    quarantine = process.queue("QUARANTINE_QUEUE_URL")
    kept = settings.models.attributes
    report["quarantined"] = send_rejects(quarantine, batch.rejects, clock(), kept)
    if batch.newest is not None:
        report["freshnessSeconds"] = round(now - batch.newest, 3)
