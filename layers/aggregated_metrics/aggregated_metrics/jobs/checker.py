"""Verify and repair: count the source rows again, compare every minute, set right what is wrong.

A repair must not fight deltas in flight. So what differs is looked at twice, at least
SETTLE_SECONDS apart; only a bucket for which both looks found the same source count and the same
stored version is called drift, and it is written under the condition of that version. Anything else
is *moving* and left alone, and so is a minute whose rows were updated while they were read (see
source).

Why that counts nothing twice while the stream is less than SETTLE_SECONDS behind, which a repair
asks first: the first look loads the buckets *before* it reads the rows, the second after. So an
unchanged version means that no delta of the minute arrived from before the first reading until the
write. What the first reading saw is older than SETTLE_SECONDS by then, so its deltas have arrived,
and that was before it began: the two are comparable, and what changed later is still to come as
deltas. If the stream was further behind than it was said to be, a delta is counted twice, but it
marks its hour again, and a repaired hour stays pending until a later check finds nothing. (Past the
source's lifetime that check cannot lower it: docs/limits.md.)
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.adapters.pending_hours import PendingHours
from aggregated_metrics.adapters.source_rows import Counted, SourceRows
from aggregated_metrics.core import buckets
from aggregated_metrics.core.hours import Bucket, Hour, HourId, Series
from aggregated_metrics.core.measures import Measures, saturated, total
from aggregated_metrics.core.record_types import Model, model_of

type Place = tuple[HourId, int, int]
"""An hour, a bucket's size and its start."""


class StreamLag(Protocol):
    """How far the stream's consumer is behind."""

    def seconds(self) -> float:
        """The age of the oldest record that is not taken in yet; 0 when there is none."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One bucket whose stored measures are not what they should be.

    `expected` is what the source rows come to. A parent that is the sum of its stored minutes is
    not reported, even if those are wrong: it follows them.
    """

    hour: HourId
    start: int
    size: int
    stored: Measures
    expected: Measures
    version: str | None

    @property
    def place(self) -> Place:
        """Which bucket."""
        return self.hour, self.size, self.start

    def as_json(self) -> dict[str, Any]:
        """For an invocation's result."""
        series = self.hour.series
        return {
            "accountId": series.account_id,
            "recordType": series.record_type,
            "timeRangeStart": buckets.iso(self.start),
            "numberOfMinutes": self.size,
            "stored": self.stored._asdict(),
            "counted": self.expected._asdict(),
        }


@dataclass(slots=True)
class Findings:
    """What a check found.

    Attributes:
        hours, minutes: how many were compared (minutes: those with a row or a bucket).
        rows, pages: source rows read, and requests for them.
        drift: wrong buckets, seen alike by two looks.
        moving: buckets that changed between or after the looks; left alone.
        repaired: those of the drift that have been set right.
        behind: seconds that the stream was behind, when that kept a repair from being made.
    """

    hours: int = 0
    minutes: int = 0
    rows: int = 0
    pages: int = 0
    drift: list[Drift] = field(default_factory=list)
    moving: list[Drift] = field(default_factory=list)
    repaired: list[Drift] = field(default_factory=list)
    behind: float | None = None

    def add(self, other: "Findings") -> None:
        """Take in what a check of other hours found."""
        self.hours += other.hours
        self.minutes += other.minutes
        self.rows += other.rows
        self.pages += other.pages
        self.drift += other.drift
        self.moving += other.moving
        self.repaired += other.repaired
        self.behind = other.behind if self.behind is None else self.behind


