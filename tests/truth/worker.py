"""One worker: a process of its own that runs the handlers as they are deployed.

It is told what to do through a pipe, and may be told to die at its n-th request, before it is sent
or after its answer has come: as a Lambda sandbox that vanishes would.
"""

import importlib.util
import io
import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial, partialmethod
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import urllib3.connectionpool

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

ROOT = Path(__file__).parents[2]
DEATH = 86


class Job(NamedTuple):
    """One invocation.

    `ahead` is how far the worker's clock is ahead of the real one; `die_at` the number of the
    request to die at, and whether after its answer.
    """

    function: str
    event: Mapping[str, Any]
    ahead: timedelta
    seconds: float
    die_at: tuple[int, bool] | None = None


class Context:
    """As much of Lambda's context as the handlers use."""

    aws_request_id = "truth"

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def get_remaining_time_in_millis(self) -> float:
        return max(0.0, self._end - time.monotonic()) * 1000


class _Mortality:
    """Counts the requests of an invocation, and ends the process at the one that was named."""

    def __init__(self) -> None:
        self.die_at: tuple[int, bool] | None = None
        self.requests = 0
        pool = urllib3.connectionpool.HTTPConnectionPool
        self._make_request = pool._make_request
        mortality = self

        def make_request(self: Any, *args: Any, **kwargs: Any) -> Any:
            return mortality.make(self, *args, **kwargs)

        pool._make_request = make_request  # type: ignore[method-assign]

    def make(self, pool: Any, *args: Any, **kwargs: Any) -> Any:
        self.requests += 1
        number, after = self.die_at or (0, False)
        if number == self.requests and not after:
            os._exit(DEATH)
        answer = self._make_request(pool, *args, **kwargs)
        if number == self.requests:
            os._exit(DEATH)
        return answer


def _now(ahead: timedelta) -> datetime:
    return datetime.now(UTC) + ahead


def _age(_: Any, oldest: "Synchronized[float]") -> float:
    written = oldest.value
    return time.time() - written if written else 0.0


def handlers() -> dict[str, ModuleType]:
    """The functions' modules, by name."""
    found = {}
    for path in sorted((ROOT / "functions").glob("*/app.py")):
        name = path.parent.name
        spec = importlib.util.spec_from_file_location(f"truth_{name}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found[name] = module
    return found


def work(
    pipe: Connection,
    environment: Mapping[str, str],
    oldest: "Synchronized[float]",
    mutation: str | None,
) -> None:
    """Carry out jobs until the pipe is closed; answer each with (error or None, result).

    `oldest` tells when the oldest record was written that is not taken in yet, 0 for none: what
    CloudWatch knows as the iterator's age.
    """
    os.environ.update(environment)
    sys.stdout = io.StringIO()  # metrics and log lines; nobody reads them
    from aggregated_metrics import wiring  # noqa: PLC0415 - after the environment is set
    from aggregated_metrics.adapters import lag  # noqa: PLC0415 - after the environment is set

    logging.disable(logging.CRITICAL)
    if mutation:
        from tests.truth import mutations  # noqa: PLC0415

        mutations.apply(mutation)
    lag.IteratorAge.seconds = partialmethod(_age, oldest)  # type: ignore[assignment]
    mortality = _Mortality()
    modules = handlers()
    process = wiring.process()
    while True:
        try:
            job: Job = pipe.recv()
        except EOFError:
            return
        mortality.requests, mortality.die_at = 0, job.die_at
        process.clock = partial(_now, job.ahead)
        try:
            result = modules[job.function].lambda_handler(job.event, Context(job.seconds))
            answer: tuple[str | None, Any] = (None, json.loads(json.dumps(result, default=str)))
        except Exception as error:  # noqa: BLE001 - Lambda sees any exception as a failure
            answer = (f"{type(error).__name__}: {error}", None)
        pipe.send(answer)
