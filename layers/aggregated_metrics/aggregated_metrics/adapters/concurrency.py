"""Work side by side, bounded: for requests that wait for an answer."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

GROUPS_AT_ONCE = 4
"""Groups of hours: each may hold megabytes of metadata."""


def map_concurrently[Given, Made](
    work: Callable[[Given], Made], given: Sequence[Given]
) -> Iterator[Made]:
    """`work` on each, at most GROUPS_AT_ONCE at a time; a single one needs no thread."""
    if len(given) < 2:  # noqa: PLR2004 - one or none
        yield from map(work, given)
        return
    with ThreadPoolExecutor(min(GROUPS_AT_ONCE, len(given))) as pool:
        yield from pool.map(work, given)
