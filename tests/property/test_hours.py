"""Rollups are the sums of their minutes, and what is written is valid."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aggregated_metrics.core.hour import Hour
from aggregated_metrics.core.measures import INT_MAX, Measures, total
from hypothesis import given
from hypothesis import strategies as st

from testbench.hours import GRACE, HOUR, apply, delta, saved

small = st.integers(0, 50)
measures = st.builds(Measures, st.integers(1, 3), small, small, small, small, small)
records = st.lists(st.tuples(st.integers(0, 59), measures, st.booleans()), min_size=1, max_size=25)

type Record = tuple[int, int, Measures, bool]
"""Sequence number, minute, what it adds, whether it is indexed."""


def numbered(drawn: Sequence[tuple[int, Measures, bool]]) -> list[Record]:
    return [(n, *record) for n, record in enumerate(drawn)]


def deliver(hour: Hour, batch: Sequence[Record]) -> Hour:
    """Apply a batch as the aggregator does, and save."""
    last = max(number for number, *_ in batch)
    for minute in {minute for _, minute, *_ in batch}:
        deltas = [
            delta(number, added, indexed=indexed)
            for number, at, added, indexed in batch
            if at == minute
        ]
        apply(hour, *deltas, minute=minute, last=last)
    hour.roll_up()
    return saved(hour)


@given(records)
def test_every_rollup_is_the_sum_of_its_minutes(drawn: Any) -> None:
    hour = deliver(Hour(HOUR), numbered(drawn))
    for bucket in hour:
        begin = bucket.start - HOUR.start
        inside = [each for each in drawn if begin <= each[0] < begin + bucket.size]
        assert bucket.measures == total(added for _, added, _ in inside)
        if bucket.size == 1:
            odd = total((added for _, added, indexed in inside if not indexed), Measures())
            assert bucket.unindexed == odd
    assert sum(b.measures.count for b in hour if b.size == 60) == sum(a.count for _, a, _ in drawn)


@given(records)
def test_a_stored_hour_that_is_rolled_up_again_is_not_written(drawn: Any) -> None:
    hour = deliver(Hour(HOUR), numbered(drawn))
    hour.roll_up()
    hour.close(0, GRACE)
    assert hour.writes(datetime(2026, 11, 22, 12, tzinfo=UTC)) == []


@given(st.lists(st.integers(INT_MAX - 2, INT_MAX + 2), min_size=1, max_size=4))
def test_no_sum_is_ever_sent_as_an_invalid_int(costs: list[int]) -> None:
    hour = Hour(HOUR)
    for n, cost in enumerate(costs):
        apply(hour, delta(n, Measures(1, cost)), minute=n)
    hour.roll_up()
    writes = hour.writes(datetime(2026, 11, 22, 12, tzinfo=UTC))
    assert all(write.record["cost"] <= INT_MAX for write in writes)
