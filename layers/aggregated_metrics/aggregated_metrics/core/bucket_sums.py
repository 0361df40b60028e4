"""The sums of stored buckets, each minute once and to the last digit. Pure.

A bucket that is complete holds the sum of its minutes. One that is not may be behind them for a
moment (minutes are written first), and a field that shows the largest Int may hide more; in both
cases its parts say more, down to the minutes, which keep what their fields cannot show. Only a
bucket of which no part is stored speaks for itself: its minutes were removed.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from aggregated_metrics.core import buckets
from aggregated_metrics.core.cover import Tile
from aggregated_metrics.core.measures import INT_MAX, ZERO, Measures, clamped, total

RECENT = buckets.HOUR
"""A bucket that is not stored may still be on its way: so many minutes after its end, and so many
before its start, where a writer's clock is ahead."""


class Stored(NamedTuple):
    """A bucket that was read: its exact sums, and whether nothing more is expected."""

    measures: Measures
    complete: bool


type Known = Mapping[Tile, Stored]
"""The buckets of one series that were read."""


def may_be_on_its_way(tile: Tile, now: int) -> bool:
    """Whether a bucket may be missing although its minutes are stored; `now` is an epoch minute."""
    return tile.size > 1 and tile.start - RECENT <= now < tile.end + RECENT


def needs_parts(tile: Tile, known: Known) -> bool:
    """Whether the parts of a stored bucket say more than itself."""
    bucket = known.get(tile)
    if tile.size == 1 or bucket is None:
        return False
    return not bucket.complete or max(bucket.measures) >= INT_MAX


def exact(tile: Tile, known: Known, zero: Measures = ZERO) -> Measures:
    """The sums of a bucket's minutes, from the largest buckets that can tell.

    `zero` is what they are where nothing is stored: it has as many measures as the series.
    """
    bucket = known.get(tile)
    if tile.size == 1:
        return zero if bucket is None else clamped(bucket.measures)
    if bucket is None or not (bucket.complete or _stands_alone(tile, known)):
        return total((exact(part, known, zero) for part in tile.parts), zero)
    if max(bucket.measures) < INT_MAX:
        return bucket.measures
    # Only what is cut off comes from the parts: they can be fewer than once, where old minutes
    # were removed.
    parts = total((exact(part, known, zero) for part in tile.parts), zero)
    pairs = zip(bucket.measures, parts, strict=True)
    return Measures(*(max(own, sum_) if own >= INT_MAX else own for own, sum_ in pairs))


def is_open(tile: Tile, known: Known) -> bool:
    """Whether a bucket, or a part of it that was read, is stored and not complete."""
    bucket = known.get(tile)
    if bucket is not None:
        return not bucket.complete
    return any(is_open(part, known) for part in tile.parts)


def missing(tile: Tile, known: Known, unreadable: Collection[Tile]) -> Iterator[Tile]:
    """The stored buckets without which the sum of `tile` is not known, though the API has them.

    Finer buckets replace a rollup that cannot be read, unless none is stored. A minute has none.
    """
    if tile in known and not needs_parts(tile, known):
        return
    stored = [*known, *unreadable]
    if tile in unreadable and not any(each != tile and tile.holds(each) for each in stored):
        yield tile
    for part in tile.parts:
        yield from missing(part, known, unreadable)


def _stands_alone(tile: Tile, known: Known) -> bool:
    return not any(part in known or not _stands_alone(part, known) for part in tile.parts)
