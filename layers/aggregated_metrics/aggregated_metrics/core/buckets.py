"""Bucket arithmetic: pure, on whole epoch minutes.

Within the package an instant that only matters to the minute is an `int`: minutes since
1970-01-01T00:00Z. Every bucket size divides 60, and days have no leap minutes in POSIX time, so
alignment to the epoch is alignment to the UTC clock. Ranges are half-open: `[start, end)`.
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from aggregated_metrics.core.errors import ArgumentError

SIZES = (1, 5, 15, 60)
ROLLUP_SIZES = (5, 15, 60)
HOUR = 60
DAY = 24 * HOUR
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)
_DATE_TIME = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(\.\d{1,9})?(Z|[+-]\d\d:[0-5]\d(:[0-5]\d)?)", re.ASCII
).fullmatch
_SECONDS = re.compile(r"[0-5]\d(\.\d{1,9})?Z", re.ASCII).fullmatch
_MINUTE_LENGTH = len("2026-11-22T10:05:")
FIRST = (datetime(1, 1, 1, tzinfo=UTC) - EPOCH) // _MINUTE
"""The first minute that a datetime can name."""
LAST = (datetime(9999, 12, 31, 23, tzinfo=UTC) - EPOCH) // _MINUTE
"""The first minute whose hour's end no datetime can name."""


def floor(minute: int, size: int) -> int:
    """The start of the bucket of `size` minutes that holds `minute`."""
    return minute - minute % size


@lru_cache(maxsize=4096)
def iso(minute: int) -> str:
    """`2026-11-22T10:00:00Z`, the only form in which this package writes a bucket's time.

    Sort keys compare as raw strings, so one form for all is a must.
    """
    return f"{hour_prefix(minute)}{minute % HOUR:02}:00Z"


def hour_prefix(minute: int) -> str:
    """`2026-11-22T10:`, what all times of a minute's hour begin with that are written in UTC."""
    return _prefix(minute // HOUR)


@lru_cache(maxsize=4096)
def _prefix(hour: int) -> str:
    """Formatting a datetime costs more than all the rest of an hour's keys."""
    return to_datetime(hour * HOUR).strftime("%Y-%m-%dT%H:").rjust(14, "0")


def to_minute(moment: datetime) -> int:
    """The epoch minute that holds an aware datetime.

    Raises:
        ArgumentError: `moment` has no offset.
    """
    return (require_aware(moment) - EPOCH) // _MINUTE


def to_datetime(minute: int) -> datetime:
    """The start of an epoch minute, in UTC."""
    return EPOCH + minute * _MINUTE


def require_aware(moment: datetime) -> datetime:
    """`moment`, if it has an offset.

    Raises:
        ArgumentError: it has none, or is no datetime.
    """
    if isinstance(moment, datetime) and moment.utcoffset() is not None:
        return moment
    lack = "has no time zone" if isinstance(moment, datetime) else "is no datetime"
    raise ArgumentError(
        f"{moment!r} {lack}: pass an aware one, for example datetime.now(UTC), "
        "moment.replace(tzinfo=UTC) or datetime.fromisoformat('2026-11-22T10:00:00Z')"
    )


def in_utc(moment: datetime, timespec: str = "seconds") -> str:
    """`2026-11-22T10:05:30Z`: a time as sort keys need it. Raises as `require_aware`."""
    text = require_aware(moment).astimezone(UTC).isoformat(timespec=timespec)
    return text.replace("+00:00", "Z")


def parse(text: str) -> datetime:
    """The instant that an AWSDateTime names, in exactly the forms that AppSync takes.

    Seconds or not, one to nine fraction digits (beyond microseconds they are cut off), `Z` or an
    offset with or without seconds.

    Raises:
        ValueError: `text` is no AWSDateTime; an ArgumentError where it lacks only the offset.
    """
    if _DATE_TIME(text) is None:
        if _DATE_TIME(f"{text}Z") is not None:
            raise ArgumentError(f"{text!r} has no offset: AWSDateTime demands one, such as Z")
        raise ValueError(f"{text!r} is not an AWSDateTime, such as 2026-11-22T10:05:30.000Z")
    return datetime.fromisoformat(text)


def minute_of(text: str) -> int:
    """The epoch minute that an AWSDateTime names.

    Raises:
        ValueError: as `parse`, or no bucket's key can name the minute's hour or its end.
    """
    minute = to_minute(parse(text))
    if not FIRST <= minute < LAST:
        raise ValueError(f"{text!r} is in no hour of the years 1 to 9999")
    return minute


def utc_minute(text: str) -> str:
    """`2026-11-22T10:05:`, what an AWSDateTime begins with when it is written in UTC.

    This is on the hot path: of a text in UTC only the end is examined, the rest is left to
    `minute_of`, once for all texts of a minute.

    Raises:
        ValueError: as `minute_of`.
    """
    if _SECONDS(text, _MINUTE_LENGTH):
        return text[:_MINUTE_LENGTH]
    return iso(minute_of(text))[:_MINUTE_LENGTH]


def is_time(text: str) -> bool:
    """Whether a text is an AWSDateTime."""
    in_utc = _SECONDS(text, _MINUTE_LENGTH)
    return _time_of(f"{text[:_MINUTE_LENGTH]}00Z" if in_utc else text) is not None


def time_of(given: Any) -> datetime | None:
    """The instant that an AWSDateTime names; None of anything else."""
    try:
        return parse(given)
    except (TypeError, ValueError):
        return None


_time_of = lru_cache(maxsize=4096)(time_of)
