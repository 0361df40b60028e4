"""Attributes of a row as texts, the same from DynamoDB JSON and from the API's JSON. Pure.

A number is the shortest decimal text of its double, a truth value `true` or `false`, nothing is
None. Therefore a value counts alike from a stream image, a Scan and a row of the API.
"""

import json
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from aggregated_metrics.core.errors import UncountableError
from aggregated_metrics.core.measures import number_text

type Image = Mapping[str, Any]

_INT_LIMIT = 2**31
_MOST_ENCODINGS = 3
_number = itemgetter("N")


def text_of(value: Any) -> str | None:
    """A plain value as a text; None for nothing. A list or an object gives some text."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, Mapping)):
        return json.dumps(value)
    return number_text(value)


def attribute_text(value: Image) -> str | None:
    """A DynamoDB attribute value as a text."""
    ((kind, content),) = value.items()
    match kind:
        case "NULL":
            return None
        case "N":
            return number_text(content)
        case _:
            return text_of(content)


def can_serialize(kind: str, value: Image) -> bool:
    """Whether the API can give an attribute value as that type: Int, Float or Boolean."""
    if "NULL" in value:
        return True
    if kind == "Boolean":
        return "BOOL" in value
    if "N" not in value:
        return False
    number = float(value["N"])
    return kind == "Float" or (number.is_integer() and -_INT_LIMIT <= number < _INT_LIMIT)


def attribute_numbers(value: Image, names: Sequence[str], nothing: Sequence[Any]) -> list[Any]:
    """Numbers of an AWSJSON attribute, as DynamoDB writes them; None for those that it lacks.

    Raises:
        KeyError: it is not a Map, or one is not a number: use attribute_values.
    """
    return [*map(_number, map(value["M"].get, names, nothing))]


def attribute_values(value: Image, paths: Sequence[Sequence[str]], name: str) -> list[str | None]:
    """What an AWSJSON attribute has under each path; it is a Map, or the text of one."""
    if "M" not in value:
        return json_values(attribute_text(value), paths, name)
    return [_in_map(value, keys) for keys in paths]


def _in_map(value: Image | None, keys: Sequence[str]) -> str | None:
    for key in keys:
        value = value["M"].get(key) if value and "M" in value else None
    return None if value is None else attribute_text(value)


def json_values(text: Any, paths: Sequence[Sequence[str]], name: str) -> list[str | None]:
    """What AWSJSON as the API gives it has under each path.

    Raises:
        UncountableError: it is neither an object nor nothing.
    """
    content = _json_object(text, name)
    return [_in_object(content, keys) for keys in paths]


def _in_object(content: Any, keys: Sequence[str]) -> str | None:
    for key in keys:
        content = content.get(key) if isinstance(content, Mapping) else None
    return text_of(content)


def _json_object(value: Any, name: str) -> Mapping[str, Any] | None:
    """A writer may have encoded the object more than once."""
    for _ in range(_MOST_ENCODINGS):
        if value is None or value == "" or isinstance(value, Mapping):
            return value or None
        if not isinstance(value, str):
            break
        try:
            value = _decode(value)
        except (RecursionError, ValueError) as error:
            raise UncountableError(f"{name} {value[:40]!r} is not JSON") from error
    raise UncountableError(f"{name} is not a JSON object")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_decode = json.JSONDecoder(
    parse_int=number_text, parse_float=number_text, parse_constant=_refuse
).decode
