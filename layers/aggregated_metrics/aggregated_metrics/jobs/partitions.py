"""Reads what the scanners of a run have counted of a partition, some hours at a time.

The lines of all blocks are merged in the order of their keys (model, account, hour), therefore the
memory in use grows neither with the tables nor with the number of parts. Hours without rows are
added if they are stored, or have an open check.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import attrgetter, itemgetter
from typing import Any

from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.adapters.pending_hours import OpenCheck
from aggregated_metrics.adapters.retries import map_concurrently
from aggregated_metrics.adapters.run_files import Run, RunFiles
from aggregated_metrics.core.buckets import DAY, HOUR
from aggregated_metrics.core.metadata import Pass
from aggregated_metrics.core.models import Model, Models
from aggregated_metrics.core.series import HourId, Series, hour_key
from aggregated_metrics.core.totals import GroupKey, Totals, read, unpack

PASSES = (1, 2)
LINES_AT_ONCE = 320
MINUTES_AT_ONCE = 50_000

type _Line = tuple[GroupKey, int, bytes]
"""A key, the pass (0: of an open check), and what `totals.read` takes."""
type _Span = tuple[str, int, int]
"""An account, and a range of epoch minutes `[first, end)` within one UTC day."""


@dataclass(slots=True)
class Window:
    """Some hours of one model, and what both passes have counted of them.

    Attributes:
        keys: of the lines that were read; at least one.
        hours: those to be compared, in order.
        checks: their open checks, as they were before pass 1.
        totals: of pass 1 and of pass 2.
        passes: when they were.
    """

    keys: list[GroupKey] = field(default_factory=list)
    hours: Sequence[HourId] = ()
    checks: Mapping[HourId, OpenCheck] = field(default_factory=dict)
    totals: tuple[Totals, Totals] = field(default_factory=lambda: (Totals(), Totals()))
    passes: tuple[Pass, Pass] = (Pass(0, 0), Pass(0, 0))

    def is_full(self, following: GroupKey) -> bool:
        """Whether the next line belongs to another window."""
        return (
            following.model != self.keys[-1].model
            or len(self.keys) >= LINES_AT_ONCE
            or sum(map(len, self.totals)) >= MINUTES_AT_ONCE
        )

    def add(self, key: GroupKey, lines: Iterable[_Line]) -> None:
        """Add the lines of a key."""
        self.keys.append(key)
        for _, number, content in lines:
            for target, total in read(key, content) if number else ():
                self.totals[number - 1].put(target, total)


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition of a run.

    Attributes:
        checks: the open checks of its hours, as they were before pass 1, by key.
    """

    files: RunFiles
    store: HourStore
    models: Models
    run: Run
    number: int
    checks: Mapping[GroupKey, Sequence[OpenCheck]]

    def windows(self, after: GroupKey | None) -> Iterator[Window]:
        """Every hour of the partition whose key comes after one.

        Raises:
            RunError: the run has not been gathered.
            ApiError: the API refused, or did not answer.
        """
        gathered = self.files.get(self.run.name, "gathered.json")
        window, before = Window(), after
        for key, lines in groupby(self._lines(gathered["parts"]), key=itemgetter(0)):
            if after is not None and key <= after:
                continue
            if window.keys and window.is_full(key):
                yield self._finished(window, before, key, gathered["passes"])
                window, before = Window(), window.keys[-1]
            window.add(key, lines)
        if window.keys:
            yield self._finished(window, before, None, gathered["passes"])

    def _lines(self, parts: Mapping[str, Sequence[str]]) -> Iterator[_Line]:
        blocks = (
            _numbered(number, block)
            for number in PASSES
            for block in self.files.blocks(parts[str(number)], self.number)
        )
        checks = ((key, 0, b"") for key in sorted(self.checks))
        return heapq.merge(*blocks, checks, key=itemgetter(0))

    def _finished(
        self,
        window: Window,
        before: GroupKey | None,
        following: GroupKey | None,
        passes: Mapping[str, Any],
    ) -> Window:
        """A window with its hours, stored ones without rows included."""
        model = model_of(self.run, self.models, window.keys[0].model)
        known = (check for key in window.keys for check in self.checks.get(key, ()))
        window.checks = {check.hour: check for check in known}
        hours = set(window.checks).union(*(totals.hours() for totals in window.totals))
        hours.update(self._stored(model, _spans(before, window.keys, following)))
        first, second = passes[model.name]
        window.hours = sorted(hours, key=hour_key)
        window.passes = (Pass(*first), Pass(*second))
        return window

    def _stored(self, model: Model, spans: Sequence[_Span]) -> Iterable[HourId]:
        """The stored hours of some accounts' days, of every record type of a model."""
        days = [
            (Series(account_id, name), first // DAY * DAY)
            for account_id, first, _ in spans
            for name in model.plain_types
        ]
        within = {(account_id, first // DAY): (first, end) for account_id, first, end in spans}
        for hour in self.store.stored_hours(days):
            first, end = within[hour.series.account_id, hour.start // DAY]
            if first <= hour.start < end:
                yield hour
        asked = [(who, name, first, end) for who, first, end in spans for name in model.breakdowns]
        find = self.store.breakdown_hours
        yield from chain.from_iterable(map_concurrently(lambda each: find(*each), asked))


def model_of(run: Run, models: Models, name: str) -> Model:
    """How rows of a model are counted in a run, in both passes alike."""
    return models[name].only(run.breakdowns)


def _numbered(number: int, block: bytes) -> Iterator[_Line]:
    return ((key, number, content) for key, content in unpack(block))


def _spans(
    before: GroupKey | None, keys: Sequence[GroupKey], following: GroupKey | None
) -> list[_Span]:
    """The ranges that a window covers: whole days, where it does not share one with its neighbours.

    Args:
        before: the key of the line before the window.
        keys: of the window.
        following: the key of the line after it.
    """
    spans = []
    for day, same in groupby(keys, key=attrgetter("day")):
        _, account_id, first = day
        end = first + DAY
        if before is not None and before.day == day:
            first = before.hour + HOUR
        if following is not None and following.day == day:
            end = list(same)[-1].hour + HOUR
        spans.append((account_id, first, end))
    return spans
