"""The functions as Lambda invokes them, and a process of its own that stands for AWS around them.

The functions run in this process, wired by their environment. The other process has the Fake API,
DynamoDB's pending hours and a source table; its CPU time is not the functions'. POST /graphql
answers as the Fake does, after the delay that the process was started with; POST / speaks
DynamoDB's JSON protocol on a dictionary; POST /put stores rows past all checks, POST /reset forgets
everything, POST /source says how many rows the source tables have, which are made on the fly.
`python -m benchmarks.serving --delay SECONDS` is that process.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import logging
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
from aggregated_metrics import wiring
from aggregated_metrics.adapters import observability
from requests.adapters import HTTPAdapter

from benchmarks import workloads
from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.dynamodb import MemoryTable
from testbench.fakes.signatures import Request

ROOT = Path(__file__).parents[1]
PAGE = 1000


class State:
    """What the process holds."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.reset()

    def reset(self) -> None:
        self.api = FakeAppSync()
        self.table = MemoryTable()
        self.source = 0
        self.pages: dict[str, str] = {}

    def graphql(self, request: Request) -> bytes:
        if self.delay:
            time.sleep(self.delay)
        if self.source and request.body.startswith(b'{"query":"query Count'):
            return self._source_page(json.loads(request.body))
        return self.api.answer(request).body

    def dynamodb(self, target: str, body: dict[str, Any]) -> Any:
        return self.table.calls[target](**body) or {}

    def _source_page(self, asked: dict[str, Any]) -> bytes:
        """Pages of the rows of one hour: the same thousand, again and again."""
        model = "Item" if "CountItem" in asked["query"] else "ScoreResult"
        number = int(asked["variables"].get("token") or 0)
        rows = min(PAGE, self.source - number)
        key = f"{model}{rows}"
        if key not in self.pages:
            self.pages[key] = json.dumps([_source_row(model, n) for n in range(rows)])
        after = number + rows
        token = json.dumps(str(after) if after < self.source else None)
        return f'{{"data":{{"page":{{"items":{self.pages[key]},"nextToken":{token}}}}}}}'.encode()


def _source_row(model: str, number: int) -> dict[str, Any]:
    row = workloads.MAKERS[model](number, minutes=60)
    if "cost" in row:
        row["cost"] = json.dumps(row["cost"])  # as the API gives AWSJSON
    names = ("id", "createdAt", "updatedAt", "createdByType", "type", "value", "code", "cost")
    return {name: row[name] for name in names if name in row}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    state: State

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        answer = self._answer(body)
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        self.wfile.flush()

    def _answer(self, body: bytes) -> bytes:
        state = self.state
        match self.path:
            case "/graphql":
                return state.graphql(Request.of("http://localhost/graphql", {}, body))
            case "/put":
                state.api.put("AggregatedMetrics", *json.loads(body))
            case "/mark":
                for item in json.loads(body):
                    state.table.items[item["hour"]["S"]] = item
            case "/reset":
                state.reset()
            case "/source":
                state.source = json.loads(body)
            case "/rows":
                return json.dumps(state.api.rows("AggregatedMetrics")).encode()
            case _:
                target = self.headers["x-amz-target"].rpartition(".")[2]
                return json.dumps(state.dynamodb(target, json.loads(body))).encode()
        return b"{}"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class Server:
    """The process, as the benchmark sees it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def post(self, path: str, document: Any = None) -> Any:
        request = urllib.request.Request(f"{self.url}{path}", json.dumps(document).encode())
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read())

    def environment(self) -> dict[str, str]:
        """What the functions need to reach it."""
        return {
            "GRAPHQL_ENDPOINT": f"{self.url}/graphql",
            "AWS_ENDPOINT_URL_DYNAMODB": self.url,
            "PENDING_HOURS_TABLE": "pending-hours",
            "QUARANTINE_QUEUE_URL": f"{self.url}/queue",
            "GRACE_SECONDS": "120",
            "SETTLE_SECONDS": "60",
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "made-up-for-benchmarks",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "POWERTOOLS_SERVICE_NAME": "benchmark",
        }


def search_path() -> str:
    return os.pathsep.join((str(ROOT), str(ROOT / "layers" / "aggregated_metrics")))


@contextlib.contextmanager
def serving(delay: float = 0.0) -> Iterator[Server]:
    """The process, until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.serving", "--delay", str(delay)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": search_path()},
    )
    assert process.stdout is not None
    try:
        yield Server(process.stdout.readline().strip())
    finally:
        process.terminate()
        process.wait()


@dataclass
class Context:
    """A Lambda context with so many seconds."""

    seconds: float = 900.0
    aws_request_id: str = "benchmark"
    began: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self) -> int:
        return int((self.seconds - (time.monotonic() - self.began)) * 1000)


@dataclass
class Traffic:
    """What went to the API."""

    requests: int = 0
    sent: int = 0
    received: int = 0
    writes: int = 0


class _Counting(HTTPAdapter):
    """Counts what goes through another adapter."""

    def __init__(self, inner: HTTPAdapter, traffic: Traffic) -> None:
        super().__init__()
        self._inner = inner
        self._traffic = traffic

    def send(self, request: Any, *args: Any, **named: Any) -> requests.Response:
        answer = self._inner.send(request, *args, **named)
        self._traffic.requests += 1
        self._traffic.sent += len(request.body)
        self._traffic.received += len(answer.content)
        self._traffic.writes += request.body.count(b"eAggregatedMetrics(input")
        return answer


class Functions:
    """The three handlers in one process that is as warm as the last invocation left it."""

    def invoke(self, name: str, event: Any) -> dict[str, Any]:
        """Invoke a function; what it logs is dropped."""
        with contextlib.redirect_stdout(io.StringIO()):
            result: dict[str, Any] = _handler(name)(event, Context())
        return result

    @contextlib.contextmanager
    def counted(self) -> Iterator[Traffic]:
        """What goes to the API within the block."""
        session = wiring.process().session
        traffic, inner = Traffic(), session.get_adapter("http://localhost")
        assert isinstance(inner, HTTPAdapter)
        session.mount("http://", _Counting(inner, traffic))
        try:
            yield traffic
        finally:
            session.mount("http://", inner)


_HANDLERS: dict[str, Callable[[Any, Any], dict[str, Any]]] = {}


def _handler(name: str) -> Callable[[Any, Any], dict[str, Any]]:
    if name not in _HANDLERS:
        path = ROOT / "functions" / name / "app.py"
        spec = importlib.util.spec_from_file_location(f"functions_{name}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        _HANDLERS[name] = module.lambda_handler
    return _HANDLERS[name]


@contextlib.contextmanager
def functions(server: Server, **settings: str) -> Iterator[Functions]:
    """The functions in an environment that points at a server, with further settings."""
    before = dict(os.environ)
    os.environ.update(server.environment() | settings)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        os.environ.pop(name, None)
    wiring.process.cache_clear()
    handler = observability.logger.registered_handler
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(io.StringIO())
    try:
        yield Functions()
    finally:
        wiring.process().session.close()
        wiring.process.cache_clear()
        os.environ.clear()
        os.environ.update(before)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--delay", type=float, default=0.0)
    _Handler.state = State(parser.parse_args().delay)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
