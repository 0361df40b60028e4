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


def test_fractions_beyond_microseconds_are_cut_off_not_rounded() -> None:
    assert buckets.parse("2026-11-22T10:05:59.999999999Z").microsecond == 999_999


LIKE_TIMES = st.from_regex(
    r"\d{4}-[01]\d-[0-3]\d[T ][0-2]\d:[0-6]\d(:[0-6]\d)?([.,]\d{1,10})?"
    r"(Z|z|[+-][0-2]\d:?[0-6]\d(:[0-6]\d)?)?",
    fullmatch=True,
)
ODD_TIMES = st.sampled_from(
    [
        *("2026-W47-7T10:05Z", "20261122T100500Z", "2026-11-22T10Z", "", "Z", "2026-11-22Z"),
        *("2026-11-22T24:00:00Z", "2026-11-22T10:05:60Z", "2026-02-29T10:05Z", "2026-11-22T10:05"),
        *("2026-11-22T10:05+00:00:30", "2026-11-22T10:05:00.Z", "2026-11-22T10:0\u0665:00Z"),
    ]
)


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
