"""show --explain: why one bucket is as it is. What is known is collected; the verdict is pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from aggregated_metrics.adapters.lag import IteratorAge
from aggregated_metrics.adapters.pending_hours import Mark, State
from aggregated_metrics.adapters.source_rows import SourceRows
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import AggregatedMetricsError
from aggregated_metrics.core.hours import Bucket, HourId, Series
from aggregated_metrics.core.measures import ZERO, Measures, saturated, total
from aggregated_metrics.core.record_types import model_of
from aggregated_metrics.wiring import Process

_HOURS = 1e9


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
        behind: seconds that the stream is behind; None where that is not known.
        expired: whether the source rows may have expired.
        now, grace, settle: the time, and the settings that decide.
    """

    hour: HourId
    start: int
    size: int
    stored: Bucket | None
    counted: Measures
    minutes: dict[int, tuple[Measures, Measures]]
    mark: tuple[State, Mark] | None
    marks_known: bool
    behind: float | None
    expired: bool
    now: datetime
    grace: int
    settle: int

    @property
    def measures(self) -> Measures:
        """What is stored; zero without a bucket."""
        return self.stored.measures if self.stored else ZERO

    @property
    def elapsed(self) -> bool:
        """Whether nothing more is expected."""
        return Bucket(self.start, self.size).elapsed(self.now, self.grace)

    @property
    def of_minutes(self) -> Measures:
        """The sum of the stored minutes."""
        return saturated(total(stored for stored, _ in self.minutes.values()))


def verdict(e: Explanation) -> str:
    """One sentence or two: is it right, and if not, who is going to set it right, and when."""
    if e.measures == e.counted:
        return _right(e)
    if e.expired and all(
        stored >= rows for stored, rows in zip(e.measures, e.counted, strict=True)
    ):
        return "It holds more than the rows do, and stays so: rows of that age have expired."
    if e.size > 1 and e.of_minutes == e.counted:
        return f"Its minutes are right, but it is not their sum. {_next_visit(e)}"
    if e.behind is not None and e.behind >= e.settle:
        return (
            f"It differs from the rows, and the stream is {e.behind:.0f} s behind: "
            "wait until it has caught up."
        )
    if not e.elapsed:
        return (
            "It differs from the rows, but its time is not over: what is on its way may make it "
            "right. Look again in a minute."
        )
    return f"It is wrong: the rows come to something else. {_next_check(e)}"


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
    hour = process.store(lambda: _HOURS).load([hour_id])[0]
    counted = SourceRows(
        process.client(lambda: _HOURS),
        clock=process.clock,
        offset_hours=settings.SOURCE_OFFSET_HOURS,
    ).count(model, account_id, [hour_id.start])
    both: dict[int, tuple[Measures, Measures]] = {}
    for minute in range(at, at + minutes):
        bucket = hour.get(minute)
        rows = saturated(counted.at(record_type, minute))
        if bucket is not None or any(rows):
            both[minute] = (bucket.measures if bucket else ZERO, rows)
    days = settings.SOURCE_LIFETIME_DAYS.get(model.name)
    ended = buckets.to_datetime(hour_id.start)
    return Explanation(
        hour=hour_id,
        start=at,
        size=minutes,
        stored=hour.get(at, minutes),
        counted=saturated(total(rows for _, rows in both.values())),
        minutes=both,
        mark=process.pending().find(hour_id) if marks_known else None,
        marks_known=marks_known,
        behind=_behind(process),
        expired=days is not None and ended < process.clock() - timedelta(days=days),
        now=process.clock(),
        grace=settings.GRACE_SECONDS,
        settle=settings.SETTLE_SECONDS,
    )


def _behind(process: Process) -> float | None:
    lag = IteratorAge(process.aws("cloudwatch"), process.settings.STREAM_FUNCTION, process.clock)
    try:
        return lag.seconds()
    except AggregatedMetricsError:
        return None  # an explanation without it is better than none


def as_json(e: Explanation) -> dict[str, Any]:
    """For machines."""
    stored = e.stored
    return {
        "accountId": e.hour.series.account_id,
        "recordType": e.hour.series.record_type,
        "timeRangeStart": buckets.iso(e.start),
        "numberOfMinutes": e.size,
        "stored": None if stored is None else stored.measures._asdict(),
        "counted": e.counted._asdict(),
        "complete": None if stored is None else stored.complete,
        "updatedAt": None if stored is None else stored.version,
        "ledger": [] if stored is None else [[s, str(last)] for s, last in stored.ledger],
        "minutes": [
            {
                "timeRangeStart": buckets.iso(minute),
                "stored": was._asdict(),
                "counted": rows._asdict(),
            }
            for minute, (was, rows) in sorted(e.minutes.items())
        ],
        "pending": None
        if e.mark is None
        else {"state": e.mark[0], "due": e.mark[1].due, "until": e.mark[1].until},
        "behindSeconds": e.behind,
        "expired": e.expired,
        "verdict": verdict(e),
    }
