"""Reading counts: sums of a range, a chart's points, up to when they are complete, breakdowns.

Each row is counted in a bucket of every size: a sum of all buckets counts it four times. Here a
range is tiled by the fewest buckets (core/cover.py), each read once (docs/reading.md).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import chain, pairwise

from aggregated_metrics.adapters.appsync import Client
from aggregated_metrics.adapters.bucket_reader import Streams, extra_measures, read
from aggregated_metrics.adapters.hour_documents import Keys, list_document
from aggregated_metrics.core import buckets
from aggregated_metrics.core.cover import Known, Step, Tile, Weekday, edges, exact, minutes, tiles
from aggregated_metrics.core.errors import ArgumentError
from aggregated_metrics.core.measures import Measures, total, zero
from aggregated_metrics.core.metadata import MEMORY_SECONDS
from aggregated_metrics.core.models import BUILT_IN
from aggregated_metrics.core.series import Series, key_stem

MOST = 500
"""At most so many series of one record type are named to a person."""
_MEMORY = MEMORY_SECONDS // 60
_STEM = re.compile(r"([^#]*#.+#)[^#]+#\d+", re.DOTALL)
"""A composite key up to its time; without an id it has no such stem."""
_LAST = "~"
"""Sorts after the time that follows a stem."""


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

    >>> found = summarize(client, "acct-1", day, day + timedelta(days=1), "scoreResults")
    >>> found.measures.count, found.measures.cost / 1_000_000, found.complete
    (120, 60.0, True)

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
        ArgumentError: a time has no offset, `end` is before `start`, nothing counts the record
            type, or a breakdown lacks its ids.
        GraphQLError: the API cannot give a stored bucket; the message names it.
        ApiError: (with this package's client) the API refused, or did not answer.
    """
    first, last = minutes(start, end)
    series = Series(account_id, record_type, scorecard_id or None, score_id or None)
    return read_points(client, [series], [first, last], now=now, must_count=True)[series][0]


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

    The points are as `summarize` gives them and tile the range, so their sum is its sum. What is
    not named here is as for `summarize`, its errors too: an ArgumentError also refuses a wrong
    step, and one that makes too many points.

    >>> span = day, day + timedelta(days=1)
    >>> points = timeline(client, "acct-1", *span, "scoreResults", step=timedelta(hours=8))
    >>> [(point.start.hour, point.measures.count) for point in points]
    [(0, 0), (8, 120), (16, 0)]

    A chart's own arguments are
        step: a timedelta of whole minutes, "week" or "month". One that divides a day begins again
            at each midnight of `zone`.
        zone: whose days, weeks and months, such as ZoneInfo("Europe/Berlin").
        week_start: "monday" or "sunday".
    """
    first, last = minutes(start, end)
    points = edges(first, last, step, zone, week_start)
    series = Series(account_id, record_type, scorecard_id or None, score_id or None)
    return read_points(client, [series], points, zone=zone, now=now, must_count=True)[series]


def complete_until(
    client: Client, account_id: str, *, now: datetime | None = None
) -> datetime | None:
    """Up to when an account's numbers are complete: nothing more is expected before it.

    It is the least of two times, of all record types that are counted: the end of the minutes that
    the functions may have completed, by how far each stream is applied; and the start of the first
    minute in the last 25 hours (a stream's memory is 24) that is stored and not complete.

    >>> complete_until(client, "acct-1")
    datetime.datetime(2026, 11, 23, 23, 58, tzinfo=datetime.timezone.utc)

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
    _, streams = read(client, {}, running)
    names = sorted(name for name in streams["asOf"] or () if not _ids(name, streams))
    applied = [moment for name in names if (moment := _as_of(name, streams))]
    if not names or len(applied) < len(names):
        return None
    hours = range(buckets.floor(running - _MEMORY, buckets.HOUR), running + 1, buckets.HOUR)
    wanted = {Series(account_id, name): [(hour, buckets.HOUR) for hour in hours] for name in names}
    found, _ = read(client, wanted, running)
    open_ = [
        start
        for known in found.values()
        for (start, size), stored in known.items()
        if size == 1 and (isinstance(stored, str) or not stored[1])
    ]
    settled = min(applied) - timedelta(seconds=streams["completeAfter"])
    return buckets.to_datetime(min([buckets.to_minute(settled), *open_]))


def breakdowns(
    client: Client, account_id: str, *record_types: str, most: int | None = MOST
) -> dict[str, list[Series]]:
    """The series that are stored of each of these breakdowns, in the order of their keys.

    One request finds the next series of every record type, however many buckets each has: the
    keys of a series stand together, and the first key after all of them is the next one's.

    >>> found = breakdowns(client, "acct-1", "scoreResultsByScore")
    >>> [series.score_id for series in found["scoreResultsByScore"]]
    ['score-1']

    Args:
        client: the API.
        account_id: the account.
        record_types: such as `scoreResultsByScore`.
        most: how many of each are named; None for all.

    Raises:
        ApiError: (with this package's client) the API refused, or did not answer.
    """
    found: dict[str, list[Series]] = {name: [] for name in record_types}
    after = {name: f"{name}#" for name in record_types}
    while names := list(after):
        # "$" follows "#": no key of another record type lies between.
        keys: dict[str, Keys] = {
            f"s{i}": (account_id, "between", [after[name], f"{name}$"], None)
            for i, name in enumerate(names)
        }
        selected = "compositeKey scorecardId scoreId"
        data = client.execute(*list_document("FindBreakdowns", keys, selected, ", limit: 1"))
        for i, name in enumerate(names):
            row = next(iter(data[f"s{i}"]["items"]), None)
            stem = _STEM.fullmatch(row["compositeKey"]) if row else None
            if row is None or stem is None or len(found[name]) == most:
                del after[name]
                continue
            after[name] = f"{stem[1]}{_LAST}"
            ids = (row.get(each) or None for each in ("scorecardId", "scoreId"))
            series = Series(account_id, name, *ids)
            # Where another writer has changed its record's ids, its keys are others.
            if series.scope_id and key_stem(series) == stem[1]:
                found[name].append(series)
    return found


def read_points(
    client: Client,
    series: Iterable[Series],
    edges: Sequence[int],
    *,
    zone: tzinfo = UTC,
    now: datetime | None = None,
    must_count: bool = False,
) -> Mapping[Series, list[Summary]]:
    """Points of many series, in `zone`'s times, with as few requests as one would need.

    `edges` are where each point begins and where the last one ends: epoch minutes. `must_count`
    refuses what nothing counts, instead of a zero: a record type without buckets, or a breakdown
    without its ids.
    """
    spans = {span: list(tiles(*span)) for span in pairwise(edges)}
    wanted = dict.fromkeys(series, tuple(chain.from_iterable(spans.values())))
    found, streams = read(client, wanted, buckets.to_minute(now or datetime.now(UTC)))
    if must_count:
        for each, known in found.items():
            _refuse_uncounted(each, known, streams)
    return {
        each: [_summary(each.record_type, known, *span, zone, streams) for span in spans.items()]
        for each, known in found.items()
    }


def _summary(
    record_type: str,
    known: Known,
    span: tuple[int, int],
    parts: Sequence[Tile],
    zone: tzinfo,
    streams: Streams,
) -> Summary:
    extra, as_of = extra_measures(record_type, streams), _as_of(record_type, streams)
    start, end = (buckets.to_datetime(edge).astimezone(zone) for edge in span)
    found = [each for tile in parts if (each := exact(tile, known, zero(extra)))]
    is_over = as_of and end + timedelta(seconds=streams["completeAfter"]) <= as_of
    complete = bool(is_over) and all(complete for _, complete in found)
    sums = total((sums for sums, _ in found), zero(extra))
    return Summary(start, end, sums, complete, extra, as_of and as_of.astimezone(zone))


def _as_of(record_type: str, streams: Streams) -> datetime | None:
    """The time up to which a record type's stream is applied; None where it is not known."""
    return buckets.time_of((streams["asOf"] or {}).get(record_type))


def _ids(record_type: str, streams: Streams) -> int:
    """How many ids a breakdown's series has: a scorecard's, or a score's too; otherwise 0."""
    return len(BUILT_IN.breakdowns.get(record_type) or streams["breakdowns"].get(record_type, ()))


def _refuse_uncounted(series: Series, known: Known, streams: Streams) -> None:
    """Refuse a series that has no buckets because of its names, and not because it is quiet."""
    name, ids, counted = series.record_type, _ids(series.record_type, streams), streams["asOf"]
    is_named = series.score_id if ids > 1 else series.scorecard_id and not series.score_id
    if ids and not is_named:
        raise ArgumentError(
            f"{name} has a series for each {'score' if ids > 1 else 'scorecard'}: pass "
            f"{'score_id' if ids > 1 else 'scorecard_id, and no score_id'}; "
            "breakdowns() lists what is stored"
        )
    if not known and counted is not None and name not in counted:
        raise ArgumentError(
            f"nothing counts the record type {name!r}, and nothing of it is stored in this range; "
            f"counted are {', '.join(sorted(counted)) or 'none'}"
        )
