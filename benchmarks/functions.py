"""The functions as Lambda invokes them, in this process, wired by their environment."""

import contextlib
import importlib.util
import io
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from aggregated_metrics import wiring
from aggregated_metrics.adapters import observability
from requests.adapters import HTTPAdapter

from benchmarks.server import Server

ROOT = Path(__file__).parents[1]


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
    # Powertools types its handler as the base class, which has no stream.
    observability.logger.registered_handler.stream = io.StringIO()  # type: ignore[attr-defined]
    try:
        yield Functions()
    finally:
        wiring.process().session.close()
        wiring.process.cache_clear()
        os.environ.clear()
        os.environ.update(before)
