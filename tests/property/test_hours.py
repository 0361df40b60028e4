"""Rollups are sums, and an hour is the same however its records were delivered."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aggregated_metrics.core import buckets
from aggregated_metrics.core.hour import Hour
from aggregated_metrics.core.measures import INT_MAX, Measures, plus, shown, total
from hypothesis import given
from hypothesis import strategies as st

from testbench.hours import GRACE, HOUR, apply, delta, saved

# Short digits beside long ones, so that numbers sort otherwise as text.
_FIRST_NUMBER = 10**21 - 5
small = st.integers(0, 50)
measures = st.builds(Measures, st.integers(1, 3), small, small, small, small, small)
records = st.lists(st.tuples(st.integers(0, 59), measures, st.booleans()), min_size=1, max_size=25)

type Record = tuple[int, int, Measures, bool]
"""Sequence number, minute, what it adds, whether it is indexed."""
type Contents = dict[tuple[int, int], tuple[Measures, Measures]]


def numbered(drawn: Sequence[tuple[int, Measures, bool]], first: int = 0) -> list[Record]:
    return [(first + n, *record) for n, record in enumerate(drawn)]


def deliver(hour: Hour, batch: Sequence[Record], shard: str = "shard") -> Hour:
    """Apply a batch as the aggregator does, and save."""
    last = max(number for number, *_ in batch)
    for minute in {minute for _, minute, *_ in batch}:
        deltas = [
            delta(number, added, indexed=indexed)
            for number, at, added, indexed in batch
            if at == minute
        ]
        apply(hour, *deltas, minute=minute, shard=shard, last=last)
    hour.roll_up()
    return saved(hour)


def contents(hour: Hour) -> Contents:
    """Each bucket's sums, and the unindexed part of a minute's."""
    return {
        (bucket.start - HOUR.start, bucket.size): (bucket.measures, bucket.unindexed)
        for bucket in hour
        if any(bucket.measures)
    }


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Record], list[list[Record]]]:
    """Records of a shard, and batches that deliver them as Lambda may.

    Each batch begins at or before the first record not yet applied, never after; it may end
    before what was delivered earlier, and anything may come again.
    """
    made = numbered(draw(records), _FIRST_NUMBER)
    batches: list[list[Record]] = []
    done = 0
    while done < len(made):
        begin = draw(st.integers(0, done))
        end = draw(st.integers(begin + 1, len(made)))
        batches += [made[begin:end]] * draw(st.integers(1, 2))
        done = max(done, end)
        if len(batches) > 40:
            batches.append(made[done:])
            break
    return made, batches


type Delivered = tuple[list[Record], list[list[Record]]]


@given(deliveries())
def test_any_split_with_any_redelivery_gives_the_same_hour(drawn: Delivered) -> None:
    made, batches = drawn
    hour = Hour(HOUR)
    for batch in batches:
        hour = deliver(hour, batch)
    assert contents(hour) == contents(deliver(Hour(HOUR), made))


@given(deliveries(), deliveries(), st.randoms())
def test_two_shards_interleaved_give_the_sum_of_both(
    first: Delivered, second: Delivered, random: Any
) -> None:
    queues = {"a": list(first[1]), "b": list(second[1])}
    hour = Hour(HOUR)
    while any(queues.values()):
        shard = random.choice([name for name, queue in queues.items() if queue])
        hour = deliver(hour, queues[shard].pop(0), shard)
    alone = [contents(deliver(Hour(HOUR), made)) for made in (first[0], second[0])]
    none = Measures(), Measures()
    assert contents(hour) == {
        place: tuple(map(plus, *(each.get(place, none) for each in alone)))
        for place in alone[0].keys() | alone[1].keys()
    }


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
    overflowed = hour.overflowed()
    writes = hour.writes(datetime(2026, 11, 22, 12, tzinfo=UTC))
    assert all(write.record["cost"] <= INT_MAX for write in writes)
    assert (overflowed > 0) == (sum(costs) > INT_MAX)


@given(records, st.lists(st.datetimes(min_value=datetime(2000, 1, 1)), min_size=1, max_size=5))  # noqa: DTZ001 - made aware below
def test_a_version_is_greater_than_the_one_before_unless_that_lies_ahead(
    drawn: Any, clocks: list[datetime]
) -> None:
    hour = deliver(Hour(HOUR), numbered(drawn))
    for n, naive in enumerate(clocks):
        now = min(naive, datetime(9999, 1, 1)).replace(tzinfo=UTC)  # noqa: DTZ001 - made aware here
        loaded = {(bucket.start, bucket.size): str(bucket.version) for bucket in hour}
        for minute, added, _ in drawn:
            apply(hour, delta(1, added), minute=minute, shard=f"s{n}", now=now)
        hour.roll_up()
        for write in hour.writes(now):
            before = loaded[write.bucket.start, write.bucket.size]
            assert write.condition == {"updatedAt": {"eq": before}}
            written, old = (buckets.parse(text) for text in (write.record["updatedAt"], before))
            assert written > old or (written == now and (old - now).total_seconds() > 60)
        hour = saved(hour, now)


@given(measures, measures)
def test_saturating_is_idempotent_and_keeps_what_fits(a: Measures, b: Measures) -> None:
    huge = Measures(*(value * INT_MAX for value in plus(a, b)))
    assert shown(shown(huge)) == shown(huge)
    assert shown(a) == a
