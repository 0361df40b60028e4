"""What reconciler does beside its checks: sets right the hours of batches that aged out.

A mapping that begins at the oldest record finds some that are nearly as old as a stream keeps them;
a batch that failed for a day ends in the same way. Both are kept whole, and repaired from here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aggregated_metrics.adapters.lost_batches import LostBatches
from aggregated_metrics.adapters.observability import Report, logger
from aggregated_metrics.core.errors import AggregatedMetricsError
from aggregated_metrics.jobs.reconciler import Reconciler

_SPARE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Recovery:
    """Repairs lost batches, one after the other, while there is time; every port is an argument."""

    lost: LostBatches
    reconciler: Reconciler
    settle: int
    time_left: Callable[[], float]

    def recover(self, report: Report) -> dict[str, Any]:
        """Repair the hours of every lost batch that there is time for; gives how many are done.

        A batch whose hours are still moving, or that failed, keeps its note for the next run.

        Raises:
            AggregatedMetricsError: of the first batch that failed, when the others are repaired; or
                the queue did not answer.
        """
        done, failed = 0, list[AggregatedMetricsError]()
        drift = repaired = 0
        while self.time_left() > 2 * _SPARE_SECONDS + self.settle:
            note = self.lost.next()
            if note is None:
                break
            try:
                part: Report = {}
                event = {"onFailure": self.lost.content(note), "repair": True}
                found = self.reconciler.run(event, part)
                drift += found["driftCount"]
                repaired += found["repaired"]
                if not found["movingCount"]:
                    self.lost.end(note)
                    done += 1
            except AggregatedMetricsError as error:
                logger.warning("a lost batch is not repaired", extra={"reason": str(error)})
                failed.append(error)
        report |= {
            "lostBatches": done,
            "lostBatchesFailed": len(failed),
            "rangeDrift": drift,
            "rangeRepaired": repaired,
        }
        if failed:
            raise failed[0]
        return {"lostBatches": done}
