"""Which buckets tile a range of time, what they sum to, and where a chart's points begin. Pure.

A range `[start, end)` means the minutes that begin in it. So ranges that meet share no minute, and
a range that ends now has the minute that is running.

A bucket that is complete holds the sum of its minutes. One that is not may be behind them for a
moment (minutes are written first), a field that shows the largest Int may hide more, and one that
the API cannot give says nothing: in these cases its parts say more, down to the minutes, which keep
what their fields cannot show. Only a bucket of which no part is stored speaks for itself.
"""

from collections.abc import Iterator, Mapping
from datetime import date, datetime, timedelta, tzinfo
from itertools import count
from typing import Literal, get_args

from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import ArgumentError, GraphQLError
from aggregated_metrics.core.measures import INT_MAX, Measures, total

MOST_POINTS = 50_000
_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_MONTH = 31 * _DAY

type Step = timedelta | Literal["week", "month"]
"""How far apart a chart's points are. Days, weeks and months are the calendar's."""
type Weekday = Literal["monday", "sunday"]
type Tile = tuple[int, int]
"""One bucket's place in time: its first epoch minute, and how many minutes it has."""
type Stored = tuple[Measures, bool] | str
"""Exact sums, and whether nothing more is expected; or why the API cannot give the bucket."""
type Known = Mapping[Tile, Stored]
"""The stored buckets of one series that were read."""


def cover(start: datetime, end: datetime) -> list[tuple[datetime, int]]:
    """The fewest buckets that tile `[start, end)`: each one's start (UTC) and minutes, in order.

    Every minute that begins in the range lies in exactly one of them. This is what keeps readers
    from counting a row twice: each row is in a bucket of every size.

    >>> [minutes for _, minutes in cover(day, day + timedelta(hours=1, minutes=21))]
    [60, 15, 5, 1]

    Raises:
        ArgumentError: a time has no offset, or `end` is before `start`.
    """
    return [(buckets.to_datetime(first), size) for first, size in tiles(*minutes(start, end))]


def minutes(start: datetime, end: datetime) -> tuple[int, int]:
    """The first minute that begins in `[start, end)`, and the first one after it."""
    first, last = (_ceiling(buckets.require_aware(moment)) for moment in (start, end))
    if last < first:
        raise ArgumentError(f"the end {end.isoformat()} is before the start {start.isoformat()}")
    return first, last


def tiles(first: int, last: int) -> Iterator[Tile]:
    """The fewest buckets that tile the epoch minutes `[first, last)`, in order.

    Sizes divide each other, so taking the largest that fits, again and again, takes the fewest.
    """
    while first < last:
        size = max(s for s in buckets.SIZES if first % s == 0 and first + s <= last)
        yield first, size
        first += size


def needs_parts(tile: Tile, known: Known) -> bool:
    """Whether the parts of a stored bucket say more than itself."""
    stored = known.get(tile)
    if tile[1] == 1 or stored is None:
        return False
    return isinstance(stored, str) or not stored[1] or max(stored[0]) >= INT_MAX


def exact(tile: Tile, known: Known, zero: Measures) -> tuple[Measures, bool] | None:
    """The sums of a bucket's minutes, from the largest buckets that can tell; None for no bucket.

    With them whether nothing more is expected. `zero` has as many measures as the series. A stored
    bucket that the API cannot give, and that nothing finer replaces, is an error.
    """
    stored = known.get(tile)
    if not (stored is None or isinstance(stored, str) or needs_parts(tile, known)):
        return stored[0].clamped, stored[1]
    parts = [part for each in _parts(tile) if (part := exact(each, known, zero))]
    finer = total((sums for sums, _ in parts), zero)
    if stored is None or isinstance(stored, str):
        if stored and not parts:
            raise GraphQLError(stored, operation="ReadBuckets")
        return (finer, all(complete for _, complete in parts)) if parts else None
    own, complete = stored
    if parts and not complete:
        return finer, complete
    # Only what is cut off comes from the parts: they can be fewer than once, where old minutes
    # were removed.
    pairs = zip(own.clamped, finer, strict=True)
    return Measures(*(max(pair) if pair[0] >= INT_MAX else pair[0] for pair in pairs)), complete


def _parts(tile: Tile) -> list[Tile]:
    """The buckets of the next smaller size that it consists of; none for a minute."""
    start, size = tile
    smaller = max((each for each in buckets.SIZES if each < size), default=size)
    return [(at, smaller) for at in range(start, start + size, smaller) if smaller < size]


def edges(
    first: int, last: int, step: Step, zone: tzinfo, week_start: Weekday = "monday"
) -> list[int]:
    """Where a chart's points begin and end: epoch minutes from `first` to `last`.

    The first and the last point are cut to the range. Days, weeks and months are `zone`'s calendar:
    a day on which clocks change has 23 or 25 hours, and a date that the zone skipped is no point.
    A step that divides a day begins again at each midnight. Any other step is exact minutes from
    the midnight before `first`.
    """
    if not isinstance(zone, tzinfo):
        raise ArgumentError(
            f"{zone!r} is no time zone: give a tzinfo, such as ZoneInfo('Asia/Tokyo')"
        )
    if week_start not in get_args(Weekday.__value__):
        raise ArgumentError(f'a week starts on "monday" or "sunday", not {week_start!r}')
    _check(step, last - first)
    found = [first]
    for edge in _grid(first, step, zone, week_start):
        if edge >= last:
            break
        if edge > found[-1]:  # a date that the zone skipped has the next one's midnight
            found.append(edge)
    return [*found, last] if first < last else []


def _check(step: Step, length: int) -> None:
    """Refuse a wrong step, and one that makes too many points of so many minutes."""
    if step in {"week", "month"}:
        return
    if not isinstance(step, timedelta) or step % _MINUTE or not _MINUTE <= step <= _MONTH:
        raise ArgumentError(
            f"{step!r} is no step: give a timedelta of whole minutes up to 31 days, such as "
            'timedelta(minutes=60), or "week" or "month"'
        )
    if length * _MINUTE / step > MOST_POINTS:
        raise ArgumentError(f"that makes more than {MOST_POINTS} points: choose a larger step")


def _grid(first: int, step: Step, zone: tzinfo, week_start: Weekday) -> Iterator[int]:
    """Where points may begin, from the midnight before `first` on, without end."""
    day = buckets.to_datetime(first).astimezone(zone).date()
    length = step if isinstance(step, timedelta) else _DAY
    size = length // _MINUTE
    if length % _DAY and _DAY % length:
        yield from count(_midnight(day, zone), size)
    while True:
        after = day + max(length, _DAY)
        if length < _DAY:
            yield from range(_midnight(day, zone), _midnight(after, zone), size)
        elif _is_first(day, step, week_start):
            yield _midnight(day, zone)
        day = after


def _is_first(day: date, step: Step, week_start: Weekday) -> bool:
    """Whether a day is the first of its week or month, for a step of one."""
    if step == "month":
        return day.day == 1
    return step != "week" or day.weekday() == (0 if week_start == "monday" else 6)


def _midnight(day: date, zone: tzinfo) -> int:
    """Where a day begins: its first midnight, or where clocks skip that, when they do."""
    return _ceiling(datetime(day.year, day.month, day.day, tzinfo=zone))


def _ceiling(moment: datetime) -> int:
    """The first minute that begins at or after a moment."""
    return -((buckets.EPOCH - moment) // _MINUTE)
