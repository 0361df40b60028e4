"""Totals by minute, their fingerprints, and their packing."""

from collections.abc import Mapping
from typing import Any

import pytest
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.series import HourId, Series
from aggregated_metrics.core.totals import (
    GroupKey,
    MinuteTotal,
    Totals,
    fingerprint,
    pack,
    partition_of,
    read,
    unpack,
)
from hypothesis import given
from hypothesis import strategies as st

MINUTE = 29_000_040
HOUR = HourId(Series("a", "items"), MINUTE)
ONE = Measures(count=1)

_TEXTS = st.sampled_from(["acct-1", "a#b", "ü\t\n\ud800", "7"])
_SERIES = st.one_of(
    st.builds(Series, _TEXTS, st.just("feedbackItems")),
    st.builds(Series, _TEXTS, st.just("feedbackItemsByScore"), _TEXTS, _TEXTS),
)
_MEASURES = st.builds(Measures, *[st.integers(-5, 10**12)] * 9)
_ROWS = st.lists(
    st.tuples(
        st.text(max_size=5),
        st.lists(_SERIES, min_size=1, max_size=3),
        st.integers(MINUTE, MINUTE + 4_000),
        _MEASURES,
        st.booleans(),
    ),
    max_size=12,
)

type Row = tuple[str, list[Series], int, tuple[int, ...], bool]
"""Its id, and what it adds: to which series, in which minute, what, and whether it is indexed."""


def totals_of(counted: list[Row]) -> Totals:
    totals = Totals()
    for row_id, series, minute, sums, indexed in counted:
        totals.add(row_id, series, minute, sums, indexed=indexed)
    return totals


def by_hour(totals: Totals) -> dict[HourId, Mapping[int, MinuteTotal]]:
    return {hour: totals.hour(hour) for hour in totals.hours()}


def one(row_id: str = "r", measures: Measures = ONE, *, indexed: bool = True) -> MinuteTotal:
    totals = totals_of([(row_id, [HOUR.series], MINUTE, measures, indexed)])
    return totals.hour(HOUR)[MINUTE]


def test_indexed_and_unindexed_rows_are_added_up_apart() -> None:
    assert one()[:2] == (ONE, Measures())
    assert one(indexed=False)[:2] == (Measures(), ONE)
    both = one().merged(one("s", Measures(2, 5), indexed=False))
    assert both[:2] == (ONE, Measures(2, 5))


@pytest.mark.parametrize("other", [one("s"), one(measures=Measures(1, 1)), one(indexed=False)])
def test_a_fingerprint_differs_with_the_row_what_it_adds_and_whether_it_is_indexed(
    other: MinuteTotal,
) -> None:
    assert one().fingerprint != other.fingerprint


def test_two_rows_that_swap_what_they_add_change_the_fingerprint() -> None:
    two = Measures(2)
    before = one("r").merged(one("s", two))
    after = one("r", two).merged(one("s"))
    assert before[:2] == after[:2]
    assert before.fingerprint != after.fingerprint


def test_a_fingerprint_is_the_same_in_every_process() -> None:
    mark = fingerprint("row-1", Measures(1, 1230, 1, 2, 1, 0), indexed=True)
    assert mark == 13_870_025_065_415_277_674


@given(_ROWS, st.integers(0, 12))
def test_the_order_in_which_rows_are_read_changes_nothing(counted: list[Row], first: int) -> None:
    whole = totals_of(counted)
    assert by_hour(totals_of(counted[first:] + counted[:first])) == by_hour(whole)
    assert len(whole) == sum(map(len, by_hour(whole).values()))


@given(_ROWS, st.randoms())
def test_hours_are_taken_out_alone(counted: list[Row], random: Any) -> None:
    totals, whole = totals_of(counted), totals_of(counted)
    hours = {hour for hour in whole.hours() if random.random() < 0.5}
    taken = totals.take(hours | {HOUR})
    assert taken.hours() | totals.hours() == whole.hours()
    assert taken.hours() & totals.hours() == set()
    assert len(taken) + len(totals) == len(whole)
    assert all(taken.hour(hour) == whole.hour(hour) for hour in hours)


def test_rows_of_other_hours_than_those_asked_for_are_left_out() -> None:
    totals = Totals()
    series = [HOUR.series, Series("a", "predictionItems")]
    totals.add("r", series, MINUTE, ONE, indexed=True, hours={HOUR})
    assert totals.hours() == {HOUR}


@given(_ROWS, st.integers(1, 9))
def test_packed_totals_are_read_back_in_the_order_of_their_keys_each_in_its_partition(
    counted: list[Row], partitions: int
) -> None:
    totals, found = totals_of(counted), Totals()
    blocks = pack(totals, "FeedbackItem", partitions)
    assert len(blocks) == partitions
    for number, block in enumerate(blocks):
        lines = list(unpack(block))
        keys = [key for key, _ in lines]
        assert keys == sorted(set(keys))
        for key, content in lines:
            assert partition_of(key.account_id, key.hour, partitions) == number
            for hour, minute, total in read(key, content):
                assert GroupKey("FeedbackItem", hour.series.account_id, hour.start) == key
                found.put(hour, minute, total)
    assert by_hour(found) == by_hour(totals)


def test_a_large_block_is_read_line_by_line() -> None:
    totals = totals_of(
        [(f"row-{i}", [Series(f"acct-{i}", "items")], MINUTE + i, ONE, True) for i in range(3_000)]
    )
    (block,) = pack(totals, "Item", 1)
    assert len(list(unpack(block))) == 3_000
