"""bucket_sweeper: completes the buckets that have elapsed; invoked by a schedule."""

from typing import Any

from aggregated_metrics import wiring
from aggregated_metrics.adapters import observability
from aggregated_metrics.jobs.sweeper import Sweeper


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - a schedule says nothing
    """Ask how far the streams are applied, and visit every hour that is due."""
    with observability.invocation("bucket_sweeper", context) as report:
        Sweeper(wiring.process(), wiring.time_left(context)).run(report)
    return report
