"""Which buckets tile a range of time, and where a chart's points begin. Pure.

A range `[start, end)` means the minutes that begin in it. So ranges that meet share no minute, and
a range that ends now has the minute that is running.
"""

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import chain, count, groupby, pairwise, takewhile
from typing import Literal, NamedTuple, get_args

from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import RangeError

MOST_POINTS = 50_000
_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_MONTH = 31 * _DAY

type Step = timedelta | Literal["week", "month"]
"""How far apart a chart's points are. Days, weeks and months are the calendar's."""
type Weekday = Literal["monday", "sunday"]


class Tile(NamedTuple):
    """One bucket's place in time: its first epoch minute, and how many minutes it has."""

    start: int
    size: int

    @property
    def end(self) -> int:
        """The first epoch minute after it."""
        return self.start + self.size

    def holds(self, other: "Tile") -> bool:
        """Whether the other bucket lies within this one."""
        return self.start <= other.start and other.end <= self.end

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
    first, last = (_ceiling(buckets.require_aware(moment)) for moment in (start, end))
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


def edges(
    first: int, last: int, step: Step, zone: tzinfo, week_start: Weekday = "monday"
) -> list[int]:
    """Where a chart's points begin and end: epoch minutes from `first` to `last`.

    The first and the last point are cut to the range. Days, weeks and months are `zone`'s calendar:
    a day on which clocks change has 23 or 25 hours, and a date that the zone skipped is no point.
    A step that divides a day begins again at each midnight. Any other step is exact minutes from
    the midnight before `first`.

    Raises:
        RangeError: the step is no multiple of a minute up to a month, or `zone` is no tzinfo.
    """
    if not isinstance(zone, tzinfo):
        raise RangeError(f"{zone!r} is no time zone: give a tzinfo, such as ZoneInfo('Asia/Tokyo')")
    if week_start not in get_args(Weekday.__value__):
        raise RangeError(f'a week starts on "monday" or "sunday", not {week_start!r}')
    day = buckets.to_datetime(first).astimezone(zone).date()
    grid = _grid(day, _sound(step), zone, week_start)
    inner = [edge for edge in takewhile(lambda edge: edge < last, grid) if edge > first]
    return [first, *inner, last] if first < last else []


def check_points(first: int, last: int, step: Step) -> None:
    """Refuse a wrong step, and one that makes too many points.

    Raises:
        RangeError: it does.
    """
    length = _sound(step)
    if isinstance(length, timedelta) and (last - first) * _MINUTE / length > MOST_POINTS:
        raise RangeError(f"that makes more than {MOST_POINTS} points: choose a larger step")


def _sound(step: Step) -> Step:
    if isinstance(step, str):
        sound = step in {"week", "month"}
    else:
        whole = isinstance(step, timedelta) and not step % _MINUTE
        sound = whole and _MINUTE <= step <= _MONTH
    if not sound:
        raise RangeError(
            f"{step!r} is no step: give a timedelta of whole minutes up to 31 days, such as "
            'timedelta(minutes=60), or "week" or "month"'
        )
    return step


def _grid(day: date, step: Step, zone: tzinfo, week_start: Weekday) -> Iterator[int]:
    """Edges from a day on, at or before its midnight first; they never go back."""
    if isinstance(step, timedelta) and step % _DAY:
        size = step // _MINUTE
        if _DAY % step:
            return count(_midnight(day, zone), size)
        midnights = (_midnight(each, zone) for each in _every(day, _DAY))
        return chain.from_iterable(range(*span, size) for span in pairwise(midnights))
    midnights = (_midnight(each, zone) for each in _dates(day, step, week_start))
    return (edge for edge, _ in groupby(midnights))  # a date that was skipped has the next one's


def _dates(day: date, step: Step, week_start: Weekday) -> Iterator[date]:
    match step:
        case "month":
            return _months(day)
        case "week":
            past = day.weekday() if week_start == "monday" else day.isoweekday() % 7
            return _every(day - past * _DAY, 7 * _DAY)
        case _:
            return _every(day, step)


def _every(day: date, step: timedelta) -> Iterator[date]:
    while True:
        yield day
        day += step


def _months(day: date) -> Iterator[date]:
    while True:
        day = day.replace(day=1)
        yield day
        day += _MONTH


def _midnight(day: date, zone: tzinfo) -> int:
    """Where a day begins: its first midnight, or where clocks skip that, when they do."""
    moment = datetime(day.year, day.month, day.day, tzinfo=zone)
    if _exists(moment):
        return _ceiling(moment)
    before, after = _ceiling(moment.replace(fold=1)) - 1, _ceiling(moment)
    dates = range(before, after + 1)
    return dates[bisect_left(dates, day, key=lambda at: _date(at, zone))]


def _exists(moment: datetime) -> bool:
    """Whether the zone's clock ever shows this time."""
    there = moment.astimezone(UTC).astimezone(moment.tzinfo)
    return there.replace(fold=0) == moment.replace(fold=0)


def _date(minute: int, zone: tzinfo) -> date:
    return buckets.to_datetime(minute).astimezone(zone).date()


def _ceiling(moment: datetime) -> int:
    """The first minute that begins at or after a moment."""
    return -((buckets.EPOCH - moment) // _MINUTE)
