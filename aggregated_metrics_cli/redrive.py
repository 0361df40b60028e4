"""redrive: sends records from quarantine again, after what kept them from counting was mended.

Each record becomes an event of its own without shardId, so it stands for its own shard and counts
once however often it is sent. Records are sent in their streams' order. A message is deleted only
when the invocation has succeeded and the record did not come back.

A row that could not be counted is usually mended in its table. That change was counted when the
stream brought it; the image that was recorded before stays as it is. So where a record's image can
still not be counted, its row as it is now decides: mended or gone, nothing is left to be sent.
"""

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from aggregated_metrics.adapters.source_rows import part_of
from aggregated_metrics.core.changes import Reject, fold, touched
from aggregated_metrics.core.errors import (
    AggregatedMetricsError,
    ApiError,
    EventError,
    UncountableError,
)
from aggregated_metrics.core.record_types import Model, Row
from botocore.exceptions import BotoCoreError, ClientError

HIDDEN_SECONDS = 900
_PER_REQUEST = 10

type RowOf = Callable[[Model, str], Row | None]
"""Reads a row by its id, as it is now; raises ApiError."""


class Held(NamedTuple):
    """One message of the quarantine queue, received."""

    message_id: str
    receipt: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of one message.

    Attributes:
        held: the message.
        left: why it is still in the queue; None when it is not.
        row: what became of its row, where that is why its record need not be sent.
    """

    held: Held
    left: str | None
    row: Literal["mended", "gone"] | None = None

    def as_json(self) -> dict[str, Any]:
        """For machines, and for the table."""
        body = self.held.body
        return {
            "eventID": body.get("eventID"),
            "table": body.get("table"),
            "keys": keys_of(body),
            "at": body.get("at"),
            "reason": body.get("reason"),
            "redriven": self.left is None and self.row is None,
            "row": self.row,
            "left": self.left,
        }


class InvocationError(AggregatedMetricsError):
    """The stream function did not take an event."""


def receive(sqs: Any, queue_url: str, limit: int, wait: int = 2) -> list[Held]:
    """At most `limit` messages, each once, hidden from others for a while."""
    held: dict[str, Held] = {}
    while len(held) < limit:
        answer = sqs.receive_message(
            QueueUrl=queue_url,
            MaxNumberOfMessages=min(_PER_REQUEST, limit - len(held)),
            VisibilityTimeout=HIDDEN_SECONDS,
            WaitTimeSeconds=wait,
        )
        messages = answer.get("Messages")
        if not messages:
            break
        for message in messages:
            held[message["MessageId"]] = Held(
                message["MessageId"], message["ReceiptHandle"], _body(message["Body"])
            )
    return sorted(held.values(), key=_order)


def _body(text: str) -> dict[str, Any]:
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {"reason": "not a message of the quarantine"}


def _order(held: Held) -> tuple[str, int]:
    record = held.body.get("record")
    arn = record.get("eventSourceARN") if isinstance(record, Mapping) else None
    number = str(_change(held.body).get("SequenceNumber", ""))
    return str(arn), int(number) if number.isdecimal() else 0


def _change(body: Mapping[str, Any]) -> Mapping[str, Any]:
    record = body.get("record")
    change = record.get("dynamodb") if isinstance(record, Mapping) else None
    return change if isinstance(change, Mapping) else {}


def keys_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """The key of a message's row, plain; empty where its record names none."""
    keys = _change(body).get("Keys")
    keys = keys if isinstance(keys, Mapping) else {}
    return {
        name: next(iter(value.values()))
        for name, value in keys.items()
        if value and isinstance(value, Mapping)
    }


def event_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """The event that counts a message's record.

    Where its old image has been taken off the counts already, it is sent as an INSERT of the new
    one. That half gets an eventID of its own, always the same: a batch without shardId is named
    after its first record, so ledgers may have taken in the whole record under its own name.

    Raises:
        EventError: the message cannot be sent again; says what to do instead.
    """
    record = body.get("record")
    if not isinstance(record, Mapping):
        raise EventError("the message has no record")
    if body.get("truncated"):
        raise EventError("the record was too large to be kept whole: repair its hours instead")
    if body.get("oldCounted"):
        images = record.get("dynamodb") or {}
        change = {name: part for name, part in images.items() if name != "OldImage"}
        half = {"eventID": f"{record.get('eventID')}/new", "eventName": "INSERT"}
        record = {**record, **half, "dynamodb": change}
    return {"Records": [dict(record)]}


