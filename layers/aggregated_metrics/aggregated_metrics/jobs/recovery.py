"""What reconciler does beside its checks: sets right the hours of batches that aged out.

A mapping that begins at the oldest record finds some that are nearly as old as a stream keeps them;
a batch that failed for a day ends in the same way. Both are kept whole, and repaired from here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aggregated_metrics.adapters.lost_batches import LostBatches
from aggregated_metrics.adapters.observability import Report, logger
from aggregated_metrics.core.errors import AggregatedMetricsError, EventError, LostBatchError
from aggregated_metrics.core.findings import Findings
from aggregated_metrics.jobs.reconciler import Reconciler, undecided

_SPARE_SECONDS = 60.0


@dataclass(slots=True)
class Recovered:
    """What repairing lost batches came to.

    Attributes:
        batches: how many are done.
        findings: of the hours of all of them.
        errors: one for each batch that failed, and for the queue if it did not answer.
    """

    batches: int = 0
    findings: Findings = field(default_factory=Findings)
    errors: list[AggregatedMetricsError] = field(default_factory=list)

    def as_report(self) -> Report:
        """For the invocation's line and its metrics."""
        report: Report = {
            "lostBatches": self.batches,
            "lostBatchesFailed": len(self.errors),
            "rangeDrift": self.findings.drifted,
            "rangeRepaired": self.findings.set_right,
        }
        return report | undecided(self.findings)

    def result(self) -> dict[str, Any]:
        """What the function returns.

        Raises:
            AggregatedMetricsError: the first of the errors.
        """
        if self.errors:
            raise self.errors[0]
        return {"lostBatches": self.batches}


@dataclass(frozen=True, slots=True)
class Recovery:
    """Repairs lost batches, one after the other, while there is time; every port is an argument."""

    lost: LostBatches
    reconciler: Reconciler
    settle: int
    time_left: Callable[[], float]

    def run(self, event: Mapping[str, Any]) -> Recovered:
        """Do what the event says: {"lostBatches": true}, or false where nothing is to be repaired.

        Raises:
            EventError: it says neither.
        """
        wanted = event.get("lostBatches")
        if not isinstance(wanted, bool):
            raise EventError(f"lostBatches is {wanted!r}, not true or false")
        return self.recover() if wanted else Recovered()

    def recover(self) -> Recovered:
        """Repair the hours of every lost batch that there is time for.

        A batch whose hours are not known to be right now, or that failed, keeps its note for the
        next run.
        """
        done = Recovered()
        while self.time_left() > 2 * _SPARE_SECONDS + self.settle:
            try:
                note = self.lost.next()
            except LostBatchError as error:
                done.errors.append(error)  # what is repaired by now is reported
                break
            if note is None:
                break
            try:
                checked = self.reconciler.check_batch(self.lost.content(note), repair=True)
                done.findings.add(checked.findings)
                done.findings.shorten()
                checked.raise_failure()
                if checked.is_settled():
                    self.lost.end(note)
                    done.batches += 1
                else:
                    why = {"note": note.body[:500], **undecided(checked.findings)}
                    logger.warning("a lost batch waits: its hours move or are undecided", extra=why)
            except AggregatedMetricsError as error:
                why = {"reason": str(error), "note": note.body[:500]}
                logger.warning("a lost batch is not repaired", extra=why)
                done.errors.append(error)
        return done
