"""A row's values, alike from DynamoDB JSON and from the API's JSON, and what they add. Pure.

As texts, a number is the shortest decimal text of its double and a truth value `true` or `false`;
as numbers, all are doubles. Therefore a value counts alike from a stream image, a Scan and a row of
the API. A value is found by its path: an attribute, and keys into it if it is AWSJSON.
"""

import json
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from aggregated_metrics.core.errors import UncountableError
from aggregated_metrics.core.measures import ZERO, Measures, Sums, calls, micro_dollars
from aggregated_metrics.core.metadata import decoded

if TYPE_CHECKING:
    from aggregated_metrics.core.declarations import Measure

DELETED = "_deleted"
is_number = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?").fullmatch
_INT_LIMIT = 2**31
_ERROR_CODE = 400
_ONCE = (1, *ZERO[1:])

type Row = Mapping[str, Any]


type Usual = tuple[str, str, Sequence[str | None], Sequence[Any]]
"""An image's time, what its index sorts it by, whose it is, and what measures read."""


class Read(NamedTuple):
    """One value that is read, as a text or as a number: of several paths the first that has one."""

    paths: tuple[tuple[str, ...], ...]
    is_number: bool = False

    def of(self, row: Row) -> Any:
        """The value in a row of the API; None for nothing.

        Raises:
            UncountableError: it is to be a number as DynamoDB and JSON write it, and is not, or
                what has keys is not a JSON object.
        """
        for path in self.paths:
            text = _text_at(row, path)
            if text is None:
                continue
            if not self.is_number:
                return text
            if not is_number(text):
                raise UncountableError(f"{'.'.join(path)} {text[:40]!r} is not a number")
            return float(text)
        return None


def _text_at(row: Row, path: Sequence[str]) -> str | None:
    name, *keys = path
    value = row.get(name)
    if keys:
        value = _object(value, name)
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return text_of(value)


def compiled(
    times: Sequence[str], places: Sequence[str], required: Iterable[str], reads: Sequence[Read]
) -> Callable[[Row], Usual]:
    """A function that reads an image of the usual form, in a fifth of the time.

    It raises KeyError, TypeError or ValueError where an image has something else than texts and
    numbers; where it lacks a time, its account or what is required; and where it may be marked as
    deleted.
    """
    maps = dict.fromkeys(path[0] for read in reads for path in read.paths if len(path) > 1)
    sure = {*times, places[0], *required}

    def values(wanted: Iterable[Read]) -> str:
        return "".join(f"{_expression(read, sure)}, " for read in wanted)

    def texts(names: Iterable[str]) -> str:
        return values(Read(((name,),)) for name in names)

    lines = (
        "def read(image):",
        f"if {DELETED!r} in image: raise KeyError",
        *(f"in_{name} = image[{name!r}]['M'] if {name!r} in image else ()" for name in maps),
        texts(required),
        f"return {texts(times)}({texts(places)}), ({values(reads)})",
    )
    namespace: dict[str, Any] = {}
    exec("\n    ".join(lines), namespace)  # noqa: S102 - written here, of names that are quoted
    read: Callable[[Row], Usual] = namespace["read"]
    return read


def _expression(read: Read, sure: Container[str]) -> str:
    form = "float({}['N'])" if read.is_number else "{}['S']"
    found = ""
    for *names, key in read.paths:
        holder = f"in_{names[0]}" if names else "image"
        found += form.format(f"{holder}[{key!r}]")
        if not names and key in sure:
            return found
        found += f" if {key!r} in {holder} else "
    return f"{found}None"


def plain(attribute: Row) -> Any:
    """A DynamoDB attribute value as the API would give it, numbers as doubles."""
    ((kind, content),) = attribute.items()
    match kind:
        case "NULL":
            return None
        case "N":
            return float(content)
        case "M":
            return {key: plain(value) for key, value in content.items()}
    return content


