"""`make invoke`, without Docker."""

import http.client
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from aggregated_metrics.core.findings import Findings

from testbench.emulated.containers import EVENTS, NAMES, answer, is_good, relay

LINE = '{"level": "INFO", "requestId": "1", "records": 3}'


def test_every_test_event_is_invoked() -> None:
    invoked = {EVENTS / f"{name}.json" for name in NAMES}
    assert {*EVENTS.rglob("*.json")} == invoked | {EVENTS / "backfill.json"}


@pytest.mark.parametrize(
    ("given", "good"),
    [
        ({"state": {}}, True),
        ({"due": 2, "swept": 2, "failedHours": 0}, True),
        ({"due": 2, "swept": 1, "failedHours": 1}, False),
        (Findings().as_result(), True),
        (Findings(failed=["acme Item: no answer"]).as_result(), False),
        ({"errorType": "ApiError", "errorMessage": "", "stackTrace": []}, False),
    ],
)
def test_an_error_or_something_that_failed_is_no_good_answer(
    given: dict[str, Any], *, good: bool
) -> None:
    assert is_good(given) is good


def test_the_last_document_is_the_answer_otherwise_the_last_line_the_reason() -> None:
    assert answer(f'{LINE}\n{{"state": {{}}}}', "") == {"state": {}}
    assert answer('{"errorType": "EventError"}\n', LINE) == {"errorType": "EventError"}
    reason = "Error: Docker is not running"
    failed = {"errorType": "sam local invoke", "errorMessage": reason}
    assert answer("", f"Invoking app.lambda_handler\n{reason}\n") == failed


@pytest.mark.skipif(sys.platform != "linux", reason="only there all of 127/8 is the loopback")
def test_a_relay_passes_requests_on_with_the_host_that_was_signed() -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f"{self.headers['Host']} {len(body)}".encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_port
        threading.Thread(target=server.handle_request, daemon=True).start()
        with relay("127.0.0.2", port):
            connection = http.client.HTTPConnection("127.0.0.2", port, timeout=10)
            connection.request("POST", "/", b"x" * 200_000)
            assert connection.getresponse().read() == f"127.0.0.2:{port} 200000".encode()
            connection.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=1).close()
