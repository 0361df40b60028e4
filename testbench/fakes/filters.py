"""`filter` and `condition` inputs, evaluated as DynamoDB evaluates the expressions made of them."""

import operator
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from testbench.fakes.scalars import Json

_ABSENT = object()
_KINDS: dict[type, str] = {
    bool: "bool",
    int: "number",
    float: "number",
    str: "string",
    list: "list",
    Json: "map",
    type(None): "_null",
}


def _compare(test: Callable[[Any, Any], bool], stored: Any, wanted: Any) -> bool:
    # DynamoDB compares within one type only; another type, or no attribute, is no match.
    is_same = stored is not _ABSENT and isinstance(stored, str) == isinstance(wanted, str)
    return is_same and test(stored, wanted)


def _contains(stored: Any, wanted: Any) -> bool:
    return isinstance(stored, (str, list)) and wanted in stored


_not_below, _not_above = partial(_compare, operator.ge), partial(_compare, operator.le)
_OPERATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda stored, wanted: stored is not _ABSENT and stored == wanted,
    # An absent attribute differs from every value.
    "ne": lambda stored, wanted: stored is _ABSENT or stored != wanted,
    "lt": partial(_compare, operator.lt),
    "le": _not_above,
    "gt": partial(_compare, operator.gt),
    "ge": _not_below,
    "between": lambda stored, ends: _not_below(stored, ends[0]) and _not_above(stored, ends[1]),
    "beginsWith": lambda stored, wanted: isinstance(stored, str) and stored.startswith(wanted),
    "contains": _contains,
    "notContains": lambda stored, wanted: not _contains(stored, wanted),
    "attributeExists": lambda stored, wanted: (stored is not _ABSENT) == bool(wanted),
    "attributeType": lambda stored, wanted: _KINDS.get(type(stored)) == str(wanted),
    "size": lambda stored, wanted: isinstance(stored, (str, list)) and _holds(wanted, len(stored)),
}


def _holds(operations: Mapping[str, Any], stored: Any) -> bool:
    return all(_OPERATIONS[name](stored, wanted) for name, wanted in operations.items())


def matches(condition: Mapping[str, Any], attributes: Mapping[str, Any]) -> bool:
    """Whether a row's attributes satisfy a condition; everything named in it must hold."""
    return all(_part(*part, attributes) for part in condition.items())


def _part(name: str, wanted: Any, attributes: Mapping[str, Any]) -> bool:
    match name, wanted:
        case _, None:
            return True
        case "and" | "or", _:
            holds = all if name == "and" else any
            return holds(matches(part, attributes) for part in wanted)
        case "not", _:
            return not matches(wanted, attributes)
        case _:
            return _holds(wanted, attributes.get(name, _ABSENT))
