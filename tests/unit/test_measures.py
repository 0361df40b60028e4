from typing import Any

import pytest
from aggregated_metrics.core.errors import UncountableError
from aggregated_metrics.core.measures import INT_MAX, Measures, calls, micro_dollars


def test_a_fraction_of_a_call_is_cut_off() -> None:
    assert [calls(number) for number in (0, 3, 2.9, -2.9)] == [0, 3, 2, -2]


@pytest.mark.parametrize("read", [micro_dollars, calls])
@pytest.mark.parametrize("number", [1e18, -1e18, 1e300, float("inf"), float("nan")])
def test_a_number_that_no_writer_means_is_uncountable(read: Any, number: float) -> None:
    with pytest.raises(UncountableError, match="too large"):
        read(number)


def test_sums_beyond_32_bits_become_the_largest_int() -> None:
    sums = Measures(INT_MAX, INT_MAX + 1, 0, INT_MAX - 1, 10**12, 1)
    assert sums.shown == (INT_MAX, INT_MAX, 0, INT_MAX - 1, INT_MAX, 1)
    assert INT_MAX == 2**31 - 1
    small = Measures(5, 40)
    assert small.shown is small
