"""`make invoke`, without Docker."""

import http.client
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from aggregated_metrics.jobs.sweeper import SweepResult

from testbench.emulated.containers import numbered, read
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


@pytest.mark.parametrize(("errors", "good"), [([], True), ([ValueError("odd")], False)])
def test_a_sweep_with_a_failed_hour_is_no_good_answer(
    errors: list[Exception], *, good: bool
) -> None:
    assert is_good("BucketSweeperFunction", SweepResult(errors=errors).as_report()) is good


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


def test_one_event_is_one() -> None:
    assert [numbered(1), numbered(17)] == ["1 event,", "17 events, all"]


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
