"""Buckets partition time."""

from datetime import UTC, datetime, timedelta, timezone

from aggregated_metrics.core import buckets
from hypothesis import given
from hypothesis import strategies as st

minutes = st.integers(buckets.FIRST, buckets.LAST - 1)
sizes = st.sampled_from(buckets.SIZES)
offsets = st.integers(-18 * 60, 18 * 60).map(lambda by: timezone(timedelta(minutes=by)))


@given(minutes, sizes)
def test_every_minute_lies_in_exactly_one_bucket_of_a_size(minute: int, size: int) -> None:
    start = buckets.floor(minute, size)
    assert start <= minute < start + size
    holding = [
        begin
        for begin in range(minute - 2 * size, minute + 2 * size)
        if buckets.floor(begin, size) == begin and begin <= minute < begin + size
    ]
    assert holding == [start]


@given(minutes, sizes, sizes)
def test_a_smaller_bucket_lies_in_exactly_one_larger(minute: int, a: int, b: int) -> None:
    small, large = sorted((a, b))
    assert buckets.floor(buckets.floor(minute, small), large) == buckets.floor(minute, large)


@given(minutes, sizes)
def test_the_starts_of_an_hour_are_the_floors_of_its_minutes(minute: int, size: int) -> None:
    hour = buckets.floor(minute, buckets.HOUR)
    floors = {buckets.floor(m, size) for m in range(hour, hour + buckets.HOUR)}
    assert list(buckets.starts(hour, size)) == sorted(floors)


@given(minutes)
def test_what_is_written_is_read_as_the_same_minute(minute: int) -> None:
    text = buckets.iso(minute)
    assert len(text) == 20
    assert buckets.to_minute(buckets.parse(text)) == minute


@given(minutes, minutes)
def test_texts_sort_as_the_minutes_do(a: int, b: int) -> None:
    assert (buckets.iso(a) < buckets.iso(b)) == (a < b)


@given(
    st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31)),  # noqa: DTZ001 - the offset is drawn
    offsets,
)
def test_an_instant_has_one_minute_whatever_its_offset(naive: datetime, offset: timezone) -> None:
    moment = naive.replace(tzinfo=offset)
    minute = buckets.to_minute(moment)
    assert buckets.to_minute(moment.astimezone(UTC)) == minute
    assert buckets.to_minute(buckets.parse(moment.isoformat())) == minute
    assert buckets.to_datetime(minute) <= moment < buckets.to_datetime(minute + 1)
