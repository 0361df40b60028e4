"""The rows of whole source tables, by DynamoDB's parallel Scan, no faster than is allowed."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from aggregated_metrics.core.models import Model

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_SAVED_SECONDS = 1.0
"""Units that were not used are kept this long."""


class Table(NamedTuple):
    """About how many rows a source table has, and its provisioned read units a second, if any."""

    items: int
    provisioned: int | None = None


class Page(NamedTuple):
    """Rows as DynamoDB JSON, the key to continue from (None at the end), consumed read units."""

    rows: list[dict[str, Any]]
    next: Mapping[str, Any] | None
    units: float


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
            found[model] = Table(table.get("ItemCount", 0), provisioned or None)
        return found

    def pages(
        self,
        model: Model,
        segment: int,
        of: int,
        start: Mapping[str, Any] | None,
        read_units: float,
    ) -> Iterator[Page]:
        """The pages of a segment, from a key on, with the attributes that counting reads.

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
            yield Page(answer["Items"], key, units)
            if key is None:
                return
            now = self._monotonic()
            paid_until = max(paid_until, now - _SAVED_SECONDS) + units / read_units
            if paid_until > now:
                self._sleep(paid_until - now)
