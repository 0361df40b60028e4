"""Reads chosen buckets through the API, many in a request, and the time as of which they are.

A bucket is one aliased `getAggregatedMetrics`; an hour of which many buckets are wanted, or whose
rollups may not be written yet, is one query by its prefix. The first request also asks for the
record in which the sweeper keeps how far each record type's stream is applied.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import batched
from typing import Any
from weakref import WeakKeyDictionary

from aggregated_metrics.adapters.appsync import AppSyncClient, Client, fitting
from aggregated_metrics.adapters.hour_documents import Document
from aggregated_metrics.adapters.retries import Retries, map_concurrently
from aggregated_metrics.core import buckets
from aggregated_metrics.core.cover import Stored, Tile, may_be_on_its_way, needs_parts
from aggregated_metrics.core.errors import ApiError, ContentionError, TransportError
from aggregated_metrics.core.measures import Measures, plus
from aggregated_metrics.core.metadata import Metadata, decoded
from aggregated_metrics.core.models import BUILT_IN
from aggregated_metrics.core.series import (
    BucketId,
    HourId,
    Series,
    Target,
    composite_key,
    key_stem,
)

ASKS_PER_REQUEST = 120
FEWEST_RESOLVERS = 50
"""So many a request may call of any API: `attach` demands it, because a save needs as many."""
LIST_FROM = 10
"""From so many buckets of one hour on, the whole hour is read: a query of 77 small items."""
SECONDS = 120.0
"""How long one reading may take, waits for a throttled API included."""
AS_OF = BucketId(HourId(Series("_streams", "_streams"), 0), buckets.HOUR, 0)
"""The record of how far streams are applied."""
_ADVICE = "nothing was changed: read again later, or a shorter range, while the API throttles"
_ALIAS = "asOf"
_MANY = "many at once"
_ROW = 2
"""Where the path of an error below a page has the number of the row: alias, `items`, number."""
_SELECTED = f"compositeKey {' '.join(Measures._fields)} metadata complete"
_REFUSED: WeakKeyDictionary[Client, set[str]] = WeakKeyDictionary()
"""What the API of each client has refused: _ALIAS, _MANY."""

type Ask = BucketId | HourId
"""What an alias asks for: a bucket, or the buckets of a whole hour."""
type Error = Mapping[str, Any]
type Answer = tuple[Ask, Any, Sequence[Error]]
"""What was asked, what the API gave (a record, or a page of an hour), and its errors."""
type Wanted = Mapping[Series, Collection[Tile]]
type Found = dict[Series, dict[Tile, Stored]]


class BucketReader:
    """Reads buckets. Its requests run side by side if the client is this package's.

    Args:
        client: carries out GraphQL documents; its `request_bytes`, if it has that, is obeyed.
        sleep: how to wait while the API throttles; a test passes its own.

    Attributes:
        applied: by record type, the time up to which its stream is applied, None where that is not
            known; None as a whole before the API has given it.
        complete_after: seconds after its end at which a bucket is complete at the earliest.
        found: what the last reading found.
    """

    def __init__(self, client: Client, *, sleep: Callable[[float], None] = time.sleep) -> None:
        end = time.monotonic() + SECONDS
        self.applied: Mapping[str, datetime | None] | None = None
        self.complete_after = 0
        self.found: Found = {}
        self._custom: dict[str, Mapping[str, Sequence[Any]]] = {"measures": {}, "breakdowns": {}}
        self._client = client
        self._retries = Retries(lambda: end - time.monotonic(), sleep, advice=_ADVICE)
        self._is_ours = isinstance(client, AppSyncClient)
        self._refused = _refused_by(client)

    def read(self, wanted: Wanted, now: int) -> Found:
        """Those of the buckets that are stored, with the parts of those that need them.

        A bucket that the API cannot give costs nothing here: the sums that need it are refused.

        Args:
            wanted: of each series, buckets that do not overlap.
            now: the epoch minute that is running.

        Raises:
            ContentionError: the API throttled for too long.
            ApiError: (with this package's client) the API refused, or did not answer.
        """
        self.found = {series: {} for series in wanted}
        asks = dict.fromkeys(_planned(wanted, now))
        self._load([*asks], as_of=self.applied is None)
        finer = {
            Target(series, tile.start).hour: None
            for series, tiles in wanted.items()
            for tile in tiles
            if needs_parts(tile, self.found[series])
        }
        self._load([hour for hour in finer if hour not in asks], as_of=False)
        return self.found

    def extra_measures(self, record_type: str) -> tuple[str, ...]:
        """The measures that a record type's buckets keep in metadata.

        Those of a custom model stand in the record that says how far the streams are applied.
        """
        named = self._custom["measures"].get(record_type, ())
        return BUILT_IN.extra_measures(record_type) or tuple(map(str, named))

    def ids(self, record_type: str) -> int:
        """How many ids a breakdown's series has: a scorecard's, or a score's too; otherwise 0."""
        custom = self._custom["breakdowns"].get(record_type, ())
        return len(BUILT_IN.breakdowns.get(record_type, custom))

    def as_of(self, record_type: str) -> datetime | None:
        """The time up to which a record type's stream is applied; None where it is not known."""
        return (self.applied or {}).get(record_type)

    def is_over(self, record_type: str, end: datetime) -> bool:
        """Whether the functions may have completed everything of a record type that ends then."""
        applied = self.as_of(record_type)
        return applied is not None and end + timedelta(seconds=self.complete_after) <= applied

    # Requests

    def _load(self, asks: Sequence[Ask], *, as_of: bool) -> None:
        number = FEWEST_RESOLVERS - 1 if _MANY in self._refused else ASKS_PER_REQUEST
        most = getattr(self._client, "request_bytes", 0)
        parts = [*fitting(asks, number, lambda part: document([AS_OF, *part]), most)]
        if as_of and _ALIAS not in self._refused:
            first, *others = parts or [()]
            parts = [[AS_OF, *first], *others]
        given = map_concurrently(self._ask, parts) if self._is_ours else map(self._ask, parts)
        for answers in given:
            for answer in answers:
                self._keep(*answer)

    def _ask(self, asks: Sequence[Ask]) -> list[Answer]:
        """The answers to one request. One that is refused whole is tried with less in it."""
        try:
            return self._answers(asks) if asks else []
        except (ContentionError, TransportError, OSError):
            raise
        except Exception:
            # Other clients raise what their library raises, for an error at one alias too.
            is_large = len(asks) >= FEWEST_RESOLVERS
            if not is_large and asks[0] != AS_OF:
                raise
            before = {*self._refused}
            parts = batched(asks, FEWEST_RESOLVERS - 1) if is_large else [asks[1:]]
            answers = [answer for part in parts for answer in self._ask(part)]
            if answers and self._refused == before:
                self._refused.add(_MANY if is_large else _ALIAS)
            return answers

    def _answers(
        self, asks: Sequence[Ask], token: str | None = None, selected: str = _SELECTED
    ) -> list[Answer]:
        data, errors = self._execute(document(asks, token, selected))
        answers: list[Answer] = []
        for alias, ask in _aliases(asks).items():
            given = data.get(alias)
            is_absent = alias not in data or (given is None and isinstance(ask, HourId))
            if is_absent and ask != AS_OF:
                raise TransportError(f"the answer lacks {alias}", operation="ReadBuckets")
            answers.append((ask, given, [e for e in errors if e["path"][0] == alias]))
        return answers

    def _execute(self, asked: Document) -> tuple[Mapping[str, Any], Sequence[Error]]:
        """Data, and the errors that cost one record only."""
        try:
            request = partial(self._client.execute, *asked)
            return self._retries.call_with_backoff(request, "buckets are not read"), ()
        except ApiError as error:
            if error.data and all(_costs_one_record(each) for each in error.errors):
                return error.data, error.errors
            raise

    # Answers

    def _keep(self, ask: Ask, given: Any, errors: Sequence[Error]) -> None:
        if isinstance(ask, HourId):
            self._keep_hour(ask, given, errors)
        elif ask != AS_OF:
            self._keep_bucket(ask.hour.series, Tile(ask.start, ask.size), given, errors)
        elif given is not None:
            self._keep_as_of(decoded(given.get("metadata")))

    def _keep_hour(
        self, hour: HourId, page: Any, errors: Sequence[Error], token: str | None = None
    ) -> None:
        """Keep a page, and those that follow it."""
        for i, row in enumerate(page["items"]):
            if (tile := _tile(hour.series, row)) is not None:
                own = [error for error in errors if error["path"][_ROW] == i]
                self._keep_bucket(hour.series, tile, row, own)
        if None in page["items"]:
            # Read keys alone, which the API can always give: those of nulls are the other ones.
            ((_, keys, _),) = self._answers([hour], token, "compositeKey")
            for tile in filter(None, (_tile(hour.series, row) for row in keys["items"])):
                if tile not in self.found[hour.series]:
                    self._keep_bucket(hour.series, tile, None, errors or [{"message": "null"}])
        if following := page.get("nextToken"):
            ((_, given, more),) = self._answers([hour], following)
            self._keep_hour(hour, given, more, following)

    def _keep_bucket(self, series: Series, tile: Tile, row: Any, errors: Sequence[Error]) -> None:
        if errors:
            key, why = composite_key(series, *tile), errors[0].get("message")
            self.found[series][tile] = (
                f"the API cannot give the stored bucket {key} of {series.account_id} ({why}): "
                "repair its hour, then read again"
            )
        elif row is not None:
            self.found[series][tile] = _stored(row, self.extra_measures(series.record_type))

    def _keep_as_of(self, content: Any) -> None:
        times = content.get("asOf") if isinstance(content, Mapping) else None
        if isinstance(times, Mapping):
            seconds = content.get("completeAfter")
            self.applied = {name: buckets.time_of(text) for name, text in times.items()}
            self.complete_after = seconds if isinstance(seconds, int) else 0
            self._custom.update({name: content.get(name) or {} for name in self._custom})


def document(asks: Sequence[Ask], token: str | None = None, selected: str = _SELECTED) -> Document:
    """The query for these buckets and hours (an alias `b<i>` each), and its variables.

    `token` is the page of a single hour to go on with.
    """
    accounts: dict[str, str] = {}
    variables: dict[str, Any] = {"token": token} if token else {}
    page = ", nextToken: $token" if token else ""
    aliases = []
    for i, (alias, ask) in enumerate(_aliases(asks).items()):
        hour = ask if isinstance(ask, HourId) else ask.hour
        account = accounts.setdefault(hour.series.account_id, f"a{len(accounts)}")
        where = f"accountId: ${account}, compositeKey"
        if isinstance(ask, HourId):
            variables[f"k{i}"] = hour.prefix
            given = f"{where}: {{beginsWith: $k{i}}}, limit: 100{page}"
            found = "items { ...bucket } nextToken"
            aliases.append(f"{alias}: listAggregatedMetrics({given}) {{ {found} }}")
        else:
            variables[f"k{i}"] = composite_key(hour.series, ask.start, ask.size)
            aliases.append(f"{alias}: getAggregatedMetrics({where}: $k{i}) {{ ...bucket }}")
    variables |= {alias: name for name, alias in accounts.items()}
    head = f"query ReadBuckets({', '.join(f'${name}: String!' for name in variables)})"
    fragment = f"fragment bucket on AggregatedMetrics {{ {selected} }}"
    return "\n".join([f"{head} {{", *aliases, "}", fragment]), variables


def _aliases(asks: Sequence[Ask]) -> dict[str, Ask]:
    counts = [ask for ask in asks if ask != AS_OF]
    named = {f"b{i}": ask for i, ask in enumerate(counts)}
    return named if len(counts) == len(asks) else {_ALIAS: AS_OF, **named}


def _planned(wanted: Wanted, now: int) -> Iterator[Ask]:
    """The hours that are read whole, and the buckets that are read one by one."""
    for series, tiles in wanted.items():
        hours: dict[HourId, list[Tile]] = {}
        for tile in tiles:
            hours.setdefault(Target(series, tile.start).hour, []).append(tile)
        for hour, parts in hours.items():
            if len(parts) >= LIST_FROM or any(may_be_on_its_way(tile, now) for tile in parts):
                yield hour
            else:
                yield from (BucketId(hour, tile.size, tile.start) for tile in parts)


def _refused_by(client: Client) -> set[str]:
    try:
        return _REFUSED.setdefault(client, set())
    except TypeError:  # a client that cannot be a key is learnt anew by each reading
        return set()


def _costs_one_record(error: Error) -> bool:
    """Whether an error is of a field of a record, or of the as-of record."""
    path: Sequence[Any] = error.get("path") or ()
    return path[:1] == [_ALIAS] or (len(path) > 1 and path[-1] != "items")


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
    measures = Measures(*(row.get(name) or 0 for name in Measures._fields))
    if names or "beyond" in str(given):
        metadata = Metadata.parse(given, names)
        measures = plus(Measures(*measures, *metadata.extra), metadata.beyond)
    return measures, bool(row["complete"])
