"""Values of a row, the same from DynamoDB JSON and from the API's JSON. Pure.

As texts, a number is the shortest decimal text of its double and a truth value `true` or `false`;
as numbers, all are doubles. Therefore a value counts alike from a stream image, a Scan and a row of
the API. A value is found by its path: an attribute, and keys into it if it is AWSJSON.
"""

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

from aggregated_metrics.core.errors import UncountableError

type Row = Mapping[str, Any]
type Path = tuple[str, ...]

_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?").fullmatch
_INT_LIMIT = 2**31
_MOST_ENCODINGS = 2


def row_text(row: Row, path: Path) -> str | None:
    """A value of a row of the API as a text; None for nothing."""
    name, *keys = path
    value = row.get(name)
    return text_of(_inside(_object(value, name), keys) if keys else value)


def image_text(image: Row, path: Path) -> str | None:
    """The same of a row as DynamoDB JSON."""
    name, *keys = path
    value = image.get(name)
    if value is None or not keys:
        return None if value is None else attribute_text(value)
    if "M" not in value:  # a writer has encoded it once more
        return text_of(_inside(_object(attribute_text(value), name), keys))
    for key in keys:
        value = value["M"].get(key) if value and "M" in value else None
    return None if value is None else attribute_text(value)


def number_at(path: Path, text: str | None) -> float | None:
    """The number that a text writes; None for nothing.

    Raises:
        UncountableError: it is not a number as DynamoDB and JSON write it.
    """
    if text is None:
        return None
    if not is_number(text):
        raise UncountableError(f"{'.'.join(path)} {text[:40]!r} is not a number")
    return float(text)


def is_number(text: str) -> bool:
    """Whether it is a number as DynamoDB and JSON write it."""
    return _NUMBER(text) is not None


def text_of(value: Any) -> str | None:
    """A plain value as a text; None for nothing. A list or an object gives some text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return number_text(value) if isinstance(value, (int, float)) else json.dumps(value)


def attribute_text(value: Row) -> str | None:
    """A DynamoDB attribute value as a text."""
    ((kind, content),) = value.items()
    if kind == "NULL":
        return None
    return number_text(content) if kind == "N" else text_of(content)


def number_text(number: str | float) -> str:
    """A number as the shortest decimal text of its double: `2`, `0.1`, `0.0000001`.

    DynamoDB keeps 38 digits, JSON writes 2 or 2.0 or 1e-7, GraphQL gives doubles.
    """
    double = float(str(number))
    return format(Decimal(repr(double)), "f").removesuffix(".0") if double else "0"


def can_serialize(types: Mapping[str, str], image: Row) -> bool:
    """Whether the API can give attributes as these types, Int, Float or Boolean."""
    return not types or all(
        _is_of_type(kind, image[name]) for name, kind in types.items() if name in image
    )


def _is_of_type(kind: str, value: Row) -> bool:
    if "NULL" in value or kind == "Boolean":
        return "NULL" in value or "BOOL" in value
    if "N" not in value:
        return False
    number = float(value["N"])
    return kind == "Float" or (number.is_integer() and -_INT_LIMIT <= number < _INT_LIMIT)


def _inside(content: Any, keys: Iterable[str]) -> Any:
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def _object(value: Any, name: str) -> Row | None:
    """AWSJSON as the API gives it: an object, or nothing.

    Raises:
        UncountableError: it is something else.
    """
    if value is None or isinstance(value, str):
        return _parsed(value or "null", name)
    raise UncountableError(f"{name} is not a JSON object")


@lru_cache(maxsize=8)
def _parsed(text: str, name: str) -> Row | None:
    """A writer may have encoded the object twice. All paths of a row read the same text."""
    value: Any = text
    for _ in range(_MOST_ENCODINGS):
        if not isinstance(value, str):
            break
        try:
            value = _decode(value or "null")
        except (RecursionError, ValueError) as error:
            raise UncountableError(f"{name} {text[:40]!r} is not JSON") from error
    if value is None or isinstance(value, dict):
        return value
    raise UncountableError(f"{name} is not a JSON object")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_decode = json.JSONDecoder(
    parse_int=number_text, parse_float=number_text, parse_constant=_refuse
).decode
