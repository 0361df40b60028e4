"""What a bucket sums: whole numbers, always in the same order. Pure.

The first six are fields of the API. A model may have extra ones (models: `extra`), which a bucket
keeps in its metadata under their own names; within the package they are sums like the others,
therefore whatever holds for one measure holds for all.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from operator import add, neg, sub
from typing import NamedTuple, Self

from aggregated_metrics.core.errors import UncountableError

INT_MAX = 2_147_483_647
"""GraphQL's Int has 32 bits; a larger sum is stored as this number."""

_MILLION = 1_000_000
_SURE, _NEARLY_HALF = 1e9, 0.499
_TOO_MUCH = 1e18


type Sums = tuple[int, ...]
"""Measures without their names: on the hot path a plain tuple takes a quarter of the time."""


class _Fields(NamedTuple):
    count: int = 0  # type: ignore[assignment] # the API's name; tuple.count is not missed
    cost: int = 0
    decisionCount: int = 0
    externalAiApiCount: int = 0
    cachedAiApiCount: int = 0
    errorCount: int = 0


class Measures(_Fields):
    """Sums of a bucket, or what one row adds to it. The first six have the API's names.

    `cost` is in millionths of a dollar; the others are numbers of rows or calls. After the six
    come those of the record type's own; a series always has the same number of them.
    """

    __slots__ = ()

    def __new__(cls, *sums: int, **named: int) -> Self:
        """The six, by place or by name, and the record type's own in their order."""
        return tuple.__new__(cls, sums if sums[5:] else _Fields(*sums, **named))

    __repr__ = tuple.__repr__  # a NamedTuple's own fails where there are more than its fields

    @property
    def extra(self) -> tuple[int, ...]:
        """Those that are no fields of the API."""
        return self[len(self._fields) :]

    @property
    def clamped(self) -> Self:
        """Negative sums as zero: rows older than the deployment can be removed."""
        return self if min(self) >= 0 else type(self)(*(max(value, 0) for value in self))

    @property
    def shown(self) -> Self:
        """The sums as a bucket's fields can hold them: from zero to the largest Int.

        An invalid Int would fail the whole request. What is cut off is kept beside the fields.
        Those in metadata have the same limits, so that every reader can hold them.
        """
        if max(self) <= INT_MAX:
            return self.clamped
        return type(self)(*(min(max(value, 0), INT_MAX) for value in self))

    def named(self, extra: Iterable[str] = ()) -> dict[str, int]:
        """The sums by name; `extra` names the record type's own."""
        return dict(zip((*self._fields, *extra), self, strict=True))


ZERO = Measures()


def zero(extra: Sequence[object]) -> Measures:
    """No sums, for a record type with as many measures of its own."""
    return Measures(0, 0, 0, 0, 0, 0, *[0 for _ in extra]) if extra else ZERO


def total(parts: Iterable[Sums], start: Sums = ZERO) -> Measures:
    """The sum of measures and `start`, field by field; `start` for none."""
    return tuple.__new__(Measures, map(sum, zip(start, *parts, strict=True)))


def plus(a: Sums, b: Sums) -> Measures:
    """A + b, field by field."""
    return tuple.__new__(Measures, map(add, a, b))


def minus(a: Sums, b: Sums) -> Measures:
    """A - b, field by field."""
    return tuple.__new__(Measures, map(sub, a, b))


def negative(sums: Sums) -> Measures:
    """What takes `sums` away again."""
    return tuple.__new__(Measures, map(neg, sums))


def micro_dollars(dollars: float) -> int:
    """Dollars in millionths, rounded half-even per record, so that sums never drift.

    Raises:
        UncountableError: absurdly large.
    """
    product = dollars * _MILLION
    if 0 <= product < _SURE:
        nearest = int(product + 0.5)
        if -_NEARLY_HALF < product - nearest < _NEARLY_HALF:
            return nearest  # whatever the product's own rounding: no Decimal is needed
    calls(dollars)
    return round(Decimal(repr(dollars)) * _MILLION)


def calls(number: float) -> int:
    """A number of calls or of anything else; a fraction is cut off.

    Raises:
        UncountableError: absurdly large: more than a writer can mean, and sums have no end.
    """
    if -_TOO_MUCH < number < _TOO_MUCH:
        return int(number)
    raise UncountableError(f"{number} is too large")
