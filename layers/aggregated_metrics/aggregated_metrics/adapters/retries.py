"""How this package asks: side by side, bounded, and again, later each time, where throttled."""

import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from aggregated_metrics.core.errors import ContentionError, GraphQLError, ThrottledError

GROUPS_AT_ONCE = 4
"""Groups of hours: each may hold megabytes of metadata."""
STOP_SECONDS = 2.0
"""With less time left than this no further request is begun."""
_BACKOFF = (0.1, 2.0)
"""Seconds: long beside an answer, so that those who met once do not meet again at the next try."""
_ROW = 3
"""How long the path of an error at a row is at least: alias, `items`, number, field."""

type Execute = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Carries out a document; waits where the API throttles."""


@dataclass(frozen=True, slots=True)
class Retries:
    """Waits while its caller has time left; then it raises ContentionError."""

    time_left: Callable[[], float]
    sleep: Callable[[float], None]

    def call_with_backoff[Made](self, request: Callable[[], Made], what: str) -> Made:
        """Carry out a request; where it is throttled, again after a while.

        `what` holds if the time is over, such as "an hour is not loaded".
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
        """Wait before the next try."""
        first, most = _BACKOFF
        jitter = (1 + random.random()) / 2  # noqa: S311 - no secret
        self.sleep(min(most, first * 2 ** min(attempt, 10)) * jitter)
        self.stop_in_time(why)

    def stop_in_time(self, why: str) -> None:
        """Go on only while there is time."""
        if self.time_left() < STOP_SECONDS:
            raise ContentionError(f"the time is over: {why}; what was done is valid: try again")


def map_concurrently[Given, Made](
    work: Callable[[Given], Made], given: Sequence[Given]
) -> Iterator[Made]:
    """`work` on each, at most GROUPS_AT_ONCE at a time; a single one needs no thread."""
    if len(given) < 2:  # noqa: PLR2004 - one or none
        yield from map(work, given)
        return
    with ThreadPoolExecutor(min(GROUPS_AT_ONCE, len(given))) as pool:
        yield from pool.map(work, given)


def read_page(
    execute: Execute, document: tuple[str, dict[str, Any]], alias: str
) -> tuple[list[Any], dict[int, Sequence[str]], str | None]:
    """A page's rows, null for one not given whole; its field that failed; the next token."""
    failed: dict[int, Sequence[str]] = {}
    try:
        page = execute(*document)[alias]
    except GraphQLError as error:
        page = error.data.get(alias)
        paths = [list(each.get("path") or ()) for each in error.errors]
        if page is None or any(p[:2] != [alias, "items"] or len(p) < _ROW for p in paths):
            raise
        failed = {path[_ROW - 1]: path[_ROW : _ROW + 1] for path in paths}
    rows = [None if i in failed else row for i, row in enumerate(page["items"])]
    return rows, failed, page.get("nextToken")
