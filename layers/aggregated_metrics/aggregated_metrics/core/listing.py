"""Where an index lists the rows of an hour: ranges of sort-key text. Pure.

Indexes sort times as raw text, by updatedAt or by the time that counts (createdAt, mostly). An
hour's *own range* is where its rows are listed if their times are written in UTC and no row was
updated before its time. The stream sees both attributes: of rows outside, the hour's minutes keep
the least and greatest text.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from aggregated_metrics.core import buckets

UPDATED = "updatedAt"
_T = slice(10, 11)
_OFFSET = re.compile(r"\d[+-]\d\d:\d\d(:\d\d)?\Z")
_LAST = "~"
"""Sorts after every character of a time."""

type Range = tuple[str, str | None]
"""From the first text to the last, both included; None: to the end of the index."""

type Where = tuple[str | None, int]
"""Where an index lists a row: the text, if it is not in its hour's own range; 1 if nowhere."""
IN_RANGE: Where = (None, 0)
NOWHERE: Where = (None, 1)

type Listed = tuple[int, str | None]
"""A minute, and the sort-key text of a row of it that its hour's own range does not hold: None if
no index lists it."""


def is_time(text: Any) -> bool:
    """Whether AppSync can give it as an AWSDateTime: with a T and a zone; Python takes more."""
    return (
        isinstance(text, str)
        and text[_T] == "T"
        and ((text[-1] == "Z" and text[-2].isdigit()) or _OFFSET.search(text) is not None)
    )


def where(key: str, text: Any, minute: int) -> Where:
    """Where a row of this minute is listed that has this text under the index's attribute.

    A row that the API cannot give is as good as listed nowhere.
    """
    if not is_time(text):
        return NOWHERE
    prefix = _prefix(minute - minute % buckets.HOUR)
    plain = text >= prefix if key == UPDATED else text.startswith(prefix)
    return IN_RANGE if plain else (text, 0)


def ranges(key: str, hours: Iterable[int], listed: Iterable[tuple[str, str]]) -> list[Range]:
    """The ranges that together list every row of the hours, apart from one another, in order.

    Args:
        key: the attribute that the index sorts by.
        hours: the starts of the hours, epoch minutes.
        listed: the least and greatest text of rows outside, of any minute of theirs.
    """
    starts = sorted(set(hours))
    if not starts:
        return []
    if key == UPDATED:
        # A row is updated when it is created or later; earlier ones are told by `listed`.
        return [(min([_prefix(starts[0]), *(least for least, _ in listed)]), None)]
    wanted = sorted([(_prefix(hour), _prefix(hour) + _LAST) for hour in starts] + list(listed))
    merged = [wanted[0]]
    for least, greatest in wanted[1:]:
        if least <= merged[-1][1] or _follows(merged[-1][1], least):
            merged[-1] = (merged[-1][0], max(merged[-1][1], greatest))
        else:
            merged.append((least, greatest))
    return list(merged)


def condition(listed: Range) -> dict[str, Any]:
    """A range as AppSync's key condition."""
    first, last = listed
    return {"ge": first} if last is None else {"between": [first, last]}


def _follows(last: str, first: str) -> bool:
    """Whether an hour's own range begins where another hour's ends."""
    prefix, end = last[:-1], last[-1:]
    if end != _LAST or len(first) != len(prefix):
        return False
    try:
        return _prefix(buckets.minute_of(f"{prefix}00Z") + buckets.HOUR) == first
    except (OverflowError, ValueError):
        return False


@lru_cache(maxsize=4096)
def _prefix(hour: int) -> str:
    return buckets.iso(hour)[:14]
