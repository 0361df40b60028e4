"""A run over whole tables while everything else goes on (`make truth-backfill`).

The rows were there before anything counted. While the run scans, waits and reduces, rows
are inserted, updated, moved and deleted, the streams deliver late and in pieces, and scanners and
reducers die at random. Once the streams have caught up and the hourly check has been there, every
bucket must be what a group-by of the rows says.
"""

import argparse
import random
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aggregated_metrics.jobs import scanner
from rich.console import Console

from testbench import oracle
from testbench.backfilling import Backfilling
from testbench.fakes.aws import MemoryTable
from testbench.reconciliation import START, World

_ACCOUNTS = ("acct-1", "acct-2", "acct-#3")
_MODELS = ("Item", "ScoreResult", "ScoreResult", "Task", "Evaluation")
_DAYS = 5
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


class _Life:
    """Rows that come, change and go, drawn at random."""

    def __init__(self, world: World, draw: random.Random) -> None:
        self.world = world
        self.draw = draw
        self.ids: list[tuple[str, str]] = []
        self.changes = 0

    def insert(self) -> None:
        model = self.draw.choice(_MODELS)
        row_id = f"{model}-{len(self.ids)}-{self.draw.randrange(10**9)}"
        self.ids.append((model, row_id))
        self.world.insert(model, row_id, **self._place(), **self._kind(model))

    def change(self) -> None:
        """Something happens to some row."""
        self.changes += 1
        self.world.clock.advance(self.draw.random() * 3)
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
            self.world.update(model, row_id, **self._place())
        else:
            self.world.update(model, row_id, **self._kind(model))

    def _place(self) -> dict[str, Any]:
        ago = timedelta(minutes=self.draw.choice((3, 61, 62, self.draw.randrange(_DAYS * 1440))))
        at = (START - ago).astimezone(UTC)
        created = at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return {"accountId": self.draw.choice(_ACCOUNTS), "createdAt": created}

    def _kind(self, model: str) -> dict[str, Any]:
        split = {"Item": "createdByType", "ScoreResult": "type"}.get(model)
        if split:
            return {split: self.draw.choice(("prediction", "evaluation", "trial"))}
        return {"status": self.draw.choice(("COMPLETED", "FAILED", "RUNNING"))}


def backfill(rows: int, seed: int, *, die: float = 0.05) -> Backfilled:
    """Run once over so many rows; `die` is the probability of a death at a page or a file."""
    draw = random.Random(f"backfill/{seed}")
    world = World(MemoryTable())
    began = time.monotonic()
    life = _Life(world, draw)
    for _ in range(rows):
        life.insert()
    world.undelivered.clear()  # nobody counted yet
    world.clock.advance(60)
    for _ in range(rows // 4):
        life.change()
    run = Backfilling(world, page=max(10, rows // 200), dies=lambda: draw.random() < die)

    def something() -> None:
        for _ in range(draw.randrange(4)):
            life.change()
        if draw.random() < 0.3 or len(world.undelivered) > _UNDELIVERED:
            world.deliver(draw.randrange(1, 60))

    for moment in ("page", "wait", "reduce"):
        world.at(moment, *[something] * rows)
    kept, scanner.ROWS = scanner.ROWS, max(20, rows // 50)
    try:
        report = run.run(segments=3, partitions=7)
    finally:
        scanner.ROWS = kept
    world.moments.clear()
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
        run.tables.scans,
        run.deaths,
        sum(report["moving"].values()),
        sum(report["repaired"].values()),
        len(truth),
        time.monotonic() - began,
    )


def settle(world: World) -> None:
    """What comes by itself: the streams catch up, the sweeper closes, the hourly check looks."""
    world.deliver(10**9)
    for _ in range(3):
        world.sweep()
        world.run({"repair": True})


def main() -> int:
    """Run so many seeds; 1 if any was not exact."""
    parser = argparse.ArgumentParser(prog="make truth-backfill", description=__doc__)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="the first seed; 0 draws a fresh one")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    first = options.seed or random.SystemRandom().randrange(10**6)
    failed = 0
    for seed in range(first, first + options.seeds):
        done = backfill(options.rows, seed)
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
