"""Source tables that can be scanned, and a bucket: the calls that a run over whole tables makes."""

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha1
from operator import itemgetter
from typing import Any

from botocore.exceptions import ClientError

from testbench.streams import image

type Row = Mapping[str, Any]


class FakeTables:
    """DynamoDB's Scan over what `rows` gives for a table, in the order of the ids' hashes.

    Args:
        rows: table name to its rows as they are now, plain.
        page: how many rows a page has.
        on_page: called before each page is read.
    """

    def __init__(
        self,
        rows: Callable[[str], Sequence[Row]],
        *,
        page: int = 100,
        on_page: Callable[[], None] = lambda: None,
    ) -> None:
        self._rows = rows
        self._page = page
        self.on_page = on_page
        self.read = 0
        self.scans = 0

    def describe_table(self, *, TableName: str) -> dict[str, Any]:
        number = len(self._rows(TableName))
        summary = {"BillingMode": "PAY_PER_REQUEST"}
        return {"Table": {"ItemCount": number, "BillingModeSummary": summary}}

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
        self.scans += 1
        after = _hash(ExclusiveStartKey["id"]["S"]) if ExclusiveStartKey else b""
        names = [ExpressionAttributeNames[name] for name in ProjectionExpression.split(", ")]
        found = sorted(
            (
                (place, row)
                for row in self._rows(TableName)
                if (place := _hash(row["id"])) > after and place[0] % TotalSegments == Segment
            ),
            key=itemgetter(0),
        )
        page = [row for _, row in found[: self._page]]
        self.read += len(page)
        items = [image({name: row[name] for name in names if name in row}) for row in page]
        answer: dict[str, Any] = {
            "Items": json.loads(json.dumps(items)),
            "ConsumedCapacity": {"CapacityUnits": len(page) / 8},
        }
        if len(page) == self._page:  # as DynamoDB's: a full page has a key even if it is the last
            answer["LastEvaluatedKey"] = {"id": {"S": page[-1]["id"]}}
        return answer


def _hash(row_id: str) -> bytes:
    return sha1(row_id.encode(), usedforsecurity=False).digest()


class FakeBucket:
    """S3's put, get by range and list, as far as RunFiles uses them; strongly consistent."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.on_put: Callable[[str], None] = lambda _: None

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, IfNoneMatch: str = "") -> None:
        self.on_put(Key)
        if IfNoneMatch and Key in self.objects:
            raise _error("PreconditionFailed", "PutObject")
        self.objects[Key] = Body

    def get_object(self, *, Bucket: str, Key: str, Range: str = "") -> dict[str, Any]:
        if Key not in self.objects:
            raise _error("NoSuchKey", "GetObject")
        content = self.objects[Key]
        if Range:
            first, last = map(int, Range.removeprefix("bytes=").split("-"))
            content = content[first : last + 1]
        return {"Body": io.BytesIO(content)}

    def get_paginator(self, _: str) -> "FakeBucket":
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> Iterator[dict[str, Any]]:
        keys = sorted(key for key in self.objects if key.startswith(Prefix))
        for first in range(0, len(keys), 1000):
            yield {"Contents": [{"Key": key} for key in keys[first : first + 1000]]}


def _error(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, operation)
