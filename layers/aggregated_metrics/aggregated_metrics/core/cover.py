"""Which buckets tile a range of time, what they sum to, and where a chart's points begin. Pure.

A range `[start, end)` means the minutes that begin in it. So ranges that meet share no minute, and
a range that ends now has the minute that is running.

A bucket that is complete holds the sum of its minutes. One that is not may be behind them for a
moment (minutes are written first), a field that shows the largest Int may hide more, and one that
the API cannot give says nothing: in these cases its parts say more, down to the minutes, which keep
what their fields cannot show. Only a bucket of which no part is stored speaks for itself.
"""

from bisect import bisect_left
from collections.abc import Container, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import chain, count, groupby, pairwise, takewhile
from typing import Literal, NamedTuple, get_args

from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import ArgumentError, GraphQLError
from aggregated_metrics.core.measures import INT_MAX, Measures, clamped, total

MOST_POINTS = 50_000
RECENT = buckets.HOUR
"""A bucket that is not stored may still be on its way: so many minutes after its end, and so many
before its start, where a writer's clock is ahead."""
_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_MONTH = 31 * _DAY

type Step = timedelta | Literal["week", "month"]
"""How far apart a chart's points are. Days, weeks and months are the calendar's."""
type Weekday = Literal["monday", "sunday"]
type Stored = tuple[Measures, bool] | str
"""Exact sums, and whether nothing more is expected; or why the API cannot give the bucket."""
type Known = Mapping[Tile, Stored]
"""The stored buckets of one series that were read."""


class Tile(NamedTuple):
    """One bucket's place in time: its first epoch minute, and how many minutes it has."""

    start: int
    size: int

    @property
    def parts(self) -> tuple["Tile", ...]:
        """The buckets of the next smaller size that it consists of; none for a minute."""
        smaller = max((size for size in buckets.SIZES if size < self.size), default=0)
        if not smaller:
            return ()
        return tuple(Tile(start, smaller) for start in range(*self.span, smaller))

    @property
    def span(self) -> tuple[int, int]:
        """Its first epoch minute, and the first one after it."""
        return self.start, self.start + self.size

    def is_in(self, tiles: Container["Tile"]) -> bool:
        """Whether it, or some bucket within it, is one of these."""
        return self in tiles or any(part.is_in(tiles) for part in self.parts)


def cover(start: datetime, end: datetime) -> list[tuple[datetime, int]]:
    """The fewest buckets that tile `[start, end)`: each one's start (UTC) and minutes, in order.

    Every minute that begins in the range lies in exactly one of them. This is what keeps readers
    from counting a row twice: each row is in a bucket of every size.

    Raises:
        ArgumentError: a time has no offset, or `end` is before `start`.
    """
    return [(buckets.to_datetime(tile.start), tile.size) for tile in tiles(*minutes(start, end))]


def minutes(start: datetime, end: datetime) -> tuple[int, int]:
    """The first minute that begins in `[start, end)`, and the first one after it.

    Raises:
        ArgumentError: a time has no offset, or `end` is before `start`.
    """
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
        yield Tile(first, size)
        first += size


# What buckets sum to ------------------------------------------------------------------------------


def may_be_on_its_way(tile: Tile, now: int) -> bool:
    """Whether a bucket may be missing although its minutes are stored; `now` is an epoch minute."""
    start, end = tile.span
    return tile.size > 1 and start - RECENT <= now < end + RECENT


def needs_parts(tile: Tile, known: Known) -> bool:
    """Whether the parts of a stored bucket say more than itself."""
    stored = known.get(tile)
    if tile.size == 1 or stored is None:
        return False
    return isinstance(stored, str) or not stored[1] or max(stored[0]) >= INT_MAX


