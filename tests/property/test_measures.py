"""Dollars become millionths as exact decimal arithmetic says, whichever way they are read."""

from decimal import ROUND_HALF_EVEN, Decimal

from aggregated_metrics.core.measures import micro_dollars
from hypothesis import given
from hypothesis import strategies as st

DOLLARS = st.floats(-1e12, 1e12)
PLACES = st.from_regex(r"-?[0-9]{1,8}\.[0-9]{0,7}5?", fullmatch=True).map(float)


@given(DOLLARS | PLACES)
def test_dollars_are_rounded_half_even_to_millionths(dollars: float) -> None:
    exact = Decimal(repr(dollars)) * 1_000_000
    assert micro_dollars(dollars) == int(exact.quantize(Decimal(1), ROUND_HALF_EVEN))
