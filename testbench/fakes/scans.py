"""Source tables that can be scanned, and a bucket: the calls that a run over whole tables makes."""

import io
import json
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import sha1
from itertools import islice
from operator import itemgetter
from typing import Any, Protocol

from botocore.exceptions import ClientError

from testbench.fakes.dynamodb import Client, MemoryTable
from testbench.streams import image

LABEL = "2026-11-01T00:00:00.000"
"""Of every table's stream."""
STREAM = {"StreamSpecification": {"StreamEnabled": True}, "LatestStreamArn": f"stream/{LABEL}"}
"""What DynamoDB says of a table's stream."""


class Rows(Protocol):
    """The rows of tables as they are now: their ids, and each as plain values."""

    def keys(self, model: str) -> Sequence[tuple[str, ...]]: ...

    def row(self, model: str, *key: str) -> Mapping[str, Any] | None: ...


class FakeTables(MemoryTable):
    """The pending-hours table, and source tables that are named after their models.

    DynamoDB scans these in the order of their ids' hashes.

    Args:
        rows: what is in the source tables.
        page: how many rows a page has.

    Attributes:
        on_page: called before each page is read.
        read: the rows that were read.
    """

    def __init__(self, rows: Rows, page: int) -> None:
        super().__init__()
        self._rows = rows
        self._page = page
        self._sorted: dict[str, tuple[Any, list[tuple[bytes, str]]]] = {}
        self.on_page: Callable[[], None] = lambda: None
        self.read = 0

    def describe_table(self, *, TableName: str) -> dict[str, Any]:
        number = len(self._rows.keys(TableName))
        summary = {"BillingMode": "PAY_PER_REQUEST"}
        return {"Table": {"ItemCount": number, "BillingModeSummary": summary, **STREAM}}

    def scan(
        self,
        *,
        TableName: str,
        Segment: int,
        TotalSegments: int,
        ProjectionExpression: str,
        ExpressionAttributeNames: Mapping[str, str],
        ReturnConsumedCapacity: str,
        ExclusiveStartKey: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        self.on_page()
        after = _hash(ExclusiveStartKey["id"]["S"]) if ExclusiveStartKey else b""
        names = [ExpressionAttributeNames[name] for name in ProjectionExpression.split(", ")]
        places = self._places(TableName)
        following = islice(places, bisect_right(places, after, key=itemgetter(0)), None)
        found = (row_id for place, row_id in following if place[0] % TotalSegments == Segment)
        rows = (self._rows.row(TableName, row_id) for row_id in islice(found, self._page))
        page = [row for row in rows if row is not None]
        self.read += len(page)
        items = [image({name: row[name] for name in names if name in row}) for row in page]
        answer: dict[str, Any] = {
            "Items": json.loads(json.dumps(items)),
            "ConsumedCapacity": {"CapacityUnits": len(page) / 8},
        }
        if len(page) == self._page:  # as DynamoDB's: a full page has a key even if it is the last
            answer["LastEvaluatedKey"] = {"id": {"S": page[-1]["id"]}}
        return answer

    def _places(self, table: str) -> list[tuple[bytes, str]]:
        """The rows in the order of a Scan; sorted again only where there are others."""
        keys = self._rows.keys(table)
        if self._sorted.get(table, (None, []))[0] != keys:
            self._sorted[table] = keys, sorted((_hash(row_id), row_id) for (row_id,) in keys)
        return self._sorted[table][1]


@lru_cache(maxsize=1_000_000)
def _hash(row_id: str) -> bytes:
    return sha1(row_id.encode(), usedforsecurity=False).digest()


class FakeBucket(Client):
    """S3's put, get by range and list, as far as RunFiles uses them; strongly consistent."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.on_put: Callable[[str], None] = lambda _: None

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, IfNoneMatch: str = "") -> None:
        self.on_put(Key)
        if IfNoneMatch and Key in self.objects:
            raise refused("PreconditionFailed", "PutObject")
        self.objects[Key] = Body

    def get_object(self, *, Bucket: str, Key: str, Range: str = "") -> dict[str, Any]:
        if Key not in self.objects:
            raise refused("NoSuchKey", "GetObject")
        content = self.objects[Key]
        if Range:
            first, last = map(int, Range.removeprefix("bytes=").split("-"))
            content = content[first : last + 1]
        return {"Body": io.BytesIO(content)}

    def list_objects_v2(self, *, Bucket: str, Prefix: str) -> dict[str, Any]:
        keys = sorted(key for key in self.objects if key.startswith(Prefix))
        return {"Contents": [{"Key": key} for key in keys]}


def refused(code: str, operation: str) -> ClientError:
    """What a client raises for a service's refusal."""
    return ClientError({"Error": {"Code": code, "Message": code}}, operation)
