"""A throttled API is asked again, later each time, and only while there is time."""

import random

import pytest
from aggregated_metrics.adapters.retries import STOP_SECONDS, Retries
from aggregated_metrics.core.errors import ContentionError, ThrottledError


class Waits:
    """Time that passes by waiting alone."""

    def __init__(self, seconds: float) -> None:
        self.left, self.waited, self.asked = seconds, list[float](), 0
        self.retries = Retries(lambda: self.left, self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.left -= seconds
        self.waited.append(seconds)

    def ask(self, throttled: int) -> int:
        """A request that is throttled so many times; gives how often it was carried out."""

        def request() -> int:
            self.asked += 1
            if self.asked <= throttled:
                raise ThrottledError("slower", operation="CountItem")
            return self.asked

        return self.retries.call_with_backoff(request, "rows are not listed")


@pytest.mark.parametrize("jitter", [1.0, 0.0])
def test_what_is_throttled_is_asked_again_later_each_time_and_half_of_that_is_by_chance(
    monkeypatch: pytest.MonkeyPatch, jitter: float
) -> None:
    monkeypatch.setattr(random, "random", lambda: jitter)
    waits = Waits(60)
    assert waits.ask(throttled=6) == 7
    assert waits.waited == [most * (1 + jitter) / 2 for most in (0.2, 0.4, 0.8, 1.6, 2.0, 2.0)]


def test_what_stays_throttled_is_given_up_in_time() -> None:
    waits = Waits(30)
    with pytest.raises(ContentionError, match=r"the time is over: .*what was done is valid"):
        waits.ask(throttled=10_000)
    assert 0 < waits.left < STOP_SECONDS


def test_without_time_nothing_is_asked() -> None:
    waits = Waits(STOP_SECONDS - 0.1)
    with pytest.raises(ContentionError, match="rows are not listed"):
        waits.ask(throttled=0)
    assert waits.asked == 0
