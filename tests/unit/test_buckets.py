from datetime import UTC, datetime

import pytest
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import ArgumentError


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 11, 22, 10, 0, tzinfo=UTC), "2026-11-22T10:00:00Z"),
        (datetime(2026, 12, 31, 23, 59, tzinfo=UTC), "2026-12-31T23:59:00Z"),
        (datetime(2027, 1, 1, tzinfo=UTC), "2027-01-01T00:00:00Z"),
        (datetime(2028, 2, 29, 12, 30, tzinfo=UTC), "2028-02-29T12:30:00Z"),
        (datetime(1969, 12, 31, 23, 59, tzinfo=UTC), "1969-12-31T23:59:00Z"),
        (datetime(987, 6, 5, 4, 3, tzinfo=UTC), "0987-06-05T04:03:00Z"),
    ],
)
def test_a_start_has_one_form(moment: datetime, text: str) -> None:
    assert buckets.iso(buckets.to_minute(moment)) == text


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T10:05Z",
        "2026-11-22T10:05:00Z",
        "2026-11-22T10:05:59.9Z",
        "2026-11-22T10:05:30.123Z",
        "2026-11-22T10:05:30.123456Z",
        "2026-11-22T10:05:59.999999999Z",
        "2026-11-22T10:05:00+00:00",
        "2026-11-22T10:05:00-00:00",
        "2026-11-22T15:35:30.000+05:30",
        "2026-11-22T02:05:30-08:00",
        "2026-11-22T10:05+00:00:30",
        "2026-11-23T00:05:30+14:00",
    ],
)
def test_every_form_of_awsdatetime_names_its_minute(text: str) -> None:
    minute = buckets.to_minute(buckets.parse(text))
    assert buckets.iso(minute) in ("2026-11-22T10:05:00Z", "2026-11-22T10:04:00Z")
    assert (buckets.iso(minute) == "2026-11-22T10:04:00Z") == (text == "2026-11-22T10:05+00:00:30")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-11-22",
        "2026-11-22T10:05",
        "2026-11-22T10:05:00",
        "2026-11-22Z",
        "2026-02-29T10:05:00Z",
        "2026-13-01T10:05:00Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T10:60:00Z",
        "2026-11-22T10:05:61Z",
        "2026-11-22T10:05:00+25:00",
        "12026-11-22T10:05:00Z",
        "1795341269",
        "2026-11-22T10:05:00,5Z",
        "2026-11-22 10:05:00Z",
        "2026-11-22T10:05:00.Z",
        "2026-11-22T10:05:00.1234567891Z",
        "2026-W47-7T10:05Z",
        "20261122T100500Z",
        "2026-11-22T10:05:00+0530",
    ],
)
def test_what_is_no_awsdatetime_is_refused(text: str) -> None:
    assert not buckets.is_time(text)
    for read in (buckets.parse, buckets.minute_of):
        with pytest.raises(ValueError, match=r"offset|AWSDateTime|range|in [01]\.\.|between"):
            read(text)


def test_fractions_beyond_microseconds_are_cut_off_not_rounded() -> None:
    assert buckets.parse("2026-11-22T10:05:59.999999999Z").microsecond == 999_999


@pytest.mark.parametrize("refuse", [buckets.to_minute, buckets.require_aware])
def test_a_naive_datetime_is_refused_with_its_cure(refuse: object) -> None:
    assert callable(refuse)
    with pytest.raises(ArgumentError, match=r"datetime\.now\(UTC\)"):
        refuse(datetime(2026, 11, 22, 10))  # noqa: DTZ001


def test_a_text_without_offset_is_naive() -> None:
    with pytest.raises(ArgumentError, match="no offset"):
        buckets.parse("2026-11-22T10:05:00")
