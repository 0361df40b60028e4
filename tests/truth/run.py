"""One run of the truth test: a history, delivered as badly as Lambda may, and then compared.

Records of a shard come in order, in batches that end anywhere; a batch that failed comes again from
the same first record, and so may one that succeeded. Shards go side by side, sweeps and repairs in
between. Time goes on in epochs, so that no invocation lasts longer than its lease by the clock.
"""

import json
import queue
import random
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from testbench import oracle
from testbench.fakes.faults import Rates
from tests.truth import damage
from tests.truth.row_histories import Change, Life, Shard, history, lives
from tests.truth.worker import Job
from tests.truth.world import Worker, World, measures_of

RATES = Rates(
    drop_before=0.02,
    drop_after=0.03,
    too_many_requests=0.01,
    server_error=0.01,
    throttled_request=0.01,
    throttled_aliases=0.02,
    slow=0.02,
    stale_read=0.15,
    longest=0.05,
    staleness=0.4,
)
EPOCH = timedelta(hours=2)
INVOCATION_SECONDS = 25.0
LIFETIMES = {"Item": timedelta(days=1)}
"""While repairs run, the rows of these models expire, and no others."""
_EXPIRING = ("items", "predictionItems", "evaluationItems")
_LAST_SWEEPS = 60
_ATTEMPTS = 60


class Repairs(StrEnum):
    """What repairs do while a run goes on.

    Attributes:
        TOLD: they are told how far the stream is behind, so they must find nothing to set right.
        UNTOLD: they are told that it is not behind: what they do wrong must heal by itself.
        DAMAGE: as TOLD, and somebody falsifies buckets: all of it must be set right.
    """

    TOLD = "told"
    UNTOLD = "untold"
    DAMAGE = "damage"


@dataclass(frozen=True)
class Plan:
    """What a run does; the same plan draws the same history, deliveries and faults."""

    rows: int = 500
    seed: int = 1
    workers: int = 3
    shards: int = 2
    batch: int = 100
    repairs: Repairs | None = None
    redeliver: float = 0.15
    die: float = 0.06
    rates: Rates = RATES
    mutation: str | None = None
    start: datetime = field(
        default_factory=lambda: datetime.now(UTC).replace(minute=7) - timedelta(days=2)
    )


@dataclass
class Verdict:
    """What came of a run. `wrong` has sentences of what is not exact."""

    plan: Plan
    wrong: list[str] = field(default_factory=list)
    buckets: int = 0
    records: int = 0
    invocations: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    deaths: int = 0
    quarantined: int = 0
    falsified: int = 0
    repaired: int = 0

    @property
    def exact(self) -> bool:
        return not self.wrong


