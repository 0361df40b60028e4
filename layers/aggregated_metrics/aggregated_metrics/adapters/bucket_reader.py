"""Reads chosen buckets through the API, many in a request, and the time as of which they are.

A bucket is one aliased `getAggregatedMetrics`; an hour of which many buckets are wanted, or whose
rollups may not be written yet, is one query by its prefix. The first request also asks for the
record in which the sweeper keeps how far each record type's stream is applied.
"""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from aggregated_metrics.adapters.appsync import AppSyncClient, Client, body_of
from aggregated_metrics.adapters.retries import Retries, map_concurrently
from aggregated_metrics.core import buckets
from aggregated_metrics.core.cover import Tile, may_be_on_its_way, missing, needs_parts
from aggregated_metrics.core.errors import (
    ApiError,
    ContentionError,
    ThrottledError,
    TransportError,
    UnreadableBucketError,
)
from aggregated_metrics.core.measures import Measures, plus
from aggregated_metrics.core.metadata import Metadata, decoded
from aggregated_metrics.core.models import BUILT_IN
from aggregated_metrics.core.series import HourId, Series, composite_key, key_stem

ASKS_PER_REQUEST = 120
FEWEST_RESOLVERS = 50
"""So many a request may call of any API: `attach` demands it, because a save needs as many."""
LIST_FROM = 10
"""From so many buckets of one hour on, the whole hour is read: a query of 77 small items."""
SECONDS = 120.0
"""How long one reading may take, waits for a throttled API included."""
_ADVICE = "nothing was changed: read again later, or a shorter range, while the API throttles"
_AS_OF = "asOf"
_ROW = 2
"""Where the path of an error below a page has the number of the row: alias, `items`, number."""
_STREAMS = Series("_streams", "_streams")
_SELECTED = f"compositeKey {' '.join(Measures._fields)} metadata complete"

type Wanted = Mapping[Series, Collection[Tile]]
type Found = dict[Series, dict[Tile, tuple[Measures, bool]]]
type Document = tuple[str, dict[str, Any]]


class Ask(NamedTuple):
    """What an alias asks for: a bucket, or where `size` is 0 the page of an hour after `token`."""

    series: Series
    start: int
    size: int = 0
    token: str | None = None


class Answer(NamedTuple):
    """What a request found: each ask's bucket or page, and the messages of those with errors."""

    given: list[tuple[Ask, Any, list[Mapping[str, Any]]]]
    as_of: Any = None


class AsOf(NamedTuple):
    """How far streams are applied.

    Attributes:
        times: by record type, the time up to which its stream is applied; None: not known.
        complete_after: seconds after its end at which a bucket is complete at the earliest.
        measures: of custom models' record types, the measures that their metadata has.
    """

    times: Mapping[str, datetime | None]
    complete_after: int
    measures: Mapping[str, tuple[str, ...]]


@dataclass
class _Api:
    """What readings have learnt of a client's API."""

    asks: int = ASKS_PER_REQUEST
    gives_as_of: bool = True


_APIS: WeakKeyDictionary[Client, _Api] = WeakKeyDictionary()


