"""The few calls of DynamoDB that the table of pending hours makes, on a dictionary.

For the truth test, where moto's ten milliseconds a call would be most of its time. That
PendingHours works on the real calls is tested on moto (tests/integration).
"""

import contextlib
import json
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _ConditionalCheckFailedError(Exception):
    pass


class _Exceptions:
    ConditionalCheckFailedException = _ConditionalCheckFailedError


class MemoryTable:
    """One table with the key `hour` and the index `byDue` (state, due)."""

    exceptions = _Exceptions

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}

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
        item["state"] = ExpressionAttributeValues[":state"]
        item["due"] = ExpressionAttributeValues[":due"]

    def delete_item(
        self, *, Key: Mapping[str, Any], ExpressionAttributeValues: Mapping[str, Any], **_: Any
    ) -> None:
        self._checked(Key, ExpressionAttributeValues)
        del self.items[Key["hour"]["S"]]

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


class _Handler(BaseHTTPRequestHandler):
    """DynamoDB's wire protocol, as far as it takes for these calls."""

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
def serve(table: MemoryTable) -> Iterator[str]:
    """Serve a table to other processes; gives the URL."""
    server: Any = _Server(("127.0.0.1", 0), _Handler)
    server.lock = threading.Lock()
    server.calls = {
        "BatchWriteItem": table.batch_write_item,
        "UpdateItem": table.update_item,
        "DeleteItem": table.delete_item,
        "Query": lambda **arguments: next(table.paginate(**arguments)),
    }
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
