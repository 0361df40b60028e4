"""reconciler: compares counts with the source rows, and repairs them."""

from typing import Any

from aggregated_metrics import observability, wiring
from aggregated_metrics.checks import Checks


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Check what the event asks for (aggregated_metrics.checks); gives back what was found."""
    with observability.invocation("reconciler", context) as report:
        return Checks.wired(wiring.process(), context).run(event, report)
