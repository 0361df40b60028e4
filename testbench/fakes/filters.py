"""`filter` and `condition` inputs, evaluated as DynamoDB evaluates the expressions made of them."""

import operator
from collections.abc import Callable, Mapping
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


def _compare(test: Callable[[Any, Any], Any]) -> Callable[[Any, Any], bool]:
    def compare(stored: Any, wanted: Any) -> bool:
        # DynamoDB compares within one type only; another type, or no attribute, is no match.
        if stored is _ABSENT or isinstance(stored, str) != isinstance(wanted, str):
            return False
        return bool(test(stored, wanted))

    return compare


def _contains(stored: Any, wanted: Any) -> bool:
    return isinstance(stored, (str, list)) and wanted in stored


_not_below, _not_above = _compare(operator.ge), _compare(operator.le)
_OPERATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda stored, wanted: stored is not _ABSENT and stored == wanted,
    # An absent attribute differs from every value.
    "ne": lambda stored, wanted: stored is _ABSENT or stored != wanted,
    "lt": _compare(operator.lt),
    "le": _not_above,
    "gt": _compare(operator.gt),
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
    for name, wanted in condition.items():
        if wanted is None:
            continue
        if name == "and":
            holds = all(matches(part, attributes) for part in wanted)
        elif name == "or":
            holds = any(matches(part, attributes) for part in wanted)
        elif name == "not":
            holds = not matches(wanted, attributes)
        else:
            holds = _holds(wanted, attributes.get(name, _ABSENT))
        if not holds:
            return False
    return True
