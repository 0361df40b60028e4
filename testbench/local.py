"""The functions' ports in memory, for runs within one process: no sockets, no threads, no waits."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import requests

from testbench.fakes import scans
from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.aws import FakeMappings, MemoryQueue, Queues
from testbench.fakes.scans import FakeBucket, FakeTables
from testbench.fakes.signatures import Request

LABEL = scans.LABEL
ENDPOINT = "https://metrics.example.com/graphql"
PENDING_HOURS = "pending-hours"
_QUEUES = "https://sqs.us-east-1.amazonaws.com/123456789012"
QUARANTINE, FAILED_BATCHES = f"{_QUEUES}/quarantine", f"{_QUEUES}/failed-batches"
KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "made-up"
ENVIRONMENT = {
    "GRAPHQL_ENDPOINT": ENDPOINT,
    "PENDING_HOURS_TABLE": PENDING_HOURS,
    "QUARANTINE_QUEUE_URL": QUARANTINE,
    "FAILED_BATCHES_QUEUE_URL": FAILED_BATCHES,
    "BACKFILL_BUCKET": "runs",
    "STREAM_FUNCTION": "stream-aggregator",
    "BATCHING_WINDOW_SECONDS": "10",
    "GRACE_SECONDS": "120",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": KEY,
    "AWS_SECRET_ACCESS_KEY": SECRET,
}


def stream_arns(models: Iterable[str]) -> str:
    """The setting that names a stream for each model; its table is named after the model."""
    return ",".join(f"{model}/{LABEL}" for model in models)


class Session:
    """As much of a requests session as the API's client uses.

    Args:
        answer: carries out a request.
    """

    def __init__(self, answer: Callable[[Request], Any]) -> None:
        self._answer = answer

    def post(self, url: str, *, data: bytes, headers: Mapping[str, str], **_: Any) -> Any:
        answer = self._answer(Request.of(url, headers, data))
        response = requests.Response()
        response.status_code, response._content = answer.status, answer.body
        return response


class LocalPorts:
    """One API, one pending-hours table, source tables, a bucket and a queue.

    Args:
        api: the API.
        rows: what the source tables hold; by default the API's rows.
        page: rows of a page when tables are scanned.
    """

    def __init__(
        self, api: FakeAppSync, *, rows: scans.Rows | None = None, page: int = 100
    ) -> None:
        self.api = api
        self.table = FakeTables(rows or api, page)
        self.bucket, self.queue, self.failed_batches = FakeBucket(), MemoryQueue(), MemoryQueue()
        self.mappings = FakeMappings()
        self.session = Session(api.answer)
        self._clients = {
            "dynamodb": self.table,
            "s3": self.bucket,
            "sqs": Queues({QUARANTINE: self.queue, FAILED_BATCHES: self.failed_batches}),
            "lambda": self.mappings,
        }

    def aws(self, service: str) -> Any:
        """The client for a service."""
        return self._clients[service]

    def keep_lost_batch(self, event: Mapping[str, Any]) -> None:
        """Keep a batch that has aged out, as Lambda does: whole in S3, and a note in a queue."""
        key = f"lost/{len(self.bucket.objects)}"
        body = json.dumps({"payload": json.dumps(event)}).encode()
        self.bucket.put_object(Bucket="lost", Key=key, Body=body)
        detail = {"detail": {"bucket": {"name": "lost"}, "object": {"key": key}}}
        self.failed_batches.send_message(json.dumps(detail))


def is_about_streams(request: Request) -> bool:
    """Whether a request is about the record that says how far the streams are applied."""
    return b'"_streams"' in request.body


def is_query(request: Request) -> bool:
    """Whether a request to the API changes nothing."""
    return str(json.loads(request.body)["query"]).startswith("query")