def redrive(
    messages: Iterable[Held],
    invoke: Callable[[dict[str, Any]], int],
    delete: Callable[[Held], None],
    source_tables: Mapping[str, str],
    row_of: RowOf,
) -> list[Redriven]:
    """Send every message that can be counted now; delete those with nothing left to be sent.

    Args:
        messages: in the order to send them in.
        invoke: hands an event to the stream function; gives back how many of its records went
            into quarantine again.
        delete: takes a message out of the queue.
        source_tables: the function's setting, to tell what would only come back.
        row_of: reads a row as it is now.
    """
    return [_redrive(judge(held, source_tables, row_of), invoke, delete) for held in messages]


def _redrive(
    judged: Redriven, invoke: Callable[[dict[str, Any]], int], delete: Callable[[Held], None]
) -> Redriven:
    held = judged.held
    if judged.left is not None:
        return judged
    if judged.row is None:
        try:
            if invoke(event_of(held.body)):
                return Redriven(held, "it came back into quarantine")
        except InvocationError as error:
            return Redriven(held, str(error))
    delete(held)
    return judged


def judge(held: Held, source_tables: Mapping[str, str], row_of: RowOf) -> Redriven:
    """What is to become of a message; sends and deletes nothing."""
    try:
        rejects = fold(event_of(held.body), source_tables).rejects
    except EventError as error:
        return Redriven(held, str(error))
    return _by_row(held, rejects[0], source_tables, row_of) if rejects else Redriven(held, None)


def _by_row(
    held: Held, reject: Reject, source_tables: Mapping[str, str], row_of: RowOf
) -> Redriven:
    """Judge a record that cannot be counted by its row, where its image alone is why.

    Where its old image is still to be taken off, sending the record is what lacks: it stays.
    """
    model, row_id = reject.image_of, keys_of(held.body).get("id")
    if model is None or row_id is None or reject.old_counted:
        return Redriven(held, reject.reason)
    try:
        row = row_of(model, row_id)
        if row is None:
            return Redriven(held, None, "gone")
        minute = part_of(model, row).minute
    except ApiError as error:
        return Redriven(held, f"its row cannot be read: {error}")
    except UncountableError as error:
        return Redriven(held, str(error))
    if minute in _minutes(held.body, source_tables):
        # refused for its time alone, and written again once that was near: docs/limits.md
        return Redriven(held, f"{reject.reason}, and has not been mended: repair its hour")
    return Redriven(held, None, "mended")


def _minutes(body: Mapping[str, Any], source_tables: Mapping[str, str]) -> set[int]:
    """Where the recorded image would count, had it been written at any time."""
    (record,) = event_of({**body, "oldCounted": True})["Records"]
    record["dynamodb"].pop("ApproximateCreationDateTime", None)
    return {target.minute for target in touched(fold({"Records": [record]}, source_tables).batches)}


def source_tables_of(
    lambdas: Any, function: str, otherwise: Mapping[str, str]
) -> Mapping[str, str]:
    """The deployed function's SOURCE_TABLES; `otherwise` where they may not be read."""
    try:
        answer = lambdas.get_function_configuration(FunctionName=function)
    except (BotoCoreError, ClientError):
        return otherwise
    variables = answer.get("Environment", {}).get("Variables", {})
    return dict(json.loads(variables.get("SOURCE_TABLES") or "{}"))


def invoker(lambdas: Any, function: str) -> Callable[[dict[str, Any]], int]:
    """Invokes the stream function, and reads in the end of its log how many came back."""

    def invoke(event: dict[str, Any]) -> int:
        answer = lambdas.invoke(
            FunctionName=function,
            InvocationType="RequestResponse",
            LogType="Tail",
            Payload=json.dumps(event).encode(),
        )
        payload = answer["Payload"].read().decode(errors="replace")
        if answer.get("FunctionError") or answer["StatusCode"] >= 300:  # noqa: PLR2004 - HTTP
            raise InvocationError(f"{function} failed: {payload[:300]}")
        return quarantined(base64.b64decode(answer.get("LogResult") or "").decode(errors="replace"))

    return invoke


def quarantined(log: str) -> int:
    """How many records an invocation put into quarantine, by its own line; 0 if none says."""
    for line in log.splitlines():
        try:
            said = json.loads(line[line.index("{") :])
        except ValueError:
            continue
        if isinstance(said, dict) and isinstance(said.get("quarantined"), int):
            return int(said["quarantined"])
    return 0


def release(sqs: Any, queue_url: str, kept: Sequence[Held]) -> None:
    """Let others see the messages again that stay in the queue."""
    for first in range(0, len(kept), _PER_REQUEST):
        sqs.change_message_visibility_batch(
            QueueUrl=queue_url,
            Entries=[
                {"Id": str(i), "ReceiptHandle": held.receipt, "VisibilityTimeout": 0}
                for i, held in enumerate(kept[first : first + _PER_REQUEST])
            ],
        )
