"""What stored buckets come to, each minute once and to the last digit. Pure.

A bucket that is complete holds the sum of its minutes. One that is not may be behind them for a
moment (minutes are written first), and a field that shows the largest Int may hide more; so in
both cases its parts say more, down to the minutes, which keep what their fields cannot show. Only a
bucket of which no part is stored speaks for itself whatever it is: its minutes were removed.
"""

from collections.abc import Mapping

from aggregated_metrics.core import buckets
from aggregated_metrics.core.cover import Tile
from aggregated_metrics.core.hours import Bucket
from aggregated_metrics.core.measures import INT_MAX, ZERO, Measures, clamped, total

RECENT = buckets.HOUR
"""A bucket that is not stored may still be on its way: so many minutes after its end, and so many
before its start, where a writer's clock is ahead."""

type Known = Mapping[Tile, Bucket]
"""The buckets of one series that were read."""


def needs_parts(tile: Tile, known: Known, now: int) -> bool:
    """Whether the parts of a bucket have to be read too; `now` is an epoch minute."""
    bucket = known.get(tile)
    if tile.size == 1:
        return False
    if bucket is None:
        return tile.start - RECENT <= now < tile.end + RECENT
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


def _stands_alone(tile: Tile, known: Known) -> bool:
    return not any(part in known or not _stands_alone(part, known) for part in tile.parts)
