"""`filter` and `condition` inputs, evaluated as DynamoDB evaluates the expressions made of them."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from testbench.fakes.scalars import Json

_ABSENT = object()


def _compare(test: Callable[[Any, Any], Any]) -> Callable[[Any, Any], bool]:
    def compare(stored: Any, wanted: Any) -> bool:
        # DynamoDB compares within one type only; another type, or no attribute, is no match.
        if stored is _ABSENT or isinstance(stored, str) != isinstance(wanted, str):
            return False
        return bool(test(stored, wanted))

    return compare


def _between(stored: Any, wanted: Any) -> bool:
    low, high = wanted
    return bool(low <= stored <= high)


def _exists(stored: Any, wanted: Any) -> bool:
    return (stored is not _ABSENT) == bool(wanted)


def _contains(stored: Any, wanted: Any) -> bool:
    return isinstance(stored, (str, list)) and wanted in stored


def _kind(stored: Any, wanted: Any) -> bool:
    kinds: dict[type, str] = {
        bool: "bool",
        int: "number",
        float: "number",
        str: "string",
        list: "list",
        Json: "map",
        type(None): "_null",
    }
    return kinds.get(type(stored)) == str(wanted)


def _size(stored: Any, wanted: Mapping[str, Any]) -> bool:
    return isinstance(stored, (str, list)) and _holds(wanted, len(stored))


_OPERATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda stored, wanted: stored is not _ABSENT and stored == wanted,
    # An absent attribute differs from every value.
    "ne": lambda stored, wanted: stored is _ABSENT or stored != wanted,
    "lt": _compare(operator.lt),
    "le": _compare(operator.le),
    "gt": _compare(operator.gt),
    "ge": _compare(operator.ge),
    "between": lambda stored, wanted: (
        stored is not _ABSENT
        and isinstance(stored, str) == isinstance(wanted[0], str)
        and _between(stored, wanted)
    ),
    "beginsWith": lambda stored, wanted: isinstance(stored, str) and stored.startswith(wanted),
    "contains": _contains,
    "notContains": lambda stored, wanted: not _contains(stored, wanted),
    "attributeExists": _exists,
    "attributeType": _kind,
    "size": _size,
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
