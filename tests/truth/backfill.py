"""A backfill over rows that were there first: planned, carried out, killed and gone on with.

The reconciler runs as it is deployed, in a process of its own that dies now and then; whoever
drives it, as the state machine does, sends the same event again.
"""

import queue
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from testbench import oracle
from testbench.fakes.faults import Rates
from tests.truth.deployment import FakeDeployment, Worker, measures_of
from tests.truth.row_histories import ACCOUNTS, countable, standing
from tests.truth.worker import Job, Manner

SECONDS = 120.0
"""An invocation's time-out: short, so that a long day does not end within it."""
_BEFORE = timedelta(days=5)
"""Rows come up to four days late."""


@dataclass
class Backfilled:
    """What came of it; the truth is in `wrong`, sentences of what is not exact."""

    wrong: list[str]
    rows: int
    buckets: int
    units: int = 0
    invocations: int = 0
    deaths: int = 0
    requests: int = 0
    peak: int = 0
    again: int = 0
    seconds: float = 0.0


def backfill(
    rows: int,
    seed: int,
    *,
    workers: int = 4,
    die: float = 0.1,
    rates: Rates | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Backfilled:
    """Backfill so many rows, a unit at a time on each worker, as the state machine does.

    `die` is the probability of an invocation to die at some request.
    """
    start = datetime.now(UTC) - timedelta(days=1)
    draw = random.Random(f"backfill/{seed}")
    settings = {"SETTLE_SECONDS": "20"}
    with FakeDeployment(rates or Rates(), seed, settings=settings) as deployment:
        truth = oracle.buckets_of(_put(deployment, standing(seed, rows, start)))
        done = Backfilled([], rows, len(truth))
        processes = [Worker(deployment, Manner()) for _ in range(workers)]
        began = time.monotonic()
        try:
            invoke = _Invoke(deployment, processes, draw, die, done)
            units = _units(invoke, start)
            done.units = len(units)
            with ThreadPoolExecutor(workers) as pool:
                for number, _ in enumerate(pool.map(partial(_carry_out, invoke), units)):
                    progress(number + 1, len(units))
                done.requests, done.seconds = len(deployment.server.log), time.monotonic() - began
                done.peak = max(process.peak for process in processes)
                again = pool.map(invoke.surely, units)
                done.again = sum(found["driftCount"] + found["movingCount"] for found in again)
        finally:
            done.deaths = sum(process.deaths for process in processes)
            for process in processes:
                process.end()
        done.wrong = _compare(deployment, truth)
    return done


def _put(
    deployment: FakeDeployment, rows: Iterable[tuple[str, Mapping[str, Any]]]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Put rows into the tables; gives back those that count."""
    for model, row in rows:
        deployment.api.put(model, {name: value for name, value in row.items() if value is not None})
        if countable(row):
            yield model, row


class _Invoke:
    """One invocation of the reconciler, on a process that is free; None if it failed or died."""

    def __init__(
        self,
        deployment: FakeDeployment,
        processes: Iterable[Worker],
        draw: random.Random,
        die: float,
        done: Backfilled,
    ) -> None:
        self._draw, self._die, self._done = draw, die, done
        self._idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for process in processes:
            self._idle.put(process)

    def __call__(self, event: Mapping[str, Any]) -> Any:
        """Its result."""
        process = self._idle.get()
        try:
            die_at = None
            if self._draw.random() < self._die:
                die_at = (self._draw.randint(1, 40), self._draw.random() < 0.5)
            self._done.invocations += 1
            return process.do(Job("reconciler", event, SECONDS, die_at))[1]
        finally:
            self._idle.put(process)

    def surely(self, event: Mapping[str, Any]) -> Any:
        """Again and again, until it is done."""
        while (result := self(event)) is None:
            pass
        return result


def _units(invoke: _Invoke, start: datetime) -> list[Any]:
    """The days of every account, as the reconciler plans them."""
    span = {"start": (start - _BEFORE).isoformat(), "end": datetime.now(UTC).isoformat()}
    return [
        unit
        for account in ACCOUNTS
        for unit in invoke.surely({"plan": {"accountId": account, **span}})["days"]
    ]


def _carry_out(invoke: _Invoke, unit: Mapping[str, Any]) -> None:
    event: Any = unit
    while event:
        event = invoke.surely(event)["next"]


def _compare(deployment: FakeDeployment, truth: Mapping[oracle.Key, tuple[int, ...]]) -> list[str]:
    stored = {key: measures_of(bucket) for key, bucket in deployment.stored().items()}
    return [
        f"{key}: {stored.get(key)} stored, {truth.get(key)} expected"
        for key in sorted(truth.keys() | stored.keys())
        if truth.get(key) != stored.get(key)
    ]
