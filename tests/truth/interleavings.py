"""Interleavings, exhaustively: every order in which a few processes can meet.

Processes meet only at requests. Here each process is a greenlet that stops before each request, and
a scheduler runs *every* order of these steps, by depth-first search over its choices. A process may
die before or after any of its requests; then its batch comes again, in any shape.

Two steps meet if one of them changes what the other one asks. Of orders that differ only in which
of two steps that do not meet comes first, one is run: a step that was tried at a choice sleeps in
what follows from its other steps, until one comes that it meets ("sleep sets"). Of orders that have
led to the same state, one goes on: a process's state is what it was answered so far ("state
caching"; Godefroid's thesis of 1996 has both, and why they go together).
"""

import itertools
import json
import re
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from greenlet import GreenletExit, getcurrent, greenlet

from testbench import local, oracle, rows
from testbench.fakes import scans
from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.aws import FakeMappings, MemoryQueue
from testbench.fakes.dynamodb import Client, MemoryTable
from testbench.fakes.endpoint import Answer
from testbench.fakes.signatures import Request
from testbench.streams import Record, Stream
from tests.truth import seams

NOW = datetime(2026, 11, 22, 10, 7, 30, tzinfo=UTC)
"""The minute 10:05 elapses, grace included, 30 seconds later."""

_LATER = timedelta(hours=1, seconds=90)
_READS = ("get_item", "query")
_TOKEN = re.compile(r"\b[0-9a-f]{32}\b")


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

    The first delivery may die; the next one begins at the same record. A `warm` process has written
    to the hour before: it knows that the hour has its entry.
    """

    shard: str
    records: Sequence[Record]
    sizes: Sequence[int]
    death: Death | None = None
    named: bool = True
    warm: bool = False


class _Died(GreenletExit):
    """Not an Exception: nothing in the code under test may catch it."""


def _mappings() -> FakeMappings:
    made = FakeMappings()
    made.enable(local.stream_arns(rows.MAKERS).split(","), NOW - timedelta(hours=1))
    return made


@dataclass
class SharedHour:
    """One hour's API and table, which the processes share; each lives for one schedule."""

    api: FakeAppSync = field(default_factory=lambda: FakeAppSync(equal_put_succeeds=True))
    table: MemoryTable = field(default_factory=MemoryTable)
    mappings: FakeMappings = field(default_factory=_mappings)
    now: datetime = NOW
    alone: bool = False
    requests: dict[greenlet, int] = field(default_factory=dict)
    deaths: dict[greenlet, Death] = field(default_factory=dict)
    answers: defaultdict[greenlet, list[str]] = field(default_factory=lambda: defaultdict(list))

    def meet(self, step: Step, request: Callable[[], Any]) -> Any:
        """One request of the running process: wait for the scheduler, die or carry it out."""
        me = getcurrent()
        if self.alone:
            return request()
        if me.parent is not None:
            me.parent.switch(step)
        number = self.requests[me] = self.requests.get(me, 0) + 1
        death = self.deaths.get(me)
        if death == (number, False):
            raise _Died
        try:
            answer = request()
        except Exception as error:
            self.answers[me].append(repr(error))
            raise
        self.answers[me].append(repr(answer))
        if death == (number, True):
            raise _Died
        return answer

    def state(self, running: Sequence[greenlet]) -> str:
        """What is stored, and what those that are not done have been answered; tokens by number."""
        heard = [(i, self.answers[each]) for i, each in enumerate(running) if not each.dead]
        stored = [oracle.buckets_in(self.api), self.table.items]
        text = json.dumps([stored, heard], sort_keys=True, default=str)
        numbers: dict[str, str] = {}
        return _TOKEN.sub(lambda found: numbers.setdefault(found[0], f"{len(numbers)}"), text)

    def answer(self, request: Request) -> Answer:
        """The API; no request but a failed condition may be refused."""
        if local.is_about_streams(request):
            return self.api.answer(request)  # no shard reads or writes it
        step = Step("api", writes=not local.is_query(request))
        answer: Answer = self.meet(step, lambda: self.api.answer(request))
        assert {*answer.error_types} <= {"DynamoDB:ConditionalCheckFailedException"}, answer.body
        return answer

    def engine(self, ahead: timedelta = timedelta()) -> seams.Engine:
        """A process that has just begun, by a clock that is ahead; it stands still between steps.

        Versions must grow all the same.
        """
        clients = {
            "dynamodb": _Meeting(self),
            "sqs": MemoryQueue(),
            "lambda": self.mappings,
        }
        return seams.Engine(
            local.ENVIRONMENT | {"STREAM_ARNS": local.stream_arns(rows.MAKERS)},
            clock=lambda: self.now + ahead,
            sleep=lambda _: None,
            session=local.Session(self.answer),
            aws=clients.__getitem__,
        )

    def consume(self, consumer: Consumer) -> None:
        """Deliver one shard's records, as its consumer says."""
        engine = self._warm(consumer.shard) if consumer.warm else None
        sizes = iter(consumer.sizes)
        death = consumer.death
        position = 0
        while position < len(consumer.records):
            size = next(sizes, len(consumer.records))
            records = consumer.records[position : position + size]
            call = seams.aggregate(records, consumer.shard if consumer.named else None)
            if self._deliver(engine or self.engine(), call, death):
                position += size
            death = None

    def _warm(self, shard: str) -> seams.Engine:
        """A process that has counted a row and its removal in the same minute."""
        engine, stream = self.engine(), Stream("Task", first=100)
        row = rows.task(f"{shard}-before")
        call = seams.aggregate([stream.insert(row), stream.remove(row)], f"{shard}-before")
        self.alone = True
        engine.invoke(*call, _context())
        self.alone = False
        return engine

    def _deliver(self, engine: seams.Engine, call: seams.Call, death: Death | None) -> bool:
        me = getcurrent()
        self.requests[me] = 0
        if death is None:
            self.deaths.pop(me, None)
        else:
            self.deaths[me] = death
        try:
            engine.invoke(*call, _context())
        except _Died:
            return False
        return True

    def sweep(self, ahead: timedelta = timedelta()) -> None:
        """One run of the sweeper, by a clock that is ahead of the writers'."""
        self.engine(ahead).invoke(*seams.SWEEP, _context())

    def finish(self) -> None:
        """Everybody is done: time goes on, and the sweeper visits what is left."""
        for _ in range(5):
            self.now += _LATER
            self.sweep()


