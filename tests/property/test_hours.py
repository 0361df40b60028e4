"""Roll-ups are sums, and an hour is the same however its records were delivered."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from aggregated_metrics.core import buckets
from aggregated_metrics.core.changes import Delta
from aggregated_metrics.core.hours import Hour, HourId, Series
from aggregated_metrics.core.measures import INT_MAX, Measures, plus, shown, total
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
GRACE = 120
TEN = buckets.to_minute(datetime(2026, 11, 22, 10, tzinfo=UTC))
ID = HourId(Series("acct-1", "items"), TEN)

# Short digits beside long ones, so that numbers sort otherwise as text.
_FIRST_NUMBER = 10**21 - 5
small = st.integers(0, 50)
measures = st.builds(Measures, st.integers(1, 3), small, small, small, small, small)
records = st.lists(st.tuples(st.integers(0, 59), measures), min_size=1, max_size=25)

type Record = tuple[int, int, Measures]
"""Sequence number, minute, what it adds."""


def take(hour: Hour, minute: int, shard: str, last: int, deltas: Any) -> None:
    hour.apply(minute, shard, last, [Delta(*delta) for delta in deltas], NOW)


def saved(hour: Hour) -> Hour:
    """The hour as it is loaded after it was saved."""
    for bucket in hour:
        bucket.dirty = True
    writes, _ = hour.writes(NOW, GRACE)
    return Hour(hour.id, [{"metadata": None} | write.record for write in writes])


def deliver(hour: Hour, batch: Sequence[Record], shard: str = "shard") -> Hour:
    """Apply a batch as the aggregator does, and save."""
    last = max(number for number, _, _ in batch)
    for minute in {minute for _, minute, _ in batch}:
        deltas = [(number, added) for number, at, added in batch if at == minute]
        take(hour, TEN + minute, shard, last, deltas)
    hour.roll_up(NOW)
    return saved(hour)


def contents(hour: Hour) -> dict[tuple[int, int], Measures]:
    return {
        (bucket.start - TEN, bucket.size): bucket.measures
        for bucket in hour
        if any(bucket.measures)
    }


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Record], list[list[Record]]]:
    """Records of a shard, and batches that deliver them as Lambda may.

    Each batch begins at or before the first record not yet applied, never after; it may end
    before what was delivered earlier, and anything may come again.
    """
    drawn = draw(records)
    made = [(_FIRST_NUMBER + n, minute, added) for n, (minute, added) in enumerate(drawn)]
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


@given(deliveries())
def test_any_split_with_any_redelivery_gives_the_same_hour(
    drawn: tuple[list[Record], list[list[Record]]],
) -> None:
    made, batches = drawn
    hour = Hour(ID)
    for batch in batches:
        hour = deliver(hour, batch)
    assert contents(hour) == contents(deliver(Hour(ID), made))


@given(deliveries(), deliveries(), st.randoms())
def test_two_shards_interleaved_give_the_sum_of_both(
    first: tuple[list[Record], list[list[Record]]],
    second: tuple[list[Record], list[list[Record]]],
    random: Any,
) -> None:
    queues = {"a": list(first[1]), "b": list(second[1])}
    hour = Hour(ID)
    while any(queues.values()):
        shard = random.choice([name for name, queue in queues.items() if queue])
        hour = deliver(hour, queues[shard].pop(0), shard)
    alone = [contents(deliver(Hour(ID), made)) for made in (first[0], second[0])]
    places = alone[0].keys() | alone[1].keys()
    zero = Measures()
    assert contents(hour) == {
        place: plus(alone[0].get(place, zero), alone[1].get(place, zero)) for place in places
    }


@given(records)
def test_every_parent_is_the_sum_of_its_minutes(drawn: list[tuple[int, Measures]]) -> None:
    hour = deliver(Hour(ID), [(n, minute, added) for n, (minute, added) in enumerate(drawn)])
    for bucket in hour:
        begin = bucket.start - TEN
        inside = [added for minute, added in drawn if begin <= minute < begin + bucket.size]
        assert inside
        assert bucket.measures == total(inside)
    assert sum(b.measures.count for b in hour if b.size == 60) == sum(a.count for _, a in drawn)


@given(records)
def test_a_stored_hour_that_is_rolled_up_again_is_not_written(
    drawn: list[tuple[int, Measures]],
) -> None:
    hour = deliver(Hour(ID), [(n, minute, added) for n, (minute, added) in enumerate(drawn)])
    hour.roll_up(NOW)
    hour.close(NOW, GRACE)
    assert hour.writes(NOW, GRACE)[0] == []


@given(st.lists(st.integers(INT_MAX - 2, INT_MAX + 2), min_size=1, max_size=4))
def test_no_sum_is_ever_sent_as_an_invalid_int(costs: list[int]) -> None:
    batch = [(n, n, Measures(1, cost)) for n, cost in enumerate(costs)]
    hour = Hour(ID)
    for number, minute, added in batch:
        take(hour, TEN + minute, "shard", number, [(number, added)])
    hour.roll_up(NOW)
    writes, tally = hour.writes(NOW, GRACE)
    assert all(write.record["cost"] <= INT_MAX for write in writes)
    assert (tally.overflowed > 0) == (sum(costs) > INT_MAX)


@given(records, st.lists(st.datetimes(min_value=datetime(2000, 1, 1)), min_size=1, max_size=5))  # noqa: DTZ001 - made aware below
def test_versions_only_grow_whatever_the_clock_does(
    drawn: list[tuple[int, Measures]], clocks: list[datetime]
) -> None:
    hour = deliver(Hour(ID), [(n, minute, added) for n, (minute, added) in enumerate(drawn)])
    for n, naive in enumerate(clocks):
        now = min(naive, datetime(9999, 1, 1)).replace(tzinfo=UTC)  # noqa: DTZ001 - made aware here
        loaded = {(bucket.start, bucket.size): bucket.version for bucket in hour}
        for minute, added in drawn:
            take(hour, TEN + minute, f"s{n}", 1, [(1, added)])
        hour.roll_up(NOW)
        writes, _ = hour.writes(now, GRACE)
        for write in writes:
            before = loaded[write.bucket.start, write.bucket.size]
            assert write.condition == {"updatedAt": {"eq": before}}
            assert buckets.parse(write.record["updatedAt"]) > buckets.parse(str(before))
        rows = {write.record["compositeKey"]: {"metadata": None} | write.record for write in writes}
        hour = Hour(ID, list(rows.values()))


@given(measures, measures)
def test_saturating_is_idempotent_and_keeps_what_fits(a: Measures, b: Measures) -> None:
    huge = Measures(*(value * INT_MAX for value in plus(a, b)))
    assert shown(shown(huge)) == shown(huge)
    assert shown(a) == a
