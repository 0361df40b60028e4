from datetime import datetime

import pytest
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import ArgumentError


def test_fractions_beyond_microseconds_are_cut_off_not_rounded() -> None:
    assert buckets.parse("2026-11-22T10:05:59.999999999Z").microsecond == 999_999


def test_a_naive_datetime_is_refused_with_its_cure() -> None:
    with pytest.raises(ArgumentError, match=r"datetime\.now\(UTC\)"):
        buckets.to_minute(datetime(2026, 11, 22, 10))  # noqa: DTZ001


def test_a_text_without_offset_is_refused_with_its_cure() -> None:
    with pytest.raises(ArgumentError, match="no offset"):
        buckets.parse("2026-11-22T10:05:00")
