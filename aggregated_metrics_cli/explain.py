"""show --explain: what is stored of one hour, and what is pending for it. It reads no rows."""

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from aggregated_metrics.core import buckets
from aggregated_metrics.core.series import HourId, Series, hour_key
from aggregated_metrics.model import AggregatedMetrics
from boto3.dynamodb.types import TypeDeserializer
from rich.console import RenderableType

from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.errors import CommandError
from aggregated_metrics_cli.exit_codes import DONE
from aggregated_metrics_cli.output import Output, styled
from aggregated_metrics_cli.tables import Columns, Row

_NUMBERS = ("count", "errorCount", "cost")
_ITEMS = {"entry": "", "open check": "check#"}
"""What the table of pending hours holds of an hour, and how the keys begin."""


def run(options: Namespace, deployment: Deployment, output: Output) -> int:
    """Show the hour that holds `--start`; returns the exit code.

    Raises:
        CommandError: no hour or not exactly one record type is named, or no stack.
    """
    if options.start is None or len(options.record_types) != 1:
        raise CommandError("--explain needs --start, and --record-type once")
    series = Series(options.account, options.record_types[0])
    minute = buckets.to_minute(buckets.parse(options.start))
    hour = HourId(series, buckets.floor(minute, buckets.HOUR))
    stored = _stored(deployment, hour)
    pending = {name: _pending(deployment, prefix, hour) for name, prefix in _ITEMS.items()}
    output.show({"buckets": stored, "pending": pending}, *_drawn(hour, stored, pending))
    return DONE


def _stored(deployment: Deployment, hour: HourId) -> list[dict[str, Any]]:
    first = buckets.to_datetime(hour.start)
    records = AggregatedMetrics.list_by_time_range(
        deployment.client,
        hour.series.account_id,
        first,
        first + timedelta(hours=1, microseconds=-1),
        hour.series.record_type,
    )
    return [
        {
            "timeRangeStart": buckets.iso(buckets.to_minute(record.timeRangeStart)),
            "numberOfMinutes": record.numberOfMinutes,
            **{name: getattr(record, name) for name in _NUMBERS},
            "complete": record.complete,
            "updatedAt": str(record.updatedAt),
            "metadata": record.metadata,
        }
        for record in records
        if not (record.scorecardId or record.scoreId)
    ]


def _pending(deployment: Deployment, prefix: str, hour: HourId) -> dict[str, Any] | None:
    key = {"hour": {"S": f"{prefix}{hour_key(hour)}"}}
    answer = deployment.aws("dynamodb").get_item(
        TableName=deployment.needs("PendingHoursTable"), Key=key, ConsistentRead=True
    )
    if "Item" not in answer:
        return None
    decode = TypeDeserializer().deserialize
    found = {name: decode(value) for name, value in answer["Item"].items()}
    return {
        name: value if isinstance(value, str) else float(value) for name, value in found.items()
    }


def _drawn(
    hour: HourId, stored: list[dict[str, Any]], pending: Mapping[str, Mapping[str, Any] | None]
) -> Iterator[RenderableType]:
    series = hour.series
    yield styled(f"{series.account_id} {series.record_type} {buckets.iso(hour.start)}", "bold")
    names = [*_NUMBERS, "complete", "updatedAt"]
    rows = [
        Row(f"{each['timeRangeStart']} {each['numberOfMinutes']}", [str(each[n]) for n in names])
        for each in stored
    ]
    yield Columns("stored", "start (UTC), minutes", names, rows)
    for each in stored:
        if each["metadata"]:
            text = json.dumps(each["metadata"])
            yield styled(f"metadata {each['timeRangeStart']} {each['numberOfMinutes']}: {text}")
    for name, item in pending.items():
        text = ", ".join(f"{key} {value}" for key, value in item.items()) if item else "none"
        yield styled(f"{name}: {text}")