class BucketReader:
    """Reads buckets. Its requests run side by side if the client is this package's.

    Args:
        client: carries out GraphQL documents; its `request_bytes`, if it has that, is obeyed.
        sleep: how to wait while the API throttles; a test passes its own.

    Attributes:
        as_of: how far the streams are applied, after a reading; None where that is not known.
    """

    def __init__(self, client: Client, *, sleep: Callable[[float], None] = time.sleep) -> None:
        end = time.monotonic() + SECONDS
        self._client = client
        self._retries = Retries(lambda: end - time.monotonic(), sleep, advice=_ADVICE)
        self._is_ours = isinstance(client, AppSyncClient)
        self._api = _known_of(client)
        self._found: Found = {}
        self._unreadable: dict[Series, dict[Tile, str]] = {}
        self.as_of: AsOf | None = None

    def read(self, wanted: Wanted, now: int, *, as_of: bool = True) -> Found:
        """Those of the buckets that are stored, with the parts of those that need them.

        Args:
            wanted: of each series, buckets that do not overlap.
            now: the epoch minute that is running.
            as_of: whether to ask how far the streams are applied, too.

        Raises:
            ContentionError: the API throttled for too long.
            ApiError: (with this package's client) the API refused, or did not answer.
        """
        self._found = {series: {} for series in wanted}
        self._unreadable = {}
        asks = list(_planned(wanted, now))
        self._load(asks, as_of=as_of)
        loaded = {ask[:2] for ask in asks if not ask.size}
        finer = {
            Ask(series, buckets.floor(tile.start, buckets.HOUR))
            for series, tiles in wanted.items()
            for tile in tiles
            if needs_parts(tile, self._found[series]) or self._lacks(series, tile)
        }
        self._load([ask for ask in sorted(finer, key=str) if ask[:2] not in loaded], as_of=False)
        return self._found

    def require_readable(self, wanted: Wanted) -> None:
        """Refuse to sum buckets up of which one cannot be read.

        Raises:
            UnreadableBucketError: the API cannot give one of them, and nothing finer replaces it.
        """
        for series, unreadable in self._unreadable.items():
            for tile in wanted.get(series, ()):
                for lost in missing(tile, self._found[series], unreadable):
                    raise UnreadableBucketError(
                        f"the API cannot give the stored bucket "
                        f"{composite_key(series, *lost)} of {series.account_id} "
                        f"({unreadable[lost]}): repair its hour, then read again"
                    )

    def has_read(self, series: Series) -> bool:
        """Whether any bucket of a series was found."""
        return bool(self._found[series] or self.unreadable(series))

    def extra_measures(self, record_type: str) -> tuple[str, ...]:
        """The measures that a record type's buckets keep in metadata.

        Those of a custom model stand in the record that says how far the streams are applied.
        """
        custom = self.as_of.measures if self.as_of is not None else {}
        return BUILT_IN.extra_measures(record_type) or custom.get(record_type, ())

    def unreadable(self, series: Series) -> Collection[Tile]:
        """The buckets of a series that are stored, and that the API could not give."""
        return self._unreadable.get(series, {})

    def _lacks(self, series: Series, tile: Tile) -> bool:
        return tile.size > 1 and tile in self.unreadable(series)

    # Requests

    def _load(self, asks: Sequence[Ask], *, as_of: bool) -> None:
        parts = list(self._parts(asks)) if asks else [asks] * as_of
        for answers in self._each(self._ask, [(p, as_of and not i) for i, p in enumerate(parts)]):
            for answer in answers:
                if answer.as_of is not None:
                    self.as_of = _as_of(answer.as_of)
                for ask, given, errors in answer.given:
                    self._keep(ask, given, errors)

    def _parts(self, asks: Sequence[Ask]) -> Iterator[Sequence[Ask]]:
        """As many at a time as a request may have, by number and by size."""
        most = getattr(self._client, "request_bytes", 0)
        number = self._api.asks
        if len(asks) > number:
            for first in range(0, len(asks), number):
                yield from self._parts(asks[first : first + number])
        elif most and len(asks) > 1 and len(body_of(*document(asks, as_of=True))) > most:
            half = (len(asks) + 1) // 2
            yield from self._parts(asks[:half])
            yield from self._parts(asks[half:])
        else:
            yield asks

    def _ask(self, part: tuple[Sequence[Ask], bool]) -> list[Answer]:
        """The answers to a part. One that is refused whole is tried with less in a request."""
        asks, as_of = part
        as_of &= self._api.gives_as_of
        try:
            return [self._answer(asks, as_of=as_of)] if asks or as_of else []
        except (ContentionError, TransportError, OSError):
            raise
        except Exception:
            # Other clients raise what their library raises, for an error at one alias too.
            if as_of:
                answers = self._ask((asks, False))
                self._api.gives_as_of &= not asks
                return answers
            if len(asks) < FEWEST_RESOLVERS:
                raise
            fewer = FEWEST_RESOLVERS - 1
            parts = [asks[first : first + fewer] for first in range(0, len(asks), fewer)]
            answers = [answer for part in parts for answer in self._ask((part, False))]
            self._api.asks = fewer
            return answers

    def _answer(self, asks: Sequence[Ask], *, as_of: bool) -> Answer:
        data, errors = self._execute(document(asks, as_of=as_of))
        given = []
        for i, ask in enumerate(asks):
            alias = f"b{i}"
            if alias not in data or (not ask.size and data[alias] is None):
                raise TransportError(f"the answer lacks {alias}", operation="ReadBuckets")
            given.append((ask, data[alias], [e for e in errors if e["path"][0] == alias]))
        return Answer(given, data.get(_AS_OF))

    def _execute(self, asked: Document) -> tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]:
        """Data, and the errors that cost one record only."""
        try:
            request = partial(self._client.execute, *asked)
            return self._retries.call_with_backoff(request, "buckets are not read"), ()
        except ThrottledError:
            raise
        except ApiError as error:
            if error.data and all(_costs_one_record(each) for each in error.errors):
                return error.data, error.errors
            raise

    def _each[Given, Made](
        self, work: Callable[[Given], Made], given: Sequence[Given]
    ) -> Iterable[Made]:
        """Others' clients may not be made for threads."""
        return map_concurrently(work, given) if self._is_ours else map(work, given)

    # Answers

    def _keep(self, ask: Ask, given: Any, errors: Sequence[Mapping[str, Any]]) -> None:
        if ask.size:
            self._keep_bucket(ask.series, Tile(ask.start, ask.size), given, errors)
            return
        by_row: dict[int, list[Mapping[str, Any]]] = {}
        for error in errors:
            if len(error["path"]) <= _ROW:
                raise TransportError(str(error.get("message")), operation="ReadBuckets")
            by_row.setdefault(error["path"][_ROW], []).append(error)
        for i, row in enumerate(given["items"]):
            tile = _tile(ask.series, row)
            if tile is not None:
                self._keep_bucket(ask.series, tile, row, by_row.get(i, ()))
        if None in given["items"]:
            self._find_unreadable(ask, errors)
        if given.get("nextToken"):
            self._load([ask._replace(token=given["nextToken"])], as_of=False)

    def _keep_bucket(
        self, series: Series, tile: Tile, row: Any, errors: Sequence[Mapping[str, Any]]
    ) -> None:
        if errors:
            self._unreadable.setdefault(series, {})[tile] = str(errors[0].get("message"))
        elif row is not None:
            self._found[series][tile] = _stored(row, self.extra_measures(series.record_type))

    def _find_unreadable(self, ask: Ask, errors: Sequence[Mapping[str, Any]]) -> None:
        """Read keys alone, which the API can always give: those of nulls are the other ones."""
        data, _ = self._execute(document([ask], selected="compositeKey"))
        for row in data["b0"]["items"]:
            tile = _tile(ask.series, row)
            if tile is not None and tile not in self._found[ask.series]:
                self._keep_bucket(ask.series, tile, None, errors)