def text_of(value: Any) -> str | None:
    """A plain value as a text; None for nothing. A list or an object gives some text.

    A number is the shortest decimal text of its double: `2`, `0.1`, `0.0000001`. DynamoDB keeps 38
    digits, JSON writes 2 or 2.0 or 1e-7, GraphQL gives doubles.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, (int, float)):
        return json.dumps(value)
    double = float(str(value))  # an int may have more digits than float() takes
    return format(Decimal(repr(double)), "f").removesuffix(".0") if double else "0"


def can_serialize(types: Mapping[str, str], row: Row) -> bool:
    """Whether the API can give attributes as these types, Int, Float or Boolean."""
    return all(_is_of_type(kind, row.get(name)) for name, kind in types.items())


def _is_of_type(kind: str, value: Any) -> bool:
    if value is None or kind == "Boolean":
        return value is None or isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    number = float(value)
    return kind == "Float" or (number.is_integer() and -_INT_LIMIT <= number < _INT_LIMIT)


def _object(value: Any, name: str) -> Row | None:
    """AWSJSON as an object, or nothing; a writer may have encoded it once more.

    Raises:
        UncountableError: it is something else.
    """
    if isinstance(value, str):
        value = _parsed(value) or None
    if value is None or isinstance(value, Mapping):
        return value
    raise UncountableError(f"{name} is not a JSON object")


_parsed = lru_cache(maxsize=8)(decoded)
"""All paths of a row read the same text."""


type Counting = tuple[tuple[Read, ...], Callable[[Sequence[Any]], Sums], tuple[str, ...]]
"""The values that a model's rows are measured by, what a row adds by these values, and the names of
the measures that are no fields of the API."""
type _Add = Callable[[Sequence[Any]], int]


def declared(measures: Mapping[str, "Measure"]) -> Counting:
    """How declared measures are counted."""
    reads: list[Read] = []
    steps: dict[str, tuple[slice, _Add]] = {}
    for name, measure in measures.items():
        first = len(reads)
        reads += _reads(measure)
        steps[name] = slice(first, len(reads)), _adding(measure)
    fields = Measures._fields[1:]
    extra = tuple(name for name in measures if name not in fields)
    ordered = [steps.get(name, _NOTHING) for name in (*fields, *extra)]

    def count(values: Sequence[Any]) -> Sums:
        return (1, *[add(values[where]) for where, add in ordered])

    return tuple(reads), count, extra


def _reads(measure: "Measure") -> list[Read]:
    """What a measure reads: one number, or the texts at all of its paths."""
    paths = [tuple(path.split(".")) for path in measure.paths]
    if measure.dollars or measure.number:
        return [Read(tuple(paths), is_number=True)]
    return [Read((path,)) for path in paths]


def _adding(measure: "Measure") -> _Add:
    """What a row adds to one measure, by what is read for it."""
    if measure.equals:
        wanted = [frozenset(values) for values in measure.equals.values()]
        return lambda texts: int(any(map(frozenset.__contains__, wanted, texts)))
    if measure.present:
        return lambda texts: int(any(texts))
    count = micro_dollars if measure.dollars else calls
    return lambda numbers: count(numbers[0] or 0)


_NOTHING: tuple[slice, _Add] = (slice(0), lambda _: 0)


def _score_result(values: Sequence[Any]) -> Sums:
    value, code, dollars, made, cached = values
    failed = (value is not None and value.upper() == "ERROR") or (
        code is not None and _is_error(code)
    )
    return (
        1,
        micro_dollars(dollars) if dollars else 0,
        0 if failed or not value else 1,
        calls(made) if made else 0,
        calls(cached) if cached else 0,
        1 if failed else 0,
    )


@lru_cache(maxsize=1024)
def _is_error(code: str) -> bool:
    """A code that is no number says nothing about success."""
    return bool(is_number(code)) and float(code) >= _ERROR_CODE


_FEEDBACK = ("changedCount", "unchangedCount", "invalidCount")
_CHANGED, _UNCHANGED, _INVALID = (
    (*_ONCE, *(int(name == each) for name in _FEEDBACK)) for each in _FEEDBACK
)


def _feedback(values: Sequence[Any]) -> Sums:
    initial, final, is_invalid = values
    if initial is None or final is None or is_invalid == "true":
        return _INVALID
    return _UNCHANGED if initial == final else _CHANGED


NAMED: Mapping[str, Counting] = {
    "ScoreResult": (
        (
            Read((("value",),)),
            Read((("code",),)),
            Read((("cost", "total_cost"), ("cost", "total_usd")), is_number=True),
            Read((("cost", "api_calls"), ("cost", "llm_calls")), is_number=True),
            Read((("cost", "cached_api_calls"), ("cost", "cached_llm_calls")), is_number=True),
        ),
        _score_result,
        (),
    ),
    "FeedbackItem": (
        tuple(Read(((n,),)) for n in ("initialAnswerValue", "finalAnswerValue", "isInvalid")),
        _feedback,
        _FEEDBACK,
    ),
}
"""The built-in models whose measures are more than paths and conditions."""
