"""`make invoke`, without Docker."""

import http.client
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from aggregated_metrics.core.findings import Findings

from testbench.emulated.containers import answer, command_of, relay, verdict
from testbench.emulated.events import BACKFILL, EVENTS, FOLDER, FUNCTIONS, Event, is_good
from testbench.templates import ROOT, template

LINE = '{"level": "INFO", "requestId": "1", "records": 3}'


def test_every_test_event_is_invoked() -> None:
    invoked = {event.path for event in EVENTS}
    assert {*FOLDER.rglob("*.json")} == invoked | {BACKFILL}
    assert len(invoked) == len(EVENTS)


@pytest.mark.parametrize("function", FUNCTIONS.values())
def test_an_event_is_of_a_function_of_the_template(function: str) -> None:
    assert template("template.yaml")["Resources"][function]["Type"] == "AWS::Serverless::Function"


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_sam_writes_the_templates_loops_out(event: Event) -> None:
    assert "Fn::ForEach" in (ROOT / "template.yaml").read_text()
    assert "--language-extensions" in command_of(event, ROOT, ROOT)


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


@pytest.mark.parametrize(
    ("stdout", "stderr", "expected"),
    [
        (f'{LINE}\n{{"state": {{}}}}', "", {"state": {}}),
        ('{"errorType": "EventError"}\n', LINE, {"errorType": "EventError"}),
        (
            "",
            "Invoking app.lambda_handler\nError: Docker is not running\n",
            {"errorType": "sam local invoke", "errorMessage": "Error: Docker is not running"},
        ),
    ],
)
def test_the_last_document_is_the_answer_otherwise_the_last_line_the_reason(
    stdout: str, stderr: str, expected: dict[str, Any]
) -> None:
    assert answer(stdout, stderr) == expected


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
