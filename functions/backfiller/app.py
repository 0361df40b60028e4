"""backfiller: counts whole tables, step by step, as the state machine calls it."""

from typing import Any

from aggregated_metrics import wiring
from aggregated_metrics.adapters import observability
from aggregated_metrics.jobs.backfiller import Backfiller


def lambda_handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Carry out one step of a run (see jobs/backfiller.py); returns what comes next."""
    with observability.invocation("backfiller", context) as report:
        result, more = Backfiller(wiring.process(), wiring.time_left(context)).run(event)
        report.update(more)
    return result
