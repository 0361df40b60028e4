"""Records that cannot be counted, kept whole with the reason, in a queue.

A message's body is JSON: `reason`, `table`, `at` (when it was refused), `eventID`, `truncated` and
`record`. A record too large for a message keeps the attributes that counting reads; the row itself
is in its table, and redriving reads it there.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from aggregated_metrics.core.changes import Reject
from aggregated_metrics.core.errors import QuarantineError
from aggregated_metrics.core.record_types import MODELS

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

MESSAGE_BYTES = 256_000
"""What SQS takes in one request, and so in one message, in every region."""
_MESSAGES_PER_REQUEST = 10
_REASON_CHARACTERS = 500
_KEPT = frozenset({"id"}.union(*(model.attributes for model in MODELS.values())))
_KEPT_BYTES = MESSAGE_BYTES // (4 * len(_KEPT))
"""Of one attribute: two images of them must leave half a message for the rest."""


class Quarantine:
    """The quarantine queue.

    Args:
        client: boto3's SQS client.
        queue_url: where to send; empty only if nothing is ever refused.
        clock: the time now, aware.
    """

    def __init__(
        self, client: "SQSClient", queue_url: str, *, clock: Callable[[], datetime]
    ) -> None:
        self._client = client
        self._queue_url = queue_url
        self._clock = clock

    def send(self, rejects: Sequence[Reject]) -> int:
        """Send every record, at least once each; return how many.

        Raises:
            QuarantineError: a record was not taken; the batch must come again.
        """
        at = self._clock().astimezone(UTC).isoformat(timespec="milliseconds")
        for part in _parts([message(reject, at) for reject in rejects]):
            self._send(part)
        return len(rejects)

    def _send(self, bodies: Sequence[str]) -> None:
        entries: Any = [{"Id": str(i), "MessageBody": body} for i, body in enumerate(bodies)]
        try:
            answer = self._client.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
        except (BotoCoreError, ClientError) as error:
            raise QuarantineError(
                f"the quarantine queue did not answer ({error}); "
                "check QUARANTINE_QUEUE_URL and the role; the batch comes again"
            ) from error
        if failed := answer.get("Failed"):
            raise QuarantineError(
                f"the quarantine queue refused {len(failed)} records "
                f"({failed[0].get('Message') or failed[0]['Code']}); the batch comes again"
            )


def message(reject: Reject, at: str) -> str:
    """The body of the message that keeps a record."""
    body = {
        "reason": reject.reason[:_REASON_CHARACTERS],
        "table": _table(reject.record),
        "at": at,
        "eventID": reject.record.get("eventID"),
        "truncated": False,
        "record": reject.record,
    }
    text = json.dumps(body, default=str)
    if len(text) <= MESSAGE_BYTES:
        return text
    return json.dumps(body | {"truncated": True, "record": _slim(reject.record)}, default=str)


def _table(record: Mapping[str, Any]) -> str | None:
    parts = str(record.get("eventSourceARN") or "").split("/")
    return parts[1] if len(parts) > 1 else None


def _slim(record: Mapping[str, Any]) -> dict[str, Any]:
    change = dict(record.get("dynamodb") or {})
    for name in ("OldImage", "NewImage"):
        if isinstance(change.get(name), Mapping):
            change[name] = {
                attribute: value
                for attribute, value in change[name].items()
                if attribute in _KEPT and len(json.dumps(value, default=str)) < _KEPT_BYTES
            }
    return {**record, "dynamodb": change}


def _parts(bodies: Sequence[str]) -> Iterator[list[str]]:
    """At most ten messages and at most the allowed bytes a request."""
    part: list[str] = []
    for body in bodies:
        if part and (
            len(part) == _MESSAGES_PER_REQUEST or sum(map(len, part)) + len(body) > MESSAGE_BYTES
        ):
            yield part
            part = []
        part.append(body)
    if part:
        yield part
