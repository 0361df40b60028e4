"""Reads chosen buckets through the API, many in a request, and the time as of which they are.

Each alias is a query: of one key, or of the prefix of an hour of which many buckets are wanted, or
whose rollups may not be written yet. The first request also asks for the record in which the
sweeper keeps how far each record type's stream is applied.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import batched, chain
from typing import Any

from aggregated_metrics.adapters.appsync import AppSyncClient, Client, fitting
from aggregated_metrics.adapters.hour_documents import SUMS, Document, Keys, list_document
from aggregated_metrics.adapters.retries import Retries, map_concurrently
from aggregated_metrics.core import buckets
from aggregated_metrics.core.cover import Stored, Tile, needs_parts
from aggregated_metrics.core.errors import ApiError, ContentionError, TransportError
from aggregated_metrics.core.hour import places_of
from aggregated_metrics.core.metadata import decoded, exact_sums
from aggregated_metrics.core.models import BUILT_IN
from aggregated_metrics.core.series import HourId, Series, composite_key

ASKS_PER_REQUEST = 1 + 120
"""The first request asks for the as-of record and 120 buckets or hours."""
FEWEST_RESOLVERS = 50
"""So many a request may call of any API: `attach` demands it, because a save needs as many."""
LIST_FROM = 10
"""From so many buckets of one hour on, the whole hour is read: a query of 77 small items."""
RECENT = buckets.HOUR
"""Of an hour that is running, or ended less than so many minutes ago, a rollup may be on its way;
of one that begins so soon too, where a writer's clock is ahead. It is read whole."""
SECONDS = 120.0
"""How long one reading may take, waits for a throttled API included."""
WHOLE = 0
"""In place of a size: every bucket of the hour that begins there."""

type Ask = tuple[Series, int, int]
"""What an alias asks for: a bucket of a series, by its first minute and its size."""
AS_OF: Ask = (Series("_streams", "_streams"), 0, buckets.HOUR)
"""The record of how far streams are applied."""
type Send = Callable[[Document], Mapping[str, Any]]
"""Carries out a document and returns its data; a row that has an error has its text as `error`."""
type Answer = tuple[Series, Tile, Mapping[str, Any]]
"""A stored bucket: the API's record, with an `error` where the API cannot give it."""
type Found = dict[Series, dict[Tile, Stored]]
type Streams = Mapping[str, Any]
"""What the as-of record says, by its own names. `asOf` is None where the API does not give it."""


def read(
    client: Client,
    wanted: Mapping[Series, Collection[Tile]],
    now: int,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Found, Streams]:
    """Those of the buckets that are stored, with the parts of those that need them.

    A bucket that the API cannot give costs nothing here: the sums that need it are refused. This
    package's client is asked by several threads. `wanted` has buckets that do not overlap, `now`
    is the epoch minute that is running.
    """
    end = time.monotonic() + SECONDS
    send = partial(_send, client, Retries(lambda: end - time.monotonic(), sleep))
    asks = dict.fromkeys([AS_OF, *_planned(wanted, now)])
    answers = _load(client, send, [*asks])
    stated = next((row for series, _, row in answers if series == AS_OF[0]), {})
    streams = streams_of(stated.get("metadata"))
    found: Found = {series: {} for series in wanted}
    _keep(found, answers, streams)
    finer = {
        (series, buckets.floor(tile[0], buckets.HOUR), WHOLE): None
        for series, tiles in wanted.items()
        for tile in tiles
        if needs_parts(tile, found[series])
    }
    _keep(found, _load(client, send, [hour for hour in finer if hour not in asks]), streams)
    return found, streams


def extra_measures(record_type: str, streams: Streams) -> tuple[str, ...]:
    """The measures that a record type's buckets keep in metadata."""
    return BUILT_IN.extra_measures(record_type) or tuple(streams["measures"].get(record_type, ()))


def _planned(wanted: Mapping[Series, Collection[Tile]], now: int) -> Iterator[Ask]:
    """The hours that are read whole, and the buckets that are read one by one."""
    for series, tiles in wanted.items():
        hours: dict[int, list[Tile]] = {}
        for tile in tiles:
            hours.setdefault(buckets.floor(tile[0], buckets.HOUR), []).append(tile)
        for hour, parts in hours.items():
            is_recent = hour - RECENT <= now < hour + buckets.HOUR + RECENT
            if is_recent or len(parts) >= LIST_FROM:
                yield series, hour, WHOLE
            else:
                yield from ((series, *tile) for tile in parts)


def _load(client: Client, send: Send, asks: Sequence[Ask]) -> list[Answer]:
    parts = [*fitting(asks, ASKS_PER_REQUEST, document, getattr(client, "request_bytes", 0))]
    run = map_concurrently if isinstance(client, AppSyncClient) else map
    return [*chain.from_iterable(run(partial(_ask, send), parts))]


