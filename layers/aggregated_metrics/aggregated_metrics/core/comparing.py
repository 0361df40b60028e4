"""Stored hours against what the source rows come to: which buckets are wrong. Pure.

What is set must be all that was written up to a fence, so a minute is left alone where the rows do
not tell that: rows that no index lists, that cannot be read, that have expired or were pruned.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from math import inf
from typing import NamedTuple

from aggregated_metrics.core import buckets
from aggregated_metrics.core.findings import Drift
from aggregated_metrics.core.hours import Bucket, Hour, HourId
from aggregated_metrics.core.measures import Measures, clamped, shown, total, zero
from aggregated_metrics.core.row_sums import Sums
from aggregated_metrics.core.series import Series, Target
from aggregated_metrics.core.source_models import Model


class Comparison(NamedTuple):
    """An hour against its rows.

    Attributes:
        minutes: how many there are to compare.
        wrong: the buckets that are wrong.
        is_decided: whether none differs of which the rows do not tell what is right.
    """

    minutes: int
    wrong: list[Drift]
    is_decided: bool


def compare(
    hour: Hour,
    model: Model,
    counted: Sums,
    *,
    now: datetime,
    lifetime: timedelta | None = None,
    doubtful: Collection[int] = (),
    unplaced: int = 0,
    whole: bool = False,
) -> Comparison:
    """Compare an hour with what its rows come to.

    Args:
        hour: as it is stored.
        model: whose rows its series counts.
        counted: what the rows come to.
        now: the time now.
        lifetime: how long its rows live; None for ever.
        doubtful: minutes of which a row is in no index: of whatever scope it is.
        unplaced: how many could not be read, not even their time.
        whole: whether the whole table was read, rows that no index lists included.
    """
    gone = without_rows(hour, counted, now)
    rows = _Rows(
        model,
        counted,
        doubtful,
        unplaced=unplaced,
        whole=whole,
        expired=is_expired(hour.id, now, lifetime),
        gone=gone,
    )
    stored: dict[int, Measures] = {}
    expected: dict[int, Measures] = {}
    wrong: list[Drift] = []
    is_decided = True
    for minute in buckets.starts(hour.id.start, 1):
        bucket = hour.get(minute)
        counted_here = counted.at(Target(hour.id.series, minute))
        if bucket is None and not any(counted_here):
            continue
        bucket = bucket or hour.get_or_new(minute)
        stored[minute] = expected[minute] = bucket.measures
        verdict = rows.judge(hour.id, bucket, counted_here)
        is_decided &= verdict is not _Verdict.UNDECIDED
        if verdict is _Verdict.WRONG:
            expected[minute] = counted_here
            wrong.append(_drift(hour.id, bucket, counted_here))
    for size in buckets.PARENT_SIZES:
        for start in buckets.starts(hour.id.start, size):
            parent = hour.get_or_new(start, size)
            right = _sum(expected, parent)
            if (size, start) in gone or shown(parent.measures) == right:
                continue
            if shown(parent.measures) != _sum(stored, parent):
                wrong.append(_drift(hour.id, parent, right))
    return Comparison(len(stored), wrong, is_decided)


class _Verdict(Enum):
    RIGHT = auto()
    WRONG = auto()
    UNDECIDED = auto()
    """It differs by more than what cannot be read, and the rows do not tell what is right."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """What is known of the rows beside their sums; as `compare` is told it."""

    model: Model
    counted: Sums
    doubtful: Collection[int]
    unplaced: int
    whole: bool
    expired: bool
    gone: Collection[tuple[int, int]]

    def judge(self, hour: HourId, bucket: Bucket, counted: Measures) -> _Verdict:
        """What a minute is, of which the rows that were read come to `counted`."""
        if _covers(self.gone, bucket.start):
            return _Verdict.RIGHT
        beyond = self._beyond(hour, bucket)
        if beyond is not None:
            least, most = beyond
            is_right = least <= bucket.measures.count - counted.count <= most
            return _Verdict.RIGHT if is_right else _Verdict.UNDECIDED
        if bucket.measures == counted:
            return _Verdict.RIGHT
        if self.unplaced and is_less(counted, bucket.measures):
            return _Verdict.UNDECIDED
        return _Verdict.WRONG

    def _beyond(self, hour: HourId, bucket: Bucket) -> tuple[int, float] | None:
        """How many rows more it may count than were read, at least and at most; None: not one."""
        if not (self.whole or _is_listed(hour, bucket, self.model, self.doubtful)):
            return max(0, bucket.metadata.unlisted), inf
        if Target(hour.series, bucket.start) in self.counted.unclear:
            return 0, inf
        if unread := self._unread(hour, bucket):
            return 0, unread  # nobody knows what they count into, nor whether they count
        if self.expired and any(bucket.measures):
            return 0, inf
        return None

    def _unread(self, hour: HourId, bucket: Bucket) -> int:
        """How many rows of a minute could not be read: of whatever series they are."""
        if not self.counted.unread:
            return 0
        whole = Series(hour.series.account_id, self.model.record_type)
        return self.counted.unread.get(Target(whole, bucket.start), 0)


def without_rows(hour: Hour, counted: Sums, now: datetime) -> set[tuple[int, int]]:
    """The parents (size, start) that are all that is left.

    Somebody has pruned minutes of theirs, and the rows no longer come to what they hold. Where the
    rows do, the minutes are set again.
    """
    found = set()
    for (size, start), held in hour.pruned(now).items():
        minutes = (Target(hour.id.series, minute) for minute in range(start, start + size))
        if is_less(total(map(counted.at, minutes), hour.zero), held):
            found.add((size, start))
    return found


def is_expired(hour: HourId, now: datetime, lifetime: timedelta | None) -> bool:
    """Whether rows of that age are gone by themselves: what happened still happened."""
    return lifetime is not None and buckets.to_datetime(hour.start) < now - lifetime


def _is_listed(hour: HourId, bucket: Bucket, model: Model, doubtful: Collection[int]) -> bool:
    """Whether an index lists all rows of a minute."""
    return (
        model.listing is not None
        and bucket.metadata.unlisted <= 0
        and not (hour.series.scope and bucket.start in doubtful)
    )


def _drift(hour: HourId, bucket: Bucket, expected: Measures) -> Drift:
    return Drift(hour, bucket.start, bucket.size, bucket.measures, expected, bucket.version)


def is_less(few: Measures, many: Measures) -> bool:
    """Whether any measure is less than the other."""
    return any(a < b for a, b in zip(few, many, strict=True))


def _covers(places: Collection[tuple[int, int]], minute: int) -> bool:
    return any(start <= minute < start + size for size, start in places)


def _sum(minutes: Mapping[int, Measures], parent: Bucket) -> Measures:
    here = (minute for minute in range(parent.start, parent.end) if minute in minutes)
    return shown(total((clamped(minutes[minute]) for minute in here), zero(parent.names)))
