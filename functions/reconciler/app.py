"""reconciler: compares counts with the source rows, and repairs them."""

from collections.abc import Mapping
from typing import Any

from aggregated_metrics import wiring
from aggregated_metrics.adapters import observability


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Check what the event asks for (see jobs/reconciler.py); returns what was found.

    `{"lostBatches": true}` repairs the batches that aged out (see jobs/recovery.py).
    """
    with observability.invocation("reconciler", context) as report:
        process = wiring.process()
        is_recovery = isinstance(event, Mapping) and "lostBatches" in event
        job = (wiring.recovery if is_recovery else wiring.reconciler)(process, context)
        done = job.run(event)
        report.update(done.as_report())
        return done.result()
