"""However a shard's records are cut into batches and delivered again, the hours are the same."""

from typing import Any

from aggregated_metrics.core import buckets
from aggregated_metrics.core.changes import fold
from aggregated_metrics.core.hour import Hour
from aggregated_metrics.core.models import BUILT_IN
from aggregated_metrics.core.series import HourId
from hypothesis import given
from hypothesis import strategies as st

from testbench.hours import NOW, saved
from testbench.streams import event, window_event
from tests.property.histories import expected, streams

type Hours = dict[HourId, Hour]


def deliver(hours: Hours, given_event: Any) -> None:
    """Apply an event as stream_aggregator does, and store the hours as the API does."""
    batch = fold(given_event, BUILT_IN.only(()), {})
    for hour_id in batch.hours:
        hour = hours.setdefault(hour_id, Hour(hour_id))
        hour.apply_batch(batch, NOW)
        hour.roll_up()
        hours[hour_id] = saved(hour)


def contents(hours: Hours) -> dict[tuple[str, str, str, int], tuple[int, ...]]:
    return {
        (*hour.id.series[:2], buckets.iso(bucket.start), bucket.size): tuple(bucket.measures)
        for hour in hours.values()
        for bucket in hour
        if any(bucket.measures)
    }


def ends(data: st.DataObject, begin: int, length: int) -> list[int]:
    """Where up to three deliveries from the same first record end."""
    return data.draw(st.lists(st.integers(begin + 1, length), min_size=1, max_size=3))


@given(streams("ScoreResult"), streams("ScoreResult"), st.data())
def test_any_split_with_any_redelivery_of_two_shards_gives_the_rows_totals(
    one: Any, other: Any, data: st.DataObject
) -> None:
    """No batch begins behind what its shard has delivered; each ends anywhere."""
    hours: Hours = {}
    left = {"shard-1": one[1], "shard-2": other[1]}
    done = dict.fromkeys(left, 0)
    while left := {shard: made for shard, made in left.items() if done[shard] < len(made)}:
        shard = data.draw(st.sampled_from([*left]))
        begin = data.draw(st.integers(0, done[shard]))
        for end in ends(data, begin, len(left[shard])):
            deliver(hours, window_event(*left[shard][begin:end], shard_id=shard))
            done[shard] = max(done[shard], end)
    assert contents(hours) == expected("ScoreResult", [*one[0], *other[0]])


@given(streams("Item"), st.data())
def test_without_a_shard_a_redelivery_from_the_same_first_record_adds_nothing(
    drawn: Any, data: st.DataObject
) -> None:
    histories, made = drawn
    hours: Hours = {}
    begin = 0
    while begin < len(made):
        tries = ends(data, begin, len(made))
        for end in (*tries, max(tries)):
            deliver(hours, event(*made[begin:end]))
        begin = max(tries)
    assert contents(hours) == expected("Item", histories)


@given(streams("Item"))
def test_what_is_rejected_is_what_cannot_be_counted(drawn: Any) -> None:
    histories, made = drawn
    uncountable = sum(
        step is not None and not expected("Item", [[step]]) for steps in histories for step in steps
    )
    assert len(fold(window_event(*made), BUILT_IN.only(()), {}).rejects) == uncountable