class Run:
    """Delivers one history to workers."""

    def __init__(
        self,
        plan: Plan,
        lives_: list[Life] | None = None,
        progress: Callable[[int, int], None] = lambda _done, _all: None,
    ) -> None:
        self.plan = plan
        given = lives(plan.seed, plan.rows, plan.start) if lives_ is None else lives_
        if plan.repairs:
            # A wrong repair of an hour that is past its lifetime does not heal (docs/limits.md).
            lifetimes = {} if plan.repairs is Repairs.UNTOLD else LIFETIMES
            given = [life.in_a_table(lifetimes.get(life.model)) for life in given]
        self.history = history(given, plan.seed, plan.shards)
        self.verdict = Verdict(plan, records=sum(len(s.records) for s in self.history.shards))
        self._progress = progress
        self._done = 0
        self._lock = threading.Lock()
        self._idle: queue.Queue[Worker] = queue.Queue()
        self._sweep_draw = random.Random(f"sweeps/{plan.seed}")
        self._damage_draw = random.Random(f"damage/{plan.seed}")
        self._behind: dict[str, float] = {}

    def go(self) -> Verdict:
        """Deliver everything, sweep, compare."""
        plan = self.plan
        settings = {"SETTLE_SECONDS": "1" if plan.repairs else "60"}
        if plan.repairs:
            days = {model: lifetime.days for model, lifetime in LIFETIMES.items()}
            settings["SOURCE_LIFETIME_DAYS"] = json.dumps(days)
        with World(plan.rates, plan.seed, settings=settings, mutation=plan.mutation) as world:
            self.world = world
            world.ahead = plan.start - datetime.now(UTC)
            workers = [Worker(world) for _ in range(plan.workers + 1 + bool(plan.repairs))]
            for worker in workers:
                self._idle.put(worker)
            try:
                self._live()
                self._settle()
                self._compare()
            finally:
                self.verdict.deaths = sum(worker.deaths for worker in workers)
                self.verdict.requests = len(world.server.log)
                self.verdict.faults = world.faults.counts
                for worker in workers:
                    worker.end()
        return self.verdict

    def _live(self) -> None:
        """Let the epochs pass: in each, every shard delivers what has happened by then."""
        last = max(shard.times[-1] for shard in self.history.shards if shard.times)
        epochs = int((last - self.plan.start) / EPOCH) + 1
        cursors = [_Cursor(self, shard) for shard in self.history.shards]
        with ThreadPoolExecutor(self.plan.workers + 2) as pool:
            for epoch in range(1, epochs + 1):
                until = self.plan.start + epoch * EPOCH
                self._advance(until)
                running = threading.Event()
                running.set()
                beside = [pool.submit(self._keep, "bucket_sweeper", {}, running)]
                if self.plan.repairs:
                    event = {"repair": True}
                    beside.append(pool.submit(self._keep, "reconciler", event, running))
                try:
                    self._deliver([cursor.epoch(until) for cursor in cursors])
                finally:
                    running.clear()
                for future in beside:
                    future.result()

    def _deliver(self, deliveries: list[Iterator[None]]) -> None:
        """Run the shards' deliveries side by side, at most WORKERS at once."""

        def drain(delivery: Iterator[None]) -> None:
            for _ in delivery:
                pass

        with ThreadPoolExecutor(self.plan.workers) as shards:
            for future in [shards.submit(drain, delivery) for delivery in deliveries]:
                future.result()

    def _advance(self, until: datetime) -> None:
        """Nothing is in flight: let the clock jump."""
        self.world.ahead = max(self.world.ahead, until - datetime.now(UTC))
        if self.plan.repairs is Repairs.DAMAGE:
            self.verdict.falsified += damage.falsify(
                self.world.api,
                self._damage_draw,
                self.world.now(),
                since=self.plan.start,
                spared=_EXPIRING,
            )

    def write(self, shard: Shard, change: Change) -> None:
        """Put a change into the source table: it is there before its record is delivered."""
        old, new, api = change.old or {}, change.new or {}, self.world.api
        if new.get("accountId"):
            row = {name: value for name, value in new.items() if value is not None}
            # As the API does: it is what the reconciler's index sorts by.
            api.put(shard.model, row | {"updatedAt": self.world.now().isoformat()})
        elif old.get("accountId"):  # a row without an account is in no index
            api.remove(shard.model, old["id"])

    def behind(self, shard: Shard, oldest: float | None) -> None:
        """Say when the oldest record of a shard was written that is not taken in yet."""
        with self._lock:
            self._behind.pop(shard.name, None)
            if oldest is not None:
                self._behind[shard.name] = oldest
            if self.plan.repairs is not Repairs.UNTOLD:
                self.world.oldest.value = min(self._behind.values(), default=0.0)

    def invoke(
        self,
        function: str,
        event: Mapping[str, Any],
        draw: random.Random,
        *,
        mortal: bool = True,
    ) -> tuple[str | None, Any]:
        """One invocation on a worker that is free; it may die at any of its first requests."""
        die_at = None
        if mortal and draw.random() < self.plan.die:
            die_at = (draw.randint(1, 5), draw.random() < 0.5)
        job = Job(function, event, self.world.ahead, INVOCATION_SECONDS, die_at)
        worker = self._idle.get()
        try:
            error, result = worker.do(job)
        finally:
            self._idle.put(worker)
        with self._lock:
            self.verdict.invocations[function] += 1
            if error:
                self.verdict.failures[error.split(":")[0][:60]] += 1
        return error, result

    def delivered(self, records: int) -> None:
        with self._lock:
            self._done += records
            self._progress(self._done, self.verdict.records)

    def _keep(self, function: str, event: dict[str, Any], running: threading.Event) -> None:
        """Sweep (or repair) all the while."""
        while running.is_set():
            _, result = self.invoke(function, event, self._sweep_draw)
            self._judge(result)
            threading.Event().wait(0.2)

    def _judge(self, result: Any) -> None:
        """Count what an invocation has repaired; where nothing is falsified, it may be nothing."""
        if not result or not result.get("repaired"):
            return
        self.verdict.repaired += result["repaired"]
        minutes = [drift for drift in result["drift"] if drift["numberOfMinutes"] == 1]
        if self.plan.repairs is Repairs.TOLD and minutes:
            self.verdict.wrong.append(f"repaired, though the stream is exact: {minutes[0]}")

    def _settle(self) -> None:
        """Sweep until no hour is pending: the clock is past everything."""
        if self.plan.repairs is Repairs.DAMAGE:
            self.verdict.repaired += damage.set_right(self._repair_range, self.plan.start)
        for _ in range(_LAST_SWEEPS):
            self.world.ahead += timedelta(hours=3)
            self.invoke("bucket_sweeper", {}, self._sweep_draw)
            if self.plan.repairs:
                self._judge(self.invoke("reconciler", {"repair": True}, self._sweep_draw)[1])
            if not self.world.pending("pending"):
                return
        self.verdict.wrong.append(f"{self.world.pending('pending')} hours are still pending")

    def _repair_range(self, event: Mapping[str, Any]) -> Any:
        return self.invoke("reconciler", event, self._damage_draw)[1]

    def _compare(self) -> None:
        expected = self.history.truth()
        stored = self.world.stored()
        now = self.world.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        wrong = self.verdict.wrong
        wrong += [
            f"{key} has elapsed and is not complete"
            for key, bucket in stored.items()
            if not bucket["complete"] and bucket["timeRangeEnd"] < now
        ]
        zero = (0,) * len(oracle.MEASURES)
        for key in sorted(expected.keys() | stored.keys()):
            found = measures_of(stored.get(key))
            if expected.get(key, zero) != (found or zero):
                wrong.append(f"{key}: {found} stored, {expected.get(key)} expected")
        self.verdict.buckets = len(expected)
        kept = {json.loads(body)["eventID"] for body in self.world.queue.bodies}
        self.verdict.quarantined = len(kept)
        uncountable = self.history.uncountable()
        if kept != uncountable:
            wrong.append(
                f"quarantine: {len(kept - uncountable)} too many, {len(uncountable - kept)} missing"
            )
        invalid = [
            exchange.operations
            for exchange in self.world.server.log
            if exchange.status == 400 or None in exchange.error_types
        ]
        if invalid:
            wrong.append(f"{len(invalid)} requests were invalid, the first: {invalid[0]}")


