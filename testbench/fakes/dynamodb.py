"""One DynamoDB table in memory, with conditions, updates and indexes, as far as functions use them.

moto takes ten milliseconds a call. That the real calls work is tested on moto (tests/integration).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Any

from botocore.exceptions import ClientError

from testbench import templates

type Item = dict[str, Any]
type Test = Callable[[Mapping[str, Any], "Names"], bool]

_TOKEN = re.compile(r"\s*(<=|>=|<>|[=<>(),]|[#:]?[\w.]+)")
_CLAUSE = re.compile(r"\b(SET|REMOVE)\b")


class ConditionalCheckFailedError(ClientError):
    """A condition does not hold."""

    def __init__(self) -> None:
        code = "ConditionalCheckFailedException"
        super().__init__({"Error": {"Code": code, "Message": "The conditional request failed"}}, "")


class _Exceptions:
    ConditionalCheckFailedException = ConditionalCheckFailedError


class MemoryTable:
    """The pending-hours table, with the key and the indexes that template.yaml gives it."""

    exceptions = _Exceptions

    def __init__(self) -> None:
        (properties,) = (
            table["Properties"]
            for table in templates.resources("template.yaml", "AWS::DynamoDB::Table").values()
        )
        ((self._key, *_),) = [_names(properties["KeySchema"])]
        self._indexes = {
            index["IndexName"]: _names(index["KeySchema"])
            for index in properties.get("GlobalSecondaryIndexes", ())
        }
        self.items: dict[str, Item] = {}

    @property
    def calls(self) -> dict[str, Callable[..., Any]]:
        """What it can be asked over the wire, by the operation's name."""
        return {
            "BatchWriteItem": self.batch_write_item,
            "BatchGetItem": self.batch_get_item,
            "GetItem": self.get_item,
            "PutItem": self.put_item,
            "UpdateItem": self.update_item,
            "DeleteItem": self.delete_item,
            "Query": self.query,
            "Scan": self.scan,
        }

    def batch_write_item(self, *, RequestItems: Mapping[str, Any]) -> dict[str, Any]:
        for requests in RequestItems.values():
            for request in requests:
                if "PutRequest" in request:
                    self.put_item(**request["PutRequest"])
                else:
                    self.delete_item(**request["DeleteRequest"])
        return {"UnprocessedItems": {}}

    def batch_get_item(self, *, RequestItems: Mapping[str, Any]) -> dict[str, Any]:
        ((table, asked),) = RequestItems.items()
        found = (self.get_item(Key=key).get("Item") for key in asked["Keys"])
        return {"Responses": {table: [item for item in found if item]}, "UnprocessedKeys": {}}

    def get_item(self, *, Key: Mapping[str, Any], **_: Any) -> dict[str, Any]:
        item = self.items.get(self._id(Key))
        return {} if item is None else {"Item": deepcopy(item)}

    def put_item(self, *, Item: Mapping[str, Any], **asked: Any) -> dict[str, Any]:
        old = self._checked(Item, asked)
        self.items[self._id(Item)] = dict(Item)
        return _returned(asked, old, Item)

    def update_item(
        self, *, Key: Mapping[str, Any], UpdateExpression: str, **asked: Any
    ) -> dict[str, Any]:
        old = self._checked(Key, asked)
        item, names = {**Key, **old}, Names(asked)
        for kind, text in _clauses(UpdateExpression):
            for part in re.split(r",(?![^(]*\))", text):
                if kind == "REMOVE":
                    item.pop(names.name(part.strip()), None)
                    continue
                name, value = (side.strip() for side in part.split("="))
                item[names.name(name)] = _assigned(value, old, names)
        self.items[self._id(Key)] = item
        return _returned(asked, old, item)

    def delete_item(self, *, Key: Mapping[str, Any], **asked: Any) -> dict[str, Any]:
        old = self._checked(Key, asked)
        self.items.pop(self._id(Key), None)
        return _returned(asked, old, {})

    def scan(self, **asked: Any) -> dict[str, Any]:
        return {"Items": self._found(asked, sort=self._key)}

    def query(self, *, KeyConditionExpression: str, **asked: Any) -> dict[str, Any]:
        keys = self._indexes[asked["IndexName"]] if "IndexName" in asked else [self._key]
        names, holds = Names(asked), _condition(KeyConditionExpression)
        found = [
            item
            for item in self._found(asked, sort=keys[-1])
            if all(key in item for key in keys) and holds(item, names)
        ]
        if not asked.get("ScanIndexForward", True):
            found.reverse()
        limit = asked.get("Limit", len(found))
        more = {"LastEvaluatedKey": {"from": {"N": str(limit)}}} if limit < len(found) else {}
        return {"Items": found[:limit], **more}

    def get_paginator(self, call: str) -> "_Paginator":
        return _Paginator(getattr(self, call))

    def _found(self, asked: Mapping[str, Any], sort: str) -> list[Item]:
        names, holds = Names(asked), _condition(asked.get("FilterExpression", ""))
        there = [deepcopy(item) for item in self.items.values() if holds(item, names)]
        return sorted(
            there, key=lambda item: (sort in item, _value(item[sort]) if sort in item else "")
        )

    def _checked(self, key: Mapping[str, Any], asked: Mapping[str, Any]) -> Item:
        """The item that is there, or an empty one; raises unless it meets the condition."""
        item = self.items.get(self._id(key), {})
        if not _condition(asked.get("ConditionExpression", ""))(item, Names(asked)):
            raise ConditionalCheckFailedError
        return item

    def _id(self, key: Mapping[str, Any]) -> str:
        text: str = key[self._key]["S"]
        return text


