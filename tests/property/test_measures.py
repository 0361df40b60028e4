"""Dollars become millionths as exact decimal arithmetic says, whichever way they are read."""

from decimal import ROUND_HALF_EVEN, Decimal

from aggregated_metrics.core.measures import micro_dollars
from hypothesis import given
from hypothesis import strategies as st


@given(st.from_regex(r"[0-9]{1,9}(\.[0-9]{0,12})?", fullmatch=True))
def test_dollars_are_rounded_half_even_to_millionths(dollars: str) -> None:
    exact = (Decimal(dollars) * 1_000_000).quantize(Decimal(1), ROUND_HALF_EVEN)
    assert micro_dollars(dollars) == int(exact)
