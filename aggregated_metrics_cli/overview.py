"""What was counted for an account in a range: the same views for the page and the terminal.

Here they are collected through the package's own reading side, as any other reader would.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from typing import Any

from aggregated_metrics import Summary, breakdowns, complete_until
from aggregated_metrics.adapters.appsync import Client
from aggregated_metrics.core import buckets
from aggregated_metrics.core.cover import Step, edges, minutes
from aggregated_metrics.core.models import BUILT_IN, Model
from aggregated_metrics.core.series import Series
from aggregated_metrics.reading import read_points

LABELS = {
    "count": "count",
    "cost": "cost $",
    "decisionCount": "decisions",
    "externalAiApiCount": "AI calls",
    "cachedAiApiCount": "cached",
    "errorCount": "errors",
}
type Sums = Mapping[str, int]
"""Measures by name; a name that is not there is zero."""

OTHER = "other"
"""What a chart calls the rows of a record type that are in none of its splits."""
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_STEPS: tuple[tuple[timedelta, Step], ...] = (
    (3 * _HOUR, timedelta(minutes=5)),
    (12 * _HOUR, timedelta(minutes=15)),
    (3 * _DAY, _HOUR),
    (120 * _DAY, _DAY),
)


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


def names_of(parts: Iterable[Sums]) -> list[str]:
    """The measures that are not zero in all of them; always the count."""
    return [name for name, sum_ in added(parts).items() if sum_ or name == "count"] or ["count"]


@dataclass(frozen=True)
class Counted:
    """One record type: its points, which tile the range."""

    record_type: str
    points: Sequence[Summary]

    @cached_property
    def sums(self) -> Sums:
        """The whole range's."""
        return added(point.sums for point in self.points)

    @property
    def counts(self) -> list[int]:
        """The number of rows of each point."""
        return [point.measures.count for point in self.points]

    @property
    def open(self) -> list[Summary]:
        """The points that may still grow."""
        return [point for point in self.points if not point.complete]


@dataclass(frozen=True)
class Section:
    """A model's record type, and the splits of it."""

    whole: Counted
    splits: Sequence[Counted]

    @property
    def layers(self) -> list[tuple[str, list[int]]]:
        """Counts that add up to the whole's, point by point: each split's, and what is in none."""
        splits = [split for split in self.splits if split.sums["count"]]
        if not splits:
            return [(self.whole.record_type, self.whole.counts)]
        in_one = map(sum, zip(*(split.counts for split in splits), strict=True))
        rest = [max(0, a - b) for a, b in zip(self.whole.counts, in_one, strict=True)]
        layers = [(split.record_type, split.counts) for split in splits]
        return [*layers, (OTHER, rest)] if any(rest) else layers


@dataclass(frozen=True, slots=True)
class Scope:
    """The sums of one scorecard, or of one of its scores."""

    scorecard_id: str | None
    score_id: str | None
    sums: Sums

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"scorecardId": self.scorecard_id, "scoreId": self.score_id, **self.sums}


@dataclass(frozen=True, slots=True)
class Breakdown:
    """A record type by scorecard and by score, the largest first."""

    record_type: str
    scorecards: Sequence[Scope]
    scores: Sequence[Scope]

    def scores_of(self, scorecard_id: str | None) -> list[Scope]:
        """The scores of one scorecard."""
        return [scope for scope in self.scores if scope.scorecard_id == scorecard_id]


