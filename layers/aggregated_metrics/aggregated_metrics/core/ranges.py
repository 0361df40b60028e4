"""Ranges of hours that somebody asks to have checked. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from aggregated_metrics.core import buckets
from aggregated_metrics.core.buckets import DAY
from aggregated_metrics.core.errors import EventError
from aggregated_metrics.core.listing import UPDATED
from aggregated_metrics.core.record_types import BREAKDOWNS, MODELS, RECORD_TYPES, model_of
from aggregated_metrics.core.series import HourId, Series

MOST_DAYS = 31
"""Of so many days at most the sums are held at once."""


@dataclass(frozen=True, slots=True)
class Range:
    """Hours of an account; `start` and `end` are epoch minutes, widened to whole hours.

    `days` is how many UTC days are checked at once.
    """

    account_id: str
    record_types: tuple[str, ...]
    start: int
    end: int
    days: int = MOST_DAYS

    def whole_days(self) -> int:
        """How many UTC days it touches, of those that are checked at once."""
        return min(self.days, -(-self.end // DAY) - self.start // DAY)

    def windows(self) -> Iterator["Range"]:
        """Its parts of at most so many UTC days, the newest first."""
        end = self.end
        while end > self.start:
            start = max(self.start, ((end - 1) // DAY - self.days + 1) * DAY)
            yield replace(self, start=start, end=end)
            end = start

    def by_model(self) -> Iterator["Range"]:
        """The same hours, for each model that its record types belong to."""
        for model in MODELS.values():
            names = tuple(name for name in self.record_types if model_of(name) is model)
            if names:
                yield replace(self, record_types=names)

    def is_long(self) -> bool:
        """Whether one reading has to serve several windows: of a model listed by updatedAt."""
        models = {model_of(name).name: model_of(name) for name in self.record_types}.values()
        return (
            len(models) == 1
            and all(model.listing and model.listing[1] == UPDATED for model in models)
            and sum(1 for _ in self.windows()) > 1
        )

    def hours(self) -> list[HourId]:
        """Every hour of every record type in it; of breakdowns without naming a scope: of all."""
        return [
            HourId(Series(self.account_id, record_type), hour)
            for record_type in self.record_types
            for hour in range(self.start, self.end, buckets.HOUR)
        ]

    def as_event(self, *, repair: bool) -> dict[str, Any]:
        """The event that asks for it."""
        event: dict[str, Any] = {
            "accountId": self.account_id,
            "recordTypes": list(self.record_types),
            "start": buckets.iso(self.start),
            "end": buckets.iso(self.end),
            "repair": repair,
        }
        return event if self.days == MOST_DAYS else event | {"days": self.days}


def parse_range(event: Mapping[str, Any], counted: Sequence[str] = RECORD_TYPES) -> Range:
    """The range that an event asks for, widened to whole hours.

    Without record types it is about all that are counted and can be checked.

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
    days = event.get("days", MOST_DAYS)
    if type(days) is not int or not 1 <= days <= MOST_DAYS:
        raise EventError(f"days is {days!r}, not a number from 1 to {MOST_DAYS}")
    first, last = buckets.to_minute(start), -((buckets.EPOCH - end) // timedelta(minutes=1))
    return Range(
        account_id,
        _record_types(event.get("recordTypes"), counted),
        buckets.floor(first, buckets.HOUR),
        -buckets.floor(-last, buckets.HOUR),
        days,
    )


def repair_of(event: Mapping[str, Any], *, otherwise: bool) -> bool:
    """Whether an event asks to set right what is wrong; `otherwise` where it does not say.

    Raises:
        EventError: it says neither true nor false.
    """
    repair = event.get("repair", otherwise)
    if not isinstance(repair, bool):
        raise EventError(f"repair is {repair!r}, not true or false")
    return repair


def _record_types(asked: Any, counted: Sequence[str]) -> tuple[str, ...]:
    known = (*RECORD_TYPES, *BREAKDOWNS)
    if not asked:
        return tuple(counted)
    if not isinstance(asked, list | tuple):
        raise EventError(f"recordTypes is {asked!r}, not a list such as {list(RECORD_TYPES[:2])}")
    if unknown := sorted({str(name) for name in asked} - set(known)):
        raise EventError(f"unknown record type {unknown[0]!r}: use {', '.join(known)}")
    for name in asked:
        if model_of(name).listing is None:
            raise EventError(
                f"{name} cannot be checked by range: {model_of(name).name} has no query by account "
                "and time (its listing); only a reading of the whole table can"
            )
    return tuple(dict.fromkeys(asked))


def steps(asked: Range) -> Iterator[tuple[Range, Range]]:
    """What is checked one after the other: each with what is left to be done, itself included.

    A model that its index lists by the time that counts is read in windows, and together with the
    others if there is only one. One that is listed by updatedAt is read once for all windows: each
    window would list again all that came later.
    """
    long = [part for part in asked.by_model() if part.is_long()]
    names = asked.record_types
    for part in long:
        yield replace(asked, record_types=names), part
        names = tuple(name for name in names if name not in part.record_types)
    if names:
        for window in replace(asked, record_types=names).windows():
            yield replace(asked, record_types=names, end=window.end), window


def plan(asked: Any, counted: Sequence[str] = RECORD_TYPES) -> list[dict[str, Any]]:
    """A backfill's units, each an event that one invocation carries out: one model's each.

    They repair, unless `asked` says that they do not.

    Raises:
        EventError: a field is missing or wrong.
    """
    whole = parse_range(asked, counted)
    repair = repair_of(asked, otherwise=True)
    return [part.as_event(repair=repair) for one in whole.by_model() for _, part in steps(one)]
