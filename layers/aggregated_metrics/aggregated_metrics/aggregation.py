"""What stream_aggregator does with a batch.

Delivery guarantee: a batch may come any number of times, beginning or ending elsewhere, and any
invocation may die at any point; each row is counted once all the same. The order is what makes it
so: fold, load, mark the hours as pending, save under conditions, then quarantine.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from aggregated_metrics import buckets
from aggregated_metrics.changes import Batch, Delta, fold, touched
from aggregated_metrics.hours import Hour, HourId, Series, Tally
from aggregated_metrics.observability import Report
from aggregated_metrics.pending import PendingHours
from aggregated_metrics.quarantine import Quarantine
from aggregated_metrics.store import HourStore
from aggregated_metrics.wiring import time_left

if TYPE_CHECKING:
    from aggregated_metrics.wiring import Process


@dataclass(frozen=True, slots=True)
class Aggregator:
    """Takes in stream batches; every port is an argument."""

    store: HourStore
    pending: PendingHours
    quarantine: Quarantine
    source_tables: Mapping[str, str]
    clock: Callable[[], datetime]
    grace: int

    @classmethod
    def wired(cls, process: "Process", context: Any) -> Self:
        """For one invocation."""
        settings = process.settings
        return cls(
            store=process.store(time_left(context)),
            pending=process.pending(),
            quarantine=Quarantine(
                process.aws_on_use("sqs"), settings.QUARANTINE_QUEUE_URL, clock=process.clock
            ),
            source_tables=settings.SOURCE_TABLES,
            clock=process.clock,
            grace=settings.GRACE_SECONDS,
        )

    def take_in(self, event: Any, report: Report) -> None:
        """Count the records of a stream event; the report gets numbers, never contents.

        Raises:
            EventError: the event is not one of a DynamoDB stream.
            AggregatedMetricsError: something could not be done, so the batch must come again.
        """
        folded = fold(event, self.source_tables)
        work = _by_hour(folded.batches)
        report |= {
            "shard": ",".join(batch.shard for batch in folded.batches) or None,
            "records": len(event.get("Records") or ()),
            "deltas": sum(
                len(deltas) for batch in folded.batches for deltas in batch.deltas.values()
            ),
            "accounts": len({hour.series.account_id for hour in work}),
            "hours": len(work),
        }
        outcome = self.store.change(
            work, lambda hour: _take_in(hour, work[hour.id]), before_save=self._mark
        )
        if outcome.parents_left:
            now = int(self.clock().timestamp())
            self.pending.mark(dict.fromkeys(outcome.parents_left, now))
        report |= {
            "written": outcome.written,
            "conflicts": outcome.conflicts,
            "retries": outcome.retries,
            "parentsLeft": len(outcome.parents_left),
            "clamped": outcome.tally.clamped,
            "overflowed": outcome.tally.overflowed,
            "quarantined": self.quarantine.send(folded.rejects),
        }
        if folded.newest is not None:
            report["freshnessSeconds"] = round(self.clock().timestamp() - folded.newest, 3)

    def _mark(self, hours: Sequence[Hour]) -> None:
        self.pending.mark({hour.id: hour.due(self.grace) for hour in hours})


type _Work = dict[HourId, list[tuple[int, Batch, Sequence[Delta]]]]


def _by_hour(batches: Sequence[Batch]) -> _Work:
    work: _Work = {}
    for target in sorted(touched(batches)):
        series = Series(target.account_id, target.record_type)
        hour_id = HourId(series, buckets.floor(target.minute, buckets.HOUR))
        for batch in batches:
            if target in batch.deltas:
                work.setdefault(hour_id, []).append((target.minute, batch, batch.deltas[target]))
    return work


def _take_in(hour: Hour, work: Sequence[tuple[int, Batch, Sequence[Delta]]]) -> Tally:
    tally = Tally()
    for minute, batch, deltas in work:
        tally.clamped += hour.take_in(minute, batch.shard, batch.last, deltas).clamped
    return tally
