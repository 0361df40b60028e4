"""One worker: a process of its own that runs the handlers as they are deployed.

It is told what to do through a pipe, and may be told to die at its n-th request, before it is sent
or after its answer has come: as a Lambda sandbox that vanishes would.
"""

import importlib.util
import io
import json
import logging
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import urllib3.connectionpool

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

    from aggregated_metrics.wiring import Process

ROOT = Path(__file__).parents[2]
DEATH = 86
_STEPS = 20

type Handler = Callable[[Any, Any], Any]


class Job(NamedTuple):
    """One invocation.

    `die_at` is the number of the request to die at, and whether after its answer. A `misnamed` job
    is carried out with an environment that does not name the tables (SOURCE_TABLES).
    """

    function: str
    event: Mapping[str, Any]
    seconds: float
    die_at: tuple[int, bool] | None = None
    misnamed: bool = False


class Manner(NamedTuple):
    """How a worker differs from a function that is deployed.

    Attributes:
        mutation: the safeguard that is removed.
        skew: seconds that its clock is ahead of the stream's.
        pace: real seconds that a wait between two looks takes; the clock moves on all the same.
        page: rows of a page when source rows are read.
    """

    mutation: str | None = None
    skew: float = 0.0
    pace: float = 0.5
    page: int = 1000


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


def handlers() -> dict[str, Handler]:
    """The functions' handlers, by name, and what an operator's command does."""
    found: dict[str, Handler] = {"redrive": _redrive}
    for path in sorted((ROOT / "functions").glob("*/app.py")):
        name = path.parent.name
        spec = importlib.util.spec_from_file_location(f"truth_{name}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found[name] = module.lambda_handler
    return found


def _redrive(event: Any, _: Any) -> dict[str, Any]:
    """As `aggregated-metrics redrive` does, with messages that were received already."""
    from aggregated_metrics import wiring  # noqa: PLC0415 - after the environment is set
    from aggregated_metrics.adapters.source_rows import SourceRows  # noqa: PLC0415 - as above

    from aggregated_metrics_cli import queue_repair, redrive  # noqa: PLC0415 - as above

    process = wiring.process()
    rows = SourceRows(process.client(lambda: 60.0), clock=process.clock)
    jobs = [
        redrive.classify(
            queue_repair.QueueMessage(str(i), "", json.loads(body)),
            process.settings.SOURCE_TABLES,
            rows.row,
            process.clock(),
            process.settings.BREAKDOWNS,
        )
        for i, body in enumerate(event["bodies"])
    ]
    repaired = queue_repair.repair(process, jobs)
    return {"unsettled": len(repaired.unsettled) + len(repaired.failed)}


def _shorten_waits(clock: "Synchronized[float]", pace: float) -> None:
    """Let the clock move on while a check waits, instead of waiting."""
    from aggregated_metrics import wiring  # noqa: PLC0415 - after the environment is set

    make = wiring.checker

    def wait(seconds: float) -> None:
        for _ in range(_STEPS):
            time.sleep(pace / _STEPS)
            with clock.get_lock():
                clock.value += seconds / _STEPS

    def checker(*args: Any, **kwargs: Any) -> Any:
        return replace(make(*args, **kwargs), sleep=wait)

    wiring.checker = checker


def _prepare(environment: Mapping[str, str], clock: Any, manner: Manner) -> "Process":
    os.environ.update(environment)
    sys.stdout = io.StringIO()  # metrics and log lines; nobody reads them
    from aggregated_metrics import wiring  # noqa: PLC0415 - after the environment is set
    from aggregated_metrics.adapters import source_rows  # noqa: PLC0415 - as above

    logging.disable(logging.CRITICAL)
    source_rows.PAGE = manner.page
    _shorten_waits(clock, manner.pace)
    if manner.mutation:
        from tests.truth import mutations  # noqa: PLC0415

        mutations.apply(manner.mutation)
    process = wiring.process()
    ahead = clock.get_obj()  # without the lock, so that nobody waits for the time
    process.clock = lambda: datetime.now(UTC) + timedelta(seconds=ahead.value + manner.skew)
    return process


def work(
    pipe: Connection,
    environment: Mapping[str, str],
    clock: "Synchronized[float]",
    manner: Manner,
) -> None:
    """Carry out jobs until the pipe is closed; answer each with (error or None, result)."""
    process = _prepare(environment, clock, manner)
    random.seed()  # a forked process would jitter as its siblings do
    mortality, functions = _Mortality(), handlers()
    settings = process.settings, process.settings.model_copy(update={"SOURCE_TABLES": {}})
    while True:
        try:
            job: Job = pipe.recv()
        except EOFError:
            return
        mortality.requests, mortality.die_at = 0, job.die_at
        process.settings = settings[job.misnamed]
        sys.stdout.seek(0)
        sys.stdout.truncate()
        try:
            result = functions[job.function](job.event, Context(job.seconds))
            answer: tuple[str | None, Any] = (None, json.loads(json.dumps(result, default=str)))
        except Exception as error:  # noqa: BLE001 - Lambda sees any exception as a failure
            answer = (f"{type(error).__name__}: {error}", None)
        pipe.send(answer)
