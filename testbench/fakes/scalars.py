"""How AppSync reads and writes scalar values: what is accepted, refused and changed on the way."""

import functools
import json
import math
import re
from collections.abc import Callable
from datetime import date, time
from typing import Any

# Beyond 2**53 a number does not survive being an IEEE double, which is what JSON is to the
# resolvers' world: whoever stores a sequence number as a JSON number should see it change here.
_EXACT_DIGITS = 15

_DATE_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d(?::\d\d)?)(\.\d{1,9})?(Z|[+-]\d\d:\d\d(?::\d\d)?)", re.ASCII
)
_INT_LIMIT = 2**31


def _encoder(*, sort_keys: bool) -> Callable[[Any], str]:
    # JSONEncoder.encode makes its C encoder anew for every value: keeping one halves the time.
    make: Any = vars(json.encoder)["c_make_encoder"]
    chunks = make(None, str, json.encoder.encode_basestring, None, ":", ",", sort_keys, False, True)
    return lambda value: "".join(chunks(value, 0))


encode = _encoder(sort_keys=False)
_encode_sorted = _encoder(sort_keys=True)


class InvalidValueError(Exception):
    """A value that its GraphQL type refuses; `path` is filled in from the inside out."""

    def __init__(self, value: object, reason: str) -> None:
        super().__init__(reason)
        self.value = value
        self.reason = reason
        self.path: list[str] = []


def read_int(value: Any) -> int:
    if type(value) is int:
        if -_INT_LIMIT <= value < _INT_LIMIT:
            return value
        raise InvalidValueError(
            value, f"Int cannot represent non 32-bit signed integer value: {value}"
        )
    if isinstance(value, float) and value.is_integer():
        return read_int(int(value))
    raise InvalidValueError(value, f"Int cannot represent non-integer value: {json.dumps(value)}")


def read_float(value: Any) -> float:
    if type(value) in (int, float) and abs(value) != float("inf"):
        number: float = value
        return number
    raise InvalidValueError(value, f"Float cannot represent non numeric value: {value!r}")


def read_string(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise InvalidValueError(value, f"String cannot represent a non string value: {value!r}")


def read_id(value: Any) -> str:
    if isinstance(value, str):
        return value
    if type(value) is int:
        return str(value)
    raise InvalidValueError(value, f"ID cannot represent value: {value!r}")


def read_boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise InvalidValueError(value, f"Boolean cannot represent a non boolean value: {value!r}")


@functools.lru_cache(maxsize=1 << 16)
def _is_date_time(text: str) -> bool:
    parts = _DATE_TIME.fullmatch(text)
    if parts is None:
        return False
    try:
        date.fromisoformat(parts[1])
        time.fromisoformat(parts[2])
    except ValueError:
        return False
    return True


def read_date_time(value: Any) -> str:
    """A time is kept verbatim, whatever its fraction and offset; the offset is compulsory."""
    if isinstance(value, str) and _is_date_time(value):
        return value
    raise InvalidValueError(value, f"Unable to parse `{value}` as a valid DateTime Object.")


def _whole(text: str) -> int:
    return int(text) if len(text) <= _EXACT_DIGITS else int(float(text))


def _number(text: str) -> float:
    number = float(text)
    return int(number) if number.is_integer() else number


def _refused(text: str) -> None:
    raise ValueError(text)


_decode = json.JSONDecoder(parse_int=_whole, parse_float=_number, parse_constant=_refused).decode


class Json(str):
    """AWSJSON as AppSync gives it back: parsed, and serialized again in an order of its own.

    Spacing, key order and the form of numbers are lost, as they are when DynamoDB keeps a Map.
    """

    __slots__ = ()

    def parsed(self) -> Any:
        return json.loads(self)


@functools.lru_cache(maxsize=1 << 14)
def _canonical(text: str) -> Json:
    return Json(_encode_sorted(_decode(text)))


def read_json(value: Any) -> Json:
    if not isinstance(value, str):
        raise InvalidValueError(value, f"Unable to parse {value!r} as valid JSON.")
    try:
        return _canonical(value)
    except ValueError as error:
        raise InvalidValueError(value, f"Unable to parse {value} as valid JSON.") from error


def write_int(value: Any) -> int:
    """GraphQL's Int has 32 bits; a table's number need not."""
    if type(value) in (int, float) and int(value) == value and abs(value) < _INT_LIMIT:
        return int(value)
    raise InvalidValueError(value, "Expected a value that can be converted to type 'Int'.")


def write_float(value: Any) -> float:
    if type(value) in (int, float) and math.isfinite(value):
        number: float = value
        return number
    raise InvalidValueError(value, "Expected a value that can be converted to type 'Float'.")


def write_text(value: Any) -> str:
    if isinstance(value, (str, int, float)):
        return str(value).lower() if isinstance(value, bool) else str(value)
    raise InvalidValueError(value, "Expected a value that can be converted to type 'String'.")


def write_boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise InvalidValueError(value, "Expected a value that can be converted to type 'Boolean'.")


def write_date_time(value: Any) -> str:
    if isinstance(value, str) and _is_date_time(value):
        return value
    raise InvalidValueError(value, f"Unable to serialize `{value}` as a valid DateTime Object.")


def write_json(value: Any) -> str:
    return value if isinstance(value, str) else _encode_sorted(value)


WRITERS: dict[str, Callable[[Any], Any]] = {
    "Int": write_int,
    "Float": write_float,
    "String": write_text,
    "ID": write_text,
    "Boolean": write_boolean,
    "AWSDateTime": write_date_time,
    "AWSJSON": write_json,
}
"""What a table holds as an answer gives it; raises InvalidValueError for what it cannot give."""

READERS: dict[str, Callable[[Any], Any]] = {
    "Int": read_int,
    "Float": read_float,
    "String": read_string,
    "ID": read_id,
    "Boolean": read_boolean,
    "AWSDateTime": read_date_time,
    "AWSJSON": read_json,
}