@dataclass(frozen=True, slots=True)
class Checker:
    """Checks hours against the source rows; every port is an argument.

    `lifetimes` is how long the rows of a model live (model name to timedelta); an hour older than
    that is never lowered, because its rows have expired and what happened still happened.
    """

    store: HourStore
    source: SourceRows
    pending: PendingHours
    lag: StreamLag
    clock: Callable[[], datetime]
    grace: int
    settle: int
    sleep: Callable[[float], None]
    lifetimes: dict[str, timedelta] = field(default_factory=dict)
    on_page: Callable[[Counted], None] = lambda _: None

    def check(self, ids: Collection[HourId], *, repair: bool) -> Findings:
        """Compare hours with the source rows, and with `repair` set right what is wrong.

        Raises:
            ApiError: the API refused, or did not answer.
            ContentionError: the time ran out; what was repaired is valid.
        """
        findings = Findings(hours=len(ids))
        unsure: set[Place] = set()
        first = self._look(ids, findings, unsure, stored_first=True)
        if not first:
            return findings
        self.sleep(self.settle)
        again = {drift.hour for drift in first.values()}
        second = self._look(again, Findings(), unsure, stored_first=False)
        for place in first | second:
            if first.get(place) == second.get(place) and place not in unsure:
                findings.drift.append(second[place])
            else:
                findings.moving.append(second.get(place) or first[place])
        if repair and findings.drift:
            self._repair(findings)
        return findings

    def _look(
        self, ids: Collection[HourId], findings: Findings, unsure: set[Place], *, stored_first: bool
    ) -> dict[Place, Drift]:
        """What is wrong now; adds to `unsure` where the source could not be counted for sure."""
        drifts: dict[Place, Drift] = {}
        for model, account_id, group in _groups(ids):
            stored = self.store.load(group) if stored_first else []
            counted = self.source.count(
                model, account_id, {hour.start for hour in group}, self.on_page
            )
            findings.rows += counted.rows
            findings.pages += counted.pages
            for record_type, minute in counted.unsure:
                hour_id = HourId(Series(account_id, record_type), buckets.floor(minute, 60))
                unsure.add((hour_id, 1, minute))
            for hour in stored or self.store.load(group):
                compared, wrong = self._compare(hour, model, counted)
                findings.minutes += compared
                drifts |= {drift.place: drift for drift in wrong}
        return drifts

    def _compare(self, hour: Hour, model: Model, counted: Counted) -> tuple[int, list[Drift]]:
        """How many minutes there are to compare, and the buckets that are wrong."""
        record_type = hour.id.series.record_type
        expired = self._is_expired(hour.id, model)
        stored: dict[int, Measures] = {}
        expected: dict[int, Measures] = {}
        wrong: list[Drift] = []
        for minute in buckets.starts(hour.id.start, 1):
            bucket = hour.get(minute)
            counted_here = saturated(counted.at(record_type, minute))
            if bucket is None and not any(counted_here):
                continue
            bucket = bucket or Bucket(minute, 1)
            stored[minute] = expected[minute] = bucket.measures
            if expired:
                counted_here = Measures(*map(max, counted_here, bucket.measures))
            if bucket.measures != counted_here:
                expected[minute] = counted_here
                wrong.append(_drift(hour.id, bucket, counted_here))
        for size in buckets.PARENT_SIZES:
            for start in buckets.starts(hour.id.start, size):
                parent = hour.get(start, size) or Bucket(start, size)
                right = _sum(expected, parent)
                if parent.measures not in (right, _sum(stored, parent)):
                    wrong.append(_drift(hour.id, parent, right))
        return len(stored), wrong

    def _is_expired(self, hour: HourId, model: Model) -> bool:
        lifetime = self.lifetimes.get(model.name)
        return lifetime is not None and buckets.to_datetime(hour.start) < self.clock() - lifetime

    def _repair(self, findings: Findings) -> None:
        behind = self.lag.seconds()
        if behind >= self.settle:
            findings.behind = behind
            return
        wanted: dict[HourId, list[Drift]] = {}
        for drift in findings.drift:
            wanted.setdefault(drift.hour, []).append(drift)
        moved: set[Place] = set()

        def set_right(hour: Hour) -> None:
            for drift in wanted[hour.id]:
                bucket = hour.get(drift.start, drift.size) or Bucket(drift.start, drift.size)
                if drift.size == 1 and bucket.measures != drift.expected:
                    if bucket.version == drift.version:
                        hour.set_minute(drift.start, drift.expected)
                    else:
                        moved.add(drift.place)

        outcome = self.store.change(wanted, set_right, before_save=self._mark)
        for drift in findings.drift:
            left = drift.size > 1 and drift.hour in outcome.parents_left
            if drift.place in moved or left:
                findings.moving.append(drift)
            else:
                findings.repaired.append(drift)

    def _mark(self, hours: Sequence[Hour]) -> None:
        self.pending.mark({hour.id: hour.due(self.grace) for hour in hours})


def _drift(hour: HourId, bucket: Bucket, expected: Measures) -> Drift:
    return Drift(hour, bucket.start, bucket.size, bucket.measures, expected, bucket.version)


def _sum(minutes: Mapping[int, Measures], parent: Bucket) -> Measures:
    here = (minute for minute in range(parent.start, parent.end) if minute in minutes)
    return saturated(total(minutes[minute] for minute in here))


def _groups(ids: Iterable[HourId]) -> list[tuple[Model, str, list[HourId]]]:
    """By model and account: one pass over the source counts all their hours and splits."""
    groups: dict[tuple[str, str], tuple[Model, list[HourId]]] = {}
    for hour in ids:
        model = model_of(hour.series.record_type)
        key = (hour.series.account_id, model.name)
        groups.setdefault(key, (model, []))[1].append(hour)
    return [(model, account_id, hours) for (account_id, _), (model, hours) in groups.items()]
