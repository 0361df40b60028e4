"""Two queues: records that cannot be counted, and notes of batches that aged out.

A message of quarantine is JSON: `reason`, `at` (when it was refused), `truncated` and `record`,
the whole stream record. One that is too large for a message keeps only the attributes that counting
reads.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import batched
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from aggregated_metrics.core.changes import Reject
from aggregated_metrics.core.errors import ServiceError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

MESSAGE_BYTES = 256_000
"""What SQS takes in one request, and therefore in one message, in every region."""
_PER_REQUEST = 10
_REASON_CHARACTERS = 500
_HIDDEN_SECONDS = 960
"""Longer than an invocation, therefore no other one receives the message meanwhile."""
_WAIT_SECONDS = 2
"""SQS asks all of its servers only if it may wait; otherwise an empty answer means nothing."""


type Message = tuple[Mapping[str, Any] | None, str]
"""The record of a message of quarantine, None if it has none, and the message's receipt."""


class Quarantine:
    """The quarantine queue. Every method raises ServiceError if the queue refuses or is silent.

    Args:
        client: boto3's SQS client.
        queue_url: the queue; empty only if nothing is ever refused.
        clock: the time now, aware.
        kept: the attributes that a record too large for a message keeps.
    """

    def __init__(
        self,
        client: "SQSClient",
        queue_url: str,
        *,
        clock: Callable[[], datetime],
        kept: Collection[str] = (),
    ) -> None:
        self._client = client
        self._ask = partial(_ask, "QUARANTINE_QUEUE_URL", QueueUrl=queue_url)
        self._clock = clock
        self._kept = kept

    def send(self, rejects: Sequence[Reject]) -> int:
        """Send every record, at least once each; return how many. On an error retry the batch."""
        at = self._clock().astimezone(UTC).isoformat(timespec="milliseconds")
        for part in _parts([message(reject, at, self._kept) for reject in rejects]):
            entries = [{"Id": str(i), "MessageBody": body} for i, body in enumerate(part)]
            self._ask(self._client.send_message_batch, Entries=entries)
        return len(rejects)

    def receive(self, limit: int) -> list[Message]:
        """At most `limit` messages, hidden from others for 16 minutes or until released."""
        found: list[Message] = []
        while len(found) < limit:
            answer = self._ask(self._client.receive_message, **_receiving(limit - len(found)))
            if not answer.get("Messages"):
                break
            found += [_read(each["Body"], each["ReceiptHandle"]) for each in answer["Messages"]]
        return found

    def delete(self, messages: Sequence[Message]) -> None:
        """Delete messages whose hours have entries."""
        for entries in _entries(messages):
            self._ask(self._client.delete_message_batch, Entries=entries)

    def release(self, messages: Sequence[Message]) -> None:
        """Let other receivers see messages again."""
        for entries in _entries(messages, VisibilityTimeout=0):
            self._ask(self._client.change_message_visibility_batch, Entries=entries)


type Note = tuple[str, str]
"""EventBridge's event about the S3 object of a failed batch, and the receipt of its message."""


class FailedBatches:
    """The queue of notes, and the bucket with the batches; raises ServiceError as Quarantine does.

    Args:
        queues: boto3's SQS client.
        objects: boto3's S3 client.
        queue_url: the queue of notes.
    """

    def __init__(self, queues: "SQSClient", objects: "S3Client", queue_url: str) -> None:
        self._queues = queues
        self._objects = objects
        self._ask = partial(_ask, "FAILED_BATCHES_QUEUE_URL", QueueUrl=queue_url)

    def next(self) -> Note | None:
        """A note, hidden from other receivers for 16 minutes; None if none is left."""
        found = self._ask(self._queues.receive_message, **_receiving(1)).get("Messages")
        return (found[0]["Body"], found[0]["ReceiptHandle"]) if found else None

    def content(self, note: Note) -> Any:
        """The event that the stream function was invoked with.

        Raises:
            ServiceError: the note names no object, it does not exist, or it is not JSON.
        """
        body, _ = note
        try:
            place = json.loads(body)["detail"]
            bucket, key = place["bucket"]["name"], place["object"]["key"]
            kept = json.loads(self._objects.get_object(Bucket=bucket, Key=key)["Body"].read())
            payload = kept["payload"]
            return json.loads(payload) if isinstance(payload, str) else payload
        except (BotoCoreError, ClientError, ValueError, KeyError, TypeError) as error:
            raise ServiceError(
                f"a failed batch cannot be read ({error!r}); its note: {body[:500]}"
            ) from error

    def end(self, note: Note) -> None:
        """Delete a note: the hours of its batch have entries."""
        self._ask(self._queues.delete_message, ReceiptHandle=note[1])


def message(reject: Reject, at: str, kept: Collection[str]) -> str:
    """The body of the message that keeps a record."""
    record, reason = reject
    body = {"reason": reason[:_REASON_CHARACTERS], "at": at, "truncated": False, "record": record}
    text = json.dumps(body, default=str)
    if len(text) <= MESSAGE_BYTES:
        return text
    slim = body | {"truncated": True, "record": _slim(record, kept)}
    return json.dumps(slim, default=str)


def _slim(record: Mapping[str, Any], kept: Collection[str]) -> dict[str, Any]:
    most = MESSAGE_BYTES // (4 * max(1, len(kept)))  # two images leave half a message for the rest
    change = dict(record.get("dynamodb") or {})
    for name in ("OldImage", "NewImage"):
        if isinstance(change.get(name), Mapping):
            change[name] = {
                attribute: value
                for attribute, value in change[name].items()
                if attribute in kept and len(json.dumps(value, default=str)) < most
            }
    return {**record, "dynamodb": change}


def _parts(bodies: Sequence[str]) -> Iterator[list[str]]:
    """At most ten messages and at most MESSAGE_BYTES a request."""
    part: list[str] = []
    for body in bodies:
        if part and (len(part) == _PER_REQUEST or sum(map(len, part)) + len(body) > MESSAGE_BYTES):
            yield part
            part = []
        part.append(body)
    if part:
        yield part


def _read(body: str, receipt: str) -> Message:
    try:
        content = json.loads(body)
    except ValueError:
        content = None
    record = content.get("record") if isinstance(content, Mapping) else None
    return record if isinstance(record, Mapping) else None, receipt


def _receiving(limit: int) -> dict[str, int]:
    return {
        "MaxNumberOfMessages": min(_PER_REQUEST, limit),
        "VisibilityTimeout": _HIDDEN_SECONDS,
        "WaitTimeSeconds": _WAIT_SECONDS,
    }


def _entries(messages: Sequence[Message], **more: Any) -> Iterator[list[dict[str, Any]]]:
    for part in batched(messages, _PER_REQUEST, strict=False):
        yield [
            {"Id": str(i), "ReceiptHandle": receipt, **more} for i, (_, receipt) in enumerate(part)
        ]


def _ask(setting: str, operation: Callable[..., Any], **arguments: Any) -> Mapping[str, Any]:
    """Carry out an operation on the queue that a setting names."""
    try:
        answer: Mapping[str, Any] = operation(**arguments) or {}
    except (BotoCoreError, ClientError) as error:
        raise ServiceError(
            f"the queue did not answer ({error}): check {setting} and the role"
        ) from error
    if failed := answer.get("Failed"):
        why = failed[0].get("Message") or failed[0]["Code"]
        raise ServiceError(f"the queue refused {len(failed)} messages ({why}): {setting}")
    return answer
