"""Which buckets tile a range of time, and where a chart's points begin. Pure.

A range `[start, end)` means the minutes that begin in it. So ranges that meet share no minute, and
a range that ends now has the minute that is running.
"""

from collections.abc import Iterator
from datetime import date, datetime, timedelta, tzinfo
from itertools import takewhile
from typing import Literal, NamedTuple

from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import RangeError

MOST_POINTS = 50_000
_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_MONTH = 31 * _DAY

type Step = timedelta | Literal["month"]
"""How far apart a chart's points are. Whole days and months are the calendar's."""


class Tile(NamedTuple):
    """One bucket's place in time: its first epoch minute, and how many minutes it has."""

    start: int
    size: int

    @property
    def end(self) -> int:
        """The first epoch minute after it."""
        return self.start + self.size

    @property
    def parts(self) -> tuple["Tile", ...]:
        """The buckets of the next smaller size that it consists of; none for a minute."""
        smaller = max((size for size in buckets.SIZES if size < self.size), default=0)
        if not smaller:
            return ()
        return tuple(Tile(start, smaller) for start in range(self.start, self.end, smaller))


def cover(start: datetime, end: datetime) -> list[tuple[datetime, int]]:
    """The fewest buckets that tile `[start, end)`: each one's start (UTC) and minutes, in order.

    Every minute that begins in the range lies in exactly one of them. This is what keeps readers
    from counting a row twice: each row is in a bucket of every size.

    Raises:
        NaiveDatetimeError: a time has no offset.
        RangeError: `end` is before `start`.
    """
    return [(buckets.to_datetime(tile.start), tile.size) for tile in tiles(*minutes(start, end))]


def minutes(start: datetime, end: datetime) -> tuple[int, int]:
    """The first minute that begins in `[start, end)`, and the first one after it.

    Raises:
        NaiveDatetimeError: a time has no offset.
        RangeError: `end` is before `start`.
    """
    first, last = (-((buckets.EPOCH - buckets.require_aware(t)) // _MINUTE) for t in (start, end))
    if last < first:
        raise RangeError(f"the end {end.isoformat()} is before the start {start.isoformat()}")
    return first, last


def tiles(first: int, last: int) -> Iterator[Tile]:
    """The fewest buckets that tile the epoch minutes `[first, last)`, in order.

    Sizes divide each other, so taking the largest that fits, again and again, takes the fewest.
    """
    while first < last:
        size = max(s for s in buckets.SIZES if first % s == 0 and first + s <= last)
        yield Tile(first, size)
        first += size


def edges(first: int, last: int, step: Step, zone: tzinfo) -> list[int]:
    """Where a chart's points begin and end: epoch minutes from `first` to `last`.

    The grid begins at `zone`'s midnight before `first` (for months, at the first of its month);
    the first and the last point are cut to the range. Whole days are the calendar's, so a day on
    which clocks change has 23 or 25 hours; other steps are exact minutes.

    Raises:
        RangeError: the step is no multiple of a minute up to a month, or makes too many points.
    """
    if first == last:
        return []
    day = buckets.to_datetime(first).astimezone(zone).date()
    grid = _months(day, zone) if step == "month" else _steps(day, _sound(step), zone)
    inner = [edge for edge in takewhile(lambda edge: edge < last, grid) if edge > first]
    return [first, *inner, last]


def check_points(first: int, last: int, step: Step) -> None:
    """Refuse a step that is none, or that makes too many points.

    Raises:
        RangeError: it does.
    """
    if step != "month" and (last - first) * _MINUTE / _sound(step) > MOST_POINTS:
        raise RangeError(f"that makes more than {MOST_POINTS} points: choose a larger step")


def _sound(step: timedelta | str) -> timedelta:
    if not isinstance(step, timedelta) or step % _MINUTE or not _MINUTE <= step <= _MONTH:
        raise RangeError(
            f"the step {step!r} is none: give a timedelta of whole minutes up to 31 days, "
            'or "month"'
        )
    return step


def _steps(day: date, step: timedelta, zone: tzinfo) -> Iterator[int]:
    edge = _midnight(day, zone)
    while True:
        yield edge
        if step % _DAY:
            edge += step // _MINUTE
        else:
            day += step
            edge = _midnight(day, zone)


def _months(day: date, zone: tzinfo) -> Iterator[int]:
    day = day.replace(day=1)
    while True:
        yield _midnight(day, zone)
        day = (day + _MONTH).replace(day=1)


def _midnight(day: date, zone: tzinfo) -> int:
    """Where a day begins; where clocks skip midnight, when they do."""
    moment = datetime(day.year, day.month, day.day, tzinfo=zone)
    return -((buckets.EPOCH - moment) // _MINUTE)
