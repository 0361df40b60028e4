"""A run over whole tables while everything else goes on (`make truth-backfill`).

Most rows were there before anything counted, and some changes were lost. While the run scans, waits
and reduces, rows are inserted, updated, moved and deleted, the streams deliver late and in pieces,
and scanners and reducers die at random. Once the streams have caught up, the hourly check has been
there and what it has deferred is scanned, every bucket must be what a group-by of the rows says.
"""

import argparse
import logging
import random
import time
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from types import SimpleNamespace
from typing import Any

from testbench import oracle
from testbench.world import START, World
from tests.truth import seams
from tests.truth.row_histories import lives, moment_of
from tests.truth.source_tables import SourceTables

_UNDELIVERED = 400
"""The streams are never further behind than this many changes."""


@dataclass
class Backfilled:
    """What came of it; the truth is in `wrong`, sentences of what is not exact."""

    wrong: list[str]
    deaths: int
    repaired: int
    summary: str


class Died(BaseException):
    """The process is gone: nothing of the engine may catch it."""


class _Changing(World):
    """Tables that change, and functions that die, at each page, file, reducer and wait.

    `goes_on` tells whether they change just now.
    """

    def __init__(self, number: int, seed: int, die: float) -> None:
        super().__init__(
            breakdowns="all",
            page=max(10, number // 200),
            environment={"BACKFILL_READ_UNITS": "1000000"},
        )
        self._draw, self._die = random.Random(f"backfill/{seed}"), die
        self.ports.bucket.on_put = lambda _: self._maybe_die()
        clock: Any = SimpleNamespace(now=lambda: self.clock.now, slow=nullcontext)
        self.tables = SourceTables(self.api, clock, skew=0.0)
        drawn = (life.in_a_table(None) for life in lives(seed, number, START))
        changes = [(each, life.model) for life in drawn for each in life.changes]
        changes = [each for each in changes if each[1] in self.models]
        self.left = len(changes)
        self._changes = iter(sorted(changes, key=lambda each: each[0].at))
        self.goes_on = False
        self.deaths = 0

    def change(self, number: int) -> None:
        """Let the next changes happen, each at its time."""
        for change, model in islice(self._changes, number):
            self.clock.now = max(self.clock.now, change.at)
            written = self.tables.write(model, change, self.stream(model))
            self.undelivered.append(written.record)
            self.left -= 1

    def begin(self) -> None:
        """Most is written before anything counts; then a mapping begins at LATEST, now and then."""
        self.change(self.left // 2)
        self.lose()
        for _ in range(self.left // 5):
            self.change(1)
            if self._draw.random() < 0.1:
                self.lose()
            elif self._draw.random() < 0.2:
                self.deliver()
        self.lose()
        self.clock.advance(60)
        self.change(self.left // 4)

    def invoke(self, function: str, event: Any) -> Any:
        """One invocation in a new process; again until it succeeds."""
        if "reduce" in event:
            self._meanwhile()
        while True:
            self.new_engine()
            try:
                return super().invoke(function, event)
            except Died:
                self.deaths += 1

    def settle(self) -> None:
        """What comes by itself, and what the alarm of deferred hours asks for."""
        self.goes_on = False
        self.change(self.left)
        self.deliver(10**9)
        for _ in range(3):
            for _ in range(3):
                self.sweep(2, 6 * 3600)
                self.check()
            if seams.deferred(self.table.items.values()):
                self.backfill()

    def _happen(self, moment: str) -> None:
        if moment in ("page", "wait"):
            self._meanwhile()
        if moment == "page":
            self._maybe_die()

    def _meanwhile(self) -> None:
        if not self.goes_on:
            return
        self.change(self._draw.randrange(4))
        if self._draw.random() < 0.3 or len(self.undelivered) > _UNDELIVERED:
            self.deliver(self._draw.randrange(1, 60))

    def _maybe_die(self) -> None:
        if self._draw.random() < self._die:
            raise Died


def backfill(number: int, seed: int, *, die: float = 0.05) -> Backfilled:
    """Run once over so many rows; `die` is the probability of a death at a page or a file."""
    world, began = _Changing(number, seed, die), time.monotonic()
    world.begin()
    world.goes_on = True
    with seams.pages(scanned=max(20, number // 50)):
        report = world.backfill(segments=3, partitions=7)
    changed, left = len(world.tables.rows), world.left
    world.settle()
    there = ((model, row) for model, row in world.tables.counted() if moment_of(model, row))
    truth, stored = oracle.buckets_of(there, breakdowns=True), world.stored()
    wrong = [
        f"{key}: {stored.get(key)} stored, {truth.get(key)} expected"
        for key in sorted(truth.keys() | stored.keys())
        if truth.get(key) != stored.get(key)
    ]
    summary = (
        f"seed {seed}: {changed:,} rows, {left:,} changes after the run, {world.deaths} deaths, "
        f"{report['repaired']:,} buckets repaired, {report['inFlux']:,} in flux; {len(wrong)} of "
        f"{len(truth):,} buckets are wrong, {time.monotonic() - began:.0f} s"
    )
    return Backfilled(wrong, world.deaths, report["repaired"], summary)


def main() -> int:
    """Run so many seeds; 1 if any was not exact."""
    parser = argparse.ArgumentParser(prog="make truth-backfill", description=__doc__)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="the first seed; 0 draws a fresh one")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    first = options.seed or random.SystemRandom().randrange(10**6)
    failed = 0
    for seed in range(first, first + options.seeds):
        done = backfill(options.rows, seed)
        print("\n   ".join([done.summary, *done.wrong[:10]]), flush=True)  # noqa: T201
        failed += bool(done.wrong)
    return min(1, failed)


if __name__ == "__main__":
    raise SystemExit(main())
