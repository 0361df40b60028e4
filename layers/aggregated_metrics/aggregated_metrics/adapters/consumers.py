"""What reads the source tables' streams, and up to when each stream is known to be applied.

Lambda emits IteratorAge only for batches that it has processed. A mapping that is off, deleted, or
on a stream that its table no longer has therefore looks like a quiet table; only its state shows
the difference.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import inf
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from aggregated_metrics.adapters.bucket_reader import streams_of
from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.adapters.observability import Report
from aggregated_metrics.adapters.pending_hours import Note, PendingHours
from aggregated_metrics.adapters.settings import Settings
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import ServiceError
from aggregated_metrics.core.hour import Hour
from aggregated_metrics.core.series import HourId, Series

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient

STREAMS = HourId(Series("_streams", "_streams"), 0)
"""Where the as of of every record type is stored: the 60-minute bucket of this hour."""
NEVER = -inf
_NO_MAPPING = ("no mapping", 0.0)

type AsOf = Mapping[str, float]
"""Record type to the time up to which its stream is known to be applied: epoch seconds, or NEVER.
Until then its buckets may be completed."""
type Consumers = Mapping[str, tuple[str, str, float]]
"""Model to its stream, `table/label`; why its changes are not counted now, empty if they are; and
when its mapping was last modified: epoch seconds."""


def consumers(
    functions: "LambdaClient", tables: "DynamoDBClient", function: str, streams: Mapping[str, str]
) -> Consumers:
    """The state of the consumer of each model's stream; `function` is the stream function."""
    try:
        found = _mappings(functions, function) if streams else {}
        return {
            model: _consumer(tables, stream, *found.get(stream, _NO_MAPPING))
            for model, stream in streams.items()
        }
    except (BotoCoreError, ClientError) as error:
        raise ServiceError(
            f"it is not known what consumes the streams ({error}): check STREAM_FUNCTION, "
            "STREAM_ARNS and the role's rights"
        ) from error


def _mappings(functions: "LambdaClient", function: str) -> dict[str, tuple[str, float]]:
    """Stream to its mapping's problem and when it was modified."""
    reserved = functions.get_function_concurrency(FunctionName=function)
    is_throttled = reserved.get("ReservedConcurrentExecutions") == 0
    pages = functions.get_paginator("list_event_source_mappings").paginate(FunctionName=function)
    return {
        "/".join(each["EventSourceArn"].split("/")[1::2]): (
            "the function is throttled" if is_throttled else _problem(each),
            each["LastModified"].timestamp(),
        )
        for page in pages
        for each in page["EventSourceMappings"]
    }


def _problem(mapping: Mapping[str, Any]) -> str:
    if mapping.get("State") != "Enabled":
        return str(mapping.get("State"))
    result = str(mapping.get("LastProcessingResult") or "OK")
    return "" if result.startswith(("OK", "No records processed")) else result


def _consumer(
    tables: "DynamoDBClient", stream: str, problem: str, modified: float
) -> tuple[str, str, float]:
    """What reads a stream, which its table may have turned off or made again since."""
    name, _, label = stream.partition("/")
    try:
        table: Any = tables.describe_table(TableName=name)["Table"]
    except tables.exceptions.ResourceNotFoundException:
        table = {}
    is_on = (table.get("StreamSpecification") or {}).get("StreamEnabled")
    latest = str(table.get("LatestStreamArn") or "").rpartition("/")[2] if is_on else "off"
    if latest != label:
        problem = f"{problem or 'Enabled'}, but the table's stream is {latest} now"
    return stream, problem, modified


def not_consumed(found: Consumers) -> Report:
    """How many streams are not consumed, and which."""
    stopped = [
        {"stream": stream, "consumer": problem} for stream, problem, _ in found.values() if problem
    ]
    report: Report = {"streamsNotConsumed": len(stopped)}
    return report | {"streams": stopped} if stopped else report


def as_of(
    found: Consumers,
    counted: Mapping[str, Sequence[str]],
    notes: Sequence[Note],
    stored: AsOf,
    now: float,
    hold_seconds: float,
) -> AsOf:
    """The time up to which the stream of each record type (`counted`, by model) is applied.

    The least of now and the model's notes. It stays as it is stored, NEVER before the first, while
    the stream is not consumed or its mapping was modified less than `hold_seconds` ago: it may
    still be about to read its first batch.
    """
    known: dict[str, float] = {}
    for model, (_, problem, modified) in found.items():
        late = [first for name, first in notes if name == model]
        is_current = not problem and modified <= now - hold_seconds
        for name in counted[model]:
            known[name] = min(now, now if is_current else stored.get(name, NEVER), *late)
    return known


def load_as_of(store: HourStore) -> AsOf:
    """The stored as of of every record type; empty before the first update."""
    (hour,) = store.load([STREAMS])
    return _stored(hour)


def update_as_of(
    found: Consumers, store: HourStore, pending: PendingHours, settings: Settings, now: float
) -> AsOf:
    """Replace what is stored for readers; returns it. One read and one write."""
    hold_seconds, models = settings.hold_seconds, settings.models
    counted = {model.name: model.counts_into for model in models}
    notes, known = pending.notes(hold_seconds), dict[str, float]()

    def edit(hour: Hour) -> None:
        known.update(as_of(found, counted, notes, _stored(hour), now, hold_seconds))
        texts = {
            name: None if t == NEVER else buckets.in_utc(datetime.fromtimestamp(t, UTC))
            for name, t in known.items()
        }
        stated = {"asOf": texts, "completeAfter": settings.complete_after, **models.custom}
        bucket = hour.get_or_new(STREAMS.start, buckets.HOUR)
        bucket.given, bucket.parsed, bucket.dirty = json.dumps(stated), None, True
        hour.overlay(bucket)

    store.update([STREAMS], edit)
    return known


def _stored(hour: Hour) -> AsOf:
    bucket = hour.get(STREAMS.start, buckets.HOUR)
    times = streams_of(bucket.given if bucket else None)["asOf"] or {}
    known = {name: buckets.time_of(text) for name, text in times.items()}
    return {name: t.timestamp() if t else NEVER for name, t in known.items()}
