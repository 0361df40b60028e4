"""Hours, bucket by bucket, for tests of single modules.

What needs the functions or the API uses testbench/world.py.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aggregated_metrics.core import buckets
from aggregated_metrics.core.changes import Delta
from aggregated_metrics.core.hour import Bucket, Hour
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.series import HourId, Series

GRACE = 120
NOW = datetime(2026, 11, 22, 10, 0, 30, 123456, tzinfo=UTC)
AT = int(NOW.timestamp())
LATER = datetime(2026, 11, 22, 12, tzinfo=UTC)
TEN = buckets.to_minute(datetime(2026, 11, 22, 10, tzinfo=UTC))
SERIES = Series("acct-1", "items")
HOUR = HourId(SERIES, TEN)
ONE, MINUS_ONE = Measures(1), Measures(-1)


def delta(
    number: int = 1, measures: Measures = ONE, created: float | None = None, *, indexed: bool = True
) -> Delta:
    """What one record adds."""
    return number, measures, created, indexed


def apply(
    hour: Hour,
    *deltas: Delta,
    minute: int = 0,
    shard: str = "shard",
    last: int | None = None,
    now: datetime = NOW,
) -> None:
    """Apply a batch to a minute of an hour; it ends with the greatest of its deltas."""
    end = max((each[0] for each in deltas), default=0) if last is None else last
    hour.apply(hour.id.start + minute, shard, end, deltas, now)


def stored(hour: Hour, now: datetime = NOW) -> list[dict[str, Any]]:
    """The API's rows of all of an hour's buckets, written now."""
    for bucket in hour:
        bucket.dirty = True
    return [{"metadata": None, **write.record} for write in hour.writes(now)]


def saved(hour: Hour, now: datetime = NOW, **changes: Any) -> Hour:
    """The hour as it is loaded after it was saved, each row changed like this."""
    rows = [row | changes for row in stored(hour, now)]
    return Hour(hour.id, rows, next((bucket.names for bucket in hour), ()))


def counted(
    minutes: Mapping[int, Measures], hour_id: HourId = HOUR, names: tuple[str, ...] = ()
) -> Hour:
    """An hour with these sums by its minutes, as a stream has counted and saved them."""
    hour = Hour(hour_id, names=names)
    for number, (minute, measures) in enumerate(minutes.items()):
        apply(hour, delta(number, measures), minute=minute)
    hour.roll_up()
    return saved(hour)


def bucket_of(hour: Hour, minute: int = 0, size: int = 1) -> Bucket:
    """A bucket that must exist, by its minute of the hour."""
    found = hour.get(hour.id.start + minute, size)
    assert found is not None, (minute, size)
    return found


def counts(hour: Hour) -> dict[tuple[int, int], int]:
    """The count of each bucket, by its minute of the hour and its size."""
    return {(b.start - hour.id.start, b.size): b.measures.count for b in hour}


def metadata(hour: Hour, minute: int = 0) -> dict[str, Any]:
    """A minute's metadata as it would be stored."""
    return dict(json.loads(bucket_of(hour, minute).metadata_text or "{}"))
