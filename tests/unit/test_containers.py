"""`make invoke`, without Docker."""

import http.client
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from aggregated_metrics.core.findings import Findings

from testbench.emulated.containers import read, verdict
from testbench.emulated.events import BACKFILL, EVENTS, FOLDER, FUNCTIONS, is_good
from testbench.emulated.relay import relay
from testbench.templates import template

ANSWERED = """START RequestId: 1 Version: $LATEST
{"level": "INFO", "requestId": "1", "records": 3, "quarantined": 0, "written": 8}
REPORT RequestId: 1\tInit Duration: 0.09 ms\tDuration: 1927.33 ms\tBilled Duration: 1928 ms
"""


def test_every_test_event_is_invoked() -> None:
    invoked = {event.path for event in EVENTS}
    assert {*FOLDER.rglob("*.json")} == invoked | {BACKFILL}
    assert len(invoked) == len(EVENTS)


@pytest.mark.parametrize("function", FUNCTIONS.values())
def test_an_event_is_of_a_function_of_the_template(function: str) -> None:
    assert template("template.yaml")["Resources"][function]["Type"] == "AWS::Serverless::Function"


@pytest.mark.parametrize("function", FUNCTIONS.values())
def test_an_error_is_no_good_answer(function: str) -> None:
    assert not is_good(function, {"errorType": "ApiError", "errorMessage": "", "stackTrace": []})


@pytest.mark.parametrize(("failed", "good"), [(0, True), (1, False)])
def test_a_sweep_with_a_failed_hour_is_no_good_answer(failed: int, *, good: bool) -> None:
    report = {"due": 2, "swept": 2 - failed, "failedHours": failed}
    assert is_good("BucketSweeperFunction", report) is good


def test_a_check_with_an_account_that_failed_is_no_good_answer() -> None:
    findings = Findings()
    assert is_good("ReconcilerFunction", findings.as_result())
    findings.failed.append("acme Item: no answer")
    assert not is_good("ReconcilerFunction", findings.as_result())


def test_what_was_logged_and_how_long_it_took_is_read() -> None:
    invoked = read('{"state": {}}', ANSWERED)
    assert invoked.answer == {"state": {}}
    assert (invoked.text, invoked.milliseconds) == ("records 3, written 8", 1927.33)


def test_an_error_that_a_function_raised_is_read() -> None:
    invoked = read('{"errorMessage": "no", "errorType": "EventError"}', ANSWERED)
    assert invoked.text == "EventError: no"


def test_where_there_was_no_container_its_reason_is_read() -> None:
    invoked = read("", "Invoking app.lambda_handler\nError: Docker is not running\n")
    assert invoked.text == "sam local invoke: Error: Docker is not running"
    assert invoked.milliseconds is None


@pytest.mark.parametrize(
    ("events", "failed", "says"),
    [
        (1, [], "✓ 1 event answered as they should be"),
        (14, [], "✓ 14 events answered as they should be"),
        (14, ["bucket_sweeper/sweep"], "✗ 1 of 14 failed: bucket_sweeper/sweep"),
        (2, ["a", "b"], "✗ 2 of 2 failed: a, b"),
    ],
)
def test_the_last_line_names_what_failed(events: int, failed: list[str], says: str) -> None:
    assert verdict(events, failed) == says


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
