"""A run over whole tables while everything else goes on (`make truth-backfill`).

The rows were there before anything counted. While the run scans, waits and reduces, rows
are inserted, updated, moved and deleted, the streams deliver late and in pieces, and scanners and
reducers die at random. Once the streams have caught up and the hourly check has been there, every
bucket must be what a group-by of the rows says.
"""

import argparse
import logging
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console

from testbench import local, oracle, rows
from testbench.fakes.appsync import FakeAppSync
from testbench.streams import Record, Stream, window_event
from tests.truth import seams

START = datetime(2026, 11, 22, 12, 10, tzinfo=UTC)
_SETTLE = 60

_ACCOUNTS = ("acct-1", "acct-2", "acct-#3")
_MODELS = ("Item", "ScoreResult", "ScoreResult", "Task", "Evaluation")
_DAYS = 5
_FORMS: Sequence[Callable[[datetime], str]] = (
    lambda at: at.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
    lambda at: (at + timedelta(hours=5, minutes=30)).strftime("%Y-%m-%dT%H:%M:%S+05:30"),
)
"""The last one is not listed within its hour by an index of createdAt."""
_UNDELIVERED = 400
"""The streams are never further behind than this many changes."""


@dataclass
class Backfilled:
    """What came of it; the truth is in `wrong`, sentences of what is not exact."""

    wrong: list[str]
    rows: int = 0
    changes: int = 0
    pages: int = 0
    deaths: int = 0
    moving: int = 0
    repaired: int = 0
    buckets: int = 0
    seconds: float = 0.0


class Died(BaseException):
    """The process is gone: nothing of the engine may catch it."""


