"""The calls of SQS that the functions make, on a list; and both services over HTTP.

For the truth test and the property tests: moto's queue gets slower by every message. That the real
calls work is tested on moto (tests/integration).
"""

import contextlib
import hashlib
import json
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from botocore.exceptions import ClientError

from testbench.fakes.dynamodb import ConditionalCheckFailedError, MemoryTable
from testbench.fakes.scans import FakeBucket, FakeTables

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

    @property
    def calls(self) -> dict[str, Callable[..., Any]]:
        """What it can be asked over the wire, by the operation's name."""
        return {
            "SendMessageBatch": self.send_message_batch,
            "ReceiveMessage": self.receive_message,
            "DeleteMessage": self.delete_message,
            "DeleteMessageBatch": self.delete_message_batch,
            "ChangeMessageVisibilityBatch": self.change_message_visibility_batch,
        }

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


class _Handler(BaseHTTPRequestHandler):
    """AWS's JSON protocol, as far as it takes for these calls."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        if len(body) < length:  # the client died while it was sending
            self.close_connection = True
            return
        server: Any = self.server
        call = self.headers["x-amz-target"].rpartition(".")[2]
        asked = json.loads(body)
        queue = asked.pop("QueueUrl", "").rpartition("/")[2]
        status = 200
        try:
            with server.lock:
                calls = server.queues[queue].calls if queue else server.calls
                answer = calls[call](**asked)
        except ConditionalCheckFailedError:
            status = 400
            kind = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"
            answer = {"__type": kind, "message": "The conditional request failed"}
        except _TooLargeError:
            status = 400
            kind = "com.amazonaws.sqs#BatchRequestTooLong"
            answer = {"__type": kind, "message": "The length of all the messages is too great"}
        content = json.dumps(answer or {}).encode()
        self._send(status, content)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self._s3("put_object", Body=body, IfNoneMatch=self.headers.get("if-none-match", ""))

    def do_GET(self) -> None:
        server: Any = self.server
        if "/event-source-mappings" in self.path or self.path.endswith("/concurrency"):
            with server.lock:
                self._send(200, json.dumps(server.mappings.answer(self.path)).encode())
            return
        prefix = parse_qs(urlsplit(self.path).query).get("prefix")
        if prefix is None:
            self._s3("get_object", Range=self.headers.get("range", ""))
            return
        with server.lock:
            pages = list(server.bucket.paginate(Bucket="", Prefix=prefix[0]))
        keys = [escape(found["Key"]) for page in pages for found in page["Contents"]]
        listed = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in keys)
        self._send(200, f"<ListBucketResult>{listed}</ListBucketResult>".encode())

    def _s3(self, call: str, **asked: Any) -> None:
        bucket, _, key = unquote(urlsplit(self.path).path).lstrip("/").partition("/")
        server: Any = self.server
        try:
            with server.lock:
                answer = getattr(server.bucket, call)(Bucket=bucket, Key=key, **asked) or {}
        except ClientError as error:
            code = error.response["Error"]["Code"]
            status = {"PreconditionFailed": 412}.get(code, 404)
            self._send(status, f"<Error><Code>{code}</Code></Error>".encode())
            return
        self._send(200, answer["Body"].read() if answer else b"")

    def _send(self, status: int, content: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that went away is no news: processes are killed here on purpose.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


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
    server: Any = _Server(("127.0.0.1", 0), _Handler)
    server.lock, server.bucket, server.mappings = threading.Lock(), bucket, mappings
    server.queues = queues
    server.calls = table.calls | {"Scan": tables.scan, "DescribeTable": tables.describe_table}
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
