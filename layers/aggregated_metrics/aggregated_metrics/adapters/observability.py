"""One structured line and one set of metrics an invocation; never a row's contents."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from os import environ
from typing import Any

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

logger = Logger()
metrics = Metrics(namespace=environ.get("POWERTOOLS_METRICS_NAMESPACE", "AggregatedMetrics"))

type Report = dict[str, int | float | str | list[dict[str, Any]] | None]
"""What an invocation did: the fields of its line. Numbers named in `METRICS` are metrics too.

`check`, where it is given, is a dimension of them: hourly, range, deep or backfill.
"""

METRICS: Mapping[str, tuple[str, MetricUnit]] = {
    "records": ("Records", MetricUnit.Count),
    "written": ("BucketsWritten", MetricUnit.Count),
    "conflicts": ("Conflicts", MetricUnit.Count),
    "freshnessSeconds": ("Freshness", MetricUnit.Seconds),
    "quarantined": ("Quarantined", MetricUnit.Count),
    "checkpointsEvicted": ("CheckpointsEvicted", MetricUnit.Count),
    "oldestPendingSeconds": ("OldestPendingHour", MetricUnit.Seconds),
    "streamsNotConsumed": ("StreamNotConsumed", MetricUnit.Count),
    "oldestOpenCheckSeconds": ("OldestOpenCheck", MetricUnit.Seconds),
    "deferred": ("Deferred", MetricUnit.Count),
    "driftCount": ("Drift", MetricUnit.Count),
    "inFlux": ("InFlux", MetricUnit.Count),
    "unverified": ("Unverified", MetricUnit.Count),
}
HEARTBEATS = frozenset({"streamsNotConsumed", "oldestOpenCheckSeconds"})
"""Emitted even if zero: their alarms treat missing data as breaching."""


@contextmanager
def invocation(function: str, context: Any) -> Iterator[Report]:
    """Log and measure one invocation; the report that it yields is filled by the caller.

    An error is logged and measured with what had been reported by then, and goes on to Lambda:
    what was found before it must not be lost for the alarms.
    """
    started = time.perf_counter()
    report: Report = {"requestId": getattr(context, "aws_request_id", None)}
    log, message = logger.info, function
    try:
        yield report
    except Exception as error:
        report |= {"function": function, "error": type(error).__name__}
        log, message = logger.exception, "invocation failed"
        raise
    finally:
        report["milliseconds"] = round((time.perf_counter() - started) * 1000, 1)
        log(message, extra=report)
        _measure(report)


def _measure(report: Report) -> None:
    measured = {
        name: value
        for name, value in report.items()
        if name in METRICS and isinstance(value, int | float) and (value or name in HEARTBEATS)
    }
    if not measured:
        return
    if check := report.get("check"):
        metrics.add_dimension(name="check", value=str(check))
    for name, value in measured.items():
        metric, unit = METRICS[name]
        metrics.add_metric(name=metric, unit=unit, value=value)
    metrics.flush_metrics()
