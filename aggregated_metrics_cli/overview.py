"""What was counted for an account in a range: the same views for the page and the terminal.

Here they are collected through the package's own reading side, as any other reader would.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property, partial
from itertools import chain
from typing import Any

from aggregated_metrics import Summary, breakdowns, complete_until
from aggregated_metrics.adapters.appsync import Client
from aggregated_metrics.core import buckets
from aggregated_metrics.core.cover import Step, edges, minutes
from aggregated_metrics.core.models import BUILT_IN, Models
from aggregated_metrics.core.series import Series
from aggregated_metrics.reading import read_points

from aggregated_metrics_cli.errors import CommandError

LABELS = {
    "decisionCount": "decisions",
    "externalAiApiCount": "AI calls",
    "cachedAiApiCount": "cached",
    "errorCount": "errors",
}
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_STEPS: tuple[tuple[timedelta, Step], ...] = (
    (3 * _HOUR, timedelta(minutes=5)),
    (12 * _HOUR, timedelta(minutes=15)),
    (3 * _DAY, _HOUR),
    (120 * _DAY, _DAY),
)

type Sums = Mapping[str, int]
"""Measures by name; a name that is not there is zero."""


def label(measure: str) -> str:
    """What people call a measure.

    >>> label("errorCount"), label("unchangedCount")
    ('errors', 'unchanged')
    """
    words = re.sub(r"([A-Z])", r" \1", measure.removesuffix("Count")).lower()
    return LABELS.get(measure, words)


def added(parts: Iterable[Sums]) -> Sums:
    """The sums of parts, name by name."""
    sums: Counter[str] = Counter()
    for part in parts:
        sums.update(part)
    return sums


def measures_of(parts: Iterable["Counted"]) -> list[str]:
    """The measures that are not zero in all parts; always the count."""
    sums = added(part.sums for part in parts)
    return [name for name, sum_ in sums.items() if sum_ or name == "count"] or ["count"]


@dataclass(frozen=True)
class Counted:
    """One series: its points, which tile the range.

    Attributes:
        depth: 1 for a part of the one before: a split, or a score of a scorecard.
    """

    series: Series
    points: Sequence[Summary]
    depth: int = 0

    @property
    def name(self) -> str:
        """The scorecard or score of a breakdown; otherwise the record type."""
        return self.series.scope_id or self.series.record_type

    @cached_property
    def sums(self) -> Sums:
        """The whole range's."""
        return added(point.sums for point in self.points)

    @cached_property
    def counts(self) -> list[int]:
        """The number of rows of each point."""
        return [point.measures.count for point in self.points]

    @property
    def identity(self) -> dict[str, str]:
        """The record type, and the scorecard and score of a breakdown."""
        return {"recordType": self.series.record_type, **self.series.scope_as_json()}


type Group = Sequence[Counted]
"""A record type and its splits; or all scorecards, the largest first, each with its scores."""


@dataclass(frozen=True)
class Overview:
    """What was counted for one account in one range.

    Attributes:
        account_id: whose.
        start, end: the range, in the zone of the reader.
        step: how far apart the points are.
        made: when this was read.
        as_of: up to when the slowest stream is applied; None where not known.
        complete_until: up to when the account's numbers are complete; None where not known.
        sections: the record types with rows in the range.
        quiet: the record types without any.
        breakdowns: by their titles, such as `scoreResults by scorecard and score`.
    """

    account_id: str
    start: datetime
    end: datetime
    step: Step
    made: datetime
    as_of: datetime | None
    complete_until: datetime | None
    sections: Sequence[Group]
    quiet: Sequence[str]
    breakdowns: Mapping[str, Group]

    @property
    def totals(self) -> list[Counted]:
        """Each record type and its splits."""
        return [*chain.from_iterable(self.sections)]

    @property
    def open(self) -> dict[datetime, list[str]]:
        """The record types that may still grow, by the start of their first open point."""
        found: dict[datetime, list[str]] = {}
        for each in self.totals:
            first = next((point.start for point in each.points if not point.complete), None)
            if first is not None and each.sums["count"]:
                found.setdefault(first, []).append(each.name)
        return dict(sorted(found.items()))

    @property
    def is_complete(self) -> bool:
        """Whether nothing in the range is expected to change."""
        return bool(self.complete_until and self.end <= self.complete_until) and not self.open

    @property
    def freshness(self) -> str:
        """As of when the numbers are, for people."""
        if self.as_of is None:
            return "not known as of when"
        day = "" if self.as_of.date() == self.made.date() else f"{self.as_of:%d %b %Y}, "
        return f"as of {day}{self.as_of:%H:%M %Z}"

    @property
    def state(self) -> str:
        """Up to when it is complete, for people."""
        if self.is_complete:
            return "Complete"
        until = self.complete_until
        return f"Complete up to {until:%d %b %Y, %H:%M %Z}" if until else "Not known to be complete"

    @property
    def span(self) -> str:
        """The range, for people."""
        start, end, zone = self.start, self.end, f"{self.start:%Z}"
        if start.time() == end.time() == datetime.min.time():
            if (end.date() - start.date()).days == 1:
                return f"{start:%A %d %B %Y} {zone}"
            return f"{start:%d %b %Y} to {end:%d %b %Y} {zone}, the last day not included"
        day = "" if start.date() == end.date() else f"{end:%d %b %Y}, "
        return f"{start:%d %b %Y}, {start:%H:%M} to {day}{end:%H:%M} {zone}"

    @property
    def _every(self) -> Iterator[Counted]:
        return chain(self.totals, *self.breakdowns.values())

    def rows(self) -> Iterator[dict[str, Any]]:
        """Each point of each series, for a spreadsheet."""
        for each in self._every:
            yield from ({**each.identity, **_as_json(point)} for point in each.points)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "accountId": self.account_id,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "made": self.made.isoformat(),
            "completeUntil": self.complete_until and self.complete_until.isoformat(),
            "series": [
                each.identity | {"sums": each.sums, "points": [*map(_as_json, each.points)]}
                for each in self._every
            ],
        }


