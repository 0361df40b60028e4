"""The pending-hours table in memory, with the expressions that adapters/pending_hours.py sends.

moto takes ten milliseconds a call. That the real calls work is tested on moto (tests/integration).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError

from testbench import templates

type Item = dict[str, Any]
type Asked = Mapping[str, Any]

_CONDITION = re.compile(
    r"attribute_not_exists\((\w+)\)|(#\w+) = (:\w+)|(#\w+) BETWEEN (:\w+) AND (:\w+)"
)
_ASSIGNED = re.compile(r"(#\w+) = (?:if_not_exists\(#\w+, (:\w+)\)|(:\w+))")
_REMOVED = re.compile(r"REMOVE (#\w+)")
_FAILED: Any = {"Error": {"Code": "ConditionalCheckFailedException"}}


class ConditionalCheckFailedError(ClientError):
    """A condition does not hold."""


class Client:
    """What all clients of services have."""

    def get_paginator(self, call: str) -> Any:
        """Pages of a call, which is made when they are asked for; everything is on the first."""

        def paginate(**asked: Any) -> Iterator[dict[str, Any]]:
            yield getattr(self, call)(**asked)

        return SimpleNamespace(paginate=paginate)


class MemoryTable(Client):
    """The pending-hours table, with the key and the indexes that template.yaml gives it."""

    exceptions = SimpleNamespace(ConditionalCheckFailedException=ConditionalCheckFailedError)

    def __init__(self) -> None:
        (properties,) = (
            table["Properties"]
            for table in templates.resources("template.yaml", "AWS::DynamoDB::Table").values()
        )
        (self._key,) = _names(properties["KeySchema"])
        self._indexes = {
            index["IndexName"]: _names(index["KeySchema"])
            for index in properties["GlobalSecondaryIndexes"]
        }
        self.items: dict[str, Item] = {}

    def batch_write_item(self, *, RequestItems: Mapping[str, Any]) -> dict[str, Any]:
        for requests in RequestItems.values():
            for request in requests:
                self.put_item(**request["PutRequest"])
        return {"UnprocessedItems": {}}

    def get_item(self, *, Key: Asked, **_: Any) -> dict[str, Any]:
        item = self.items.get(self._id(Key))
        return {} if item is None else {"Item": deepcopy(item)}

    def put_item(self, *, Item: Asked, **asked: Any) -> dict[str, Any]:
        self._check(Item, asked)
        self.items[self._id(Item)] = dict(Item)
        return {}

    def update_item(self, *, Key: Asked, UpdateExpression: str, **asked: Any) -> dict[str, Any]:
        item = dict(Key) | self._check(Key, asked)
        names, values = asked["ExpressionAttributeNames"], _values(asked)
        for name, first, value in _ASSIGNED.findall(UpdateExpression):
            if value or names[name] not in item:
                item[names[name]] = values[value or first]
        for name in _REMOVED.findall(UpdateExpression):
            item.pop(names[name], None)
        self.items[self._id(Key)] = item
        return {}

    def delete_item(self, *, Key: Asked, **asked: Any) -> dict[str, Any]:
        self._check(Key, asked)
        self.items.pop(self._id(Key), None)
        return {}

    def query(self, *, KeyConditionExpression: str, IndexName: str, **asked: Any) -> dict[str, Any]:
        *_, sort = self._indexes[IndexName]
        there = [item for item in self.items.values() if sort in item]
        found = [deepcopy(item) for item in there if _holds(KeyConditionExpression, item, asked)]
        return {"Items": sorted(found, key=lambda item: _comparable(item[sort]))}

    def _check(self, key: Asked, asked: Asked) -> Item:
        """The item that is there, or an empty one; raises unless it meets the condition."""
        item = self.items.get(self._id(key), {})
        if not _holds(asked.get("ConditionExpression", ""), item, asked):
            raise ConditionalCheckFailedError(_FAILED, "")
        return item

    def _id(self, key: Asked) -> str:
        return str(key[self._key]["S"])


def _holds(expression: str, item: Item, asked: Asked) -> bool:
    """Whether an item meets every part of an expression."""
    assert set(_CONDITION.sub("", expression).split()) <= {"AND"}, expression
    return all(_meets(item, asked, *part) for part in _CONDITION.findall(expression))


def _meets(item: Item, asked: Asked, *part: str) -> bool:
    absent, one, value, between, least, most = part
    if absent:
        return absent not in item
    names, values = asked["ExpressionAttributeNames"], _values(asked)
    found = item.get(names[one or between])
    if found is None:
        return False
    if one:
        return bool(found == values[value])
    low, high = _comparable(values[least]), _comparable(values[most])
    return bool(low <= _comparable(found) <= high)


def _values(asked: Asked) -> Mapping[str, Any]:
    return asked.get("ExpressionAttributeValues") or {}


def _comparable(attribute: Asked) -> Any:
    ((kind, value),) = attribute.items()
    return float(value) if kind == "N" else value


def _names(schema: Sequence[Mapping[str, str]]) -> list[str]:
    return [key["AttributeName"] for key in schema]
