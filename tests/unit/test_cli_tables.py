"""Numbers and bars in the terminal."""

import pytest
from aggregated_metrics.core.measures import Measures

from aggregated_metrics_cli.tables import bar, difference, rounded


@pytest.mark.parametrize(
    ("value", "most", "drawn"),
    [(0, 10, ""), (10, 10, "████"), (5, 10, "██"), (1, 1000, "▏"), (0, 0, ""), (9, 10, "███▋")],
)
def test_a_bar_is_as_long_as_its_share(value: int, most: int, drawn: str) -> None:
    assert bar(value, most, 4) == drawn


@pytest.mark.parametrize("name", Measures._fields)
@pytest.mark.parametrize("digits", range(1, 15))
def test_a_rounded_measure_has_at_most_six_characters(name: str, digits: int) -> None:
    assert len(rounded(name, 10**digits - 1)) <= 6
    assert len(rounded(name, 10**digits)) <= 6


def test_only_measures_that_differ_are_named() -> None:
    assert difference({"count": 1, "errorCount": 2}, {"count": 1}) == "errorCount 2 → 0"
    assert difference(None, {"cost": 2_500_000}) == "cost 0.000000 → 2.500000"
