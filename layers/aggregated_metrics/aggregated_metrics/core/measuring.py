"""What a row adds to the measures, from the texts at the paths that it reads. Pure."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from aggregated_metrics.core.declarations import FIELDS, Measure
from aggregated_metrics.core.errors import UncountableError
from aggregated_metrics.core.measures import ZERO, Measures, calls, micro_dollars, number_text

_ERROR_CODE = 400
_ONCE = Measures(count=1)


class Counting(NamedTuple):
    """How a model's rows are measured.

    Attributes:
        paths: what is read; those with keys, into AWSJSON attributes, come last, by attribute.
        measure: what a row adds, by the texts at these paths.
        texts: those with keys that are not read as numbers.
        extra: the names of the measures that are no fields of the API.
    """

    paths: tuple[str, ...]
    measure: Callable[..., Measures]
    texts: frozenset[str] = frozenset()
    extra: tuple[str, ...] = ()


def compiled(measures: Mapping[str, Measure]) -> Counting:
    """How declared measures are counted."""
    read = dict.fromkeys(path for measure in measures.values() for path in measure.paths)
    paths = sorted(read, key=lambda path: path.split(".")[:-1][:1])
    extra = tuple(name for name in measures if name not in FIELDS)
    adds = [_adding(name, measures.get(name), paths) for name in (*FIELDS, *extra)]

    def measure(*texts: str | None) -> Measures:
        return Measures(1, *[add(texts) for add in adds])

    texts = (p for m in measures.values() if m.present or m.equals for p in m.paths)
    return Counting(tuple(paths), measure if adds and measures else _once, frozenset(texts), extra)


def _once() -> Measures:
    return _ONCE


type _Adding = Callable[[Sequence[str | None]], int]


def _adding(name: str, measure: Measure | None, paths: Sequence[str]) -> _Adding:
    if measure is None:
        return lambda _: 0
    places = [paths.index(path) for path in measure.paths]
    if measure.equals:
        wanted = [*zip(places, map(frozenset, measure.equals.values()), strict=True)]
        return lambda texts: int(any(texts[i] in values for i, values in wanted))
    if measure.present:
        return lambda texts: int(any(texts[i] not in {None, ""} for i in places))
    read = micro_dollars if measure.dollars else calls
    return lambda texts: _number(name, _first([texts[i] for i in places]), read)


def _first(texts: Sequence[str | None]) -> str | None:
    return next((text for text in texts if text is not None), None)


def _number(name: str, text: str | None, read: Callable[[str], int]) -> int:
    if text is None:
        return 0
    try:
        return read(text)
    except UncountableError as error:
        raise UncountableError(f"{name}: {error}") from error


def _score_result(value: str | None, code: str | None, *cost: str | None) -> Measures:
    total_cost, total_usd, api, llm, cached_api, cached_llm = cost
    failed = (value is not None and value.upper() == "ERROR") or (
        code is not None and _is_error_code(code)
    )
    dollars = total_usd if total_cost is None else total_cost
    made = llm if api is None else api
    cached = cached_llm if cached_api is None else cached_api
    try:
        sums = (
            1,
            0 if dollars is None else micro_dollars(dollars),
            0 if failed or not value else 1,
            0 if made is None else calls(made),
            0 if cached is None else calls(cached),
            int(failed),
        )
    except UncountableError as error:
        raise UncountableError(f"cost: {error}") from error
    return tuple.__new__(Measures, sums)  # in half the time of Measures(*sums)


@lru_cache(maxsize=1024)
def _is_error_code(code: str) -> bool:
    try:
        return float(number_text(code)) >= _ERROR_CODE
    except ValueError:
        return False  # a code that is no number says nothing about success


_FEEDBACK = ("changedCount", "unchangedCount", "invalidCount")
_CHANGED, _UNCHANGED, _INVALID = (
    Measures(1, *ZERO[1:], *(int(name == each) for name in _FEEDBACK)) for each in _FEEDBACK
)


def _feedback(initial: str | None, final: str | None, is_invalid: str | None) -> Measures:
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
    "ScoreResult": Counting(("value", "code", *(f"cost.{name}" for name in _COST)), _score_result),
    "FeedbackItem": Counting(
        ("initialAnswerValue", "finalAnswerValue", "isInvalid"), _feedback, extra=_FEEDBACK
    ),
}
"""The built-in models whose measures are more than paths and conditions."""
