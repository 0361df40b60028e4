"""Verify and repair: count the source rows again, compare every minute, set right what is wrong.

A repair must not fight deltas in flight. So what differs is looked at twice, at least
SETTLE_SECONDS apart; only a bucket for which both looks found the same source count and the same
stored version is called drift, and it is written under the condition of that version. Anything else
is *moving* and left alone, and so is a minute whose rows were updated while they were read (see
source). That is safe while the stream is less than SETTLE_SECONDS behind, so a repair asks first;
and a repaired hour stays pending until a later check finds nothing.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import batched
from typing import Any, Protocol

from aggregated_metrics import buckets
from aggregated_metrics.hours import Bucket, Hour, HourId, Series
from aggregated_metrics.measures import Measures, saturated, total
from aggregated_metrics.pending import PendingHours
from aggregated_metrics.record_types import Model, model_of
from aggregated_metrics.source import Counted, SourceRows
from aggregated_metrics.store import HOURS_PER_LOAD, HourStore

type Place = tuple[HourId, int, int]
"""An hour, a bucket's size and its start."""


class StreamLag(Protocol):
    """How far the stream's consumer is behind."""

    def seconds(self) -> float:
        """The age of the oldest record that is not taken in yet; 0 when there is none."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One bucket whose stored measures are not what they should be.

    For a minute, `expected` is what the source rows come to; for a parent it is the sum of its
    stored minutes (a parent of wrong minutes is not reported again: it follows them).
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
class Reconciler:
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
        first = self._look(ids, findings, unsure)
        if not first:
            return findings
        self.sleep(self.settle)
        again = {drift.hour for drift in first.values()}
        second = self._look(again, Findings(), unsure)
        for place in first | second:
            if first.get(place) == second.get(place) and place not in unsure:
                findings.drift.append(second[place])
            else:
                findings.moving.append(second.get(place) or first[place])
        if repair and findings.drift:
            self._repair(findings)
        return findings

    def _look(
        self, ids: Collection[HourId], findings: Findings, unsure: set[Place]
    ) -> dict[Place, Drift]:
        """What is wrong now; adds to `unsure` where the source could not be counted for sure."""
        drifts: dict[Place, Drift] = {}
        for model, account_id, group in _groups(ids):
            counted = self.source.count(
                model, account_id, {hour.start for hour in group}, self.on_page
            )
            findings.rows += counted.rows
            findings.pages += counted.pages
            for record_type, minute in counted.unsure:
                hour_id = HourId(Series(account_id, record_type), buckets.floor(minute, 60))
                unsure.add((hour_id, 1, minute))
            for hours in batched(group, HOURS_PER_LOAD, strict=False):
                for hour in self.store.load(hours):
                    compared, wrong = self._compare(hour, model, counted)
                    findings.minutes += compared
                    drifts |= {drift.place: drift for drift in wrong}
        return drifts

    def _compare(self, hour: Hour, model: Model, counted: Counted) -> tuple[int, list[Drift]]:
        """How many minutes there are to compare, and the buckets that are wrong."""
        record_type = hour.id.series.record_type
        expired = self._is_expired(hour.id, model)
        compared = 0
        wrong: list[Drift] = []
        for minute in buckets.starts(hour.id.start, 1):
            bucket = hour.get(minute) or Bucket(minute, 1)
            expected = saturated(counted.at(record_type, minute))
            if expired:
                expected = Measures(*map(max, expected, bucket.measures))
            compared += bucket.version is not None or any(expected)
            if bucket.measures != expected:
                wrong.append(_drift(hour.id, bucket, expected))
        for bucket in hour:
            if bucket.size > 1:
                expected = saturated(_sum(hour, bucket))
                if bucket.measures != expected:
                    wrong.append(_drift(hour.id, bucket, expected))
        return compared, wrong + _missing_parents(hour)

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


def _sum(hour: Hour, parent: Bucket) -> Measures:
    minutes = (hour.get(minute) for minute in range(parent.start, parent.end))
    return total(bucket.measures for bucket in minutes if bucket is not None)


def _missing_parents(hour: Hour) -> list[Drift]:
    """Parents that are not stored although a minute of theirs is, and has something to sum."""
    missing: dict[tuple[int, int], Bucket] = {}
    for bucket in hour:
        if bucket.size == 1 and any(bucket.measures):
            for size in buckets.PARENT_SIZES:
                start = buckets.floor(bucket.start, size)
                if hour.get(start, size) is None:
                    missing[size, start] = Bucket(start, size)
    return [_drift(hour.id, parent, saturated(_sum(hour, parent))) for parent in missing.values()]


def _groups(ids: Iterable[HourId]) -> list[tuple[Model, str, list[HourId]]]:
    """By model and account: one pass over the source counts all their hours and splits."""
    groups: dict[tuple[str, str], tuple[Model, list[HourId]]] = {}
    for hour in ids:
        model = model_of(hour.series.record_type)
        key = (hour.series.account_id, model.name)
        groups.setdefault(key, (model, []))[1].append(hour)
    return [(model, account_id, hours) for (account_id, _), (model, hours) in groups.items()]
