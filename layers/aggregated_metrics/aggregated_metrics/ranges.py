"""Ranges of hours that somebody asks to have checked. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from aggregated_metrics import buckets
from aggregated_metrics.errors import EventError
from aggregated_metrics.hours import HourId, Series
from aggregated_metrics.record_types import MODELS, RECORD_TYPES, model_of

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


def parse_range(event: Mapping[str, Any]) -> Range:
    """The range that an event asks for, widened to whole hours.

    Raises:
        EventError: a field is missing or wrong.
    """
    try:
        account_id = event["accountId"]
        start, end = (buckets.to_minute(buckets.parse(event[name])) for name in ("start", "end"))
    except (KeyError, TypeError, ValueError) as error:
        raise EventError(
            f"accountId, start and end (such as 2026-11-22T10:00:00Z) are needed ({error})"
        ) from error
    record_types = tuple(event.get("recordTypes") or RECORD_TYPES)
    if unknown := sorted(set(record_types) - set(RECORD_TYPES)):
        raise EventError(f"unknown record type {unknown[0]!r}: use {', '.join(RECORD_TYPES)}")
    if end <= start:
        raise EventError("end must be later than start")
    return Range(
        account_id, record_types, buckets.floor(start, 60), -buckets.floor(-end, buckets.HOUR)
    )


def plan(asked: Any) -> list[dict[str, Any]]:
    """A backfill's units: an event a day and model, the newest day first.

    Raises:
        EventError: a field is missing or wrong.
    """
    whole = parse_range(asked)
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