def exact(tile: Tile, known: Known, zero: Measures) -> Measures:
    """The sums of a bucket's minutes, from the largest buckets that can tell.

    `zero` is what they are where nothing is stored: it has as many measures as the series.

    Raises:
        GraphQLError: the API cannot give a stored bucket, and nothing finer replaces it.
    """
    stored = known.get(tile, (zero, False))
    own, complete = (zero, False) if isinstance(stored, str) else stored
    if complete and max(own) < INT_MAX:
        return clamped(own)
    parts = [part for part in tile.parts if part.is_in(known)]
    if isinstance(stored, str) and not parts:
        raise GraphQLError(stored, operation="ReadBuckets")
    finer = total((exact(part, known, zero) for part in parts), zero)
    if parts and not complete:
        return finer
    # Only what is cut off comes from the parts: they can be fewer than once, where old minutes
    # were removed.
    pairs = zip(clamped(own), finer, strict=True)
    return Measures(*(max(each, sum_) if each >= INT_MAX else each for each, sum_ in pairs))


def is_open(tile: Tile, known: Known) -> bool:
    """Whether a bucket, or a part of it that was read, is stored and not known to be complete."""
    stored = known.get(tile)
    if stored is None or (isinstance(stored, str) and tile.size > 1):
        return any(is_open(part, known) for part in tile.parts)
    return isinstance(stored, str) or not stored[1]


# Where points begin -------------------------------------------------------------------------------


def edges(
    first: int, last: int, step: Step, zone: tzinfo, week_start: Weekday = "monday"
) -> list[int]:
    """Where a chart's points begin and end: epoch minutes from `first` to `last`.

    The first and the last point are cut to the range. Days, weeks and months are `zone`'s calendar:
    a day on which clocks change has 23 or 25 hours, and a date that the zone skipped is no point.
    A step that divides a day begins again at each midnight. Any other step is exact minutes from
    the midnight before `first`.

    Raises:
        ArgumentError: the step is no multiple of a minute up to a month or makes too many points,
            or `zone` is no tzinfo.
    """
    if not isinstance(zone, tzinfo):
        raise ArgumentError(
            f"{zone!r} is no time zone: give a tzinfo, such as ZoneInfo('Asia/Tokyo')"
        )
    if week_start not in get_args(Weekday.__value__):
        raise ArgumentError(f'a week starts on "monday" or "sunday", not {week_start!r}')
    _check(step, last - first)
    day = buckets.to_datetime(first).astimezone(zone).date()
    grid = _grid(day, step, zone, week_start)
    inner = [edge for edge in takewhile(lambda edge: edge < last, grid) if edge > first]
    return [first, *inner, last] if first < last else []


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


def _grid(day: date, step: Step, zone: tzinfo, week_start: Weekday) -> Iterator[int]:
    """Edges from a day's midnight on; they never go back."""
    size = step // _MINUTE if isinstance(step, timedelta) and step % _DAY else 0
    if size and _DAY // _MINUTE % size:
        return count(_midnight(day, zone), size)
    midnights = (_midnight(each, zone) for each in _dates(day, step, week_start))
    if size:
        return chain.from_iterable(range(*span, size) for span in pairwise(midnights))
    return (edge for edge, _ in groupby(midnights))  # a date that was skipped has the next one's


def _dates(day: date, step: Step, week_start: Weekday) -> Iterator[date]:
    """The dates at whose midnights points may begin, from a day on."""
    if isinstance(step, timedelta):
        return _every(day, max(step, _DAY))
    if step == "month":
        return (each for each in _every(day, _DAY) if each.day == 1)
    first = 0 if week_start == "monday" else 6
    return (each for each in _every(day, _DAY) if each.weekday() == first)


def _every(day: date, step: timedelta) -> Iterator[date]:
    while True:
        yield day
        day += step


def _midnight(day: date, zone: tzinfo) -> int:
    """Where a day begins: its first midnight, or where clocks skip that, when they do."""
    moment = datetime(day.year, day.month, day.day, tzinfo=zone)
    if moment.astimezone(UTC).astimezone(zone) == moment:  # the zone's clock shows it
        return _ceiling(moment)
    before, after = _ceiling(moment.replace(fold=1)) - 1, _ceiling(moment)
    around = range(before, after + 1)
    shown = bisect_left(around, day, key=lambda at: buckets.to_datetime(at).astimezone(zone).date())
    return around[shown]


def _ceiling(moment: datetime) -> int:
    """The first minute that begins at or after a moment."""
    return -((buckets.EPOCH - moment) // _MINUTE)
