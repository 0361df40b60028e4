"""Many writers into one hour, in simulated time: every request takes 20 ms, nobody really waits.

Each writer is a shard that flushes a batch every ten seconds, in a phase of its own. A request
reaches the API after half of its time; waiting between tries passes simulated time too.
"""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import mean
from typing import Any

from greenlet import getcurrent, greenlet

from testbench import local, oracle, rows
from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.aws import MemoryQueue
from testbench.fakes.dynamodb import MemoryTable
from testbench.fakes.endpoint import Answer
from testbench.fakes.signatures import Request
from testbench.streams import Stream
from tests.truth import seams

START = datetime(2026, 11, 22, 10, 5, tzinfo=UTC)
ANSWER = 0.020
EVERY = 10.0


@dataclass
class Simulation:
    """Writers that share one API, one table and one simulated clock."""

    writers: int
    flushes: int
    records: int = 20
    seed: int = 1
    now: float = 0.0
    api: FakeAppSync = field(default_factory=FakeAppSync)
    table: MemoryTable = field(default_factory=MemoryTable)
    requests: int = 0
    reports: list[dict[str, Any]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    _queue: list[tuple[float, int, greenlet]] = field(default_factory=list)
    _order: Any = field(default_factory=itertools.count)

    def run(self) -> "Simulation":
        """Let every writer flush its batches; raises what a batch raises."""
        draw = random.Random(self.seed)
        random.seed(self.seed)  # of the engine's jitter
        for number in range(self.writers):
            writer = greenlet(self._write)
            phase = draw.random() * EVERY
            writer.switch(number, phase, random.Random(draw.random()))
        while self._queue:
            self.now, _, writer = heapq.heappop(self._queue)
            writer.switch()
        return self

    def wait(self, seconds: float) -> None:
        """Let simulated time pass for the running writer."""
        me = getcurrent()
        if me.parent is None:  # after the run nobody waits
            return
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), me))
        me.parent.switch()

    def clock(self) -> datetime:
        return START + timedelta(seconds=self.now)

    def answer(self, request: Request) -> Answer:
        """The API, as a client; 20 ms an answer."""
        self.requests += 1
        self.wait(ANSWER / 2)
        answer = self.api.answer(request)
        self.wait(ANSWER / 2)
        return answer

    def engine(self) -> seams.Engine:
        """A process that has just begun."""
        clients = {"dynamodb": self.table, "sqs": MemoryQueue()}
        return seams.Engine(
            local.ENVIRONMENT,
            clock=self.clock,
            sleep=self.wait,
            session=local.Session(self.answer),
            aws=clients.__getitem__,
        )

    def _write(self, number: int, phase: float, draw: random.Random) -> None:
        stream = Stream("ScoreResult", first=10**21 + number)
        engine = self.engine()
        self.wait(phase)
        for flush in range(self.flushes):
            began = self.now
            self._flush(number, flush, stream, engine, draw)
            self.seconds.append(self.now - began)
            self.wait(max(0.0, EVERY - (self.now - began)))

    def _flush(
        self,
        number: int,
        flush: int,
        stream: Stream,
        engine: seams.Engine,
        draw: random.Random,
    ) -> None:
        end = self.now + 60.0
        made = []
        for i in range(self.records):
            at = self.clock() - timedelta(seconds=EVERY * (1 - i / self.records))
            row = rows.score_result(f"{number}-{flush}-{i}", createdAt=at.isoformat())
            made.append(stream.insert(row | {"type": draw.choice(("prediction", "test"))}))
        context = seams.Context(lambda: end - self.now, report={})
        engine.invoke(*seams.aggregate(made, f"shardId-{number}"), context)
        self.reports.append(context.report or {})

    def numbers(self) -> dict[str, float]:
        """Requests a flush, conflicts a flush, and how long a flush took (simulated seconds)."""
        took = sorted(self.seconds)
        flushes = len(took)
        return {
            "flushes": flushes,
            "requests": round(self.requests / flushes, 2),
            "conflicts": round(mean(seams.conflicts(report) for report in self.reports), 2),
            "leftToSweeper": sum(seams.left_to_sweeper(report) for report in self.reports),
            "p50": round(took[flushes // 2], 3),
            "p99": round(took[flushes * 99 // 100], 3),
            "longest": round(took[-1], 3),
        }


def minutes(simulation: Simulation, record_type: str) -> int:
    """The count of all 1-minute buckets."""
    return _sum(simulation, record_type, lambda row: row["numberOfMinutes"] == 1)


def _sum(simulation: Simulation, record_type: str, which: Callable[[Any], bool]) -> int:
    return sum(
        row["count"]
        for row in oracle.buckets_in(simulation.api)
        if row["recordType"] == record_type and which(row)
    )
