"""redrive: sends records from quarantine again, after what kept them from counting was mended.

Each record becomes an event of its own without shardId, so it stands for its own shard and counts
once however often it is sent. Records are sent in their streams' order. A message is deleted only
when the invocation has succeeded and the record did not come back.
"""

import base64
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from aggregated_metrics.changes import fold
from aggregated_metrics.errors import AggregatedMetricsError, EventError

HIDDEN_SECONDS = 900
_PER_REQUEST = 10


class Held(NamedTuple):
    """One message of the quarantine queue, received."""

    message_id: str
    receipt: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of one message; `left` says why it is still in the queue, None when it is not."""

    held: Held
    left: str | None

    def as_json(self) -> dict[str, Any]:
        """For machines, and for the table."""
        body = self.held.body
        return {
            "eventID": body.get("eventID"),
            "table": body.get("table"),
            "at": body.get("at"),
            "reason": body.get("reason"),
            "redriven": self.left is None,
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
    record = record if isinstance(record, Mapping) else {}
    number = str((record.get("dynamodb") or {}).get("SequenceNumber", ""))
    return str(record.get("eventSourceARN")), int(number) if number.isdecimal() else 0


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
) -> list[Redriven]:
    """Send every message that can be counted now.

    Args:
        messages: in the order to send them in.
        invoke: hands an event to the stream function; gives back how many of its records went
            into quarantine again.
        delete: takes a message out of the queue.
        source_tables: the function's setting, to tell what would only come back.
    """
    return [_redrive(held, invoke, delete, source_tables) for held in messages]


def _redrive(
    held: Held,
    invoke: Callable[[dict[str, Any]], int],
    delete: Callable[[Held], None],
    source_tables: Mapping[str, str],
) -> Redriven:
    why = refusal(held.body, source_tables)
    if why is not None:
        return Redriven(held, why)
    try:
        if invoke(event_of(held.body)):
            return Redriven(held, "it came back into quarantine")
    except InvocationError as error:
        return Redriven(held, str(error))
    delete(held)
    return Redriven(held, None)


def refusal(body: Mapping[str, Any], source_tables: Mapping[str, str]) -> str | None:
    """Why a message's record would not be counted now; None if it would."""
    try:
        rejects = fold(event_of(body), source_tables).rejects
    except EventError as error:
        return str(error)
    return rejects[0].reason if rejects else None


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
