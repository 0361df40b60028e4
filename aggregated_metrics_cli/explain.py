"""show --explain: why one bucket is as it is. What is known is collected; the verdict is pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from aggregated_metrics.adapters.pending_hours import Mark, State
from aggregated_metrics.adapters.source_rows import Counted, SourceRows
from aggregated_metrics.core import buckets
from aggregated_metrics.core.comparing import is_expired, without_rows
from aggregated_metrics.core.groups import ranges_of
from aggregated_metrics.core.hours import Bucket, Hour, HourId, Series
from aggregated_metrics.core.measures import Measures, clamped, shown, total, zero
from aggregated_metrics.core.record_types import extra_of, model_of
from aggregated_metrics.core.series import Target
from aggregated_metrics.core.source_models import Model
from aggregated_metrics.wiring import Process

from aggregated_metrics_cli.check import NO_DEADLINE


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of one bucket.

    Attributes:
        hour, start, size: which bucket.
        stored: the bucket as it is stored, or None.
        counted: what the source rows come to.
        minutes: minute to what is stored and counted, where either is something.
        mark: the hour's mark; None without one.
        marks_known: whether the table of pending hours was asked.
        kept_because: why a repair would lower nothing here; None where it would.
        now, grace: the time, and the setting that decides.
    """

    hour: HourId
    start: int
    size: int
    stored: Bucket | None
    counted: Measures
    minutes: dict[int, tuple[Measures, Measures]]
    mark: tuple[State, Mark] | None
    marks_known: bool
    kept_because: str | None
    now: datetime
    grace: int

    @property
    def measures(self) -> Measures:
        """What is stored; zero without a bucket."""
        return shown(self.stored.measures) if self.stored else self._zero

    @property
    def is_kept(self) -> bool:
        """Whether it holds more than the rows do, and a repair leaves that as it is."""
        more = all(was >= rows for was, rows in zip(self.measures, self.counted, strict=True))
        return more and self.kept_because is not None

    @property
    def elapsed(self) -> bool:
        """Whether nothing more is expected."""
        return Bucket(self.start, self.size).elapsed(self.now, self.grace)

    @property
    def of_minutes(self) -> Measures:
        """The sum of the stored minutes."""
        pruned = self.stored.metadata.pruned if self.stored else self._zero
        return shown(total((clamped(stored) for stored, _ in self.minutes.values()), pruned))

    @property
    def _zero(self) -> Measures:
        return zero(extra_of(self.hour.series.record_type))


def verdict(e: Explanation) -> str:
    """One sentence or two: is it right, and if not, who is going to set it right, and when."""
    if e.measures == e.counted:
        return _right(e)
    if e.is_kept:
        return f"It holds more than the rows do, and stays so: {e.kept_because}."
    if e.size > 1 and e.of_minutes == e.counted:
        return f"Its minutes are right, but it is not their sum. {_next_visit(e)}"
    if not e.elapsed:
        return (
            "It differs from the rows, but its time is not over: what is on its way may make it "
            "right. Look again in a minute."
        )
    return f"It is wrong: the rows come to something else. {_next_check(e)}"


_ASIDE = "Its hour lists too many rows for the reconciler's own runs: run repair on it."


def _right(e: Explanation) -> str:
    if e.stored is None:
        return "There is nothing to count, and nothing is stored."
    if e.stored.complete:
        return "It is right, and complete."
    if not e.elapsed:
        return "It is right, and not complete because its time (and the grace) is not over."
    return f"It is right, but not complete yet. {_next_visit(e)}"


def _next_visit(e: Explanation) -> str:
    if not e.marks_known:
        return "Whether the sweeper is going to come is not known: give --pending-table or --stack."
    if e.mark is None:
        return "Its hour is not marked, so nobody comes: run repair on it."
    state, mark = e.mark
    if state == "aside":
        return _ASIDE
    if state == "closed":
        return "Its hour is closed and waits for the reconciler, which sets it right."
    due = mark.due - e.now.timestamp()
    if due <= 0:
        return f"The sweeper has been due for {-due:.0f} s: see whether bucket_sweeper runs."
    return f"The sweeper comes in {due:.0f} s."


