"""The calls of SQS that the functions make, on a list; and both services over HTTP.

For the truth test and the property tests: moto's queue gets slower by every message. That the real
calls work is tested on moto (tests/integration).
"""

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from botocore import xform_name
from botocore.exceptions import ClientError

from testbench.fakes.dynamodb import ConditionalCheckFailedError, MemoryTable
from testbench.fakes.endpoint import Answer
from testbench.fakes.scans import FakeBucket, FakeTables
from testbench.fakes.serving import Asked, Server, serving

_ENTRIES = 10
_BYTES = 262_144


class _TooLargeError(Exception):
    pass


class MemoryQueue:
    """One queue; `bodies` are all that were ever sent."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self._gone: set[int] = set()
        self._hidden: set[int] = set()

    def receive_message(self, *, MaxNumberOfMessages: int = 1, **_: Any) -> dict[str, Any]:
        """The oldest messages that were not received yet; then none once, and all again."""
        there = [i for i in range(len(self.bodies)) if i not in self._gone | self._hidden]
        taken = there[:MaxNumberOfMessages]
        self._hidden = {*self._hidden, *taken} if taken else set()
        messages = [
            {"MessageId": str(i), "ReceiptHandle": str(i), "Body": self.bodies[i]} for i in taken
        ]
        return {"Messages": messages} if messages else {}

    def delete_message(self, *, ReceiptHandle: str, **_: Any) -> None:
        self._gone.add(int(ReceiptHandle))

    def delete_message_batch(self, *, Entries: Sequence[Mapping[str, Any]], **_: Any) -> Any:
        for entry in Entries:
            self.delete_message(ReceiptHandle=entry["ReceiptHandle"])
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries], "Failed": []}

    def change_message_visibility_batch(
        self, *, Entries: Sequence[Mapping[str, Any]], **_: Any
    ) -> Any:
        self._hidden -= {int(entry["ReceiptHandle"]) for entry in Entries}
        return {"Successful": [{"Id": entry["Id"]} for entry in Entries], "Failed": []}

    def send_message(self, body: str) -> None:
        """A message of another service's."""
        self.bodies.append(body)

    def send_message_batch(self, *, Entries: Sequence[Mapping[str, Any]], **_: Any) -> Any:
        if len(Entries) > _ENTRIES or sum(len(entry["MessageBody"]) for entry in Entries) > _BYTES:
            raise _TooLargeError
        self.bodies += [entry["MessageBody"] for entry in Entries]
        return {
            "Successful": [
                {"Id": entry["Id"], "MessageId": entry["Id"], "MD5OfMessageBody": _md5(entry)}
                for entry in Entries
            ],
            "Failed": [],
        }


class Queues:
    """SQS's client for several queues, by their URLs."""

    def __init__(self, queues: Mapping[str, MemoryQueue]) -> None:
        self._queues = queues

    def __getattr__(self, call: str) -> Callable[..., Any]:
        return lambda *, QueueUrl, **asked: getattr(self._queues[QueueUrl], call)(**asked)


class FakeMappings:
    """Lambda's client, as far as it describes the stream function's mappings.

    Attributes:
        mappings: stream (`table/label`) to state, last result and when it was modified.
        throttled: whether the function may not run.
    """

    def __init__(self) -> None:
        self.mappings: dict[str, tuple[str, str, datetime]] = {}
        self.throttled = False

    def enable(self, streams: Iterable[str], modified: datetime) -> None:
        """Make an enabled mapping for each stream."""
        self.mappings |= dict.fromkeys(streams, ("Enabled", "OK", modified))

    def get_function_concurrency(self, *, FunctionName: str) -> dict[str, Any]:
        return {"ReservedConcurrentExecutions": 0} if self.throttled else {}

    def get_paginator(self, _: str) -> "FakeMappings":
        return self

    def answer(self, path: str) -> dict[str, Any]:
        """What Lambda answers over the wire."""
        if path.endswith("/concurrency"):
            return self.get_function_concurrency(FunctionName="")
        (page,) = self.paginate(FunctionName="")
        return {
            "EventSourceMappings": [
                each | {"LastModified": each["LastModified"].timestamp()}
                for each in page["EventSourceMappings"]
            ]
        }

    def paginate(self, *, FunctionName: str) -> Iterator[dict[str, Any]]:
        yield {
            "EventSourceMappings": [
                {
                    "EventSourceArn": _arn(stream),
                    "State": state,
                    "LastProcessingResult": result,
                    "LastModified": modified,
                }
                for stream, (state, result, modified) in self.mappings.items()
            ]
        }


