"""Adds up what the scanners have counted of a partition, and sets the minutes right by both looks.

A partition is read group by group (account and day), in the order of their keys, so what is held
does not grow with the tables. Hours are compared that have a row in either look, or a stored count,
or were set aside by the hourly check.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from operator import itemgetter
from typing import Any

from aggregated_metrics.adapters.observability import logger
from aggregated_metrics.adapters.run_files import RunFiles
from aggregated_metrics.core import buckets
from aggregated_metrics.core.buckets import DAY
from aggregated_metrics.core.findings import Findings
from aggregated_metrics.core.groups import Group
from aggregated_metrics.core.hours import HourId, Series
from aggregated_metrics.core.measures import zero
from aggregated_metrics.core.metadata import Fence
from aggregated_metrics.core.record_types import extra_of, model_of
from aggregated_metrics.core.row_sums import GroupKey, Sums, partition_of, unpack
from aggregated_metrics.core.runs import LOOKS, Run
from aggregated_metrics.core.series import Target
from aggregated_metrics.jobs.checker import Checker
from aggregated_metrics.jobs.two_looks import Looks, settle

HOURS_AT_ONCE = 320
LISTED = 20
_SPARE_SECONDS = 90.0

type _Member = tuple[GroupKey, int, Callable[[], Sums]]


@dataclass(slots=True)
class Reduced:
    """What reducing some groups came to.

    Attributes:
        hours, minutes: how many were compared.
        drift, repaired, moving: numbers of buckets by record type.
        undecided: hours with a minute of which the rows do not tell what is right.
        completed: buckets that had elapsed and were not complete.
        written: buckets written, parents included.
        samples: the first wrong buckets.
        after: the last group that is done.
        is_done: whether all are.
    """

    hours: int = 0
    minutes: int = 0
    drift: Counter[str] = field(default_factory=Counter)
    repaired: Counter[str] = field(default_factory=Counter)
    moving: Counter[str] = field(default_factory=Counter)
    undecided: Counter[str] = field(default_factory=Counter)
    completed: int = 0
    written: int = 0
    samples: list[dict[str, Any]] = field(default_factory=list)
    after: GroupKey | None = None
    is_done: bool = False

    def add(self, found: Findings) -> None:
        """Add what a check found."""
        self.hours += found.hours
        self.minutes += found.minutes
        self.completed += found.completed
        self.written += found.written
        for counter, drifts in (
            (self.drift, found.drift),
            (self.repaired, found.repaired),
            (self.moving, found.moving),
        ):
            counter.update(drift.hour.series.record_type for drift in drifts)
        self.undecided.update(hour.series.record_type for hour in found.undecided)
        self.samples += [drift.as_json() for drift in found.drift[: LISTED - len(self.samples)]]

    def as_json(self) -> dict[str, Any]:
        """To be kept, or given back."""
        return {
            "hours": self.hours,
            "minutes": self.minutes,
            "drift": dict(self.drift),
            "repaired": dict(self.repaired),
            "moving": dict(self.moving),
            "undecided": dict(self.undecided),
            "completed": self.completed,
            "written": self.written,
            "done": self.is_done,
            "samples": self.samples,
        }


@dataclass(frozen=True, slots=True)
class Reducer:
    """Reduces partitions of a run; every port is an argument."""

    checker: Checker
    files: RunFiles
    time_left: Callable[[], float]

    def reduce(self, run: Run, partition: int, after: GroupKey | None = None) -> Reduced:
        """Compare and set right a partition's groups that come after one, until the time is over.

        What fails ends it too, if something was done before: that is kept, and the rest is for the
        next invocation.

        Raises:
            RunError: the run has not been gathered.
            AggregatedMetricsError: nothing could be done.
        """
        reduced = Reduced(after=after)
        try:
            for last, looks in self._batches(run, partition, after):
                found = Findings()
                try:
                    settle(self.checker, self._with_stored(looks), found, repair=run.repair)
                except Exception:
                    reduced.add(found.set_right_only())  # the next step finds the rest again
                    raise
                reduced.add(found)
                reduced.after = last
                if self.time_left() < _SPARE_SECONDS:
                    return reduced
        except Exception as error:
            if reduced.after == after and not reduced.repaired:
                raise
            logger.warning("a partition goes on in another step", extra={"reason": str(error)})
            return reduced
        reduced.is_done = True
        return reduced

    def _batches(
        self, run: Run, partition: int, after: GroupKey | None
    ) -> Iterator[tuple[GroupKey, list[Looks]]]:
        """Looks of some hundred hours at a time, each with the last group that is in it."""
        gathered = self.files.get(run.name, "gathered.json")
        fences = {
            model: Fence(first, at, last, None)
            for model, (first, at, last) in gathered["fences"].items()
        }
        batch: list[Looks] = []
        for key, first, second in self._groups(run, partition, gathered["parts"]):
            if after is not None and key <= after:
                continue
            group = Group(run.model(key.model), key.account_id, _hours(first, second))
            batch.append(Looks(group, first, second, fences[key.model]))
            if sum(len(looks.group.hours) for looks in batch) >= HOURS_AT_ONCE:
                yield key, batch
                batch = []
        if batch:
            yield key, batch

    def _groups(
        self, run: Run, partition: int, parts: Mapping[str, Sequence[str]]
    ) -> Iterator[tuple[GroupKey, Sums, Sums]]:
        streams = [
            _members(look, block)
            for look in LOOKS
            for block in self.files.blocks(parts[str(look)], partition)
        ]
        members = heapq.merge(*streams, self._set_aside(run, partition), key=itemgetter(0))
        for key, same in groupby(members, key=itemgetter(0)):
            extra = run.model(key.model).extra
            looks = {look: Sums(extra=extra) for look in LOOKS}
            for _, look, sums in same:
                looks[look].merge(sums())
            yield key, looks[1], looks[2]

    def _set_aside(self, run: Run, partition: int) -> list[_Member]:
        """The hours that the hourly check has left to this one, as groups without rows."""
        found = []
        for mark in self.checker.pending.aside():
            series, start = mark.hour
            day = start // DAY
            if partition_of(series.account_id, day, run.partitions) != partition:
                continue
            if run.counts(series.record_type):
                model = model_of(series.record_type).name
                extra = extra_of(series.record_type)
                sums = Sums(minutes={Target(series, start): zero(extra)}, extra=extra)
                found.append((GroupKey(day, series.account_id, model), LOOKS[0], _given(sums)))
        return sorted(found, key=itemgetter(0))

    def _with_stored(self, all_looks: Sequence[Looks]) -> list[Looks]:
        """The same, with the hours of those days that have a stored count and no row."""
        stored: dict[tuple[str, str, int], set[HourId]] = {}
        for hour in chain(self._whole_hours(all_looks), self._scoped_hours(all_looks)):
            name = model_of(hour.series.record_type).name
            place = (hour.series.account_id, name, hour.start // DAY * DAY)
            stored.setdefault(place, set()).add(hour)
        return [
            looks._replace(
                group=looks.group._replace(
                    hours=tuple(
                        dict.fromkeys(chain(looks.group.hours, sorted(stored.get(_day(looks), ()))))
                    )
                )
            )
            for looks in all_looks
        ]

    def _whole_hours(self, all_looks: Sequence[Looks]) -> list[HourId]:
        days = {
            (Series(looks.group.account_id, name), _day(looks)[-1])
            for looks in all_looks
            for name in (looks.group.model.record_type, *looks.group.model.splits.values())
        }
        return self.checker.store.counted_hours(sorted(days))

    def _scoped_hours(self, all_looks: Sequence[Looks]) -> Iterator[HourId]:
        """Those of the breakdowns, of all their scopes."""
        days: dict[tuple[str, str], set[int]] = {}
        for looks in all_looks:
            for name in looks.group.model.scopes:
                days.setdefault((looks.group.account_id, name), set()).add(_day(looks)[-1])
        for (account_id, name), firsts in days.items():
            days_hours = (range(first, first + DAY, buckets.HOUR) for first in firsts)
            hours = [*chain.from_iterable(days_hours)]
            yield from self.checker.store.scoped_hours(account_id, name, hours)


def _members(look: int, block: bytes) -> Iterator[_Member]:
    return ((packed.key, look, packed.sums) for packed in unpack(block))


def _given(sums: Sums) -> Callable[[], Sums]:
    return lambda: sums


def _day(looks: Looks) -> tuple[str, str, int]:
    first = looks.group.hours[0].start
    return looks.group.account_id, looks.group.model.name, first // DAY * DAY


def _hours(first: Sums, second: Sums) -> tuple[HourId, ...]:
    found = {target.hour for target in first.places() | second.places()}
    return tuple(sorted(found))
