"""The source rows: of one account and model through the API's own index, or of a whole table.

A row that the API cannot give is null in its page. Where its absence is the schema's doing (a field
is required and not there) no index lists the row within its hour, and it was expected; of another
one the times alone are asked for, so only its own minute is left alone. Tables are read by
DynamoDB's parallel Scan, no faster than is allowed.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from aggregated_metrics.adapters.retries import Execute, read_page
from aggregated_metrics.core import buckets
from aggregated_metrics.core.buckets import hour_prefix
from aggregated_metrics.core.models import Model

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

PAGE = 1000
UPDATED = "updatedAt"

type Condition = Mapping[str, Any]
"""Of the index's sort key: AppSync's key condition."""
type Row = Mapping[str, Any]
type Page = tuple[Sequence[Row], str, Sequence[int], bool]
"""The rows that the API gave, and the sort-key text of the last one (empty without one); epoch
minutes with a row that it unexpectedly could not give, and whether not even the time of one is
known."""
type Table = tuple[int, int | None]
"""About how many rows a source table has, and its provisioned read units a second, if any."""


def index_pages(
    execute: Execute,
    model: Model,
    account_id: str,
    condition: Condition,
    *,
    newest_first: bool = True,
) -> Iterator[Page]:
    """The pages of an account's rows under a condition, through the API's own index."""
    name, by = model.name, model.listing
    if by is None:
        raise ValueError(f"{name} has no index to list its rows by")
    listing = f"{by.query}({model.account}: $account, {by.by}: $range"
    every = _query(name, listing, model.selected)
    times = _query(name, listing, (*model.identifier, *model.times, by.by))
    sort = "DESC" if newest_first else "ASC"
    variables: dict[str, Any] = {"account": account_id, "range": condition, "sort": sort}
    while True:
        rows, unexpected, token = _page(execute, every, variables, model)
        last = next((str(row[by.by]) for row in reversed(rows) if row.get(by.by)), "")
        minutes: list[int] = []
        if unexpected:
            again, *_ = _page(execute, times, variables, model)
            minutes += _minutes_beside(rows, again, model)
        yield rows, last, minutes, len(minutes) < unexpected
        if not token:
            return
        variables |= {"token": token}


def _page(
    execute: Execute, query: str, variables: dict[str, Any], model: Model
) -> tuple[list[Row], int, str | None]:
    """A page's rows, how many others the API unexpectedly could not give, and the next token.

    An answer that names no error and has no row is not what the API says of an empty page.
    """
    page, failed, token = read_page(execute, (query, variables), "page")
    bad = [i for i, row in enumerate(page) if row is None]
    unexpected = [i for i in bad if not model.demanded.intersection(failed.get(i, ()))]
    return [row for row in page if row is not None], len(unexpected), token


def hours_condition(first: int, last: int) -> Condition:
    """The rows that an index by time lists within the hours from `first` to `last` (starts)."""
    # A tilde sorts after every character of a time.
    return {"between": [hour_prefix(first), f"{hour_prefix(last)}~"]}


def runs_of(starts: Iterable[int]) -> list[tuple[int, int]]:
    """Hours side by side as pairs of the first and the last one, the newest first."""
    runs: list[tuple[int, int]] = []
    for start in sorted(set(starts), reverse=True):
        if runs and runs[-1][0] - buckets.HOUR == start:
            runs[-1] = (start, runs[-1][1])
        else:
            runs.append((start, start))
    return runs


def _minutes_beside(readable: Sequence[Row], every: Sequence[Row], model: Model) -> Iterator[int]:
    """The minutes of those rows of a page that could not be read, where their times could."""
    known = {model.row_id(row) for row in readable}
    for row in every:
        if model.row_id(row) not in known:
            at = next((row[name] for name in model.times if row.get(name) is not None), None)
            try:
                yield buckets.minute_of(at or "")
            except ValueError:
                continue  # as good as not known


def _query(name: str, listing: str, attributes: Sequence[str]) -> str:
    return (
        f"query Count{name}($account: String!, $range: ModelStringKeyConditionInput, "
        f"$sort: ModelSortDirection, $token: String) {{ page: {listing}, sortDirection: $sort, "
        f"limit: {PAGE}, nextToken: $token) "
        f"{{ items {{ {' '.join(dict.fromkeys(attributes))} }} nextToken }} }}"
    )


def described(client: "DynamoDBClient", streams: Mapping[str, str]) -> dict[str, Table]:
    """The source tables by model; DynamoDB counts their rows about every six hours.

    `streams` is model to its table's stream, `table/label`.
    """
    found = {}
    for model, stream in streams.items():
        table = client.describe_table(TableName=stream.partition("/")[0])["Table"]
        provisioned = table.get("ProvisionedThroughput", {}).get("ReadCapacityUnits")
        found[model] = (table.get("ItemCount", 0), provisioned or None)
    return found


def table_pages(
    client: "DynamoDBClient",
    stream: str,
    model: Model,
    segment: tuple[int, int],
    start: Mapping[str, Any] | None,
    read_units: float,
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[list[dict[str, Any]], Mapping[str, Any] | None]]:
    """The pages of a segment (its number, and of how many), from a key on.

    Each is rows as DynamoDB JSON, with the attributes that counting reads, and the key to continue
    from: None at the end. It waits where a page would consume more than `read_units` a second.
    """
    projection = {f"#{i}": name for i, name in enumerate(model.projected)}
    request: dict[str, Any] = {
        "TableName": stream.partition("/")[0],
        "Segment": segment[0],
        "TotalSegments": segment[1],
        "ProjectionExpression": ", ".join(projection),
        "ExpressionAttributeNames": projection,
        "ReturnConsumedCapacity": "TOTAL",
    }
    key = start
    while True:
        began = monotonic()
        if key:
            request["ExclusiveStartKey"] = key
        answer = client.scan(**request)
        units = float(answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0))
        key = answer.get("LastEvaluatedKey")
        yield answer["Items"], key
        if key is None:
            return
        sleep(max(0.0, units / read_units - (monotonic() - began)))
