"""What a row adds to the measures, by the values that they read. Pure."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from aggregated_metrics.core.declarations import FIELDS, Measure
from aggregated_metrics.core.measures import ZERO, Sums, calls, micro_dollars
from aggregated_metrics.core.rows import Read, is_number

_ERROR_CODE = 400
_ONCE = (1, *ZERO[1:])


class Counting(NamedTuple):
    """How a model's rows are measured.

    Attributes:
        reads: the values that are read.
        measure: what a row adds, by these values.
        extra: the names of the measures that are no fields of the API.
    """

    reads: tuple[Read, ...]
    measure: Callable[[Sequence[Any]], Sums]
    extra: tuple[str, ...] = ()


type _Add = Callable[[Sequence[Any]], int]


def declared(measures: Mapping[str, Measure]) -> Counting:
    """How declared measures are counted."""
    if not measures:
        return Counting((), lambda _: _ONCE)
    reads: list[Read] = []
    steps: dict[str, tuple[slice, _Add]] = {}
    for name, each in measures.items():
        first = len(reads)
        reads += (_read(path, is_number=bool(each.dollars or each.number)) for path in each.paths)
        steps[name] = slice(first, len(reads)), _adding(each)
    extra = tuple(name for name in measures if name not in FIELDS)
    ordered = [steps.get(name, _NOTHING) for name in (*FIELDS, *extra)]

    def measure(values: Sequence[Any]) -> Sums:
        return (1, *[add(values[where]) for where, add in ordered])

    return Counting(tuple(reads), measure, extra)


def _read(path: str, *, is_number: bool = False) -> Read:
    return Read(tuple(path.split(".")), is_number)


def _adding(measure: Measure) -> _Add:
    """What a row adds to one measure, by the values at its paths."""
    if measure.equals:
        wanted = [frozenset(values) for values in measure.equals.values()]
        return lambda texts: int(any(map(frozenset.__contains__, wanted, texts)))
    if measure.present:
        return lambda texts: int(any(texts))
    count = micro_dollars if measure.dollars else calls
    return lambda numbers: count(next((n for n in numbers if n is not None), 0))


_NOTHING: tuple[slice, _Add] = (slice(0), lambda _: 0)


def _score_result(values: Sequence[Any]) -> Sums:
    value, code, dollars, total_usd, made, llm_calls, cached, cached_llm_calls = values
    failed = (value is not None and value.upper() == "ERROR") or (
        code is not None and _is_error(code)
    )
    if dollars is None:
        dollars = total_usd
    if made is None:
        made = llm_calls
    if cached is None:
        cached = cached_llm_calls
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
    return is_number(code) and float(code) >= _ERROR_CODE


_FEEDBACK = ("changedCount", "unchangedCount", "invalidCount")
_CHANGED, _UNCHANGED, _INVALID = (
    (*_ONCE, *(int(name == each) for name in _FEEDBACK)) for each in _FEEDBACK
)


def _feedback(values: Sequence[Any]) -> Sums:
    initial, final, is_invalid = values
    if initial is None or final is None or is_invalid == "true":
        return _INVALID
    return _UNCHANGED if initial == final else _CHANGED


_COST = (
    "total_cost",
    "total_usd",
    "api_calls",
    "llm_calls",
    "cached_api_calls",
    "cached_llm_calls",
)
NAMED: Mapping[str, Counting] = {
    "ScoreResult": Counting(
        (
            *map(_read, ("value", "code")),
            *(_read(f"cost.{name}", is_number=True) for name in _COST),
        ),
        _score_result,
    ),
    "FeedbackItem": Counting(
        (*map(_read, ("initialAnswerValue", "finalAnswerValue", "isInvalid")),),
        _feedback,
        _FEEDBACK,
    ),
}
"""The built-in models whose measures are more than paths and conditions."""
