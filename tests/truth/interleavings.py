"""Interleavings, exhaustively: every order in which a few processes can meet.

Processes meet only at requests. Here each process is a greenlet that stops before each request, and
a scheduler runs *every* order of these steps, by depth-first search over its choices. A process may
die before or after any of its requests; then its batch comes again, in any shape.

Two steps meet if one of them changes what the other one asks. Of orders that differ only in which
of two steps that do not meet comes first, one is run: a step that was tried at a choice sleeps in
what follows from its other steps, until one comes that it meets ("sleep sets").
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.adapters.pending_hours import LEASE_SECONDS, PendingHours
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import ConditionFailedError
from aggregated_metrics.core.hours import HourId, Series
from aggregated_metrics.jobs.aggregator import Aggregator
from aggregated_metrics.jobs.sweeper import Sweeper
from greenlet import GreenletExit, getcurrent, greenlet

from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.aws import MemoryTable
from testbench.streams import Record

NOW = datetime(2026, 11, 22, 10, 7, 30, tzinfo=UTC)
"""The minute 10:05 elapses, grace included, 30 seconds later."""

GRACE = 120
HOUR = HourId(Series("acct-1", "tasks"), buckets.to_minute(NOW) // 60 * 60)


type Clock = Callable[[], datetime]
type Remembered = dict[HourId, int]


class Death(NamedTuple):
    """Die at the n-th request (from 1) of a delivery, before it is sent or after its answer."""

    request: int
    after: bool


class Step(NamedTuple):
    """What a process would do next: to what, and whether it changes it."""

    to: str
    writes: bool

    def meets(self, other: "Step") -> bool:
        """Whether it matters which of the two comes first."""
        return self.to == other.to and (self.writes or other.writes)


@dataclass(frozen=True)
class Consumer:
    """One shard's consumer: delivers `sizes` in turn until all its records have been applied.

    The first delivery may die; the next one begins at the same record. A consumer that has `marked`
    the hour already, as a warm process has, makes one request less.
    """

    shard: str
    records: Sequence[Record]
    sizes: Sequence[int]
    death: Death | None = None
    named: bool = True
    marked: bool = False


class _Died(GreenletExit):
    """Not an Exception: nothing in the code under test may catch it."""


@dataclass
class SharedHour:
    """One hour's API and table, which the processes share; each lives for one schedule."""

    api: FakeAppSync = field(default_factory=lambda: FakeAppSync(equal_put_succeeds=True))
    table: MemoryTable = field(default_factory=MemoryTable)
    now: datetime = NOW
    quarantined: int = 0
    requests: dict[greenlet, int] = field(default_factory=dict)
    deaths: dict[greenlet, Death] = field(default_factory=dict)

    def meet(self, step: Step, request: Callable[[], Any]) -> Any:
        """One request of the running process: wait for the scheduler, die or carry it out."""
        me = getcurrent()
        if me.parent is not None:
            me.parent.switch(step)
        number = self.requests[me] = self.requests.get(me, 0) + 1
        death = self.deaths.get(me)
        if death == (number, False):
            raise _Died
        answer = request()
        if death == (number, True):
            raise _Died
        return answer

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """The API, as a client."""
        step = Step("api", writes=not query.startswith("query"))
        answer = self.meet(step, lambda: self.api.execute(query, variables))
        if errors := answer.get("errors"):
            kinds = {error.get("errorType") for error in errors}
            assert kinds == {"DynamoDB:ConditionalCheckFailedException"}, errors
            raise ConditionFailedError("", operation="", errors=errors, data=answer["data"])
        data: dict[str, Any] = answer["data"]
        return data

    def pending(self, clock: Clock, remembered: Remembered | None = None) -> PendingHours:
        table: Any = _Meeting(self)
        return PendingHours(table, "t", clock=clock, grace=GRACE, remembered=remembered)

    def mark(self) -> Remembered:
        """The hour is marked, without a meeting; what a process remembers of it."""
        table: Any = self.table
        remembered: Remembered = {}
        pending = PendingHours(table, "t", clock=self.clock, grace=GRACE, remembered=remembered)
        pending.mark({HOUR: int(NOW.timestamp()) + 30})
        return remembered

    def clock(self) -> datetime:
        """It stands still: versions must grow all the same."""
        return self.now

    def store(self, clock: Clock) -> HourStore:
        return HourStore(self, clock=clock, grace=GRACE, sleep=lambda _: None)

    def send(self, rejects: Sequence[Any]) -> int:
        """The quarantine."""
        self.quarantined += len(rejects)
        return len(rejects)

    def consume(self, consumer: Consumer) -> None:
        """Deliver one shard's records, as its consumer says."""
        remembered = self.mark() if consumer.marked else None
        sizes = iter(consumer.sizes)
        death = consumer.death
        position = 0
        while position < len(consumer.records):
            size = next(sizes, len(consumer.records))
            event: dict[str, Any] = {"Records": list(consumer.records[position : position + size])}
            if consumer.named:
                event["shardId"] = consumer.shard
            if self._deliver(event, death, remembered):
                position += size
            death = None

    def _deliver(
        self, event: Mapping[str, Any], death: Death | None, remembered: Remembered | None
    ) -> bool:
        me = getcurrent()
        self.requests[me] = 0
        if death is None:
            self.deaths.pop(me, None)
        else:
            self.deaths[me] = death
        aggregator = Aggregator(
            store=self.store(self.clock),
            pending=self.pending(self.clock, remembered),
            quarantine=self,  # type: ignore[arg-type] # `send` is all that it needs
            source_tables={},
            clock=self.clock,
            grace=GRACE,
        )
        try:
            aggregator.apply(aggregator.fold(event))
        except _Died:
            return False
        return True

    def sweep(self, ahead: timedelta = timedelta()) -> None:
        """One run of the sweeper, by a clock that is ahead of the writers'."""

        def clock() -> datetime:
            return self.now + ahead

        sweeper = Sweeper(
            store=self.store(clock),
            pending=self.pending(clock),
            clock=clock,
            grace=GRACE,
            time_left=lambda: 60.0,
        )
        sweeper.sweep().raise_failure()

    def finish(self) -> None:
        """Everybody is done: time goes on, and the sweeper visits what is left."""
        for _ in range(5):
            self.now += timedelta(hours=1, seconds=LEASE_SECONDS)
            self.sweep()


