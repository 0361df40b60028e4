"""What a check finds: stored hours compared with the totals of their rows. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from aggregated_metrics.core import buckets
from aggregated_metrics.core.hour import Bucket, Hour
from aggregated_metrics.core.measures import Measures, clamped, plus
from aggregated_metrics.core.series import HourId, Target
from aggregated_metrics.core.totals import MinuteTotal, Totals

LISTED = 200
"""At most so many buckets and hours are named in a result, which may have 256 KB."""


class Drift(NamedTuple):
    """One bucket whose stored sums are not what was counted.

    A rollup that is the sum of its stored minutes is not reported, even if those are wrong.
    """

    hour: HourId
    start: int
    size: int
    stored: Measures
    counted: Measures
    names: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Where it is and what it counts, nothing of its rows."""
        series = self.hour.series
        return {
            "accountId": series.account_id,
            "recordType": series.record_type,
            **series.scope_as_json(),
            "timeRangeStart": buckets.iso(self.start),
            "numberOfMinutes": self.size,
            "stored": self.stored.named(self.names),
            "counted": self.counted.named(self.names),
        }


@dataclass(slots=True)
class Findings:
    """What a check found.

    Attributes:
        hours, minutes: how many were compared (minutes: those with a row or a bucket).
        rows, pages: source rows read by both passes, and requests for them.
        drift: the first of the wrong buckets, equal in two passes; `drift_count` is all of them.
        repaired: how many of them have been repaired.
        in_flux: buckets that changed between or after the passes; left to the next check.
        unverified: minutes beside a row that the API could not give; left alone.
        deferred: hours that only a Scan can settle.
        still_uncountable: records of the quarantine that still cannot be counted.
        completed: buckets that had elapsed and are complete now.
        not_reached: the first hours or accounts that a reading did not reach; and how many.
        failed: a line for each account and model that could not be checked.
    """

    hours: int = 0
    minutes: int = 0
    rows: int = 0
    pages: int = 0
    drift: list[Drift] = field(default_factory=list)
    drift_count: int = 0
    repaired: int = 0
    in_flux: int = 0
    unverified: int = 0
    deferred: int = 0
    still_uncountable: int = 0
    completed: int = 0
    not_reached: list[str] = field(default_factory=list)
    not_reached_count: int = 0
    failed: list[str] = field(default_factory=list)

    def report_drift(self, drift: Drift) -> None:
        """Add a wrong bucket."""
        self.drift_count += 1
        if len(self.drift) < LISTED:
            self.drift.append(drift)

    def report_not_reached(self, what: str, number: int = 1) -> None:
        """Add hours that a reading did not reach."""
        self.not_reached_count += number
        if len(self.not_reached) < LISTED:
            self.not_reached.append(what)

    def as_result(self) -> dict[str, Any]:
        """An invocation's result."""
        return {
            "hours": self.hours,
            "minutes": self.minutes,
            "rows": self.rows,
            "driftCount": self.drift_count,
            "drift": [drift.as_json() for drift in self.drift],
            "repaired": self.repaired,
            "inFlux": self.in_flux,
            "unverified": self.unverified,
            "deferred": self.deferred,
            "stillUncountable": self.still_uncountable,
            "completed": self.completed,
            "notReachedCount": self.not_reached_count,
            "notReached": self.not_reached,
            "failed": self.failed[:LISTED],
        }


@dataclass(frozen=True, slots=True)
class ScanCounted:
    """Two passes by Scan: every row was read, and every minute is judged.

    `began` is when the first one did: epoch seconds.
    """

    scan: ClassVar = True
    first: Totals
    second: Totals
    zero: MinuteTotal
    began: float

    def minutes(self, hour: Hour) -> set[int]:
        """Those with a row or a bucket."""
        stored = {bucket.start for bucket in hour if bucket.size == 1}
        return stored.union(self.first.hour(hour.id), self.second.hour(hour.id))

    def at(self, target: Target) -> MinuteTotal | None:
        """The second pass's, if both are equal."""
        one, other = self.first.at(target), self.second.at(target)
        same = (one.fingerprint if one else 0) == (other.fingerprint if other else 0)
        return (other or self.zero) if same else None

    def was_right(self, bucket: Bucket, target: Target, now: datetime, *, expired: bool) -> bool:
        """Whether it held what the first pass counted before that began.

        What came since, the stream brings. Where it has brought some of that already, equal sums
        say nothing: a late row stands for a lost one.
        """
        found = self.first.at(target) or self.zero
        return bucket.was_written_by(self.began, now) and not differs(
            bucket, found, scan=True, expired=expired
        )

    def unindexed_differs(self, bucket: Bucket, target: Target) -> bool:
        """Whether it is not the same in both passes and the bucket."""
        one, other = (each.at(target) or self.zero for each in (self.first, self.second))
        return not one.unindexed == other.unindexed == bucket.unindexed


