"""Reads chosen buckets through the API, many in a request, and the time as of which they are.

A bucket is one aliased `getAggregatedMetrics`; an hour of which many buckets are wanted, or whose
rollups may not be written yet, is one query by its prefix. The first request also asks for the
record in which the sweeper keeps how far each record type's stream is applied.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from itertools import batched, chain
from typing import Any

from aggregated_metrics.adapters.appsync import AppSyncClient, Client, fitting
from aggregated_metrics.adapters.hour_documents import Document
from aggregated_metrics.adapters.retries import Retries, map_concurrently
from aggregated_metrics.core import buckets
from aggregated_metrics.core.cover import Stored, Tile, needs_parts
from aggregated_metrics.core.errors import ApiError, ContentionError, TransportError
from aggregated_metrics.core.hour import places_of
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.metadata import decoded, exact_sums
from aggregated_metrics.core.models import BUILT_IN
from aggregated_metrics.core.series import HourId, Series, composite_key

ASKS_PER_REQUEST = 120
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
_ALIAS = "asOf"
_ROW = 2
"""Where the path of an error below a page has the number of the row: alias, `items`, number."""
_SELECTED = f"compositeKey {' '.join(Measures._fields)} metadata complete"

type Ask = tuple[Series, int, int]
"""What an alias asks for: a bucket of a series, by its first minute and its size."""
AS_OF: Ask = (Series("_streams", "_streams"), 0, buckets.HOUR)
"""The record of how far streams are applied."""
type Error = Mapping[str, Any]
type Send = Callable[[Document], tuple[Mapping[str, Any], Sequence[Error]]]
"""Carries out a document: its data, and the errors that cost one record each."""
type Answer = tuple[Series, Tile, Any]
"""A stored bucket: the API's record, or a text that says why the API cannot give it."""
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
    found: Found = {series: {} for series in wanted}
    asks = dict.fromkeys(_planned(wanted, now))
    streams = _load(client, send, [*asks], found, None)
    finer = {
        (series, buckets.floor(tile[0], buckets.HOUR), WHOLE): None
        for series, tiles in wanted.items()
        for tile in tiles
        if needs_parts(tile, found[series])
    }
    _load(client, send, [hour for hour in finer if hour not in asks], found, streams)
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


def _load(
    client: Client, send: Send, asks: Sequence[Ask], found: Found, streams: Streams | None
) -> Streams:
    """Put what is stored into `found`; ask for the as-of record too where it is not known."""
    most = getattr(client, "request_bytes", 0)
    parts = [*fitting(asks, ASKS_PER_REQUEST, lambda part: document([AS_OF, *part]), most)]
    if streams is None:
        first, *others = parts or [()]
        parts = [[AS_OF, *first], *others]
    run = map_concurrently if isinstance(client, AppSyncClient) else map
    known = streams or _streams(None)
    for series, tile, row in chain.from_iterable(run(partial(_ask, send), parts)):
        if series == AS_OF[0]:
            known = _streams(row)
        else:
            names = extra_measures(series.record_type, known)
            stored = row if isinstance(row, str) else (exact_sums(row, names), row["complete"])
            found[series][tile] = stored
    return known


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


def _send(
    client: Client, retries: Retries, asked: Document
) -> tuple[Mapping[str, Any], Sequence[Error]]:
    try:
        request = partial(client.execute, *asked)
        return retries.call_with_backoff(request, "buckets are not read"), ()
    except ApiError as error:
        if error.data and all(_costs_one_record(each) for each in error.errors):
            return error.data, error.errors
        raise


def _costs_one_record(error: Error) -> bool:
    """Whether an error is of a field of a record, or of the as-of record."""
    path: Sequence[Any] = error.get("path") or ()
    return path[:1] == [_ALIAS] or (len(path) > 1 and path[-1] != "items")


