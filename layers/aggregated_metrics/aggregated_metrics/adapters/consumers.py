"""What reads the source tables' streams, and up to when each stream is known to be applied.

Lambda emits IteratorAge only for batches that it has processed. A mapping that is off, deleted, or
on a stream that its table no longer has therefore looks like a quiet table; only its state shows
the difference.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.adapters.observability import Report
from aggregated_metrics.adapters.pending_hours import HOLD_SECONDS, Note
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import ServiceError
from aggregated_metrics.core.hour import Bucket, Hour
from aggregated_metrics.core.metadata import decoded
from aggregated_metrics.core.series import HourId, Series

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient

STREAMS = HourId(Series("_streams", "_streams"), 0)
"""Where the as of of every record type is stored: the 60-minute bucket of this hour."""
_NO_MAPPING = ("no mapping", 0.0)

type AsOf = Mapping[str, float | None]
"""Record type to the time up to which its stream is known to be applied: epoch seconds."""


class Consumer(NamedTuple):
    """What reads the stream of one model's table.

    Attributes:
        model: the model's name.
        stream: the stream that the stack was deployed with: `table/label`.
        problem: why its changes are not counted now; empty if they are.
        modified: when the mapping was last modified: epoch seconds.
        latest: the label of the table's stream now; empty if it has none.
    """

    model: str
    stream: str
    problem: str
    modified: float
    latest: str

    @property
    def is_running(self) -> bool:
        """Whether the table's stream is the one that is read, and it is read."""
        return not self.problem and self.stream.endswith(f"/{self.latest}")


class Consumers:
    """The mappings of one function, and the streams of the tables that they read.

    Args:
        functions: boto3's Lambda client.
        tables: boto3's DynamoDB client.
        function: the stream function's name.
        streams: model name to its table's stream, `table/label`.
    """

    def __init__(
        self,
        functions: "LambdaClient",
        tables: "DynamoDBClient",
        function: str,
        streams: Mapping[str, str],
    ) -> None:
        self._functions = functions
        self._tables = tables
        self._function = function
        self._streams = streams

    def state(self) -> list[Consumer]:
        """The state of every stream's consumer.

        Raises:
            ServiceError: Lambda or DynamoDB did not answer.
        """
        try:
            found = self._mappings() if self._streams else {}
            return [
                Consumer(model, stream, *found.get(stream, _NO_MAPPING), self._latest(stream))
                for model, stream in self._streams.items()
            ]
        except (BotoCoreError, ClientError) as error:
            raise ServiceError(
                f"it is not known what consumes the streams ({error}): check STREAM_FUNCTION, "
                "STREAM_ARNS and the role's rights"
            ) from error

    def _mappings(self) -> dict[str, tuple[str, float]]:
        """Stream to its mapping's problem and when it was modified."""
        reserved = self._functions.get_function_concurrency(FunctionName=self._function)
        is_throttled = reserved.get("ReservedConcurrentExecutions") == 0
        pages = self._functions.get_paginator("list_event_source_mappings").paginate(
            FunctionName=self._function
        )
        return {
            _short(each["EventSourceArn"]): (
                "the function is throttled" if is_throttled else _problem(each),
                each["LastModified"].timestamp(),
            )
            for page in pages
            for each in page["EventSourceMappings"]
        }

    def _latest(self, stream: str) -> str:
        """The label of the stream that a stream's table has now; empty if it has none."""
        try:
            answer: Any = self._tables.describe_table(TableName=stream.partition("/")[0])
        except self._tables.exceptions.ResourceNotFoundException:
            return ""
        table = answer["Table"]
        enabled = (table.get("StreamSpecification") or {}).get("StreamEnabled")
        return str(table.get("LatestStreamArn") or "").rpartition("/")[2] if enabled else ""


def _problem(mapping: Mapping[str, Any]) -> str:
    if mapping.get("State") != "Enabled":
        return str(mapping.get("State"))
    result = str(mapping.get("LastProcessingResult") or "OK")
    return "" if result.startswith(("OK", "No records processed")) else result


def _short(arn: str) -> str:
    """`table/label` of `arn:…:table/<table>/stream/<label>`."""
    _, *names = arn.split("/")
    return "/".join(names[::2])


def report(consumers: Sequence[Consumer]) -> Report:
    """How many streams are not consumed, and which."""
    stopped = [each for each in consumers if not each.is_running]
    found: Report = {"streamsNotConsumed": len(stopped)}
    if stopped:
        found["streams"] = [
            {"stream": each.stream, "consumer": each.problem or "Enabled", "latest": each.latest}
            for each in stopped
        ]
    return found


def as_of(
    consumers: Iterable[Consumer],
    counted: Mapping[str, Sequence[str]],
    notes: Sequence[Note],
    stored: AsOf,
    now: float,
    *,
    hold_seconds: float = HOLD_SECONDS,
) -> AsOf:
    """The time up to which each record type's stream is known to be applied.

    The least of now and the model's notes. It stays where it was, None before the first, while the
    stream is not consumed or its mapping was modified recently.

    Args:
        consumers: the state of each model's consumer.
        counted: model name to its record types.
        notes: late batches.
        stored: the previous result.
        now: epoch seconds.
        hold_seconds: for how long a modified mapping counts as stopped: it may still be about to
            read its first batch.
    """
    found: dict[str, float | None] = {}
    for consumer in consumers:
        late = [first for model, first in notes if model == consumer.model]
        is_current = consumer.is_running and consumer.modified <= now - hold_seconds
        for name in counted[consumer.model]:
            known = now if is_current else stored.get(name)
            found[name] = None if known is None else min(now, known, *late)
    return found


def load_as_of(store: HourStore) -> AsOf:
    """The stored as of of every record type; empty before the first update.

    Raises:
        ApiError: the API refused, or did not answer.
    """
    (hour,) = store.load([STREAMS])
    return _stored(hour)


def update_as_of(
    store: HourStore,
    change: Callable[[AsOf], AsOf],
    *,
    complete_after: int,
    custom: Mapping[str, Any],
) -> AsOf:
    """Replace what is stored for readers; returns it. One read and one write.

    Args:
        store: the hours of the API.
        change: makes the new values of the stored ones.
        complete_after: seconds after its end at which a bucket is completed.
        custom: what readers cannot know of custom models.

    Raises:
        ApiError: the API refused, or did not answer.
    """
    found: AsOf = {}

    def edit(hour: Hour) -> None:
        nonlocal found
        found = change(_stored(hour))
        texts = {name: None if t is None else _text(t) for name, t in found.items()}
        stated = {"asOf": texts, "completeAfter": complete_after, **custom}
        bucket = hour.get(STREAMS.start, buckets.HOUR) or Bucket(STREAMS.start, buckets.HOUR)
        bucket.given, bucket.parsed, bucket.dirty = json.dumps(stated), None, True
        hour.overlay(bucket)

    store.update([STREAMS], edit)
    return found


def _stored(hour: Hour) -> AsOf:
    bucket = hour.get(STREAMS.start, buckets.HOUR)
    content = decoded(bucket.given) if bucket else None
    given = content.get("asOf") if isinstance(content, Mapping) else None
    times = given.items() if isinstance(given, Mapping) else ()
    known = {name: buckets.time_of(text) for name, text in times}
    return {name: None if t is None else t.timestamp() for name, t in known.items()}


def _text(seconds: float) -> str:
    moment = datetime.fromtimestamp(int(seconds), UTC)
    return moment.isoformat().replace("+00:00", "Z")
