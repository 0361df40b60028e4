"""Two queues: records that cannot be counted, and notes of batches that aged out.

A message of quarantine is JSON: `reason`, `at` (when it was refused), `truncated` and `record`,
the whole stream record. One that is too large for a message keeps only the attributes that counting
reads. A note is EventBridge's event about the S3 object with the batch.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
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

type Message = tuple[str, str]
"""A message's body and its receipt."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of SQS. Every method raises ServiceError if it refuses or is silent.

    `connect` gives boto3's client when it is first needed: most invocations need none. `setting` is
    the variable that names the queue.
    """

    connect: "Callable[[], SQSClient]"
    url: str
    setting: str

    def send(self, bodies: Sequence[str]) -> None:
        """Send every message, at least once each."""
        for part in batched(bodies, _PER_REQUEST, strict=False):
            fits = sum(map(len, part)) <= MESSAGE_BYTES
            for each in [part] if fits else batched(part, 1, strict=True):
                entries = [{"Id": str(i), "MessageBody": body} for i, body in enumerate(each)]
                self._ask("send_message_batch", Entries=entries)

    def receive(self, limit: int) -> list[Message]:
        """At most `limit` messages, hidden from others for 16 minutes or until released."""
        found: list[Message] = []
        while len(found) < limit:
            answer = self._ask(
                "receive_message",
                MaxNumberOfMessages=min(_PER_REQUEST, limit - len(found)),
                VisibilityTimeout=_HIDDEN_SECONDS,
                WaitTimeSeconds=_WAIT_SECONDS,
            )
            if not answer.get("Messages"):
                break
            found += [(each["Body"], each["ReceiptHandle"]) for each in answer["Messages"]]
        return found

    def delete(self, messages: Sequence[Message]) -> None:
        """Delete messages whose hours have entries."""
        self._ask_of_each("delete_message_batch", messages)

    def release(self, messages: Sequence[Message]) -> None:
        """Let other receivers see messages again."""
        self._ask_of_each("change_message_visibility_batch", messages, VisibilityTimeout=0)

    def _ask_of_each(self, operation: str, messages: Sequence[Message], **more: int) -> None:
        for part in batched(messages, _PER_REQUEST, strict=False):
            entries = [
                {"Id": str(i), "ReceiptHandle": receipt, **more}
                for i, (_, receipt) in enumerate(part)
            ]
            self._ask(operation, Entries=entries)

    def _ask(self, operation: str, **arguments: Any) -> Mapping[str, Any]:
        try:
            call = getattr(self.connect(), operation)
            answer: Mapping[str, Any] = call(QueueUrl=self.url, **arguments)
        except (BotoCoreError, ClientError) as error:
            raise ServiceError(
                f"the queue did not answer ({error}): check {self.setting} and the role"
            ) from error
        if failed := answer.get("Failed"):
            why = failed[0].get("Message") or failed[0]["Code"]
            raise ServiceError(f"the queue refused {len(failed)} messages ({why}): {self.setting}")
        return answer


def send_rejects(
    queue: Queue, rejects: Sequence[Reject], now: datetime, kept: Collection[str]
) -> int:
    """Send records to the quarantine queue; return how many. On an error retry the batch.

    `kept` are the attributes that a record too large for a message keeps.
    """
    at = now.astimezone(UTC).isoformat(timespec="milliseconds")
    queue.send([_message(reject, at, kept) for reject in rejects])
    return len(rejects)


def _message(reject: Reject, at: str, kept: Collection[str]) -> str:
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


def record_of(body: str) -> Mapping[str, Any] | None:
    """The record of a message of quarantine; None if it has none."""
    try:
        record = json.loads(body)["record"]
    except (LookupError, TypeError, ValueError):
        return None
    return record if isinstance(record, Mapping) else None


def failed_batch(objects: "S3Client", note: str) -> Any:
    """The event that the stream function was invoked with, by the note of its batch."""
    try:
        place = json.loads(note)["detail"]
        bucket, key = place["bucket"]["name"], place["object"]["key"]
        kept = json.loads(objects.get_object(Bucket=bucket, Key=key)["Body"].read())
        payload = kept["payload"]
        return json.loads(payload) if isinstance(payload, str) else payload
    except (BotoCoreError, ClientError, ValueError, KeyError, TypeError) as error:
        raise ServiceError(
            f"a failed batch cannot be read ({error!r}); its note: {note[:500]}"
        ) from error
