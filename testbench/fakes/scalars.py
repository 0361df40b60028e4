"""AppSync's own scalars: what is accepted, refused and changed on the way."""

import functools
import json
import re
from collections.abc import Callable
from datetime import date, time
from typing import Any

from graphql import GraphQLError

# Beyond 2**53 a number does not survive being an IEEE double, which is what JSON is to the
# resolvers' world: a sequence number that is stored as a JSON number changes here, too.
_EXACT_DIGITS = 15

_DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d(?::\d\d)?)(\.\d{1,9})?(Z|[+-]\d\d:\d\d(?::\d\d)?)", re.ASCII
)


@functools.lru_cache(maxsize=1 << 16)
def _is_date_time(text: str) -> bool:
    parts = _DATE_TIME.fullmatch(text)
    if parts is None:
        return False
    try:
        date.fromisoformat(parts[1])
        time.fromisoformat(parts[2])
        time.fromisoformat(parts[4].removeprefix("Z")[1:] or "00:00")
    except ValueError:
        return False
    return True


def _date_time(value: Any, *, doing: str) -> str:
    """A time is kept verbatim, whatever its fraction and offset; the offset is compulsory."""
    if isinstance(value, str) and _is_date_time(value):
        return value
    raise GraphQLError(f"Unable to {doing} `{value}` as a valid DateTime Object.")


def _whole(text: str) -> int:
    return int(text) if len(text) <= _EXACT_DIGITS else int(float(text))


def _number(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number


def _refused(text: str) -> None:
    raise ValueError(text)


_decode = json.JSONDecoder(parse_int=_whole, parse_float=_number, parse_constant=_refused).decode
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


class Json(str):
    """AWSJSON as AppSync gives it back: parsed, and serialized again in an order of its own.

    Spacing, key order and the form of numbers are lost, as they are when DynamoDB keeps a Map.
    """

    __slots__ = ()

    def parsed(self) -> Any:
        return json.loads(self)


@functools.lru_cache(maxsize=1 << 14)
def _canonical(text: str) -> Json:
    return Json(_encode(_decode(text)))


def read_json(value: Any) -> Json:
    """Read AWSJSON; raises GraphQLError for anything but a JSON text."""
    try:
        return _canonical(value)
    except (ValueError, TypeError) as error:
        raise GraphQLError(f"Unable to parse {value} as valid JSON.") from error


def _write_json(value: Any) -> str:
    return value if isinstance(value, str) else _encode(value)


SCALARS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "AWSDateTime": (
        functools.partial(_date_time, doing="parse"),
        functools.partial(_date_time, doing="serialize"),
    ),
    "AWSJSON": (read_json, _write_json),
}
"""What reads a scalar from a request, and what writes it into an answer."""
