import pytest
from aggregated_metrics.core.errors import UncountableError
from aggregated_metrics.core.measures import (
    INT_MAX,
    ZERO,
    Measures,
    calls,
    clamped,
    micro_dollars,
    minus,
    plus,
    shown,
    total,
)

A = Measures(5, 40, 3, 2, 1, 1)
B = Measures(1, 10, 1, 1, 0, 0)


def test_sums_and_differences_go_field_by_field() -> None:
    assert plus(A, B) == (6, 50, 4, 3, 1, 1)
    assert minus(A, B) == (4, 30, 2, 1, 1, 1)
    assert total([A, B, B]) == (7, 60, 5, 4, 1, 1)
    assert total(iter([])) == ZERO


def test_the_names_are_the_apis_in_one_order() -> None:
    assert Measures._fields == (
        "count",
        "cost",
        "decisionCount",
        "externalAiApiCount",
        "cachedAiApiCount",
        "errorCount",
    )


def test_its_repr_names_the_apis_and_shows_the_record_types_own() -> None:
    six = (
        "count=5, cost=40, decisionCount=3, externalAiApiCount=2, cachedAiApiCount=1, errorCount=1"
    )
    assert repr(A) == f"Measures({six})"
    assert repr(Measures(*A, 7, 0)) == f"Measures({six}, extra=(7, 0))"


@pytest.mark.parametrize(
    ("dollars", "millionths"),
    [
        ("0", 0),
        ("1.25", 1_250_000),
        (1.25, 1_250_000),
        ("0.0000005", 0),
        ("0.0000015", 2),
        ("0.0000025", 2),
        ("0.0000035", 4),
        ("0.00000050000001", 1),
        ("1E-3", 1000),
        (0.1 + 0.2, 300_000),
        (7, 7_000_000),
        ("1e-9999999", 0),
    ],
)
def test_dollars_are_rounded_half_even_to_millionths(dollars: str, millionths: int) -> None:
    assert micro_dollars(dollars) == millionths


@pytest.mark.parametrize("read", [micro_dollars, calls])
@pytest.mark.parametrize(
    "text", ["", "free", "NaN", "sNaN", "Infinity", "True", "{}", "1e9999999", "1e999999", "1e99"]
)
def test_what_is_no_sane_number_is_uncountable(read: object, text: str) -> None:
    assert callable(read)
    with pytest.raises(UncountableError, match="cost"):
        read(text)


def test_the_reason_is_short_however_long_the_value_is() -> None:
    with pytest.raises(UncountableError) as caught:
        micro_dollars("x" * 100_000)
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("3", 3), ("2.9", 2), (2.0, 2)])
def test_a_fraction_of_a_call_is_cut_off(text: str, number: int) -> None:
    assert calls(text) == number


def test_sums_beyond_32_bits_become_the_largest_int() -> None:
    sums = Measures(INT_MAX, INT_MAX + 1, 0, INT_MAX - 1, 10**12, 1)
    assert shown(sums) == (INT_MAX, INT_MAX, 0, INT_MAX - 1, INT_MAX, 1)
    assert INT_MAX == 2**31 - 1
    assert shown(A) is A


def test_negative_sums_become_zero_and_the_others_stay() -> None:
    assert clamped(Measures(-1, 5, 0, -3, 2, 0)) == (0, 5, 0, 0, 2, 0)
    assert clamped(A) is A