class _Paginator:
    def __init__(self, call: Callable[..., dict[str, Any]]) -> None:
        self._call = call

    def paginate(self, *, PaginationConfig: Any = None, **asked: Any) -> Iterator[dict[str, Any]]:
        yield self._call(**asked)


class Names:
    """What the placeholders of an expression stand for."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        self._names = asked.get("ExpressionAttributeNames") or {}
        self._values = asked.get("ExpressionAttributeValues") or {}

    def name(self, text: str) -> str:
        return str(self._names[text]) if text.startswith("#") else text

    def operand(self, text: str, item: Mapping[str, Any]) -> Any:
        """An attribute's or a placeholder's value in DynamoDB's JSON; None if not there."""
        return self._values[text] if text.startswith(":") else item.get(self.name(text))


@lru_cache(maxsize=256)
def _condition(text: str) -> Test:
    """A condition as a function; the empty one holds."""
    if not text:
        return lambda *_: True
    return _Parser(_TOKEN.findall(text)).whole()


class _Parser:
    def __init__(self, tokens: Sequence[str]) -> None:
        self._tokens = [*tokens, ""]

    def whole(self) -> Test:
        test = self._either()
        assert self._tokens == [""], self._tokens
        return test

    def _take(self, *expected: str) -> str:
        token = self._tokens.pop(0)
        assert not expected or token in expected, (token, expected)
        return token

    def _either(self) -> Test:
        test = self._both()
        while self._tokens[0].upper() == "OR":
            self._take()
            test = _either(test, self._both())
        return test

    def _both(self) -> Test:
        test = self._one()
        while self._tokens[0].upper() == "AND":
            self._take()
            test = _both(test, self._one())
        return test

    def _one(self) -> Test:
        first = self._take()
        if first.upper() == "NOT":
            return _no(self._one())
        if first == "(":
            test = self._either()
            self._take(")")
            return test
        if self._tokens[0] == "(":
            return self._function(first)
        operator = self._take()
        if operator.upper() == "BETWEEN":
            least = self._take()
            self._take("AND", "and")
            return _both(_compared(first, ">=", least), _compared(first, "<=", self._take()))
        return _compared(first, operator, self._take())

    def _function(self, name: str) -> Test:
        self._take("(")
        operands = [self._take()]
        while self._take(",", ")") == ",":
            operands.append(self._take())
        path, *rest = operands
        match name:
            case "attribute_exists":
                return lambda item, names: names.name(path) in item
            case "attribute_not_exists":
                return lambda item, names: names.name(path) not in item
            case "begins_with":
                return lambda item, names: _begins(
                    names.operand(path, item), names.operand(rest[0], item)
                )
        raise NotImplementedError(name)


def _either(one: Test, other: Test) -> Test:
    return lambda item, names: one(item, names) or other(item, names)


def _both(one: Test, other: Test) -> Test:
    return lambda item, names: one(item, names) and other(item, names)


def _no(test: Test) -> Test:
    return lambda item, names: not test(item, names)


def _compared(left: str, operator: str, right: str) -> Test:
    def holds(item: Mapping[str, Any], names: Names) -> bool:
        one, other = names.operand(left, item), names.operand(right, item)
        if one is None or other is None or one.keys() != other.keys():
            return operator == "<>"
        return _COMPARISONS[operator](_value(one), _value(other))

    return holds


_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: bool(a == b),
    "<>": lambda a, b: bool(a != b),
    "<": lambda a, b: bool(a < b),
    "<=": lambda a, b: bool(a <= b),
    ">": lambda a, b: bool(a > b),
    ">=": lambda a, b: bool(a >= b),
}


def _begins(value: Any, prefix: Any) -> bool:
    return value is not None and str(_value(value)).startswith(str(_value(prefix)))


def _value(attribute: Mapping[str, Any]) -> Any:
    ((kind, value),) = attribute.items()
    return float(value) if kind == "N" else value


def _clauses(expression: str) -> Iterator[tuple[str, str]]:
    _, *parts = _CLAUSE.split(expression)
    yield from zip(parts[::2], parts[1::2], strict=True)


def _assigned(text: str, old: Mapping[str, Any], names: Names) -> Any:
    if text.startswith("if_not_exists"):
        path, otherwise = (side.strip() for side in text[len("if_not_exists(") : -1].split(","))
        kept = old.get(names.name(path))
        return names.operand(otherwise, old) if kept is None else kept
    value = names.operand(text, old)
    assert value is not None, text
    return value


def _returned(
    asked: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]
) -> dict[str, Any]:
    wanted = {"ALL_OLD": old, "ALL_NEW": new}.get(str(asked.get("ReturnValues")))
    return {"Attributes": deepcopy(dict(wanted))} if wanted else {}


def _names(schema: Sequence[Mapping[str, str]]) -> list[str]:
    return [key["AttributeName"] for key in schema]