def _context() -> seams.Context:
    return seams.Context(lambda: 60.0, report={})


class _Meeting(Client):
    """A table whose every call is a meeting."""

    def __init__(self, shared: SharedHour) -> None:
        self._shared = shared
        self.exceptions = shared.table.exceptions

    def describe_table(self, **_: Any) -> Any:
        return {"Table": scans.STREAM}

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._shared.table, name)
        step = Step("table", writes=name not in _READS)
        return lambda **arguments: self._shared.meet(step, lambda: call(**arguments))


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


def schedules(processes: Sequence[Process], *, reduced: bool = True) -> Iterator[SharedHour]:
    """Run every order of the processes' requests; yields what they share after each.

    Args:
        processes: who meets.
        reduced: whether one is enough of the orders that are known to end in the same state.
    """
    search = _Search(processes, reduced)
    while True:
        if shared := search.run():
            yield shared
        if not search.turn():
            return


class _Search:
    """Goes through the orders, depth first."""

    def __init__(self, processes: Sequence[Process], reduced: bool) -> None:
        self._processes = processes
        self._reduced = reduced
        self._choices: list[_Choice] = []
        # By state, those that slept each time it was reached.
        self._untried: dict[str, set[int]] = {}

    def turn(self) -> bool:
        """Choose otherwise at the last point where that is possible; whether there is one."""
        while self._choices:
            last = self._choices[-1]
            last.asleep.add(last.chosen)
            if awake := last.steps.keys() - last.asleep:
                last.chosen = min(awake)
                return True
            self._choices.pop()
        return False

    def run(self) -> SharedHour | None:
        """Follow the choices and make further ones; None where it ends as an earlier one."""
        shared = SharedHour()
        running = [greenlet(process) for process in self._processes]
        steps = [process.switch(shared) for process in running]  # up to its first request
        for depth in itertools.count():
            left = {i: steps[i] for i, process in enumerate(running) if not process.dead}
            if depth == len(self._choices):
                state = shared.state(running) if self._reduced else uuid.uuid4().hex
                if not left and state not in self._untried:
                    self._untried[state] = set()
                    return shared
                asleep = self._asleep(state, left) if self._reduced else set()
                awake = left.keys() - asleep
                if not awake:
                    for i in left:
                        running[i].throw()
                    return None
                self._choices.append(_Choice(left, asleep, min(awake)))
            chosen = self._choices[depth].chosen
            steps[chosen] = running[chosen].switch()
        raise AssertionError

    def _asleep(self, state: str, left: Mapping[int, Step]) -> set[int]:
        """Those whose step leads nowhere that was not reached before."""
        asleep: set[int] = set()
        if self._choices:
            last = self._choices[-1]
            taken = last.steps[last.chosen]
            asleep = {i for i in last.asleep if not last.steps[i].meets(taken)}
        untried = self._untried.get(state, left.keys())
        self._untried[state] = untried & asleep
        return asleep | (left.keys() - untried)


def stored(shared: SharedHour) -> dict[tuple[str, str, str, int], tuple[int, bool]]:
    """Count and completeness of every bucket that is not zero."""
    return {
        (row["accountId"], row["recordType"], row["timeRangeStart"], row["numberOfMinutes"]): (
            row["count"],
            row["complete"],
        )
        for row in oracle.buckets_in(shared.api)
        if row["count"]
    }
