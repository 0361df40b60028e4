"""GraphQL's `condition`, `filter` and key conditions as boto3's conditions."""

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any

from boto3.dynamodb import conditions
from boto3.dynamodb.conditions import Attr, ConditionBase, Key

from amplify_api.errors import invalid_arguments
from amplify_api.ports import Span
from amplify_api.values import exact

_TYPES = {
    "binary": "B",
    "binarySet": "BS",
    "bool": "BOOL",
    "list": "L",
    "map": "M",
    "number": "N",
    "numberSet": "NS",
    "string": "S",
    "stringSet": "SS",
    "_null": "NULL",
}
_OPERATIONS: dict[str, Callable[[Any, Any], ConditionBase]] = {
    "eq": conditions.Equals,
    "ne": conditions.NotEquals,
    "le": conditions.LessThanEquals,
    "lt": conditions.LessThan,
    "ge": conditions.GreaterThanEquals,
    "gt": conditions.GreaterThan,
    "between": lambda name, ends: conditions.Between(name, *ends),
    "beginsWith": conditions.BeginsWith,
    "contains": conditions.Contains,
    "notContains": lambda name, wanted: ~conditions.Contains(name, wanted),
    "attributeType": lambda name, wanted: conditions.AttributeType(name, _TYPES[wanted]),
    "attributeExists": lambda name, wanted: name.exists() if wanted else name.not_exists(),
    "size": lambda name, wanted: all_of(_operations(name.size(), wanted)),
}


def condition_of(wanted: Mapping[str, Any]) -> ConditionBase | None:
    """A `Model…ConditionInput` or `Model…FilterInput`; None if it asks for nothing."""
    parts = (_part(name, each) for name, each in wanted.items() if each is not None)
    found: ConditionBase | None = all_of(part for part in parts if part)
    return found


def key_condition(hash_key: str, value: Any, attribute: str, span: Span | None) -> ConditionBase:
    """A partition, and a span of its sort key."""
    partition = Key(hash_key).eq(value)
    if span is None:
        return partition
    operand = span.values if span.operator == "between" else span.values[0]
    return partition & _operation(span.operator)(Key(attribute), operand)


def all_of(parts: Iterable[ConditionBase]) -> Any:
    """The conjunction; None of nothing."""
    return reduce(conditions.And, found) if (found := [*parts]) else None


def _part(name: str, wanted: Any) -> ConditionBase | None:
    if name in ("and", "or"):
        parts = [part for each in wanted if (part := condition_of(each))]
        join = conditions.And if name == "and" else conditions.Or
        return reduce(join, parts) if parts else None
    if name == "not":
        inner = condition_of(wanted)
        return ~inner if inner else None
    found: ConditionBase | None = all_of(_operations(Attr(name), wanted))
    return found


def _operations(attribute: Any, wanted: Mapping[str, Any]) -> Iterable[ConditionBase]:
    for operator, operand in wanted.items():
        yield _operation(operator)(attribute, exact(operand))


def _operation(operator: str) -> Callable[[Any, Any], ConditionBase]:
    if operator not in _OPERATIONS:
        raise invalid_arguments(f"Operation {operator} is not supported.")
    return _OPERATIONS[operator]
