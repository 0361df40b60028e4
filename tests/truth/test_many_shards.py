"""Sixteen and sixty-four shards that write the same minutes at the same time.

Each writer is a shard that flushes a batch every ten simulated seconds, in a phase of its own. An
answer takes 20 ms, and a request reaches the API after half of that; no thread really waits.
"""

import heapq
import itertools
import random
from datetime import UTC, datetime, timedelta

import pytest
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
ANSWER, EVERY = 0.020, 10.0
FLUSHES, RECORDS = 4, 20


class Simulation:
    """Writers that share one API, one table and one simulated clock."""

    def __init__(self) -> None:
        self.api, self.table = FakeAppSync(), MemoryTable()
        self.now, self.requests, self.flushes = 0.0, 0, 0
        self._queue: list[tuple[float, int, greenlet]] = []
        self._order = itertools.count()

    def run(self, writers: int) -> None:
        """Let every writer flush its batches; raises what a batch raises."""
        draw = random.Random(1)
        random.seed(1)  # of the engine's jitter
        for number in range(writers):
            greenlet(self._write).switch(number, random.Random(draw.random()))
        while self._queue:
            self.now, _, writer = heapq.heappop(self._queue)
            writer.switch()

    def _wait(self, seconds: float) -> None:
        me = getcurrent()
        assert me.parent is not None
        heapq.heappush(self._queue, (self.now + seconds, next(self._order), me))
        me.parent.switch()

    def _clock(self) -> datetime:
        return START + timedelta(seconds=self.now)

    def _answer(self, request: Request) -> Answer:
        self.requests += 1
        self._wait(ANSWER / 2)
        answer = self.api.answer(request)
        self._wait(ANSWER / 2)
        return answer

    def _write(self, number: int, draw: random.Random) -> None:
        stream = Stream("ScoreResult", first=10**21 + number)
        clients = {"dynamodb": self.table, "sqs": MemoryQueue()}
        engine = seams.Engine(
            local.ENVIRONMENT,
            clock=self._clock,
            sleep=self._wait,
            session=local.Session(self._answer),
            aws=clients.__getitem__,
        )
        self._wait(draw.random() * EVERY)
        for flush in range(FLUSHES):
            began = self.now
            made = []
            for i in range(RECORDS):
                at = self._clock() - timedelta(seconds=EVERY * (1 - i / RECORDS))
                row = rows.score_result(f"{number}-{flush}-{i}", createdAt=at.isoformat())
                made.append(stream.insert(row | {"type": draw.choice(("prediction", "test"))}))
            # B023: it is asked within this turn alone.
            context = seams.Context(lambda: began + 60 - self.now, report={})  # noqa: B023
            engine.invoke(*seams.aggregate(made, f"shardId-{number}"), context)
            self.flushes += 1
            self._wait(max(0.0, EVERY - (self.now - began)))


@pytest.mark.parametrize("writers", [16, 64])
def test_no_batch_fails_and_sums_are_exact(writers: int) -> None:
    simulation = Simulation()
    simulation.run(writers)
    assert simulation.flushes == writers * FLUSHES
    counts = [
        row["count"]
        for row in oracle.buckets_in(simulation.api)
        if (row["recordType"], row["numberOfMinutes"]) == ("scoreResults", 1)
    ]
    assert sum(counts) == simulation.flushes * RECORDS
    assert simulation.requests / simulation.flushes < 4.0  # as decision 1 says
