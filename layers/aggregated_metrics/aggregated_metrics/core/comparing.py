"""Stored hours against what the source rows come to: which buckets are wrong. Pure.

What is set must be all that was written up to a fence, so a minute is left alone where the rows do
not tell that: rows that no index lists, that cannot be read, that have expired or were pruned.
"""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from aggregated_metrics.core import buckets
from aggregated_metrics.core.findings import Drift
from aggregated_metrics.core.hours import Bucket, Hour, HourId
from aggregated_metrics.core.measures import Measures, clamped, shown, total, zero
from aggregated_metrics.core.row_sums import Sums
from aggregated_metrics.core.series import Target
from aggregated_metrics.core.source_models import Model


def compare(
    hour: Hour,
    model: Model,
    counted: Sums,
    *,
    now: datetime,
    lifetime: timedelta | None = None,
    doubtful: Collection[int] = (),
    unreadable: int = 0,
    whole: bool = False,
) -> tuple[int, list[Drift]]:
    """How many minutes there are to compare, and the buckets that are wrong.

    Args:
        hour: as it is stored.
        model: whose rows its series counts.
        counted: what the rows come to.
        now: the time now.
        lifetime: how long its rows live; None for ever.
        doubtful: minutes of which a row is in no index: of whatever scope it is.
        unreadable: how many could not be read.
        whole: whether the whole table was read, rows that no index lists included.
    """
    expired = is_expired(hour.id, now, lifetime)
    gone = without_rows(hour, counted, now)
    stored: dict[int, Measures] = {}
    expected: dict[int, Measures] = {}
    wrong: list[Drift] = []
    for minute in buckets.starts(hour.id.start, 1):
        bucket = hour.get(minute)
        counted_here = counted.at(Target(hour.id.series, minute))
        if bucket is None and not any(counted_here):
            continue
        bucket = bucket or hour.get_or_new(minute)
        stored[minute] = expected[minute] = bucket.measures
        known = (
            (whole or _is_listed(hour.id, bucket, model, doubtful))
            and Target(hour.id.series, minute) not in counted.unclear
            and not (unreadable and is_less(counted_here, bucket.measures))
            and not (expired and any(bucket.measures))
            and not _covers(gone, minute)
        )
        if known and bucket.measures != counted_here:
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
    return len(stored), wrong


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
