"""Ranges of hours that somebody asks to have checked. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import EventError
from aggregated_metrics.core.hours import HourId, Series
from aggregated_metrics.core.record_types import MODELS, RECORD_TYPES, model_of

DAY = 24 * buckets.HOUR


@dataclass(frozen=True, slots=True)
class Range:
    """Hours of an account; `start` and `end` are epoch minutes, widened to whole hours."""

    account_id: str
    record_types: tuple[str, ...]
    start: int
    end: int

    def days(self) -> Iterator["Range"]:
        """Its UTC days, the newest first."""
        end = self.end
        while end > self.start:
            start = max(self.start, (end - 1) // DAY * DAY)
            yield Range(self.account_id, self.record_types, start, end)
            end = start

    def hours(self) -> list[HourId]:
        """Every hour of every record type in it."""
        return [
            HourId(Series(self.account_id, record_type), hour)
            for record_type in self.record_types
            for hour in range(self.start, self.end, buckets.HOUR)
        ]

    def as_event(self, *, repair: bool) -> dict[str, Any]:
        """The event that asks for it."""
        return {
            "accountId": self.account_id,
            "recordTypes": list(self.record_types),
            "start": buckets.iso(self.start),
            "end": buckets.iso(self.end),
            "repair": repair,
        }


def parse_range(event: Mapping[str, Any], attached: Sequence[str] = ()) -> Range:
    """The range that an event asks for, widened to whole hours.

    Args:
        event: with `accountId`, `start`, `end` and perhaps `recordTypes`.
        attached: the record types that stand for none; all, if empty.

    Raises:
        EventError: a field is missing or wrong.
    """
    try:
        account_id = event["accountId"]
        start, end = (buckets.parse(event[name]) for name in ("start", "end"))
    except (KeyError, TypeError, ValueError) as error:
        raise EventError(
            f"accountId, start and end (such as 2026-11-22T10:00:00Z) are needed ({error})"
        ) from error
    if not isinstance(account_id, str) or not account_id:
        raise EventError(f"accountId is {account_id!r}, not an account's id")
    if end <= start:
        raise EventError("end must be later than start")
    first, last = buckets.to_minute(start), -((buckets.EPOCH - end) // timedelta(minutes=1))
    return Range(
        account_id,
        _record_types(event.get("recordTypes"), attached),
        buckets.floor(first, buckets.HOUR),
        -buckets.floor(-last, buckets.HOUR),
    )


def _record_types(asked: Any, attached: Sequence[str]) -> tuple[str, ...]:
    if not asked:
        return tuple(attached) or RECORD_TYPES
    if not isinstance(asked, list | tuple):
        raise EventError(f"recordTypes is {asked!r}, not a list such as {list(RECORD_TYPES[:2])}")
    if unknown := sorted({str(name) for name in asked} - set(RECORD_TYPES)):
        raise EventError(f"unknown record type {unknown[0]!r}: use {', '.join(RECORD_TYPES)}")
    return tuple(dict.fromkeys(asked))


def plan(asked: Any, attached: Sequence[str] = ()) -> list[dict[str, Any]]:
    """A backfill's units: an event a day and model, the newest day first; see `parse_range`.

    Raises:
        EventError: a field is missing or wrong.
    """
    whole = parse_range(asked, attached)
    by_model = [
        tuple(name for name in whole.record_types if model_of(name) is model)
        for model in MODELS.values()
    ]
    return [
        Range(day.account_id, names, day.start, day.end).as_event(repair=True)
        for day in whole.days()
        for names in by_model
        if names
    ]