@dataclass(frozen=True, slots=True)
class Overview:
    """What was counted for one account in one range.

    Attributes:
        account_id: whose.
        start, end: the range, in `zone`.
        step: how far apart the points are.
        made: when this was read.
        complete_until: up to when the account's numbers are complete; None where not known.
        sections: the models with rows in the range.
        quiet: the record types without any.
        breakdowns: those record types that are also counted by scorecard or score.
    """

    account_id: str
    start: datetime
    end: datetime
    zone: tzinfo
    step: Step
    made: datetime
    complete_until: datetime | None
    sections: Sequence[Section]
    quiet: Sequence[str]
    breakdowns: Sequence[Breakdown]

    @property
    def open(self) -> dict[datetime, list[str]]:
        """The record types that may still grow, by the start of their first open point."""
        found: dict[datetime, list[str]] = {}
        for section in self.sections:
            for counted in (section.whole, *section.splits):
                if counted.open and counted.sums["count"]:
                    found.setdefault(counted.open[0].start, []).append(counted.record_type)
        return dict(sorted(found.items()))

    @property
    def is_complete(self) -> bool:
        """Whether nothing in the range is expected to change."""
        return bool(self.complete_until and self.end <= self.complete_until) and not self.open

    @property
    def is_empty(self) -> bool:
        """Whether nothing was counted in the range."""
        return not (self.sections or self.breakdowns)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Each point of each record type, for a spreadsheet."""
        for section in self.sections:
            for counted in (section.whole, *section.splits):
                for point in counted.points:
                    yield {"recordType": counted.record_type, **point.as_json()}

    @property
    def measures(self) -> list[str]:
        """The measures that are not zero everywhere; always the count."""
        return names_of(section.whole.sums for section in self.sections)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "accountId": self.account_id,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "made": self.made.isoformat(),
            "completeUntil": self.complete_until and self.complete_until.isoformat(),
            "recordTypes": {
                counted.record_type: {
                    "sums": counted.sums,
                    "points": [point.as_json() for point in counted.points],
                }
                for section in self.sections
                for counted in (section.whole, *section.splits)
            },
            "breakdowns": {
                each.record_type: [scope.as_json() for scope in (*each.scorecards, *each.scores)]
                for each in self.breakdowns
            },
        }


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
) -> Overview:
    """Read everything that the views show.

    Args:
        client: the API.
        account_id: whose.
        start: where the range begins.
        end: where it ends; not included.
        zone: whose days, and in which times are shown.
        now: the time now; a test passes its own.

    Raises:
        RangeError: `end` is before `start`.
        ApiError: the API refused, or did not answer.
    """
    made = now or datetime.now(UTC)
    first, last = minutes(start, end)
    step = step_of(start, end)
    plain = {name: Series(account_id, name) for model in BUILT_IN for name in model.plain_types}
    grid = _elapsed(edges(first, last, step, zone), made)
    points = read_points(client, plain.values(), grid, zone=zone, now=made)
    counted = {name: Counted(name, points[series]) for name, series in plain.items()}
    sections = [
        Section(counted[model.record_type], [counted[name] for name in model.plain_types[1:]])
        for model in BUILT_IN
    ]
    until = complete_until(client, account_id, now=made)
    return Overview(
        account_id=account_id,
        start=start.astimezone(zone),
        end=end.astimezone(zone),
        zone=zone,
        step=step,
        made=made.astimezone(zone),
        complete_until=until and until.astimezone(zone),
        sections=[section for section in sections if section.whole.sums["count"]],
        quiet=[
            section.whole.record_type for section in sections if not section.whole.sums["count"]
        ],
        breakdowns=_breakdowns(client, account_id, (first, last), made),
    )


def _elapsed(grid: Sequence[int], now: datetime) -> Sequence[int]:
    """A chart's edges up to the point that holds now; the future is no point without rows."""
    begun = [edge for edge in grid if edge <= buckets.to_minute(now)]
    return grid[: max(2, len(begun) + 1)]


def has_anything(client: Client, account_id: str) -> bool:
    """Whether any bucket is stored for an account."""
    found = client.execute(_ANYTHING, {"accountId": account_id})
    return bool(found["listAggregatedMetrics"]["items"])


_ANYTHING = """query HasAnything($accountId: String!) {
  listAggregatedMetrics(accountId: $accountId, limit: 1) { items { compositeKey } }
}"""


def _breakdowns(
    client: Client, account_id: str, span: tuple[int, int], now: datetime
) -> list[Breakdown]:
    found = read_scopes(client, account_id, span, now, tuple(BUILT_IN.breakdowns))
    made = [
        Breakdown(model.record_type, *(_of(model, found, ids) for ids in (1, 2)))
        for model in BUILT_IN
    ]
    return [breakdown for breakdown in made if breakdown.scorecards or breakdown.scores]


def read_scopes(
    client: Client, account_id: str, span: tuple[int, int], now: datetime, names: Sequence[str]
) -> dict[str, list[Scope]]:
    """What was counted in a range of minutes by scorecard or score, the largest first.

    Args:
        client: the API.
        account_id: whose.
        span: the first minute, and the one after the last.
        now: the time now.
        names: which breakdowns.
    """
    named = breakdowns(client, account_id, *names) if names else {}
    every = [series for found in named.values() for series in found]
    points = read_points(client, every, span, now=now)
    return {
        name: _sorted(Scope(s.scorecard_id, s.score_id, points[s][0].sums) for s in found)
        for name, found in named.items()
    }


def _of(model: Model, found: Mapping[str, list[Scope]], ids: int) -> list[Scope]:
    """A model's scopes by scorecard (one id), or by score (two)."""
    return _sorted(
        scope
        for name, attributes in model.breakdowns.items()
        if len(attributes) == ids
        for scope in found[name]
    )


def _sorted(found: Iterable[Scope]) -> list[Scope]:
    counted = (scope for scope in found if any(scope.sums.values()))
    return sorted(counted, key=lambda scope: -scope.sums["count"])