def document(asks: Sequence[Ask], *, as_of: bool = False, selected: str = _SELECTED) -> Document:
    """The query for these buckets and hours (an alias `b<i>` each), and its variables."""
    variables: dict[str, Any] = {}
    accounts = {name: f"a{i}" for i, name in enumerate(dict.fromkeys(a[0][0] for a in asks))}
    declared = [f"${alias}: String!" for alias in accounts.values()]
    variables |= {alias: name for name, alias in accounts.items()}
    aliases = [_as_of_alias()] if as_of else []
    for i, (series, start, size, token) in enumerate(asks):
        account = accounts[series.account_id]
        declared.append(f"$k{i}: String!")
        if size:
            variables[f"k{i}"] = composite_key(series, start, size)
            aliases.append(
                f"b{i}: getAggregatedMetrics(accountId: ${account}, compositeKey: $k{i}) "
                "{ ...bucket }"
            )
            continue
        variables[f"k{i}"] = HourId(series, start).prefix
        page = ""
        if token:
            declared.append(f"$t{i}: String")
            variables[f"t{i}"] = token
            page = f", nextToken: $t{i}"
        aliases.append(
            f"b{i}: listAggregatedMetrics(accountId: ${account}, compositeKey: "
            f"{{beginsWith: $k{i}}}, limit: 100{page}) {{ items {{ ...bucket }} nextToken }}"
        )
    head = f"query ReadBuckets({', '.join(declared)})" if declared else "query ReadAsOf"
    fragment = f"\nfragment bucket on AggregatedMetrics {{ {selected} }}" if asks else ""
    return "\n".join([f"{head} {{", *aliases, "}"]) + fragment, variables


