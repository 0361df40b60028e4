"""Reads chosen buckets through the API, many in a request.

A bucket is one aliased `getAggregatedMetrics`. AppSync takes 10,000 resolvers, 1 MB and 30 seconds
a request; GETS_PER_REQUEST is far below all three, so that a slow table delays no answer too long.
An hour of which many buckets are wanted is one query by its prefix instead.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import batched
from typing import Any

from aggregated_metrics.adapters.appsync import AppSyncClient, Client
from aggregated_metrics.adapters.concurrency import map_concurrently
from aggregated_metrics.adapters.hour_documents import LOADED
from aggregated_metrics.adapters.hour_reader import HOURS_PER_LOAD, HourReader
from aggregated_metrics.adapters.retries import Retries
from aggregated_metrics.core import buckets
from aggregated_metrics.core.bucket_sums import needs_parts
from aggregated_metrics.core.cover import Tile
from aggregated_metrics.core.record_types import extra_of
from aggregated_metrics.core.series import HourId, Series, composite_key
from aggregated_metrics.core.stored_bucket import Bucket, bucket_of

GETS_PER_REQUEST = 120
LIST_FROM = 10
"""From so many buckets of one hour on, the whole hour is read: a query of 77 small items."""
SECONDS = 120.0
"""How long one reading may take, waits for a throttled API included."""
_ADVICE = "nothing was changed: read again later, or a shorter range, while the API throttles"

type Wanted = Mapping[Series, Collection[Tile]]
type Found = dict[Series, dict[Tile, Bucket]]


class BucketReader:
    """Reads buckets. Its requests run side by side if the client is this package's.

    Args:
        client: carries out GraphQL documents.
        sleep: how to wait while the API throttles; a test passes its own.
    """

    def __init__(self, client: Client, *, sleep: Callable[[float], None] = time.sleep) -> None:
        end = time.monotonic() + SECONDS
        retries = Retries(lambda: end - time.monotonic(), sleep, advice=_ADVICE)
        self._hours = HourReader(client, retries)
        self._is_ours = isinstance(client, AppSyncClient)

    def read(self, wanted: Wanted, now: int) -> Found:
        """Those of the buckets that are stored, with the parts of those that need them.

        Args:
            wanted: of each series, buckets that do not overlap.
            now: the epoch minute that is running.

        Raises:
            ContentionError: the API throttled for too long.
            ApiError: (with this package's client) the API refused, or did not answer.
        """
        found: Found = {series: {} for series in wanted}
        whole, single = _planned(wanted)
        self._load(whole, found)
        self._get(single, found)
        finer = {
            _hour(series, tile)
            for series, tiles in wanted.items()
            for tile in tiles
            if needs_parts(tile, found[series], now)
        }
        self._load(finer - whole, found)
        return found

    def _load(self, hours: Iterable[HourId], found: Found) -> None:
        parts = batched(sorted(hours, key=str), HOURS_PER_LOAD, strict=False)
        for loaded in self._each(self._hours.load, parts):
            for hour in loaded:
                known = found[hour.id.series]
                known.update({Tile(bucket.start, bucket.size): bucket for bucket in hour})

    def _get(self, single: Iterable[tuple[Series, Tile]], found: Found) -> None:
        for got in self._each(self._gets, batched(single, GETS_PER_REQUEST, strict=False)):
            for series, tile, bucket in got:
                found[series][tile] = bucket

    def _gets(self, part: Sequence[tuple[Series, Tile]]) -> list[tuple[Series, Tile, Bucket]]:
        data = self._hours.execute(*gets_document(part))
        return [
            (series, tile, bucket_of(tile.start, tile.size, row, extra_of(series.record_type)))
            for i, (series, tile) in enumerate(part)
            if (row := data[f"b{i}"]) is not None
        ]

    def _each[Given, Made](
        self, work: Callable[[Given], Made], given: Iterable[Given]
    ) -> Iterable[Made]:
        """Others' clients may not be made for threads."""
        return map_concurrently(work, list(given)) if self._is_ours else map(work, given)


def _planned(wanted: Wanted) -> tuple[set[HourId], list[tuple[Series, Tile]]]:
    """The hours that are read whole, and the buckets that are read one by one."""
    hours: dict[HourId, list[Tile]] = {}
    for series, tiles in wanted.items():
        for tile in tiles:
            hours.setdefault(_hour(series, tile), []).append(tile)
    whole = {hour for hour, tiles in hours.items() if len(tiles) >= LIST_FROM}
    single = [
        (hour.series, tile) for hour, tiles in hours.items() if hour not in whole for tile in tiles
    ]
    return whole, single


def _hour(series: Series, tile: Tile) -> HourId:
    return HourId(series, buckets.floor(tile.start, buckets.HOUR))


def gets_document(part: Sequence[tuple[Series, Tile]]) -> tuple[str, dict[str, Any]]:
    """The query that gets these buckets (an alias `b<i>` each), and its variables."""
    variables: dict[str, Any] = {}
    for i, (series, tile) in enumerate(part):
        variables[f"a{i}"] = series.account_id
        variables[f"k{i}"] = composite_key(series, tile.start, tile.size)
    return _gets_text(len(part)), variables


@lru_cache(maxsize=GETS_PER_REQUEST)
def _gets_text(number: int) -> str:
    declared = ", ".join(f"$a{i}: String!, $k{i}: String!" for i in range(number))
    aliases = "\n".join(
        f"b{i}: getAggregatedMetrics(accountId: $a{i}, compositeKey: $k{i}) {{ ...bucket }}"
        for i in range(number)
    )
    return (
        f"query ReadBuckets({declared}) {{\n{aliases}\n}}\n"
        f"fragment bucket on AggregatedMetrics {{ {LOADED} }}"
    )
