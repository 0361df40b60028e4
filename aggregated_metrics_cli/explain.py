"""show --explain: what is stored of one hour, and what is pending for it. It reads no rows."""

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aggregated_metrics.core import buckets
from aggregated_metrics.core.hour import Hour
from aggregated_metrics.core.series import HourId, Series, hour_key
from rich.console import RenderableType

from aggregated_metrics_cli.deployment import REQUEST_SECONDS, Deployment
from aggregated_metrics_cli.errors import CommandError
from aggregated_metrics_cli.exit_codes import DONE
from aggregated_metrics_cli.output import Output, styled
from aggregated_metrics_cli.tables import table


def run(options: Namespace, deployment: Deployment, output: Output) -> int:
    """Show the hour that holds `--start`; returns the exit code."""
    if options.start is None or len(options.record_types) != 1:
        raise CommandError("--explain needs --start, and --record-type once")
    deployment.needs("PendingHoursTable")
    minute = buckets.to_minute(buckets.parse(options.start))
    series = Series(options.account, options.record_types[0], options.breakdown_id)
    hour_id = HourId(series, buckets.floor(minute, buckets.HOUR))
    (hour,) = deployment.process.store(lambda: REQUEST_SECONDS).load([hour_id])
    stored = list(_stored(hour))
    entry, check = deployment.process.pending().find(hour_id)
    pending = {
        name: item and {key: each for key, each in item._asdict().items() if key != "hour"}
        for name, item in (("entry", entry), ("open check", check))
    }
    output.show({"buckets": stored, "pending": pending}, *_drawn(hour_id, stored, pending))
    return DONE


def _stored(hour: Hour) -> Iterator[dict[str, Any]]:
    for bucket in hour:
        yield {
            "timeRangeStart": buckets.iso(bucket.start),
            "numberOfMinutes": bucket.size,
            **bucket.measures.named(bucket.names),
            "complete": bucket.complete,
            "updatedAt": bucket.version,
            "unreadable": bucket.unreadable,
            "metadata": bucket.metadata_text,
        }


def _drawn(
    hour: HourId,
    stored: Sequence[Mapping[str, Any]],
    pending: Mapping[str, Mapping[str, Any] | None],
) -> Iterator[RenderableType]:
    yield styled(hour_key(hour), "bold")
    names = ["count", "cost", "errorCount", "complete", "updatedAt"]
    made = table("stored", "start (UTC), minutes", *names)
    notes: list[str] = []
    for each in stored:
        place = f"{each['timeRangeStart']} {each['numberOfMinutes']}"
        made.add_row(place, *(str(each[name]) for name in names))
        if each["unreadable"]:
            notes.append(f"{place}: the API cannot give this record")
        if each["metadata"]:
            notes.append(f"metadata {place}: {each['metadata']}")
    yield made
    for name, item in pending.items():
        text = ", ".join(f"{key} {value}" for key, value in item.items()) if item else "none"
        notes.append(f"{name}: {text}")
    yield from map(styled, notes)
