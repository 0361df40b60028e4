"""A throttled API is asked again, later each time, and only while there is time."""

from datetime import UTC, datetime
from typing import Any

import pytest
from aggregated_metrics.adapters.retries import STOP_SECONDS, Retries
from aggregated_metrics.adapters.source_rows import SourceRows
from aggregated_metrics.core.errors import AuthorizationError, ContentionError, ThrottledError
from aggregated_metrics.core.record_types import MODELS

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


class Throttling:
    """A client that throttles so many requests, and then gives an empty page."""

    def __init__(self, times: int) -> None:
        self.times, self.asked = times, 0

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        self.asked += 1
        if self.asked <= self.times:
            raise ThrottledError("slower", operation="CountItem", errors=(), data=None)
        return {"page": {"items": [], "nextToken": None}}


class Waits:
    """Time that passes by waiting alone."""

    def __init__(self, seconds: float) -> None:
        self.left, self.waited = seconds, list[float]()
        self.retries = Retries(lambda: self.left, self.sleep, lambda: 1.0)

    def sleep(self, seconds: float) -> None:
        self.left -= seconds
        self.waited.append(seconds)


def count(client: Throttling, retries: Retries) -> int:
    source = SourceRows(client, clock=lambda: NOW, retries=retries)
    ranges = [("2026-11-22T10", "2026-11-22T11")]
    return source.count(MODELS["Item"], "acct-1", [0], ranges).pages


def test_a_throttled_listing_of_source_rows_is_asked_again() -> None:
    client, waits = Throttling(3), Waits(60)
    assert count(client, waits.retries) == 1
    assert client.asked == 4
    assert waits.waited == sorted(waits.waited)
    assert len(set(waits.waited)) == 3


def test_a_listing_that_stays_throttled_gives_up_in_time() -> None:
    waits = Waits(30)
    with pytest.raises(ContentionError, match="the time is over"):
        count(Throttling(10_000), waits.retries)
    assert 0 < waits.left < STOP_SECONDS


def test_no_wait_is_longer_than_two_seconds_or_shorter_than_half_of_its_longest() -> None:
    waits = Waits(10_000)
    for jitter, longest in ((lambda: 1.0, 2.0), (lambda: 0.0, 1.0)):
        waits.waited.clear()
        retries = Retries(lambda: waits.left, waits.sleep, jitter)
        for attempt in range(1, 1_000):
            retries.wait(attempt, "slower")
        assert max(waits.waited) == longest


def test_what_is_not_throttling_is_not_asked_again() -> None:
    waits = Waits(60)

    def refuse() -> None:
        raise AuthorizationError("no", operation="CountItem")

    with pytest.raises(AuthorizationError):
        waits.retries.until_taken(refuse, "nothing is listed")
    assert waits.waited == []