def _arn(stream: str) -> str:
    table, label = stream.split("/")
    return f"arn:aws:dynamodb:us-east-1:123456789012:table/{table}/stream/{label}"


def _md5(entry: Mapping[str, Any]) -> str:
    return hashlib.md5(entry["MessageBody"].encode(), usedforsecurity=False).hexdigest()


class _Services:
    """AWS's protocols, as far as it takes for these calls."""

    def __init__(
        self,
        table: MemoryTable,
        queues: Mapping[str, MemoryQueue],
        tables: FakeTables,
        bucket: FakeBucket,
        mappings: FakeMappings,
    ) -> None:
        self._table, self._tables, self._queues = table, tables, queues
        self._bucket, self._mappings = bucket, mappings
        self._lock = threading.Lock()

    def answer(self, asked: Asked) -> Answer:
        with self._lock:
            if asked.method == "POST":
                return self._json(asked)
            if asked.method == "PUT":
                none = asked.headers.get("if-none-match", "")
                return self._s3("put_object", asked, Body=asked.body, IfNoneMatch=none)
            if "/event-source-mappings" in asked.target or asked.target.endswith("/concurrency"):
                return Answer(200, json.dumps(self._mappings.answer(asked.target)).encode())
            prefix = parse_qs(urlsplit(asked.target).query).get("prefix")
            if prefix is None:
                return self._s3("get_object", asked, Range=asked.headers.get("range", ""))
            return self._listed(prefix[0])

    def _json(self, asked: Asked) -> Answer:
        given = json.loads(asked.body)
        queue = given.pop("QueueUrl", "").rpartition("/")[2]
        name = xform_name(asked.headers["x-amz-target"].rpartition(".")[2])
        table = self._tables if name in ("scan", "describe_table") else self._table
        try:
            found = getattr(self._queues[queue] if queue else table, name)(**given)
        except ConditionalCheckFailedError:
            kind = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"
            return _refused(kind, "The conditional request failed")
        except _TooLargeError:
            kind = "com.amazonaws.sqs#BatchRequestTooLong"
            return _refused(kind, "The length of all the messages is too great")
        return Answer(200, json.dumps(found or {}).encode())

    def _listed(self, prefix: str) -> Answer:
        pages = self._bucket.paginate(Bucket="", Prefix=prefix)
        keys = [escape(found["Key"]) for page in pages for found in page["Contents"]]
        listed = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys)
        return Answer(200, f"<ListBucketResult>{listed}</ListBucketResult>".encode())

    def _s3(self, call: str, asked: Asked, **more: Any) -> Answer:
        bucket, _, key = unquote(urlsplit(asked.target).path).lstrip("/").partition("/")
        try:
            found = getattr(self._bucket, call)(Bucket=bucket, Key=key, **more)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            status = {"PreconditionFailed": 412}.get(code, 404)
            return Answer(status, f"<Error><Code>{code}</Code></Error>".encode())
        return Answer(200, found["Body"].read() if found else b"")


def _refused(kind: str, message: str) -> Answer:
    return Answer(400, json.dumps({"__type": kind, "message": message}).encode())


@contextlib.contextmanager
def serve(
    table: MemoryTable,
    queues: Mapping[str, MemoryQueue],
    tables: FakeTables,
    bucket: FakeBucket,
    mappings: FakeMappings,
) -> Iterator[str]:
    """Serve these to other processes; gives the URL of all services.

    A queue's URL is that one and `/123456789012/` and its name.
    """
    services = _Services(table, queues, tables, bucket, mappings)
    with serving(Server(services.answer)) as server:
        yield server.url
