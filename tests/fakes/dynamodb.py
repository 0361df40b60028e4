"""The few calls of DynamoDB that the table of pending hours makes, on a dictionary.

For the exhaustive worlds, where moto's milliseconds would be minutes. That PendingHours works on
the real calls is tested on moto (tests/integration).
"""

from collections.abc import Iterator, Mapping
from typing import Any


class _ConditionalCheckFailedError(Exception):
    pass


class _Exceptions:
    ConditionalCheckFailedException = _ConditionalCheckFailedError


class MemoryTable:
    """One table with the key `hour` and the index `byDue` (state, due)."""

    exceptions = _Exceptions

    def __init__(self) -> None:
        self.items: dict[str, dict[str, Any]] = {}

    def batch_write_item(self, *, RequestItems: Mapping[str, Any]) -> dict[str, Any]:
        for requests in RequestItems.values():
            for request in requests:
                item = request["PutRequest"]["Item"]
                self.items[item["hour"]["S"]] = dict(item)
        return {"UnprocessedItems": {}}

    def update_item(
        self, *, Key: Mapping[str, Any], ExpressionAttributeValues: Mapping[str, Any], **_: Any
    ) -> None:
        item = self._checked(Key, ExpressionAttributeValues)
        item["state"] = ExpressionAttributeValues[":state"]
        item["due"] = ExpressionAttributeValues[":due"]

    def delete_item(
        self, *, Key: Mapping[str, Any], ExpressionAttributeValues: Mapping[str, Any], **_: Any
    ) -> None:
        self._checked(Key, ExpressionAttributeValues)
        del self.items[Key["hour"]["S"]]

    def get_paginator(self, _: str) -> "MemoryTable":
        return self

    def paginate(
        self, *, ExpressionAttributeValues: Mapping[str, Any], **_: Any
    ) -> Iterator[dict[str, Any]]:
        state, before = (ExpressionAttributeValues[name] for name in (":state", ":before"))
        found = [
            dict(item)
            for item in self.items.values()
            if item["state"] == state and int(item["due"]["N"]) <= int(before["N"])
        ]
        yield {"Items": sorted(found, key=lambda item: int(item["due"]["N"]))}

    def _checked(self, key: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
        item = self.items.get(key["hour"]["S"])
        if item is None or item["token"] != values[":token"]:
            raise _ConditionalCheckFailedError
        return item