def _as_json(point: Summary) -> dict[str, Any]:
    span = {"start": point.start.isoformat(), "end": point.end.isoformat()}
    as_of = point.as_of and point.as_of.isoformat()
    return {**span, **point.sums, "complete": point.complete, "asOf": as_of}


def step_of(start: datetime, end: datetime) -> Step:
    """How far apart points are best, so that a chart has some dozens of them."""
    return next((step for most, step in _STEPS if end - start <= most), "month")


def collect(
    client: Client,
    account_id: str,
    start: datetime,
    end: datetime,
    zone: tzinfo = UTC,
    now: datetime | None = None,
    *,
    models: Models = BUILT_IN,
    record_types: Sequence[str] = (),
    step: Step | None = None,
) -> Overview:
    """Read everything that the views show.

    Args:
        client: the API.
        account_id: whose.
        start: where the range begins.
        end: where it ends; not included.
        zone: whose days, and in which times are shown.
        now: the time now; a test passes its own.
        models: what is counted.
        record_types: only these, breakdowns included; without any all.
        step: how far apart the points are; by the range's length without one.

    Raises:
        ArgumentError: `end` is before `start`, or the step makes too many points.
        ApiError: the API refused, or did not answer.
    """
    made = now or datetime.now(UTC)
    first, last = minutes(start, end)
    step = step or step_of(start, end)
    grid = _elapsed(edges(first, last, step, zone), made)
    read = partial(read_points, client, zone=zone, now=made)
    groups = [
        [Series(account_id, name) for name in model.plain_types if _is_wanted(name, record_types)]
        for model in models
    ]
    points = read([*chain.from_iterable(groups)], grid)
    sections = [
        [Counted(series, points[series], min(i, 1)) for i, series in enumerate(group)]
        for group in groups
        if group
    ]
    until = complete_until(client, account_id, now=made)
    applied = [as_of for group in sections if (as_of := group[0].points[-1].as_of)]
    wanted = [name for name in models.breakdowns if _is_wanted(name, record_types)]
    stored = breakdowns(client, account_id, *wanted)
    scopes = read([*chain.from_iterable(stored.values())], (first, last))
    return Overview(
        account_id=account_id,
        start=start.astimezone(zone),
        end=end.astimezone(zone),
        step=step,
        made=made.astimezone(zone),
        as_of=min(applied, default=None) if until else None,
        complete_until=until and until.astimezone(zone),
        sections=[group for group in sections if group[0].sums["count"]],
        quiet=[group[0].name for group in sections if not group[0].sums["count"]],
        breakdowns=dict(_breakdowns(models, scopes)),
    )


def _is_wanted(name: str, record_types: Sequence[str]) -> bool:
    return not record_types or name in record_types


def _elapsed(grid: Sequence[int], now: datetime) -> Sequence[int]:
    """A chart's edges up to the point that holds now; the future is no point without rows."""
    begun = [edge for edge in grid if edge <= buckets.to_minute(now)]
    return grid[: max(2, len(begun) + 1)]


def _breakdowns(
    models: Models, scopes: Mapping[Series, Sequence[Summary]]
) -> Iterator[tuple[str, Group]]:
    """The scopes of each model's rows; its scores alone where no scorecard is counted."""
    found = [Counted(series, points) for series, points in scopes.items()]
    found = [each for each in found if any(each.sums.values())]
    found.sort(key=lambda each: -each.sums["count"])
    for model in models:
        own = [each for each in found if each.series.record_type in model.breakdowns]
        scores = [each for each in own if each.series.score_id]
        group: list[Counted] = []
        for card in own:
            if card.series.score_id is None:
                group.append(card)
                group += [
                    replace(score, depth=1)
                    for score in scores
                    if score.series.scorecard_id == card.series.scorecard_id
                ]
        if own:
            ids = max(model.breakdowns.values(), key=len)
            by = " and ".join(name.removesuffix("Id") for name in ids)
            yield f"{model.record_type} by {by}", group or scores


def must_be_stored(client: Client, account_id: str) -> None:
    """Refuse an account without any bucket, whatever the range: a misspelt one has none, too.

    Raises:
        CommandError: nothing is stored for it.
    """
    found = client.execute(_ANYTHING, {"accountId": account_id})
    if not found["listAggregatedMetrics"]["items"]:
        raise CommandError(f"nothing is stored for the account {account_id!r}: is it misspelt?")


_ANYTHING = """query HasAnything($accountId: String!) {
  listAggregatedMetrics(accountId: $accountId, limit: 1) { items { compositeKey } }
}"""