@dataclass(frozen=True, slots=True)
class IndexCounted:
    """Two passes through an index: of the minutes that differed after the first one."""

    scan: ClassVar = False
    fingerprints: Mapping[HourId, Mapping[int, int]]
    second: Totals
    zero: MinuteTotal

    def minutes(self, hour: Hour) -> Iterable[int]:
        """Those that differed."""
        return self.fingerprints.get(hour.id, {})

    def at(self, target: Target) -> MinuteTotal | None:
        """The second pass's, if both are equal."""
        first = self.fingerprints.get(target.hour, {}).get(target.minute, 0)
        second = self.second.at(target) or self.zero
        return second if first == second.fingerprint else None

    def was_right(self, *_: object, **__: object) -> bool:
        """Never: they are the minutes that were not."""
        return False

    def unindexed_differs(self, *_: object) -> bool:
        """Never: no index says anything of it."""
        return False


type Counted = ScanCounted | IndexCounted


class Verdict(NamedTuple):
    """An hour against what was counted.

    Attributes:
        wrong: minutes to set, with their totals.
        in_flux: minutes that differ, and are left to the next check.
        unindexed_in_flux: whether the unindexed part of one of them may be wrong.
        foreign: minutes of which the unindexed part is not known: it is below zero, or they differ
            and another writer's sums hide it.
        drift: the wrong buckets for the report: minutes, and rollups that are not their sums.
    """

    wrong: Mapping[int, MinuteTotal]
    in_flux: frozenset[int]
    unindexed_in_flux: bool
    foreign: frozenset[int]
    drift: tuple[Drift, ...]


def judge(
    hour: Hour, counted: Counted, until: float, now: datetime, *, expired: bool = False
) -> Verdict:
    """Compare an hour with what two passes counted.

    Args:
        hour: as it is stored.
        counted: by the passes.
        until: T (epoch seconds). A minute that was written after it is left to the next check.
        now: the time now.
        expired: whether rows of its age have expired: then nothing is lowered.
    """
    wrong: dict[int, MinuteTotal] = {}
    in_flux, foreign, drift = set(), set(), []
    scan, unindexed_in_flux = counted.scan, False
    for minute in counted.minutes(hour):
        bucket = hour.get_or_new(minute)
        target = Target(hour.id.series, minute)
        found = counted.at(target)
        if found is None:
            is_right = counted.was_right(bucket, target, now, expired=expired)
        else:
            is_right = not differs(bucket, found, scan=scan, expired=expired)
        if is_right:
            continue
        if not scan and (bucket.is_foreign or _is_negative(bucket)):
            foreign.add(minute)
        elif found is None or not bucket.was_written_by(until, now):
            in_flux.add(minute)
            unindexed_in_flux |= counted.unindexed_differs(bucket, target)
        else:
            wrong[minute] = found
            drift.append(_drift(hour.id, bucket, _sums(bucket, found, scan=scan)))
    set_to = {
        minute: _sums(hour.get_or_new(minute), found, scan=scan) for minute, found in wrong.items()
    }
    drift += [_drift(hour.id, bucket, sums) for bucket, sums in hour.wrong_rollups(set_to)]
    return Verdict(wrong, frozenset(in_flux), unindexed_in_flux, frozenset(foreign), tuple(drift))


def differing(
    hour: Hour, totals: Totals, zero: MinuteTotal, *, expired: bool = False
) -> Iterator[tuple[int, int]]:
    """The minutes that differ after one pass through an index, each with its fingerprint."""
    rows = totals.hour(hour.id)
    stored = {bucket.start: bucket for bucket in hour if bucket.size == 1}
    for minute in sorted(stored.keys() | rows.keys()):
        bucket = stored.get(minute) or hour.get_or_new(minute)
        found = rows.get(minute, zero)
        if differs(bucket, found, scan=False, expired=expired):
            yield minute, found.fingerprint


def differs(bucket: Bucket, found: MinuteTotal, *, scan: bool, expired: bool) -> bool:
    """Whether a minute is not what was counted."""
    if bucket.unreadable or (not scan and _is_negative(bucket)):
        return True
    wanted = _sums(bucket, found, scan=scan)
    if expired and any(a < b for a, b in zip(wanted, clamped(bucket.measures), strict=True)):
        return False
    if bucket.measures != wanted:
        return True
    return scan and (
        bucket.unindexed != found.unindexed
        or ("foreign" in str(bucket.given) and bucket.metadata.foreign)
    )


def _is_negative(bucket: Bucket) -> bool:
    """Whether it lacks an unindexed row that was removed: an index check would trust too little."""
    return bucket.unindexed.count < 0


def _sums(bucket: Bucket, found: MinuteTotal, *, scan: bool) -> Measures:
    """What a minute should hold."""
    return plus(found.indexed, found.unindexed if scan else bucket.unindexed)


def _drift(hour: HourId, bucket: Bucket, counted: Measures) -> Drift:
    return Drift(hour, bucket.start, bucket.size, bucket.measures, counted, bucket.names)
