"""reconciler: compares counts with the source rows, and repairs them."""

from typing import Any

from aggregated_metrics import wiring
from aggregated_metrics.adapters import observability
from aggregated_metrics.jobs.reconciler import Reconciler


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Check what the event asks for (see jobs/reconciler.py); returns what was found."""
    with observability.invocation("reconciler", context) as report:
        return Reconciler(wiring.process(), wiring.time_left(context)).run(event, report)