class _Cursor:
    """How far one shard has been delivered."""

    def __init__(self, run: Run, shard: Shard) -> None:
        self.run = run
        self.shard = shard
        self.position = 0
        self.wrote: list[float] = []
        self.draw = random.Random(f"deliver/{run.plan.seed}/{shard.name}")

    def epoch(self, until: datetime) -> Iterator[None]:
        """Deliver what has happened until then, a batch at a time, some of them again."""
        end = bisect_right(self.shard.times, until)
        while self.position < end:
            self._deliver_one(end)
            yield

    def _deliver_one(self, end: int) -> None:
        first, size = self.position, self._size(end - self.position)
        # The table is ahead of its stream: sometimes by more than the batch that comes.
        self._write(min(end, first + size * self.draw.choice((1, 1, 3))))
        for attempt in range(_ATTEMPTS):
            error, _ = self._invoke(first, size, mortal=attempt < 12)
            if error is None:
                again = self.draw.random() < self.run.plan.redeliver
                if not again:
                    self.position = first + size
                    self._say_how_far_behind()
                    self.run.delivered(size)
                    return
            size = self._again(size, end - first)
        raise RuntimeError(f"{self.shard.name} does not get on: {error}")

    def _write(self, until: int) -> None:
        """Let the table have its writes up to a record's number."""
        first = len(self.wrote)
        self.wrote += [time.time()] * (until - first)
        self._say_how_far_behind()
        for change in self.shard.changes[first:until]:
            self.run.write(self.shard, change)

    def _say_how_far_behind(self) -> None:
        waiting = self.position < len(self.wrote)
        self.run.behind(self.shard, self.wrote[self.position] if waiting else None)

    def _size(self, most: int) -> int:
        return min(most, self.draw.choice((1, 3, 10, self.run.plan.batch, self.run.plan.batch)))

    def _again(self, size: int, most: int) -> int:
        """The size of a redelivery: any, if its events name the shard; else never shorter."""
        least = 1 if self.shard.named else size
        if self.draw.random() < 0.5:
            return size
        return self.draw.randint(least, max(least, min(most, size * 2)))

    def _invoke(self, first: int, size: int, *, mortal: bool) -> tuple[str | None, Any]:
        self._write(first + size)
        event: dict[str, Any] = {"Records": self.shard.records[first : first + size]}
        if self.shard.named:
            event |= {"shardId": self.shard.name, "state": {}, "window": {}}
        if self.draw.random() < 0.05:
            self._twice_at_once(event)
        return self.run.invoke("stream_aggregator", event, self.draw, mortal=mortal)

    def _twice_at_once(self, event: dict[str, Any]) -> None:
        """The same batch in a second invocation, as after a time-out that Lambda has not seen."""
        draw = random.Random(self.draw.random())
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(self.run.invoke, "stream_aggregator", event, draw)
            self.run.invoke("stream_aggregator", event, draw)
            other.result()
