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
"""What an invocation did: the fields of its line. Numbers named in `METRICS` are metrics too."""

METRICS: Mapping[str, tuple[str, MetricUnit]] = {  # numbers of one metric add up
    "records": ("Records", MetricUnit.Count),
    "deltas": ("Deltas", MetricUnit.Count),
    "written": ("BucketsWritten", MetricUnit.Count),
    "conflicts": ("Conflicts", MetricUnit.Count),
    "retries": ("Retries", MetricUnit.Count),
    "quarantined": ("Quarantined", MetricUnit.Count),
    "clamped": ("Clamped", MetricUnit.Count),
    "overflowed": ("Overflowed", MetricUnit.Count),
    "ledgerDropped": ("CheckpointsEvicted", MetricUnit.Count),
    "parentsLeft": ("ParentsLeft", MetricUnit.Count),
    "freshnessSeconds": ("Freshness", MetricUnit.Seconds),
    "swept": ("HoursSwept", MetricUnit.Count),
    "closed": ("HoursClosed", MetricUnit.Count),
    "waiting": ("HoursWaiting", MetricUnit.Count),
    "scanned": ("RowsScanned", MetricUnit.Count),
    "drift": ("Drift", MetricUnit.Count),
    "repaired": ("Repaired", MetricUnit.Count),
    "moving": ("Moving", MetricUnit.Count),
    "undecided": ("Deferred", MetricUnit.Count),
    "oldestPendingSeconds": ("OldestPendingHour", MetricUnit.Seconds),
    "stoppedConsumers": ("StreamNotConsumed", MetricUnit.Count),
    "replacedStreams": ("StreamNotConsumed", MetricUnit.Count),
    "rangeDrift": ("RangeDrift", MetricUnit.Count),
    "rangeRepaired": ("RangeRepaired", MetricUnit.Count),
    "deepDrift": ("DeepDrift", MetricUnit.Count),
    "setAside": ("Deferred", MetricUnit.Count),
    "oldestClosedSeconds": ("OldestClosedHour", MetricUnit.Seconds),
}
HEARTBEATS = frozenset({"oldestPendingSeconds", "oldestClosedSeconds", "stoppedConsumers"})
"""Emitted even if zero, each for an alarm that treats missing data as breaching."""


@contextmanager
def invocation(function: str, context: Any) -> Iterator[Report]:
    """Log and measure one invocation; the report that it yields is filled by the caller.

    An error is logged and measured with what had been reported by then, and goes on to Lambda:
    what was found before it must not be lost for the alarms.
    """
    started = time.perf_counter()
    report: Report = {"requestId": getattr(context, "aws_request_id", None)}
    try:
        yield report
    except Exception as error:
        report["milliseconds"] = _milliseconds(started)
        report |= {"function": function, "error": type(error).__name__}
        logger.exception("invocation failed", extra=report)
        _measure(report)
        raise
    report["milliseconds"] = _milliseconds(started)
    if report.get("overflowed"):
        logger.error("sums beyond 32 bits are stored as 2147483647", extra=report)
    else:
        logger.info(function, extra=report)
    _measure(report)


def _milliseconds(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)


def _measure(report: Report) -> None:
    measured = {
        name: value
        for name, value in report.items()
        if name in METRICS and isinstance(value, int | float) and (value or name in HEARTBEATS)
    }
    for name, value in measured.items():
        metric, unit = METRICS[name]
        metrics.add_metric(name=metric, unit=unit, value=value)
    if measured:  # Powertools warns of an invocation without any, such as a plan
        metrics.flush_metrics()
