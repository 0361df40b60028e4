"""The batches that aged out uncounted: whole in a bucket, with a note of each in a queue."""

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from aggregated_metrics.core.errors import LostBatchError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

_INVISIBLE_SECONDS = 960
"""Longer than an invocation, so that nobody else takes the note meanwhile."""


class Note(NamedTuple):
    """What says that a batch was kept: EventBridge's event, and the receipt that ends the note."""

    body: str
    receipt: str


class LostBatches:
    """The queue of notes, and the bucket with what they are about.

    Args:
        queues: boto3's SQS client.
        objects: boto3's S3 client.
        queue_url: where the notes are.
    """

    def __init__(self, queues: "SQSClient", objects: "S3Client", queue_url: str) -> None:
        self._queues = queues
        self._objects = objects
        self._queue_url = queue_url

    def next(self) -> Note | None:
        """A note that nobody else has; None if there is none. It comes back if it is not ended.

        Raises:
            LostBatchError: the queue did not answer.
        """
        try:
            messages = self._queues.receive_message(
                QueueUrl=self._queue_url,
                MaxNumberOfMessages=1,
                VisibilityTimeout=_INVISIBLE_SECONDS,
                WaitTimeSeconds=2,  # a short look misses messages that are there
            ).get("Messages")
        except (BotoCoreError, ClientError) as error:
            raise LostBatchError(f"the queue of lost batches did not answer ({error})") from error
        return Note(messages[0]["Body"], messages[0]["ReceiptHandle"]) if messages else None

    def content(self, note: Note) -> Any:
        """The on-failure object itself.

        Raises:
            LostBatchError: the note names none, it is not there, or is no JSON.
        """
        try:
            place = json.loads(note.body)["detail"]
            bucket, key = place["bucket"]["name"], place["object"]["key"]
            return json.loads(self._objects.get_object(Bucket=bucket, Key=key)["Body"].read())
        except (BotoCoreError, ClientError, ValueError, KeyError, TypeError) as error:
            raise LostBatchError(
                f"a lost batch cannot be read ({error!r}); its note: {note.body[:500]}"
            ) from error

    def end(self, note: Note) -> None:
        """Take the note off the queue: its hours are right.

        Raises:
            LostBatchError: the queue did not answer.
        """
        try:
            self._queues.delete_message(QueueUrl=self._queue_url, ReceiptHandle=note.receipt)
        except (BotoCoreError, ClientError) as error:
            raise LostBatchError(
                f"a note cannot be deleted ({error}): {note.body[:500]}"
            ) from error
