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


def test_fractions_beyond_microseconds_are_cut_off_not_rounded() -> None:
    assert buckets.parse("2026-11-22T10:05:59.999999999Z").microsecond == 999_999


@pytest.mark.parametrize("refuse", [buckets.to_minute, buckets.require_aware])
def test_a_naive_datetime_is_refused_with_its_cure(refuse: object) -> None:
    assert callable(refuse)
    with pytest.raises(ArgumentError, match=r"datetime\.now\(UTC\)"):
        refuse(datetime(2026, 11, 22, 10))  # noqa: DTZ001


def test_a_text_without_offset_is_refused_with_its_cure() -> None:
    with pytest.raises(ArgumentError, match="no offset"):
        buckets.parse("2026-11-22T10:05:00")
