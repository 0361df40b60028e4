"""Reading counts: sums of a range, a chart's points, and up to when they are complete.

Each row is counted in a bucket of every size: a sum of all buckets counts it four times. Here a
range is tiled by the fewest buckets (core/cover.py), each read once (docs/reading.md).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Any

from aggregated_metrics.adapters.appsync import Client
from aggregated_metrics.adapters.bucket_reader import AsOf, BucketReader
from aggregated_metrics.core import buckets
from aggregated_metrics.core.cover import (
    Known,
    Step,
    Tile,
    Weekday,
    cover,
    edges,
    exact,
    is_open,
    minutes,
    tiles,
)
from aggregated_metrics.core.errors import RecordTypeError
from aggregated_metrics.core.measures import Measures, total, zero
from aggregated_metrics.core.metadata import MEMORY_SECONDS
from aggregated_metrics.core.models import BUILT_IN
from aggregated_metrics.core.series import Series

__all__ = ["Series", "Summary", "complete_until", "cover", "read_points", "summarize", "timeline"]

_MEMORY = MEMORY_SECONDS // 60
_SPLITS = frozenset(name for model in BUILT_IN for name in model.plain_types[1:])
"""Their minutes are open as long as those of the record type that they split."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The sums of a range of time.

    Attributes:
        start, end: the range, half-open.
        measures: its exact sums; `measures.cost` is in millionths of a dollar.
        complete: whether nothing more is expected: the range lies before `as_of` by the time that
            the functions wait, and no bucket of it is open. A late row is added all the same.
        extra: the names of the record type's own measures, which are the last ones.
        as_of: the time up to which the record type's stream is applied; None where not known.
    """

    start: datetime
    end: datetime
    measures: Measures
    complete: bool
    extra: tuple[str, ...] = field(default=(), repr=False)
    as_of: datetime | None = None

    @property
    def sums(self) -> dict[str, int]:
        """The measures by name, with those that the record type has for itself."""
        return self.measures.named(self.extra)

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        span = {"start": self.start.isoformat(), "end": self.end.isoformat()}
        as_of = self.as_of and self.as_of.isoformat()
        return {**span, **self.sums, "complete": self.complete, "asOf": as_of}


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
        account_id: the account.
        start: where the range begins.
        end: where it ends; not included.
        record_type: such as `items`, or the breakdown `scoreResultsByScore` with its ids.
        scorecard_id: the scorecard of a breakdown.
        score_id: the score of a breakdown by score.
        now: the time now; a test passes its own.

    Raises:
        NaiveDatetimeError: a time has no offset.
        RangeError: `end` is before `start`.
        RecordTypeError: nothing counts the record type, or a breakdown lacks its ids.
        UnreadableBucketError: the API cannot give a stored bucket; the message names it.
        ApiError: (with this package's client) the API refused, or did not answer.
    """
    first, last = minutes(start, end)
    series = _series(account_id, record_type, scorecard_id, score_id)
    (summary,) = _points(client, series, [first, last], UTC, now)
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
        account_id: the account.
        start: where the first point begins.
        end: where the last point ends.
        record_type: as for `summarize`.
        scorecard_id: the scorecard of a breakdown.
        score_id: the score of a breakdown by score.
        step: a timedelta of whole minutes, "week" or "month". One that divides a day begins again
            at each midnight of `zone`.
        zone: whose days, weeks and months, such as ZoneInfo("Europe/Berlin").
        week_start: "monday" or "sunday".
        now: the time now; a test passes its own.

    Raises:
        NaiveDatetimeError: a time has no offset.
        RangeError: `end` is before `start`, or the step is wrong or makes too many points.
        RecordTypeError: nothing counts the record type, or a breakdown lacks its ids.
        UnreadableBucketError: the API cannot give a stored bucket; the message names it.
        ApiError: (with this package's client) the API refused, or did not answer.
    """
    first, last = minutes(start, end)
    points = edges(first, last, step, zone, week_start)
    series = _series(account_id, record_type, scorecard_id, score_id)
    return _points(client, series, points, zone, now)


def complete_until(
    client: Client, account_id: str, *, now: datetime | None = None
) -> datetime | None:
    """Up to when an account's numbers are complete: nothing more is expected before it.

    It is the least of two times, of all record types that are counted: the end of the minutes that
    the functions may have completed, by how far each stream is applied; and the start of the first
    minute in the last 25 hours (a stream's memory is 24) that is stored and not complete.

    Args:
        client: the API.
        account_id: the account.
        now: the time now; a test passes its own.

    Returns:
        A time in UTC; None where it is not known how far a stream is applied.

    Raises:
        ApiError: (with this package's client) the API refused, or did not answer.
    """
    running = buckets.to_minute(now or datetime.now(UTC))
    reader = BucketReader(client)
    reader.read({}, running)
    times = {} if reader.as_of is None else _counted(reader.as_of)
    applied = [moment for moment in times.values() if moment is not None]
    if reader.as_of is None or not times or len(applied) < len(times):
        return None
    settled = min(applied) - timedelta(seconds=reader.as_of.complete_after)
    hours = range(buckets.floor(running - _MEMORY, buckets.HOUR), running + 1, buckets.HOUR)
    tiles_ = [Tile(hour, buckets.HOUR) for hour in hours]
    series = [Series(account_id, name) for name in times]
    found = reader.read(dict.fromkeys(series, tiles_), running, as_of=False)
    open_ = [
        tile.start
        for known in found.values()
        for tile, (_, complete) in known.items()
        if tile.size == 1 and not complete
    ]
    unknown = [tile.start for each in series for tile in reader.unreadable(each) if tile.size == 1]
    return buckets.to_datetime(min([buckets.to_minute(settled), *open_, *unknown]))


def _counted(as_of: AsOf) -> Mapping[str, datetime | None]:
    """Of whole record types alone: the buckets of splits and breakdowns are completed with them."""
    parts = _SPLITS | BUILT_IN.breakdowns.keys()
    return {name: moment for name, moment in as_of.times.items() if name not in parts}


def _points(
    client: Client, series: Series, edges: Sequence[int], zone: tzinfo, now: datetime | None
) -> list[Summary]:
    """The points of one series that is asked for by its name."""
    reader, points = _read(client, [series], edges, zone, now)
    known = reader.as_of.times if reader.as_of is not None else None
    if known is not None and series.record_type not in known and not reader.has_read(series):
        raise RecordTypeError(
            f"nothing counts the record type {series.record_type!r}, and nothing of it is stored "
            f"in this range; counted are {', '.join(sorted(known)) or 'none'}"
        )
    return points[series]


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
    return _read(client, series, edges, zone, now)[1]


def _read(
    client: Client,
    series: Iterable[Series],
    edges: Sequence[int],
    zone: tzinfo,
    now: datetime | None,
) -> tuple[BucketReader, Mapping[Series, list[Summary]]]:
    spans = {span: list(tiles(*span)) for span in pairwise(edges)}
    every = [tile for span in spans.values() for tile in span]
    wanted = dict.fromkeys(series, every)
    reader = BucketReader(client)
    found = reader.read(wanted, buckets.to_minute(now or datetime.now(UTC)))
    reader.require_readable(wanted)
    return reader, {
        each: list(_summaries(each.record_type, known, spans, zone, reader))
        for each, known in found.items()
    }


def _series(
    account_id: str, record_type: str, scorecard_id: str | None, score_id: str | None
) -> Series:
    """The series that is asked for. Without its ids a breakdown's keys name no bucket."""
    attributes = BUILT_IN.breakdowns.get(record_type)
    if attributes is not None:
        by_score = len(attributes) > 1
        needed = "score_id" if by_score else "scorecard_id, and no score_id"
        named = bool(score_id) if by_score else bool(scorecard_id and not score_id)
        if not named:
            model = BUILT_IN.of(record_type)
            whole = model.record_type if model else "its record type"
            raise RecordTypeError(
                f"{record_type} has a series for each {'score' if by_score else 'scorecard'}: "
                f"pass {needed}, or read {whole}; breakdowns() lists what is stored"
            )
    return Series(account_id, record_type, scorecard_id or None, score_id or None)


def _summaries(
    record_type: str,
    known: Known,
    spans: Mapping[tuple[int, int], Sequence[Tile]],
    zone: tzinfo,
    reader: BucketReader,
) -> Iterator[Summary]:
    extra, as_of = reader.extra_measures(record_type), reader.as_of
    none = zero(extra)
    applied = as_of.times.get(record_type) if as_of is not None else None
    shown = applied and applied.astimezone(zone)
    for (first, last), parts in spans.items():
        start, end = (buckets.to_datetime(edge).astimezone(zone) for edge in (first, last))
        over = _is_over(end, applied, as_of)
        closed = over and not any(is_open(tile, known) for tile in parts)
        sums = total((exact(tile, known, none) for tile in parts), none)
        yield Summary(start, end, sums, closed, extra, shown)


def _is_over(end: datetime, applied: datetime | None, as_of: AsOf | None) -> bool:
    """Whether the functions may have completed everything that ends then."""
    if applied is None or as_of is None:
        return False
    return end + timedelta(seconds=as_of.complete_after) <= applied