class _Meeting:
    """A table whose every call is a meeting."""

    def __init__(self, shared: SharedHour) -> None:
        self._shared = shared
        self.exceptions = shared.table.exceptions

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._shared.table, name)
        if name == "get_paginator":
            return lambda kind: _Pages(self._shared, call(kind))
        step = Step("table", writes=True)
        return lambda **arguments: self._shared.meet(step, lambda: call(**arguments))


class _Pages:
    def __init__(self, shared: SharedHour, pages: Any) -> None:
        self._shared, self._pages = shared, pages

    def paginate(self, **arguments: Any) -> Any:
        step = Step("table", writes=False)
        return self._shared.meet(step, lambda: list(self._pages.paginate(**arguments)))


type Process = Callable[[SharedHour], None]


@dataclass
class _Choice:
    """A point of the schedule that is being run.

    Attributes:
        steps: what each process that is not done would do next.
        asleep: those whose step was tried here, or elsewhere with the same outcome.
        chosen: the one whose turn it is.
    """

    steps: Mapping[int, Step]
    asleep: set[int]
    chosen: int


def schedules(
    processes: Sequence[Process], meet: Callable[[Step, Step], bool] = Step.meets
) -> Iterator[SharedHour]:
    """Run every order of the processes' requests; yields what they share after each.

    Args:
        processes: who meets.
        meet: whether it matters which of two steps comes first.
    """
    choices: list[_Choice] = []
    while True:
        shared = SharedHour()
        if _run(shared, processes, choices, meet):
            yield shared
        while choices:
            last = choices[-1]
            last.asleep.add(last.chosen)
            if awake := last.steps.keys() - last.asleep:
                last.chosen = min(awake)
                break
            choices.pop()
        else:
            return


def _run(
    shared: SharedHour,
    processes: Sequence[Process],
    choices: list[_Choice],
    meet: Callable[[Step, Step], bool],
) -> bool:
    """Follow the choices and make further ones; whether that ends in an order of its own."""
    running = [greenlet(process) for process in processes]
    steps = [process.switch(shared) for process in running]  # up to its first request
    for depth in itertools.count():
        left = {i: steps[i] for i, process in enumerate(running) if not process.dead}
        if not left:
            return True
        if depth == len(choices):
            asleep = _still_asleep(choices[-1], meet) if choices else set()
            awake = left.keys() - asleep
            if not awake:
                for i in left:
                    running[i].throw()
                return False
            choices.append(_Choice(left, asleep, min(awake)))
        chosen = choices[depth].chosen
        steps[chosen] = running[chosen].switch()
    raise AssertionError


def _still_asleep(before: _Choice, meet: Callable[[Step, Step], bool]) -> set[int]:
    """Those whose step does not meet the one that was taken: before it or after is the same."""
    taken = before.steps[before.chosen]
    return {i for i in before.asleep if not meet(before.steps[i], taken)}


def stored(shared: SharedHour) -> dict[tuple[str, str, str, int], tuple[int, bool]]:
    """Count and completeness of every bucket that is not zero."""
    return {
        (row["accountId"], row["recordType"], row["timeRangeStart"], row["numberOfMinutes"]): (
            row["count"],
            row["complete"],
        )
        for row in shared.api.rows("AggregatedMetrics")
        if row["count"]
    }
