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

from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.adapters.pending_hours import PendingHours
from aggregated_metrics.core.errors import ConditionFailedError
from aggregated_metrics.jobs.aggregator import Aggregator
from greenlet import getcurrent, greenlet

from testbench import rows
from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.aws import MemoryTable
from testbench.streams import Stream

START = datetime(2026, 11, 22, 10, 5, tzinfo=UTC)
ANSWER = 0.020
EVERY = 10.0
GRACE = 120


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

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """The API, as a client; 20 ms an answer."""
        self.requests += 1
        self.wait(ANSWER / 2)
        answer = self.api.execute(query, variables)
        self.wait(ANSWER / 2)
        if errors := answer.get("errors"):
            raise ConditionFailedError("", operation="", errors=errors, data=answer["data"])
        data: dict[str, Any] = answer["data"]
        return data

    def send(self, rejects: Any) -> int:
        return len(rejects)

    def _write(self, number: int, phase: float, draw: random.Random) -> None:
        stream = Stream("ScoreResult", first=10**21 + number)
        remembered: dict[Any, int] = {}
        self.wait(phase)
        for flush in range(self.flushes):
            began = self.now
            self._flush(number, flush, stream, remembered, draw)
            self.seconds.append(self.now - began)
            self.wait(max(0.0, EVERY - (self.now - began)))

    def _flush(
        self,
        number: int,
        flush: int,
        stream: Stream,
        remembered: dict[Any, int],
        draw: random.Random,
    ) -> None:
        end = self.now + 60.0
        made = []
        for i in range(self.records):
            at = self.clock() - timedelta(seconds=EVERY * (1 - i / self.records))
            row = rows.score_result(f"{number}-{flush}-{i}", createdAt=at.isoformat())
            made.append(stream.insert(row | {"type": draw.choice(("prediction", "test"))}))
        aggregator = Aggregator(
            store=HourStore(
                self,
                clock=self.clock,
                grace=GRACE,
                time_left=lambda: end - self.now,
                sleep=self.wait,
                jitter=draw.random,
            ),
            pending=PendingHours(
                self.table,  # type: ignore[arg-type] # the calls that it makes
                "t",
                clock=self.clock,
                grace=GRACE,
                remembered=remembered,
            ),
            quarantine=self,  # type: ignore[arg-type] # `send` is all that it needs
            source_tables={},
            clock=self.clock,
            grace=GRACE,
        )
        taken = aggregator.fold({"Records": made, "shardId": f"shardId-{number}"})
        self.reports.append(aggregator.apply(taken).as_report())

    def numbers(self) -> dict[str, float]:
        """Requests a flush, conflicts a flush, and how long a flush took (simulated seconds)."""
        took = sorted(self.seconds)
        flushes = len(took)
        return {
            "flushes": flushes,
            "requests": round(self.requests / flushes, 2),
            "conflicts": round(mean(int(report["conflicts"] or 0) for report in self.reports), 2),
            "parentsLeft": sum(int(report["parentsLeft"] or 0) for report in self.reports),
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
        for row in simulation.api.rows("AggregatedMetrics")
        if row["recordType"] == record_type and which(row)
    )
