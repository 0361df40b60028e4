"""The rows of whole source tables, by DynamoDB's parallel Scan, no faster than is allowed."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from aggregated_metrics.core.models import Model

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


_SAVED_SECONDS = 1.0


class Table(NamedTuple):
    """About how many rows a source table has, and its provisioned read units a second, if any."""

    items: int
    provisioned: int | None = None


class Page(NamedTuple):
    """Rows as DynamoDB JSON, the key to continue from (None at the end), consumed read units."""

    rows: list[dict[str, Any]]
    next: Mapping[str, Any] | None
    units: float


class TokenBucket:
    """Limits units a second; unused ones of up to a second may be spent later.

    Args:
        rate: units a second.
        monotonic, sleep: the time, and how to wait; a test passes its own.
    """

    def __init__(
        self,
        rate: float,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._monotonic = monotonic
        self._sleep = sleep
        self._paid_until = monotonic() - _SAVED_SECONDS

    def spend(self, units: float) -> None:
        """Take consumed units into account; wait until they are paid."""
        now = self._monotonic()
        start = max(self._paid_until, now - _SAVED_SECONDS)
        self._paid_until = start + units / self._rate
        if self._paid_until > now:
            self._sleep(self._paid_until - now)


class TableRows:
    """The source tables.

    Args:
        client: boto3's DynamoDB client.
        tables: model name to table name.
        bucket: makes the limiter of one scan, from its read units a second.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        tables: Mapping[str, str],
        bucket: Callable[[float], TokenBucket] = TokenBucket,
    ) -> None:
        self._client = client
        self._tables = tables
        self._bucket = bucket

    def describe(self) -> dict[str, Table]:
        """Each table by model; DynamoDB counts its rows about every six hours."""
        found = {}
        for model, name in self._tables.items():
            table = self._client.describe_table(TableName=name)["Table"]
            mode = table.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED")
            provisioned = table.get("ProvisionedThroughput", {}).get("ReadCapacityUnits", 0)
            found[model] = Table(
                table.get("ItemCount", 0),
                provisioned if mode == "PROVISIONED" and provisioned else None,
            )
        return found

    def pages(
        self,
        model: Model,
        segment: int,
        of: int,
        start: Mapping[str, Any] | None,
        read_units: float,
    ) -> Iterator[Page]:
        """The pages of a segment, from a key on, with the attributes that counting reads."""
        projection = {f"#{i}": name for i, name in enumerate(model.selected)}
        bucket = self._bucket(read_units)
        request: dict[str, Any] = {
            "TableName": self._tables[model.name],
            "Segment": segment,
            "TotalSegments": of,
            "ProjectionExpression": ", ".join(projection),
            "ExpressionAttributeNames": projection,
            "ReturnConsumedCapacity": "TOTAL",
        }
        key: Mapping[str, Any] | None = start
        while True:
            if key:
                request["ExclusiveStartKey"] = key
            answer = self._client.scan(**request)
            units = float(answer.get("ConsumedCapacity", {}).get("CapacityUnits", 0))
            key = answer.get("LastEvaluatedKey")
            yield Page(answer["Items"], key, units)
            if key is None:
                return
            bucket.spend(units)
