"""A run over whole tables while everything else goes on.

Most rows were there before anything counted, and some changes were lost. While the run scans, waits
and reduces, rows are inserted, updated, moved and deleted, the streams deliver late and in pieces,
and scanners and reducers die at random. Once the streams have caught up, the hourly check has been
there and what it has deferred is scanned, every bucket must be what a group-by of the rows says.
"""

import random
from contextlib import nullcontext
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
_DIE = 0.05
"""The probability of a death at a page or a file."""


class Died(BaseException):
    """The process is gone: nothing of the engine may catch it."""


class _Changing(World):
    """Tables that change, and functions that die, at each page, file, reducer and wait.

    `goes_on` tells whether they change just now.
    """

    def __init__(self, number: int, seed: int) -> None:
        super().__init__(
            breakdowns="all",
            page=max(10, number // 200),
            environment={"BACKFILL_READ_UNITS": "1000000"},
        )
        self._draw = random.Random(f"backfill/{seed}")
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
        if self._draw.random() < _DIE:
            raise Died


def backfill(number: int, seed: int) -> tuple[list[str], dict[str, int]]:
    """Run once over so many rows; gives what is wrong, and what happened how often."""
    world = _Changing(number, seed)
    world.begin()
    world.goes_on = True
    with seams.pages(scanned=max(20, number // 50)):
        report = world.backfill(segments=3, partitions=7)
    counts = {"deaths": world.deaths, "repaired": report["repaired"], "after the run": world.left}
    world.settle()
    there = ((model, row) for model, row in world.tables.counted() if moment_of(model, row))
    truth, stored = oracle.buckets_of(there, breakdowns=True), world.stored()
    wrong = [
        f"{key}: {stored.get(key)} stored, {truth.get(key)} expected"
        for key in sorted(truth.keys() | stored.keys())
        if truth.get(key) != stored.get(key)
    ]
    return wrong, counts | {"inFlux": report["inFlux"], "buckets": len(truth)}
