"""What stream_aggregator does with a batch.

Delivery guarantee: a batch may come any number of times, beginning or ending elsewhere, and any
invocation may die at any point; each row is counted once all the same. The order is what makes it
so: fold, load, mark the hours as pending, save under conditions, then quarantine.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aggregated_metrics.adapters.hour_store import HourStore, Outcome
from aggregated_metrics.adapters.observability import Report
from aggregated_metrics.adapters.pending_hours import PendingHours
from aggregated_metrics.adapters.quarantine import Quarantine
from aggregated_metrics.core.changes import Folded, fold
from aggregated_metrics.core.hours import Hour


@dataclass(frozen=True, slots=True)
class Taken:
    """A batch of records, folded into what each hour gets."""

    folded: Folded
    records: int

    def as_report(self) -> Report:
        """Numbers, never contents."""
        hours = self.folded.hours()
        return {
            "shard": ",".join(batch.shard for batch in self.folded.batches) or None,
            "records": self.records,
            "deltas": self.folded.deltas(),
            "accounts": len({hour.series.account_id for hour in hours}),
            "hours": len(hours),
        }


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying a batch came to; `freshness` is how old its newest record is, in seconds."""

    outcome: Outcome
    quarantined: int
    freshness: float | None

    def as_report(self) -> Report:
        """Numbers, never contents."""
        outcome = self.outcome
        report: Report = {
            "written": outcome.written,
            "conflicts": outcome.conflicts,
            "retries": outcome.retries,
            "parentsLeft": len(outcome.parents_left),
            "clamped": outcome.tally.clamped,
            "overflowed": outcome.tally.overflowed,
            "ledgerDropped": outcome.tally.ledger_dropped,
            "quarantined": self.quarantined,
        }
        if self.freshness is not None:
            report["freshnessSeconds"] = round(self.freshness, 3)
        return report


@dataclass(frozen=True, slots=True)
class Aggregator:
    """Applies stream batches; every port is an argument."""

    store: HourStore
    pending: PendingHours
    quarantine: Quarantine
    source_tables: Mapping[str, str]
    clock: Callable[[], datetime]
    grace: int
    breakdowns: Collection[str] = frozenset()

    def fold(self, event: Any) -> Taken:
        """Read a stream event.

        Raises:
            EventError: the event is not one of a DynamoDB stream.
        """
        folded = fold(event, self.source_tables, self.breakdowns)
        return Taken(folded, len(event.get("Records") or ()))

    def apply(self, taken: Taken) -> Applied:
        """Count a batch's records.

        Raises:
            AggregatedMetricsError: something could not be done, so the batch must come again.
        """
        folded = taken.folded
        # 1. The hours, each marked before it is written: HourStore says what a crash leaves there.
        outcome = self.store.update(
            folded.hours(),
            lambda hour: hour.apply_batches(folded.batches, self.clock()),
            before_save=self._mark,
        )
        # 2. Parents that are left make their hours due at once. Dead before: their first mark
        #    stands, and the batch comes again.
        if outcome.parents_left:
            now = int(self.clock().timestamp())
            self.pending.mark(dict.fromkeys(outcome.parents_left, now))
        # 3. Quarantine last: a batch that fails before comes again and would send them twice. One
        #    that fails here comes again and counts nothing twice.
        quarantined = self.quarantine.send(folded.rejects)
        newest = folded.newest
        freshness = None if newest is None else self.clock().timestamp() - newest
        return Applied(outcome, quarantined, freshness)

    def _mark(self, hours: Sequence[Hour]) -> None:
        self.pending.mark({hour.id: hour.due(self.grace) for hour in hours})
