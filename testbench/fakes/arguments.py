"""The arguments of list queries: key conditions, limits and page tokens."""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any

from testbench.fakes.models import Index
from testbench.fakes.tables import LAST, Key, Range

type Arguments = Mapping[str, Any]

_DEFAULT_LIMIT = 100


class ResolverError(Exception):
    """An error at one field. `error_type` is what clients decide by; VTL's own checks have none."""

    def __init__(self, message: str, error_type: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.error_type = error_type


def invalid_arguments(message: str) -> ResolverError:
    return ResolverError(message, "InvalidArgumentsError")


def key_range(index: Index, condition: Mapping[str, Any]) -> Range:
    operations = {name: value for name, value in condition.items() if value is not None}
    if not operations:
        return Range()
    if len(operations) > 1:
        raise invalid_arguments(
            f"Argument {index.argument} must specify at most one key condition operation."
        )
    ((name, value),) = operations.items()
    values = value if name == "between" else [value]
    bounds = [_sort_value(index, bound) for bound in values]
    if name == "between" and len(bounds) != 2:
        raise invalid_arguments(f"Argument {index.argument}.between expects exactly 2 elements.")
    return _RANGES[name](*bounds)


# "\0" makes the next greater string, so every condition is a half-open range.
_RANGES: dict[str, Callable[..., Range]] = {
    "eq": lambda value: Range(value, value + "\0"),
    "le": lambda value: Range("", value + "\0"),
    "lt": lambda value: Range("", value),
    "ge": Range,
    "gt": lambda value: Range(value + "\0"),
    "between": lambda low, high: Range(low, high + "\0"),
    "beginsWith": lambda value: Range(value, value + LAST),
}


def _sort_value(index: Index, bound: Any) -> str:
    if not isinstance(bound, Mapping):
        return str(bound)
    parts: list[str] = []
    for position, name in enumerate(index.sort_keys):
        if bound.get(name) is None:
            continue
        if len(parts) < position:
            before = index.sort_keys[position - 1]
            raise invalid_arguments(
                f"When providing argument '{index.argument}.$operation.{name}' you must also "
                f"provide '{index.argument}.$operation.{before}'."
            )
        parts.append(bound[name])
    return "#".join(parts)


def page_limit(arguments: Arguments) -> int:
    limit = arguments.get("limit")
    if limit is None:
        return _DEFAULT_LIMIT
    if limit < 1:
        raise ResolverError("Limit must be at least 1", "DynamoDB:ValidationException")
    return int(limit)


def next_token(position: Key) -> str:
    return base64.b64encode(json.dumps(position).encode()).decode()


def page_start(arguments: Arguments) -> Key | None:
    token = arguments.get("nextToken")
    if token is None:
        return None
    try:
        return tuple(json.loads(base64.b64decode(token, validate=True)))
    except (binascii.Error, ValueError, TypeError) as error:
        raise ResolverError("Invalid pagination token given.", "BadRequestException") from error
