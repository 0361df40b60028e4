"""Buckets partition time, and times are what AppSync takes."""

from datetime import UTC, datetime, timedelta, timezone

from aggregated_metrics.core import buckets
from graphql import GraphQLError
from hypothesis import given
from hypothesis import strategies as st

from testbench.fakes.scalars import SCALARS

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


LIKE_TIMES = st.from_regex(
    r"\d{4}-[01]\d-[0-3]\d[T ][0-2]\d:[0-6]\d(:[0-6]\d)?([.,]\d{1,10})?"
    r"(Z|z|[+-][0-2]\d:?[0-6]\d(:[0-6]\d)?)?",
    fullmatch=True,
)
ODD_TIMES = st.sampled_from(["2026-W47-7T10:05Z", "20261122T100500Z", "2026-11-22T10Z", "", "Z"])


@given(
    LIKE_TIMES | ODD_TIMES | offsets.map(lambda zone: datetime(2026, 1, 1, tzinfo=zone).isoformat())
)
def test_a_time_is_read_if_appsync_takes_it_and_only_then(text: str) -> None:
    try:
        SCALARS["AWSDateTime"][0](text)
        is_taken = True
    except GraphQLError:
        is_taken = False
    assert buckets.is_time(text) == is_taken
    if is_taken:
        assert buckets.utc_minute(text) == buckets.iso(buckets.to_minute(buckets.parse(text)))[:17]
