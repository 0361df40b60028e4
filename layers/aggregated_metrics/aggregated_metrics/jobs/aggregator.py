"""What stream_aggregator does with a batch.

Delivery guarantee: a batch may come any number of times, beginning or ending elsewhere, and any
invocation may die at any point; each row is counted once all the same. The order is what makes it
so: fold, load, mark the hours as pending, save under conditions, then quarantine.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.adapters.observability import Report
from aggregated_metrics.adapters.pending_hours import PendingHours
from aggregated_metrics.adapters.quarantine import Quarantine
from aggregated_metrics.core.changes import fold
from aggregated_metrics.core.hours import Hour


@dataclass(frozen=True, slots=True)
class Aggregator:
    """Takes in stream batches; every port is an argument."""

    store: HourStore
    pending: PendingHours
    quarantine: Quarantine
    source_tables: Mapping[str, str]
    clock: Callable[[], datetime]
    grace: int
    breakdowns: Collection[str] = frozenset()

    def apply(self, event: Any, report: Report) -> None:
        """Count the records of a stream event; the report gets numbers, never contents.

        Raises:
            EventError: the event is not one of a DynamoDB stream.
            AggregatedMetricsError: something could not be done, so the batch must come again.
        """
        folded = fold(event, self.source_tables, self.breakdowns)
        hours = folded.hours()
        report |= {
            "shard": ",".join(batch.shard for batch in folded.batches) or None,
            "records": len(event.get("Records") or ()),
            "deltas": folded.deltas(),
            "accounts": len({hour.series.account_id for hour in hours}),
            "hours": len(hours),
        }
        outcome = self.store.update(
            hours,
            lambda hour: hour.take_in(folded.batches, self.clock()),
            before_save=self._mark,
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
            "ledgerDropped": outcome.tally.ledger_dropped,
            "quarantined": self.quarantine.send(folded.rejects),
        }
        if folded.newest is not None:
            report["freshnessSeconds"] = round(self.clock().timestamp() - folded.newest, 3)

    def _mark(self, hours: Sequence[Hour]) -> None:
        self.pending.mark({hour.id: hour.due(self.grace) for hour in hours})
