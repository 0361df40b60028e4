"""The source rows: of one account and model through the API's own index, or of a whole table.

A row that the API cannot give is null in its page. Where its absence is the schema's doing (a field
is required and not there) no index lists the row within its hour, and it was expected; of another
one the times alone are asked for, so only its own minute is left alone. Tables are read by
DynamoDB's parallel Scan, no faster than is allowed.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from aggregated_metrics.adapters.appsync import Client
from aggregated_metrics.adapters.retries import Retries
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import GraphQLError
from aggregated_metrics.core.models import Model

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PAGE = 1000
UPDATED = "updatedAt"
_LAST = "~"
"""Sorts after every character of a time."""
_SAVED_SECONDS = 1.0
"""Read units that were not used are kept this long."""

type Condition = Mapping[str, Any]
"""Of the index's sort key: AppSync's key condition."""
type Table = tuple[int, int | None]
"""About how many rows a source table has, and its provisioned read units a second, if any."""


class Page(NamedTuple):
    """Rows as the API gives them.

    Attributes:
        rows: those that it gave.
        last: the sort-key text of the page's last row; empty without one.
        unverified: epoch minutes with a row that it unexpectedly could not give.
        is_blind: whether not even the time of one is known.
    """

    rows: Sequence[Mapping[str, Any]]
    last: str
    unverified: Sequence[int] = ()
    is_blind: bool = False


@dataclass(frozen=True, slots=True)
class IndexRows:
    """Lists rows; waits where the API throttles."""

    client: Client
    retries: Retries

    def pages(
        self, model: Model, account_id: str, condition: Condition, *, newest_first: bool = True
    ) -> Iterator[Page]:
        """The pages of an account's rows under a condition.

        Raises:
            ApiError: the API refused, or did not answer.
        """
        name, by = model.name, model.listing
        if by is None:
            raise ValueError(f"{name} has no index to list its rows by")
        query = partial(_query, name, by.query, by.by, model.account)
        every = query(tuple(model.selected))
        times = query((*model.identifier, *model.times, by.by))
        sort = "DESC" if newest_first else "ASC"
        variables: dict[str, Any] = {"account": account_id, "range": condition, "sort": sort}
        while True:
            page, unexpected = self._page(every, variables, model)
            rows = page["items"]
            last = next((str(row[by.by]) for row in reversed(rows) if row.get(by.by)), "")
            if unexpected:
                again, _ = self._page(times, variables, model)
                minutes = list(_minutes_beside(rows, again["items"], model))
                yield Page(rows, last, minutes, is_blind=len(minutes) < unexpected)
            else:
                yield Page(rows, last)
            if not page["nextToken"]:
                return
            variables |= {"token": page["nextToken"]}

    def _page(
        self, query: str, variables: dict[str, Any], model: Model
    ) -> tuple[dict[str, Any], int]:
        """A page, and how many of its rows the API unexpectedly could not give."""
        request = partial(self.client.execute, query, variables)
        try:
            page = self.retries.call_with_backoff(request, "rows are not listed")["page"]
        except GraphQLError as error:
            return _readable(error, model)
        # An answer that names no error and has no row is not what the API says of an empty page.
        rows = [row for row in page["items"] if row is not None]
        return page | {"items": rows}, len(page["items"]) - len(rows)


def hours_condition(first: int, last: int) -> Condition:
    """The rows that an index by time lists within the hours from `first` to `last` (starts)."""
    return {"between": [prefix(first), prefix(last) + _LAST]}


def prefix(hour: int) -> str:
    """What the UTC times of an hour (its first epoch minute) begin with: `2026-11-22T10:`."""
    return buckets.iso(hour)[:14]


def runs_of(starts: Iterable[int]) -> list[tuple[int, int]]:
    """Hours side by side as pairs of the first and the last one, the newest first."""
    runs: list[tuple[int, int]] = []
    for start in sorted(set(starts), reverse=True):
        if runs and runs[-1][0] - buckets.HOUR == start:
            runs[-1] = (start, runs[-1][1])
        else:
            runs.append((start, start))
    return runs


def _readable(error: GraphQLError, model: Model) -> tuple[dict[str, Any], int]:
    """What an answer with errors at single rows gives all the same.

    Raises:
        GraphQLError: the page itself failed.
    """
    page = error.data.get("page")
    paths = [list(each.get("path") or ()) for each in error.errors]
    if not isinstance(page, dict) or any(p[:2] != ["page", "items"] or len(p) < 3 for p in paths):  # noqa: PLR2004
        raise error
    bad = {path[2]: path[3:4] for path in paths}
    rows = [row for i, row in enumerate(page["items"]) if row is not None and i not in bad]
    unexpected = [field for field in bad.values() if not set(field) & model.demanded]
    return page | {"items": rows}, len(unexpected)


def _minutes_beside(
    readable: Sequence[Mapping[str, Any]], every: Sequence[Mapping[str, Any]], model: Model
) -> Iterator[int]:
    """The minutes of those rows of a page that could not be read, where their times could."""
    known = {model.row_id(row) for row in readable}
    for row in every:
        if model.row_id(row) not in known:
            at = next((row[name] for name in model.times if row.get(name) is not None), None)
            try:
                yield buckets.minute_of(at or "")
            except ValueError:
                continue  # as good as not known


@lru_cache(maxsize=32)
def _query(name: str, listing: str, key: str, account: str, attributes: tuple[str, ...]) -> str:
    return (
        f"query Count{name}($account: String!, $range: ModelStringKeyConditionInput, "
        f"$sort: ModelSortDirection, $token: String) {{ page: {listing}({account}: $account, "
        f"{key}: $range, sortDirection: $sort, limit: {PAGE}, nextToken: $token) "
        f"{{ items {{ {' '.join(dict.fromkeys(attributes))} }} nextToken }} }}"
    )


class TableRows:
    """The source tables.

    Args:
        client: boto3's DynamoDB client.
        tables: model name to table name.
        monotonic, sleep: the time, and how to wait; a test passes its own.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        tables: Mapping[str, str],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._tables = tables
        self._monotonic = monotonic
        self._sleep = sleep

    def describe(self) -> dict[str, Table]:
        """Each table by model; DynamoDB counts its rows about every six hours."""
        found = {}
        for model, name in self._tables.items():
            table = self._client.describe_table(TableName=name)["Table"]
            provisioned = table.get("ProvisionedThroughput", {}).get("ReadCapacityUnits")
            found[model] = (table.get("ItemCount", 0), provisioned or None)
        return found

    def pages(
        self,
        model: Model,
        segment: int,
        of: int,
        start: Mapping[str, Any] | None,
        read_units: float,
    ) -> Iterator[tuple[list[dict[str, Any]], Mapping[str, Any] | None]]:
        """The pages of a segment, from a key on, with the attributes that counting reads.

        Each is rows as DynamoDB JSON, and the key to continue from: None at the end.

        It waits where more than `read_units` a second would be consumed.
        """
        projection = {f"#{i}": name for i, name in enumerate(model.projected)}
        request: dict[str, Any] = {
            "TableName": self._tables[model.name],
            "Segment": segment,
            "TotalSegments": of,
            "ProjectionExpression": ", ".join(projection),
            "ExpressionAttributeNames": projection,
            "ReturnConsumedCapacity": "TOTAL",
        }
        key, paid_until = start, self._monotonic() - _SAVED_SECONDS
        while True:
            if key:
                request["ExclusiveStartKey"] = key
            answer = self._client.scan(**request)
            units = float(answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0))
            key = answer.get("LastEvaluatedKey")
            yield answer["Items"], key
            if key is None:
                return
            now = self._monotonic()
            paid_until = max(paid_until, now - _SAVED_SECONDS) + units / read_units
            if paid_until > now:
                self._sleep(paid_until - now)
