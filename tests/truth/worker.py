"""One worker: a process of its own that runs the handlers as they are deployed.

It gets its work through a pipe, and may have to die at its n-th request, before it is sent
or after its answer has come: as a Lambda sandbox that vanishes would.
"""

import io
import logging
import os
import random
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NamedTuple

import urllib3.connectionpool

from testbench.fakes import aws
from tests.truth import mutations, seams
from tests.truth.plans import Plan

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

DEATH = 86
_LONG_SECONDS = 5.0
"""A wait that is longer is one between the passes of a check."""
_STEPS, _STEP_SECONDS = 20, 0.1
"""In so many steps the clock moves on meanwhile."""
_HASTE = 10
"""Every wait takes so many times less than it should, also those of urllib3 and botocore."""


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


def _wait(clock: "Synchronized[float]", seconds: float) -> None:
    """Let the clock move on while a check waits, instead of waiting."""
    if seconds < _LONG_SECONDS:
        time.sleep(seconds)
        return
    for _ in range(_STEPS):
        time.sleep(_STEP_SECONDS)
        with clock.get_lock():
            clock.value += seconds / _STEPS


def _engine(environment: Mapping[str, str], clock: Any, skew: float) -> seams.Engine:
    ahead = clock.get_obj()  # without the lock, so that no process waits for the time
    engine = seams.Engine(
        environment,
        clock=lambda: datetime.now(UTC) + timedelta(seconds=ahead.value + skew),
        sleep=partial(_wait, clock),
    )
    deployed, url = engine.process.aws, environment["AWS_ENDPOINT_URL"]
    engine.process.aws = cache(lambda service: aws.redirect(deployed(service), url))
    return engine


def work(
    pipe: Connection,
    environment: Mapping[str, str],
    clock: "Synchronized[float]",
    plan: Plan,
    skew: float,
) -> None:
    """Carry out jobs until the pipe is closed; answer each with (error or None, result).

    This process's clock is `skew` seconds ahead of the stream's.
    """
    os.environ.update(environment)
    sleep = time.sleep
    time.sleep = lambda seconds: sleep(float(seconds) / _HASTE)
    sys.stdout = io.StringIO()  # metrics and log lines; not read
    logging.disable(logging.CRITICAL)
    if plan.mutation:
        mutations.MUTATIONS[plan.mutation].remove()
    engine = _engine(environment, clock, skew)
    misnamed = _engine({**environment, "SOURCE_TABLES": "{}"}, clock, skew)
    random.seed()  # a forked process would jitter as its siblings do
    mortality = _Mortality()
    with seams.pages(plan.page):
        while True:
            try:
                job: Job = pipe.recv()
            except EOFError:
                return
            mortality.requests, mortality.die_at = 0, job.die_at
            sys.stdout.seek(0)
            sys.stdout.truncate()
            pipe.send(_carry_out(misnamed if job.misnamed else engine, job))


def _carry_out(engine: seams.Engine, job: Job) -> tuple[str | None, Any]:
    end = time.monotonic() + job.seconds
    try:
        context = seams.Context(lambda: end - time.monotonic())
        return None, engine.invoke(job.function, job.event, context)
    except Exception as error:  # noqa: BLE001 - Lambda sees any exception as a failure
        return f"{type(error).__name__}: {error}", None