def document(asks: Sequence[Ask], token: str | None = None, selected: str = _SELECTED) -> Document:
    """The query for these buckets (an alias each, see `_alias`), and its variables.

    `token` is the page of a single hour to go on with.
    """
    accounts: dict[str, str] = {}
    variables: dict[str, Any] = {"token": token} if token else {}
    page = ", nextToken: $token" if token else ""
    aliases = []
    for i, (series, start, size) in enumerate(asks):
        account = accounts.setdefault(series.account_id, f"a{len(accounts)}")
        where = f"accountId: ${account}, compositeKey"
        if size == WHOLE:
            variables[f"k{i}"] = HourId(series, start).prefix
            given = f"listAggregatedMetrics({where}: {{beginsWith: $k{i}}}, limit: 100{page})"
            found = "items { ...bucket } nextToken"
        else:
            variables[f"k{i}"] = composite_key(series, start, size)
            given, found = f"getAggregatedMetrics({where}: $k{i})", "...bucket"
        aliases.append(f"{_alias(i, asks[i])}: {given} {{ {found} }}")
    variables |= {alias: name for name, alias in accounts.items()}
    head = f"query ReadBuckets({', '.join(f'${name}: String!' for name in variables)})"
    fragment = f"fragment bucket on AggregatedMetrics {{ {selected} }}"
    return "\n".join([f"{head} {{", *aliases, "}", fragment]), variables


def _alias(i: int, ask: Ask) -> str:
    return _ALIAS if ask == AS_OF else f"b{i}"


def _answers(send: Send, asks: Sequence[Ask], token: str | None = None) -> Iterator[Answer]:
    """What is stored of these, page by page."""
    data, errors = send(document(asks, token))
    for i, ask in enumerate(asks):
        alias, (series, start, size) = _alias(i, ask), ask
        given: Any = data.get(alias)
        own = [error for error in errors if error["path"][0] == alias]
        if ask != AS_OF and (alias not in data or (given is None and size == WHOLE)):
            raise TransportError(f"the answer lacks {alias}", operation="ReadBuckets")
        if size == WHOLE:
            yield from _page(send, ask, given["items"], own, token)
            if following := given.get("nextToken"):
                yield from _answers(send, [ask], following)
        elif own:
            yield series, (start, size), _why(series, (start, size), own)
        elif given is not None:
            yield series, (start, size), given


def _page(
    send: Send, ask: Ask, rows: Sequence[Any], errors: Sequence[Error], token: str | None
) -> Iterator[Answer]:
    """A page of an hour's buckets; rows with other keys are another writer's."""
    series, places = ask[0], places_of(HourId(*ask[:2]))
    for i, row in enumerate(rows):
        if row and (place := places.pop(row["compositeKey"], None)):
            tile, own = place[::-1], [error for error in errors if error["path"][_ROW] == i]
            yield series, tile, _why(series, tile, own) if own else row
    if None in rows:
        # Read keys alone, which the API can always give: those of nulls are the other ones.
        data, _ = send(document([ask], token, "compositeKey"))
        for row in data["b0"]["items"]:
            if place := places.get(row["compositeKey"]):
                yield series, place[::-1], _why(series, place[::-1], errors)


def _why(series: Series, tile: Tile, errors: Sequence[Error]) -> str:
    message = errors[0].get("message") if errors else "null"
    return (
        f"the API cannot give the stored bucket {composite_key(series, *tile)} of "
        f"{series.account_id} ({message}): repair its hour, then read again"
    )


def _streams(row: Any) -> Streams:
    """The as-of record's content; what is missing or of another shape is not known."""
    content = decoded(row.get("metadata")) if isinstance(row, Mapping) else None
    known = content if isinstance(content, Mapping) else {}
    named: dict[str, Any] = {k: each for k, each in known.items() if isinstance(each, Mapping)}
    seconds = known.get("completeAfter")
    named["completeAfter"] = seconds if isinstance(seconds, int) else 0
    return {"asOf": None, "measures": {}, "breakdowns": {}, **named}
