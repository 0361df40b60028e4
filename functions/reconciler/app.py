"""reconciler: compares counts with the source rows, and repairs them."""

from typing import Any

from aggregated_metrics import wiring
from aggregated_metrics.adapters import observability


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Check what the event asks for (see jobs/reconciler.py); returns what was found.

    `{"lostBatches": true}` repairs the batches that aged out; with false nothing is done.
    """
    with observability.invocation("reconciler", context) as report:
        process = wiring.process()
        if "lostBatches" not in event:
            checked = wiring.reconciler(process, context).run(event)
            report.update(checked.as_report())
            return checked.result()
        if event["lostBatches"] is True:
            recovered = wiring.recovery(process, context).recover()
            report.update(recovered.as_report())
            return recovered.result()
        return {}