class _World:
    """The source tables with their streams, and the functions; time passes when it is told to.

    Attributes:
        undelivered: what the streams still have to deliver, the oldest first.
        meanwhile: called at each page, each reducer, and between the passes.
    """

    def __init__(self, dies: Callable[[], bool], page: int) -> None:
        self.now = START
        self.api = FakeAppSync(clock=self.clock, monotonic=self.seconds)
        self.ports = local.LocalPorts(self.api, page=page, on_page=self._page)
        streams = local.stream_arns(dict.fromkeys(_MODELS)).split(",")
        self.ports.mappings.enable(streams, START - timedelta(hours=1))
        self.ports.bucket.on_put = lambda _: self._maybe_die()
        self.undelivered: deque[Record] = deque()
        self.meanwhile: Callable[[], None] = lambda: None
        self.deaths = 0
        self._dies = dies
        self._streams = {model: Stream(model) for model in rows.MAKERS}

    def clock(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.now.timestamp()

    def pass_by(self, seconds: float) -> None:
        """Let so much time pass."""
        self.now += timedelta(seconds=seconds)

    def write(self, model: str, row_id: str, **changes: Any) -> None:
        """Insert a row, or change it."""
        old = self.api.row(model, row_id)
        at = self.now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        stamped: dict[str, Any] = {"updatedAt": at} | changes
        new = rows.MAKERS[model](row_id, **stamped) if old is None else {**old, **stamped}
        self.api.put(model, new)
        stream = self._streams[model]
        if old is None:
            self.undelivered.append(stream.insert(new, created=self.now))
        else:
            self.undelivered.append(stream.modify(old, new, created=self.now))

    def remove(self, model: str, row_id: str) -> None:
        """Remove a row."""
        old = self.api.row(model, row_id)
        assert old is not None
        self.api.remove(model, row_id)
        self.undelivered.append(self._streams[model].remove(old, created=self.now))

    def deliver(self, most: int) -> None:
        """Deliver the oldest changes, each in a batch of its own."""
        for _ in range(min(most, len(self.undelivered))):
            event = window_event(self.undelivered.popleft())
            self.invoke(seams.aggregate(event["Records"], event["shardId"]))

    def invoke(self, call: seams.Call) -> Any:
        """One invocation in a new process; again until it succeeds."""
        while True:
            engine = seams.Engine(
                local.ENVIRONMENT
                | {"STREAM_ARNS": local.stream_arns(dict.fromkeys(_MODELS))}
                | {"BACKFILL_READ_UNITS": "1000000"},
                clock=self.clock,
                sleep=self.pass_by,
                session=self.ports.session,
                aws=self.ports.aws,
            )
            try:
                return engine.invoke(*call, seams.Context(lambda: 900.0, report={}))
            except Died:
                self.deaths += 1

    def backfill(self, run: str) -> tuple[int, int]:
        """Count the tables."""
        return seams.backfill(
            self.invoke,
            run,
            segments=3,
            partitions=7,
            between_passes=self.between_passes,
            before=lambda step: self.meanwhile() if step == "reduce" else None,
        )

    def between_passes(self) -> None:
        """The state machine waits."""
        self.pass_by(_SETTLE + 1)
        self.meanwhile()

    def stored(self) -> dict[oracle.Key, tuple[int, ...]]:
        """Every stored bucket that is not empty."""
        found = {oracle.key_of(row): oracle.held(row) for row in oracle.buckets_in(self.api)}
        return {key: numbers for key, numbers in found.items() if any(numbers)}

    def _page(self) -> None:
        self.meanwhile()
        self._maybe_die()

    def _maybe_die(self) -> None:
        if self._dies():
            raise Died


class _Life:
    """Rows that come, change and go, drawn at random."""

    def __init__(self, world: _World, draw: random.Random, *, flips: bool) -> None:
        self.world, self.flips = world, flips
        self.draw = draw
        self.ids: list[tuple[str, str]] = []
        self.changes = 0

    def insert(self) -> None:
        model = self.draw.choice(_MODELS)
        row_id = f"{model}-{len(self.ids)}-{self.draw.randrange(10**9)}"
        self.ids.append((model, row_id))
        self.world.write(model, row_id, **self._place(), **self._kind(model))

    def change(self) -> None:
        """Something happens to some row."""
        self.changes += 1
        self.world.pass_by(self.draw.random() * 3)
        if not self.ids or self.draw.random() < 0.3:
            self.insert()
            return
        place = self.draw.randrange(len(self.ids))
        model, row_id = self.ids[place]
        what = self.draw.random()
        if what < 0.25:
            self.ids[place] = self.ids[-1]
            self.ids.pop()
            self.world.remove(model, row_id)
        elif what < 0.5:
            self.world.write(model, row_id, **self._place())
        elif what < 0.6:
            self.world.write(model, row_id, **self._stamp())  # it only moves in the index
        else:
            self.world.write(model, row_id, **self._kind(model))

    def _place(self) -> dict[str, Any]:
        ago = timedelta(minutes=self.draw.choice((3, 61, 62, self.draw.randrange(_DAYS * 1440))))
        at = (START - ago).astimezone(UTC)
        created = _FORMS[self.flips and self.draw.random() < 0.2](at)
        return {"accountId": self.draw.choice(_ACCOUNTS), "createdAt": created} | self._stamp()

    def _stamp(self) -> dict[str, str]:
        """Now and then a client's updatedAt: then no index lists the row within its hour."""
        if not self.flips or self.draw.random() < 0.9:
            return {}
        at = START - timedelta(days=_DAYS, hours=self.draw.randrange(9))
        return {"updatedAt": at.strftime("%Y-%m-%dT%H:%M:%S.000Z")}

    def _kind(self, model: str) -> dict[str, Any]:
        split = {"Item": "createdByType", "ScoreResult": "type"}.get(model)
        if split:
            return {split: self.draw.choice(("prediction", "evaluation", "trial"))}
        return {"status": self.draw.choice(("COMPLETED", "FAILED", "RUNNING"))}


def backfill(number: int, seed: int, *, die: float = 0.05, flips: bool = False) -> Backfilled:
    """Run once over so many rows.

    `die` is the probability of a death at a page or a file. With `flips`, which today's engine does
    not survive, rows move in and out of the range in which an index lists their hour; then the
    hours that are deferred are scanned once more.
    """
    draw = random.Random(f"backfill/{seed}")
    world = _World(lambda: draw.random() < die, page=max(10, number // 200))
    began = time.monotonic()
    life = _Life(world, draw, flips=flips)
    for _ in range(number):
        life.insert()
    world.undelivered.clear()  # nothing counted yet
    for _ in range(number // 10):
        life.change()
        if draw.random() < 0.1:
            world.undelivered.clear()  # a mapping that begins at LATEST
        elif draw.random() < 0.2:
            world.deliver(10**9)
    world.undelivered.clear()
    world.pass_by(60)
    for _ in range(number // 4):
        life.change()

    def meanwhile() -> None:
        for _ in range(draw.randrange(4)):
            life.change()
        if draw.random() < 0.3 or len(world.undelivered) > _UNDELIVERED:
            world.deliver(draw.randrange(1, 60))

    world.meanwhile = meanwhile
    with seams.pages(scanned=max(20, number // 50)):
        repaired, moving = world.backfill(f"run-{seed}")
    world.meanwhile = lambda: None
    settle(world)
    if flips and seams.deferred(list(world.ports.table.items.values())):
        world.backfill(f"run-{seed}-again")
        settle(world)
    truth = oracle.buckets_of(
        (model, row) for model in dict.fromkeys(_MODELS) for row in world.api.rows(model)
    )
    stored = world.stored()
    return Backfilled(
        [
            f"{key}: {stored.get(key)} stored, {truth.get(key)} expected"
            for key in sorted(truth.keys() | stored.keys())
            if truth.get(key) != stored.get(key)
        ],
        len(life.ids),
        life.changes,
        world.ports.tables.scans,
        world.deaths,
        moving,
        repaired,
        len(truth),
        time.monotonic() - began,
    )


def settle(world: _World) -> None:
    """What comes by itself: the streams catch up, the sweeper closes, the hourly check looks."""
    world.deliver(10**9)
    for _ in range(3):
        for _ in range(2):
            world.pass_by(3600)
            world.invoke(seams.SWEEP)
        world.invoke(seams.CHECK)


def main() -> int:
    """Run so many seeds; 1 if any was not exact."""
    parser = argparse.ArgumentParser(prog="make truth-backfill", description=__doc__)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="the first seed; 0 draws a fresh one")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--flips", action="store_true", help="rows that an index lists elsewhere")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    console = Console(width=None if sys.stdout.isatty() else 160)
    first = options.seed or random.SystemRandom().randrange(10**6)
    failed = 0
    for seed in range(first, first + options.seeds):
        done = backfill(options.rows, seed, flips=options.flips)
        console.print(
            f"seed {seed}: {done.rows:,} rows, {done.changes:,} changes meanwhile, "
            f"{done.pages:,} pages, {done.deaths} deaths, {done.repaired:,} buckets set right, "
            f"{done.moving:,} moving; of {done.buckets:,} buckets {len(done.wrong)} are wrong "
            f"({done.seconds:.0f} s, {datetime.now(UTC):%H:%M})"
        )
        for line in done.wrong[:10]:
            console.print("  ", line)
        failed += bool(done.wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
