"""How this package asks: side by side, bounded, and again, later each time, where throttled."""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aggregated_metrics.core.errors import ContentionError, ThrottledError

GROUPS_AT_ONCE = 4
"""Groups of hours: each may hold megabytes of metadata."""
STOP_SECONDS = 2.0
"""With less time left than this no further request is begun."""
_BACKOFF = (0.1, 2.0)
"""Seconds: long beside an answer, so that those who met once do not meet again at the next try."""


@dataclass(frozen=True, slots=True)
class Retries:
    """Waits within the time that its caller has.

    Attributes:
        time_left: seconds that the caller still has.
        sleep, jitter: how to wait; a test passes its own.
        advice: what somebody should know, or do, for whom the time was not enough.
    """

    time_left: Callable[[], float] = lambda: 60.0
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random
    advice: str = "what was saved is valid and the rest comes again"

    def call_with_backoff[Made](self, request: Callable[[], Made], what: str) -> Made:
        """Carry out a request; where it is throttled, again after a while.

        Raises:
            ContentionError: the time is over, and `what` (such as "an hour is not loaded") holds.
        """
        attempt = 0
        while True:
            self.stop_in_time(what)
            try:
                return request()
            except ThrottledError as error:
                attempt += 1
                self.wait(attempt, str(error))

    def wait(self, attempt: int, why: str) -> None:
        """Wait before the next try.

        Raises:
            ContentionError: the time is over.
        """
        first, most = _BACKOFF
        self.sleep(min(most, first * 2 ** min(attempt, 10)) * (1 + self.jitter()) / 2)
        self.stop_in_time(why)

    def stop_in_time(self, why: str) -> None:
        """Go on only while there is time.

        Raises:
            ContentionError: there is not.
        """
        if self.time_left() < STOP_SECONDS:
            raise ContentionError(f"the time is over: {why}; {self.advice}")


def map_concurrently[Given, Made](
    work: Callable[[Given], Made], given: Sequence[Given]
) -> Iterator[Made]:
    """`work` on each, at most GROUPS_AT_ONCE at a time; a single one needs no thread."""
    if len(given) < 2:  # noqa: PLR2004 - one or none
        yield from map(work, given)
        return
    with ThreadPoolExecutor(min(GROUPS_AT_ONCE, len(given))) as pool:
        yield from pool.map(work, given)


def packed[Part](
    sized: Iterable[tuple[Part, int]], most: int, most_size: int
) -> Iterator[list[Part]]:
    """Parts of a request with their sizes, at most so many and of that size at a time."""
    part: list[Part] = []
    whole = 0
    for each, size in sized:
        if len(part) == most or (part and whole + size > most_size):
            yield part
            part, whole = [], 0
        part.append(each)
        whole += size
    if part:
        yield part