def _as_of_alias() -> str:
    key = composite_key(_STREAMS, 0, buckets.HOUR)
    return (
        f'{_AS_OF}: getAggregatedMetrics(accountId: "{_STREAMS.account_id}", '
        f'compositeKey: "{key}") {{ metadata }}'
    )


def _planned(wanted: Wanted, now: int) -> Iterator[Ask]:
    """The hours that are read whole, and the buckets that are read one by one."""
    for series, tiles in wanted.items():
        hours: dict[int, list[Tile]] = {}
        for tile in tiles:
            hours.setdefault(buckets.floor(tile.start, buckets.HOUR), []).append(tile)
        for hour, parts in hours.items():
            if len(parts) >= LIST_FROM or any(may_be_on_its_way(tile, now) for tile in parts):
                yield Ask(series, hour)
            else:
                yield from (Ask(series, *tile) for tile in parts)


def _known_of(client: Client) -> _Api:
    try:
        return _APIS.setdefault(client, _Api())
    except TypeError:  # a client that cannot be a key is learnt anew by each reading
        return _Api()


def _costs_one_record(error: Mapping[str, Any]) -> bool:
    """Whether an error is of a field below an alias, or of the as-of record."""
    path: Sequence[Any] = error.get("path") or ()
    return bool(path) and (path[0] == _AS_OF or len(path) > 1)


def _tile(series: Series, row: Mapping[str, Any] | None) -> Tile | None:
    """A row's place; None for a key of another form, which is another writer's."""
    if row is None:
        return None
    start, _, size = row["compositeKey"].removeprefix(key_stem(series)).partition("#")
    try:
        tile = Tile(buckets.minute_of(start), int(size))
    except ValueError:
        return None
    return tile if row["compositeKey"] == composite_key(series, *tile) else None


def _stored(row: Mapping[str, Any], names: tuple[str, ...]) -> tuple[Measures, bool]:
    """A bucket as the API gives it, with what its fields could not show."""
    given = row.get("metadata")
    fields = [row.get(name) or 0 for name in Measures._fields]
    if not names and "beyond" not in str(given):
        return Measures(*fields), bool(row["complete"])
    metadata = Metadata.parse(given, names)
    measures = plus(Measures(*fields, *metadata.extra), metadata.beyond)
    return measures, bool(row["complete"])


def _as_of(row: Mapping[str, Any]) -> AsOf | None:
    content = decoded(row.get("metadata"))
    times = content.get("asOf") if isinstance(content, Mapping) else None
    if not isinstance(times, Mapping):
        return None
    seconds = content.get("completeAfter")
    after = seconds if isinstance(seconds, int) else 0
    named = content.get("measures")
    measures = named.items() if isinstance(named, Mapping) else ()
    return AsOf(
        {name: _moment(text) for name, text in times.items()},
        after,
        {str(name): tuple(map(str, names)) for name, names in measures},
    )


def _moment(text: Any) -> datetime | None:
    try:
        return buckets.parse(text)
    except (TypeError, ValueError):
        return None
