"""What a bucket sums: six whole numbers, always in the same order. Pure."""

from collections.abc import Iterable
from decimal import Decimal
from typing import NamedTuple

from aggregated_metrics.core.errors import UncountableError

INT_MAX = 2_147_483_647
"""GraphQL's Int has 32 bits; a larger sum is stored as this number."""

_MILLIONTH = Decimal("1e6")
_POWERS: tuple[int, ...] = (1_000_000, 100_000, 10_000, 1_000, 100, 10, 1)
"""What a dollar's digit of that place is worth in millionths: the first is a whole dollar's."""
_MOST_DIGITS = 18


class Measures(NamedTuple):
    """Sums of a bucket, or what one row adds to it. The names are the API's.

    `cost` is in millionths of a dollar; the others are numbers of rows or calls.
    """

    count: int = 0  # type: ignore[assignment] # the API's name; tuple.count is not missed
    cost: int = 0
    decisionCount: int = 0
    externalAiApiCount: int = 0
    cachedAiApiCount: int = 0
    errorCount: int = 0


ZERO = Measures()


def total(parts: Iterable[tuple[int, ...]]) -> Measures:
    """The sum of measures, field by field; zero for none."""
    return Measures(*map(sum, zip(*parts, strict=True))) if (parts := list(parts)) else ZERO


def plus(a: tuple[int, ...], b: tuple[int, ...]) -> Measures:
    """A + b, field by field."""
    return Measures(a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4], a[5] + b[5])


def minus(a: tuple[int, ...], b: tuple[int, ...]) -> Measures:
    """A - b, field by field."""
    return Measures(a[0] - b[0], a[1] - b[1], a[2] - b[2], a[3] - b[3], a[4] - b[4], a[5] - b[5])


def clamped(sums: Measures) -> Measures:
    """Negative sums become zero: rows older than the deployment can be removed."""
    return Measures(*(max(value, 0) for value in sums)) if min(sums) < 0 else sums


def shown(sums: Measures) -> Measures:
    """Sums as a bucket's fields can hold them: from zero to the largest Int.

    An invalid Int would fail the whole request. What is cut off is kept beside the fields.
    """
    if min(sums) >= 0 and max(sums) <= INT_MAX:
        return sums
    return Measures(*(min(max(value, 0), INT_MAX) for value in sums))


def micro_dollars(dollars: str | float) -> int:
    """Dollars in millionths, rounded half-even (design: per record, so sums never drift).

    Raises:
        UncountableError: `dollars` is not a finite number, or absurdly large.
    """
    text = str(dollars)
    whole, _, part = text.partition(".")
    short = len(text) <= _MOST_DIGITS and len(part) < len(_POWERS)
    if short and whole.isdecimal() and part.isdecimal():
        # Nothing to round: as Decimal reads it, in half the time.
        return int(whole) * _POWERS[0] + int(part) * _POWERS[len(part)]
    try:
        return round(_sane(text) * _MILLIONTH)
    except (ArithmeticError, ValueError) as error:
        raise UncountableError(f"cost {str(dollars)[:40]!r} is not a number of dollars") from error


def calls(number: str | float) -> int:
    """A number of calls; a fraction is cut off.

    Raises:
        UncountableError: `number` is not a finite number, or absurdly large.
    """
    text = str(number)
    if text.isdecimal() and len(text) <= _MOST_DIGITS:
        return int(text)  # as Decimal reads it, in a fifth of the time
    try:
        return int(_sane(text))
    except (ArithmeticError, ValueError) as error:
        raise UncountableError(f"cost has {str(number)[:40]!r} calls, not a number") from error


def _sane(number: str) -> Decimal:
    """`1e9999999` is seven digits of text, but as an int it takes minutes to write out."""
    exact = Decimal(number)
    if exact.adjusted() > _MOST_DIGITS:
        raise ValueError("too large")
    return exact
