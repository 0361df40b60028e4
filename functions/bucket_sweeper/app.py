"""bucket_sweeper: closes the buckets that have elapsed; invoked by a schedule."""

from typing import Any

from aggregated_metrics import wiring
from aggregated_metrics.adapters import observability


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:  # noqa: ARG001 - a schedule says nothing
    """Look at the streams, and visit every pending hour that is due; returns what was done."""
    with observability.invocation("bucket_sweeper", context) as report:
        process = wiring.process()
        try:
            report.update(wiring.probe(process).look())
        finally:  # neither keeps the other from being done
            swept = wiring.sweeper(process, context).sweep()
            report.update(swept.as_report())
            swept.raise_failure()
    return report
