"""bucket_sweeper: completes the buckets that have elapsed; invoked by a schedule."""

from typing import TYPE_CHECKING, Any

from aggregated_metrics import wiring
from aggregated_metrics.adapters import observability

if TYPE_CHECKING:
    from aggregated_metrics.adapters.consumers import AsOf


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - a schedule says nothing
    """Ask how far the streams are applied, and visit every hour that is due."""
    with observability.invocation("bucket_sweeper", context) as report:
        process = wiring.process()
        as_of: AsOf = {}
        try:
            as_of = wiring.ask_streams(process, context, report)
        finally:  # run both even if one fails; without as of nothing is completed
            wiring.sweeper(process, context, as_of).sweep(report)
    return report
