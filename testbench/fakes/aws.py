"""The few calls of DynamoDB and SQS that the functions make, on a dictionary and a list.

For the truth test and the property tests, where moto's ten milliseconds a call, and a queue that
gets slower by every message, would be most of their time. That the real calls work is tested on
moto (tests/integration).
"""

import contextlib
import hashlib
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_ENTRIES = 10
_BYTES = 262_144


class _ConditionalCheckFailedError(Exception):
    pass


class _TooLargeError(Exception):
    pass


class _Exceptions:
    ConditionalCheckFailedException = _ConditionalCheckFailedError


class MemoryTable:
    """One table with the key `hour` and the index `byDue` (state, due)."""

    exceptions = _Exceptions

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}

    @property
    def calls(self) -> dict[str, Callable[..., Any]]:
        """What it can be asked over the wire, by the operation's name."""
        return {
            "BatchWriteItem": self.batch_write_item,
            "UpdateItem": self.update_item,
            "DeleteItem": self.delete_item,
            "Query": lambda **arguments: next(self.paginate(**arguments)),
        }

    def batch_write_item(self, *, RequestItems: Mapping[str, Any]) -> dict[str, Any]:
        for requests in RequestItems.values():
            for request in requests:
                item = request["PutRequest"]["Item"]
                self.items[item["hour"]["S"]] = dict(item)
        return {"UnprocessedItems": {}}

    def update_item(
        self, *, Key: Mapping[str, Any], ExpressionAttributeValues: Mapping[str, Any], **_: Any
    ) -> None:
        item = self._checked(Key, ExpressionAttributeValues)
        for name in ("state", "due", "closed"):
            item[name] = ExpressionAttributeValues[f":{name}"]

    def delete_item(
        self, *, Key: Mapping[str, Any], ExpressionAttributeValues: Mapping[str, Any], **_: Any
    ) -> None:
        self._checked(Key, ExpressionAttributeValues)
        del self.items[Key["hour"]["S"]]

    def scan(self, *, TableName: str) -> dict[str, Any]:
        return {"Items": [dict(item) for item in self.items.values()]}

    def get_paginator(self, _: str) -> "MemoryTable":
        return self

    def paginate(
        self, *, ExpressionAttributeValues: Mapping[str, Any], **_: Any
    ) -> Iterator[dict[str, Any]]:
        state, before = (ExpressionAttributeValues[name] for name in (":state", ":before"))
        found = [
            dict(item)
            for item in self.items.values()
            if item["state"] == state and int(item["due"]["N"]) <= int(before["N"])
        ]
        yield {"Items": sorted(found, key=lambda item: int(item["due"]["N"]))}

    def _checked(self, key: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
        item = self.items.get(key["hour"]["S"])
        if item is None or item["token"] != values[":token"]:
            raise _ConditionalCheckFailedError
        return item


class MemoryQueue:
    """One queue, to which messages are only sent."""

    def __init__(self) -> None:
        self.bodies: list[str] = []

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
        status = 200
        try:
            with server.lock:
                answer = server.calls[call](**json.loads(body))
        except _ConditionalCheckFailedError:
            status = 400
            kind = "com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException"
            answer = {"__type": kind, "message": "The conditional request failed"}
        except _TooLargeError:
            status = 400
            kind = "com.amazonaws.sqs#BatchRequestTooLong"
            answer = {"__type": kind, "message": "The length of all the messages is too great"}
        content = json.dumps(answer or {}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/x-amz-json-1.0")
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
def serve(table: MemoryTable, queue: MemoryQueue) -> Iterator[str]:
    """Serve a table and a queue to other processes; gives the URL of both services."""
    server: Any = _Server(("127.0.0.1", 0), _Handler)
    server.lock = threading.Lock()
    server.calls = table.calls | {"SendMessageBatch": queue.send_message_batch}
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
