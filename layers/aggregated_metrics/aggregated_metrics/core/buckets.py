"""Bucket arithmetic: pure, on whole epoch minutes.

Within the package an instant that only matters to the minute is an `int`: minutes since
1970-01-01T00:00Z. Every bucket size divides 60, and days have no leap minutes in POSIX time, so
alignment to the epoch is alignment to the UTC clock. Ranges are half-open: `[start, end)`.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

from aggregated_metrics.core.errors import NaiveDatetimeError

SIZES = (1, 5, 15, 60)
PARENT_SIZES = (5, 15, 60)
HOUR = 60
DAY = 24 * HOUR
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)
_EPOCH_MINUTES = EPOCH.toordinal() * 24 * 60
FIRST = (datetime(1, 1, 1, tzinfo=UTC) - EPOCH) // _MINUTE
"""The first minute that a datetime can name."""
LAST = (datetime(9999, 12, 31, 23, tzinfo=UTC) - EPOCH) // _MINUTE
"""The first minute whose hour's end no datetime can name."""


def floor(minute: int, size: int) -> int:
    """The start of the bucket of `size` minutes that holds `minute`."""
    return minute - minute % size


def starts(hour: int, size: int) -> range:
    """The starts of the buckets of `size` minutes in the hour that starts at `hour`."""
    return range(hour, hour + HOUR, size)


@lru_cache(maxsize=4096)
def iso(minute: int) -> str:
    """`2026-11-22T10:00:00Z`, the only form in which this package writes a bucket's time.

    Sort keys compare as raw strings, so one form for all is a must.
    """
    return f"{_hour_of_day(minute // HOUR)}:{minute % HOUR:02}:00Z"


@lru_cache(maxsize=512)
def _hour_of_day(hour: int) -> str:
    """`2026-11-22T10`: formatting a datetime costs more than all the rest of an hour's keys."""
    return to_datetime(hour * HOUR).strftime("%Y-%m-%dT%H").rjust(13, "0")


def to_minute(moment: datetime) -> int:
    """The epoch minute that holds an aware datetime.

    Raises:
        NaiveDatetimeError: `moment` has no offset.
    """
    return (require_aware(moment) - EPOCH) // _MINUTE


def to_datetime(minute: int) -> datetime:
    """The start of an epoch minute, in UTC."""
    return EPOCH + minute * _MINUTE


def require_aware(moment: datetime) -> datetime:
    """`moment`, if it has an offset.

    Raises:
        NaiveDatetimeError: it has none, or is no datetime.
    """
    if not isinstance(moment, datetime):
        raise NaiveDatetimeError(
            f"{moment!r} is no datetime: pass an aware one, "
            "for example datetime.fromisoformat('2026-11-22T10:00:00Z')"
        )
    if moment.utcoffset() is None:
        raise NaiveDatetimeError(
            f"{moment!r} has no time zone: pass an aware datetime, "
            "for example datetime.now(UTC) or moment.replace(tzinfo=UTC)"
        )
    return moment


def parse(text: str) -> datetime:
    """The instant that an AWSDateTime names.

    Takes every form that AppSync lets into a table: seconds or not, one to nine fraction digits
    (beyond microseconds they are cut off), `Z` or an offset with or without seconds.

    Raises:
        ValueError: `text` is no ISO 8601 date and time, or has no offset (NaiveDatetimeError).
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise NaiveDatetimeError(f"{text!r} has no offset: AWSDateTime demands one, such as Z")
    return moment


def minute_of(text: str) -> int:
    """The epoch minute that an AWSDateTime names: `to_minute(parse(text))`, in half the time.

    Raises:
        ValueError: as `parse`.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is UTC:
        return moment.toordinal() * 1440 + moment.hour * 60 + moment.minute - _EPOCH_MINUTES
    return to_minute(parse(text))