def _next_check(e: Explanation) -> str:
    if not e.marks_known:
        return "Run repair on its hour."
    if e.mark is None:
        return "Its hour has been checked, or was never counted, and nobody comes: run repair."
    if e.mark[0] == "aside":
        return _ASIDE
    if e.mark[0] == "closed":
        return "Its hour is closed, and the reconciler's next run finds it; or run repair now."
    return (
        "Its hour is still pending; once it is closed the reconciler finds it. Or run repair now."
    )


def explain(
    process: Process,
    account_id: str,
    record_type: str,
    start: str,
    minutes: int,
    *,
    marks_known: bool,
) -> Explanation:
    """Collect what is known of the bucket of `minutes` that holds `start`.

    Raises:
        AggregatedMetricsError: the API, or the table of pending hours, did not answer.
    """
    at = buckets.floor(buckets.to_minute(buckets.parse(start)), minutes)
    hour_id = HourId(Series(account_id, record_type), buckets.floor(at, buckets.HOUR))
    settings, model = process.settings, model_of(record_type)
    hour = process.store(lambda: NO_DEADLINE).load([hour_id])[0]
    counted = SourceRows(process.client(lambda: NO_DEADLINE), clock=process.clock).count(
        model, account_id, [hour_id.start], ranges_of(model, [hour])
    )
    kept = _kept_because(process, model, hour, counted, range(at, at + minutes))
    if kept is None and _is_pruned(hour, counted, (minutes, at), process.clock()):
        kept = "somebody has removed minutes, and rows, that it is all that is left of"
    both: dict[int, tuple[Measures, Measures]] = {}
    for minute in range(at, at + minutes):
        bucket = hour.get(minute)
        rows = counted.at(Target(hour_id.series, minute))
        if bucket is not None or any(rows):
            both[minute] = (bucket.measures if bucket else hour.zero, rows)
    return Explanation(
        hour=hour_id,
        start=at,
        size=minutes,
        stored=hour.get(at, minutes),
        counted=shown(total((clamped(rows) for _, rows in both.values()), hour.zero)),
        minutes=both,
        mark=process.pending().find(hour_id) if marks_known else None,
        marks_known=marks_known,
        kept_because=kept,
        now=process.clock(),
        grace=settings.GRACE_SECONDS,
    )


def _kept_because(
    process: Process, model: Model, hour: Hour, counted: Counted, shown_minutes: range
) -> str | None:
    """Why a check does not lower these minutes of an hour: as the reconciler decides it."""
    days = process.settings.SOURCE_LIFETIME_DAYS.get(model.name)
    lifetime = None if days is None else timedelta(days=days)
    if is_expired(hour.id, process.clock(), lifetime):
        return "rows of that age have expired"
    if any(bucket.metadata.unlisted > 0 for bucket in hour if bucket.size == 1):
        return "rows of its hour are in no index"
    if counted.unplaced or any(place.minute in shown_minutes for place in counted.unread):
        return "some of its rows cannot be read through the API"
    return None


def _is_pruned(hour: Hour, counted: Counted, place: tuple[int, int], now: datetime) -> bool:
    """Whether a check leaves the bucket (size, start) alone because minutes were removed."""
    size, start = place
    return any(
        place == (parent, first) or (size == 1 and start in range(first, first + parent))
        for parent, first in without_rows(hour, counted, now)
    )


def as_json(e: Explanation) -> dict[str, Any]:
    """For machines."""
    stored = e.stored
    extra = extra_of(e.hour.series.record_type)
    return {
        "accountId": e.hour.series.account_id,
        "recordType": e.hour.series.record_type,
        "timeRangeStart": buckets.iso(e.start),
        "numberOfMinutes": e.size,
        "stored": None if stored is None else stored.measures.named(extra),
        "counted": e.counted.named(extra),
        "complete": None if stored is None else stored.complete,
        "updatedAt": None if stored is None else stored.version,
        "ledger": [] if stored is None else _ledger(stored),
        "minutes": [
            {
                "timeRangeStart": buckets.iso(minute),
                "stored": was.named(extra),
                "counted": rows.named(extra),
            }
            for minute, (was, rows) in sorted(e.minutes.items())
        ],
        "pending": None
        if e.mark is None
        else {"state": e.mark[0], "due": e.mark[1].due, "until": e.mark[1].until},
        "keptBecause": e.kept_because,
        "verdict": verdict(e),
    }


def _ledger(stored: Bucket) -> list[list[Any]]:
    return [[shard, str(last), at] for shard, (last, at) in stored.metadata.ledger.items()]