def _keep(found: Found, answers: Sequence[Answer], streams: Streams) -> None:
    """Put what is stored of the wanted series into `found`."""
    for series, tile, row in answers:
        if series not in found:
            continue
        if "error" in row:
            found[series][tile] = (
                f"the API cannot give the stored bucket {composite_key(series, *tile)} of "
                f"{series.account_id} ({row['error']}): repair its hour, then read again"
            )
        else:
            names = extra_measures(series.record_type, streams)
            found[series][tile] = exact_sums(row, names), row["complete"]


def _ask(send: Send, asks: Sequence[Ask]) -> list[Answer]:
    """The answers to one request. One that is refused whole is tried with less in it."""
    try:
        return [*_answers(send, asks)] if asks else []
    except (ContentionError, TransportError, OSError):
        raise
    except Exception:
        # Other clients raise what their library raises, for an error at one alias too.
        is_large = len(asks) >= FEWEST_RESOLVERS
        if not is_large and asks[0] != AS_OF:
            raise
        parts = batched(asks, FEWEST_RESOLVERS - 1) if is_large else [asks[1:]]
        return [answer for part in parts for answer in _ask(send, part)]


def _send(client: Client, retries: Retries, asked: Document) -> Mapping[str, Any]:
    try:
        request = partial(client.execute, *asked)
        return retries.call_with_backoff(request, "buckets are not read")
    except ApiError as error:
        for each in error.errors:
            alias, *row = each.get("path") or [""]
            page = error.data.get(alias)
            if page and len(row) > 1:
                given = page["items"][row[1]] or {}
                page["items"][row[1]] = given | {"error": each.get("message")}
            elif alias != "asOf":
                raise
        if not error.data:
            raise
        return error.data


def document(asks: Sequence[Ask], token: str | None = None, selected: str = SUMS) -> Document:
    """The query for these buckets: `asOf`, or `b` and its number, is the alias of each.

    `token` is the page of a single hour to go on with.
    """
    keys: dict[str, Keys] = {
        alias: (ask[0].account_id, "eq", composite_key(*ask), token)
        if ask[2]
        else (ask[0].account_id, "beginsWith", HourId(*ask[:2]).prefix, token)
        for alias, ask in _aliased(asks)
    }
    return list_document("ReadBuckets", keys, selected)


def _aliased(asks: Sequence[Ask]) -> Iterator[tuple[str, Ask]]:
    return (("asOf" if ask == AS_OF else f"b{i}", ask) for i, ask in enumerate(asks))


def _answers(send: Send, asks: Sequence[Ask], token: str | None = None) -> Iterator[Answer]:
    """What is stored of these, page by page."""
    data = send(document(asks, token))
    for alias, ask in _aliased(asks):
        if page := data.get(alias):
            yield from _page(send, ask, page["items"], token)
            if following := page.get("nextToken"):
                yield from _answers(send, [ask], following)
        elif ask != AS_OF:
            raise TransportError(f"the answer lacks {alias}", operation="ReadBuckets")


def _page(send: Send, ask: Ask, rows: Sequence[Any], token: str | None) -> Iterator[Answer]:
    """A page of buckets; rows with other keys are another writer's."""
    series, places, lost = ask[0], _places(ask), []
    for row in (row or {"error": "null"} for row in rows):
        if "compositeKey" not in row:
            lost.append(row)
        elif tile := places.pop(row["compositeKey"], None):
            yield series, tile, row
    if lost and ask[2] == WHOLE:
        # Read keys alone, which the API can always give: those of nulls are the other ones.
        data = send(document([ask], token, "compositeKey"))
        stored = {row["compositeKey"] for row in data["b0"]["items"]}
        places = {key: tile for key, tile in places.items() if key in stored}
    yield from ((series, tile, lost[0]) for tile in places.values() if lost)


def _places(ask: Ask) -> dict[str, Tile]:
    """The buckets of an ask, by composite key."""
    series, start, size = ask
    if size != WHOLE:
        return {composite_key(*ask): (start, size)}
    return {key: place[::-1] for key, place in places_of(HourId(series, start)).items()}


def streams_of(metadata: Any) -> Streams:
    """The as-of record's content; what is missing or of another shape is not known."""
    content = decoded(metadata)
    known = content if isinstance(content, Mapping) else {}
    named: dict[str, Any] = {k: each for k, each in known.items() if isinstance(each, Mapping)}
    seconds = known.get("completeAfter")
    named["completeAfter"] = seconds if isinstance(seconds, int) else 0
    return {"asOf": None, "measures": {}, "breakdowns": {}, **named}
