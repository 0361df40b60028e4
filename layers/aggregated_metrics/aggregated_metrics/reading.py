"""Reading counts right: sums of a range, a chart's points, and up to when they are complete.

Every row is in a bucket of each size, so whoever adds up buckets as they come counts it four times.
Here a range is tiled by the fewest buckets (core/cover.py), each read once (docs/reading.md).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Any

from aggregated_metrics.adapters.appsync import Client
from aggregated_metrics.adapters.bucket_reader import BucketReader
from aggregated_metrics.core import buckets
from aggregated_metrics.core.bucket_sums import Known, exact, is_open
from aggregated_metrics.core.cover import (
    Step,
    Tile,
    Weekday,
    check_points,
    cover,
    edges,
    minutes,
    tiles,
)
from aggregated_metrics.core.errors import ScopeError
from aggregated_metrics.core.measures import Measures, total, zero
from aggregated_metrics.core.metadata import MEMORY_SECONDS
from aggregated_metrics.core.record_types import MODELS, SCOPES, extra_of, model_of
from aggregated_metrics.core.series import Series

__all__ = ["Series", "Summary", "cover", "freshness", "read_points", "summarize", "timeline"]

GRACE = 120
"""Seconds after its end at which a bucket is complete, unless the stack says otherwise."""
_MEMORY = MEMORY_SECONDS // 60


@dataclass(frozen=True, slots=True)
class Summary:
    """What was counted in a range of time.

    Attributes:
        start, end: the range, half-open.
        measures: its exact sums; `measures.cost` is in millionths of a dollar.
        complete: whether the range is over and no bucket of it is still open.
        extra: the names of the record type's own measures, which are the last ones.
    """

    start: datetime
    end: datetime
    measures: Measures
    complete: bool
    extra: tuple[str, ...] = field(default=(), repr=False)

    @property
    def sums(self) -> dict[str, int]:
        """The measures by name, with those that the record type has for itself."""
        return self.measures.named(self.extra)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        span = {"start": self.start.isoformat(), "end": self.end.isoformat()}
        return {**span, **self.sums, "complete": self.complete}


def summarize(
    client: Client,
    account_id: str,
    start: datetime,
    end: datetime,
    record_type: str,
    scorecard_id: str | None = None,
    score_id: str | None = None,
    *,
    now: datetime | None = None,
) -> Summary:
    """The sums of every minute that begins in `[start, end)`, from the fewest buckets.

    Args:
        client: anything with `execute(query, variables) -> data`; see `connect`.
        account_id: whose.
        start: where the range begins.
        end: where it ends; not included.
        record_type: such as `items`, or `scoreResultsByScore` with its scope.
        scorecard_id: the scope of a breakdown by scorecard.
        score_id: the scope of a breakdown by score.
        now: the time now; a test passes its own.

    Raises:
        NaiveDatetimeError: a time has no offset.
        RangeError: `end` is before `start`.
        ScopeError: a breakdown without its scope.
        ApiError: (with this package's client) the API refused, or did not answer.
    """
    first, last = minutes(start, end)
    series = _series(account_id, record_type, scorecard_id, score_id)
    (summary,) = read_points(client, [series], [first, last], now=now)[series]
    return summary


def timeline(
    client: Client,
    account_id: str,
    start: datetime,
    end: datetime,
    record_type: str,
    scorecard_id: str | None = None,
    score_id: str | None = None,
    *,
    step: Step,
    zone: tzinfo = UTC,
    week_start: Weekday = "monday",
    now: datetime | None = None,
) -> list[Summary]:
    """A chart's points from `start` to `end`, in order; where nothing was counted a zero.

    The points are as `summarize` gives them and tile the range, so their sum is its sum.

    Args:
        client: as for `summarize`, like all that is not named here.
        account_id: whose.
        start: where the first point begins.
        end: where the last point ends.
        record_type: what.
        scorecard_id: the scope of a breakdown by scorecard.
        score_id: the scope of a breakdown by score.
        step: a timedelta of whole minutes, "week" or "month". One that divides a day begins again
            at each midnight of `zone`.
        zone: whose days, weeks and months, such as ZoneInfo("Europe/Berlin").
        week_start: "monday" or "sunday".
        now: the time now; a test passes its own.

    Raises:
        NaiveDatetimeError: a time has no offset.
        RangeError: `end` is before `start`, or the step is wrong or makes too many points.
        ScopeError: a breakdown without its scope.
        ApiError: (with this package's client) the API refused, or did not answer.
    """
    first, last = minutes(start, end)
    check_points(first, last, step)
    series = _series(account_id, record_type, scorecard_id, score_id)
    points = edges(first, last, step, zone, week_start)
    return read_points(client, [series], points, zone=zone, now=now)[series]


def freshness(
    client: Client, account_id: str, *, grace: int = GRACE, now: datetime | None = None
) -> datetime:
    """Up to when an account's numbers are complete: nothing more is expected before it.

    It is the start of the first minute that is stored and not complete, of any record type in the
    last 25 hours (a stream's memory is 24); without one, `grace` seconds ago. The API shows what
    was written, not what is still to come: that a stream stands still is its alarm's to say.

    Raises:
        ApiError: (with this package's client) the API refused, or did not answer.
    """
    at = now or datetime.now(UTC)
    running = buckets.to_minute(at)
    settled = buckets.to_minute(at - timedelta(seconds=grace))
    hours = range(buckets.floor(running - _MEMORY, buckets.HOUR), running + 1, buckets.HOUR)
    wanted = {
        Series(account_id, model.record_type): [Tile(hour, buckets.HOUR) for hour in hours]
        for model in MODELS.values()
    }
    found = BucketReader(client).read(wanted, running)
    still_open = [
        tile.start
        for known in found.values()
        for tile, bucket in known.items()
        if tile.size == 1 and not bucket.complete
    ]
    return buckets.to_datetime(min([settled, *still_open]))


def read_points(
    client: Client,
    series: Iterable[Series],
    edges: Sequence[int],
    *,
    zone: tzinfo = UTC,
    now: datetime | None = None,
) -> Mapping[Series, list[Summary]]:
    """Points of many series with as few requests as one would need.

    Args:
        client: the API.
        series: which.
        edges: where each point begins, and where the last one ends: epoch minutes.
        zone: in which the points' times are given.
        now: the time now.
    """
    at = now or datetime.now(UTC)
    spans = {span: list(tiles(*span)) for span in pairwise(edges)}
    every = [tile for span in spans.values() for tile in span]
    wanted = dict.fromkeys(series, every)
    found = BucketReader(client).read(wanted, buckets.to_minute(at))
    over = buckets.to_minute(at - timedelta(seconds=GRACE))
    return {
        each: list(_summaries(known, spans, over, zone, extra_of(each.record_type)))
        for each, known in found.items()
    }


def _series(
    account_id: str, record_type: str, scorecard_id: str | None, score_id: str | None
) -> Series:
    """The series that is asked for. Without its scope a breakdown's keys name no bucket."""
    attributes = SCOPES.get(record_type)
    if attributes is not None:
        by_score = len(attributes) > 1
        needed = "score_id" if by_score else "scorecard_id, and no score_id"
        named = bool(score_id) if by_score else bool(scorecard_id and not score_id)
        if not named:
            whole = model_of(record_type).record_type
            raise ScopeError(
                f"{record_type} is counted apart for each "
                f"{'score' if by_score else 'scorecard'}: pass {needed}, or read {whole}; "
                "scopes() says which there are"
            )
    return Series(account_id, record_type, scorecard_id, score_id)


def _summaries(
    known: Known,
    spans: Mapping[tuple[int, int], Sequence[Tile]],
    over: int,
    zone: tzinfo,
    extra: tuple[str, ...],
) -> Iterator[Summary]:
    none = zero(extra)
    for (first, last), parts in spans.items():
        start, end = (buckets.to_datetime(edge).astimezone(zone) for edge in (first, last))
        closed = last <= over and not any(is_open(tile, known) for tile in parts)
        sums = total((exact(tile, known, none) for tile in parts), none)
        yield Summary(start, end, sums, closed, extra)
