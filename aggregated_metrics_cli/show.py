"""show: the buckets of a range, as they are stored; with --explain, why one of them is so."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from aggregated_metrics.adapters.appsync import Client
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import EventError
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.model import AggregatedMetrics

from aggregated_metrics_cli import explain, report
from aggregated_metrics_cli.check import NO_DEADLINE
from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.exit_codes import DONE, LEFT
from aggregated_metrics_cli.output import Output

MOST_ROWS = 1500
DOLLAR = 1_000_000
"""`cost` is in millionths of one."""
_THOUSAND = 1000
_POWERS = ("", "k", "M", "G", "T")


@dataclass(frozen=True, slots=True)
class Shown:
    """One bucket of a range; `complete` is None where none is stored."""

    start: int
    measures: Measures
    complete: bool | None

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "timeRangeStart": buckets.iso(self.start),
            **self.measures._asdict(),
            "complete": self.complete,
        }


def run(options: Namespace, deployment: Deployment, output: Output) -> int:
    """Show them; returns the exit code.

    Raises:
        EventError: neither a range nor `--explain` is given.
    """
    process, account, name = deployment.process, options.account, options.record_type
    if name is None:
        everything = report.overview_of(options, process)
        output.show(everything.as_json(), lambda display: display.overview(everything))
        return DONE
    if options.explain:
        if options.start is None:
            raise EventError("--explain needs --start: the bucket that holds it")
        e = explain.explain(
            process,
            account,
            name,
            options.start,
            options.minutes,
            marks_known=deployment.knows_pending,
        )
        output.show(explain.as_json(e), lambda display: display.explanation(e))
        return DONE if e.measures == e.counted or e.is_kept else LEFT
    start, end = report.range_of(options)
    shown = buckets_of(
        process.client(lambda: NO_DEADLINE),
        account,
        name,
        start.isoformat(),
        end.isoformat(),
        options.minutes,
    )
    output.show([bucket.as_json() for bucket in shown], lambda display: display.chart(shown))
    return DONE


def buckets_of(
    client: Client, account_id: str, record_type: str, start: str, end: str, minutes: int
) -> list[Shown]:
    """Every bucket of `minutes` that starts in `[start, end)`, stored or not, in order.

    Raises:
        EventError: the range is empty or has too many buckets to show.
        ApiError: the API refused, or did not answer.
    """
    first, last = buckets.parse(start), buckets.parse(end)
    low, high = buckets.floor(buckets.to_minute(first), minutes), buckets.to_minute(last)
    if not 0 < (high - low) / minutes <= MOST_ROWS:
        raise EventError(
            f"from {start} to {end} there are no buckets, or more than {MOST_ROWS}: "
            "choose another range, or larger --minutes"
        )
    records = AggregatedMetrics.list_by_time_range(
        client,
        account_id,
        buckets.to_datetime(low),
        buckets.to_datetime(high) - timedelta(microseconds=1),
        record_type,
    )
    stored = {
        buckets.to_minute(record.timeRangeStart): record
        for record in records
        if record.numberOfMinutes == minutes and not (record.scorecardId or record.scoreId)
    }
    return [_shown(at, stored.get(at)) for at in range(low, high, minutes)]


def _shown(start: int, record: AggregatedMetrics | None) -> Shown:
    if record is None:
        return Shown(start, Measures(), None)
    numbers = Measures(*(getattr(record, name) or 0 for name in Measures._fields))
    return Shown(start, numbers, record.complete)


def bar(value: int, most: int, width: int) -> str:
    """A bar as long as `value` is to `most`, in eighths of a character; never none for some.

    >>> bar(3, 4, 8)
    '██████'
    """
    eighths = 0 if most <= 0 else round(value * width * 8 / most)
    eighths = max(eighths, 1) if value > 0 else 0
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def totals(shown: Sequence[Shown]) -> Measures:
    """The sums of what is shown."""
    return Measures(*(sum(bucket.measures[i] for bucket in shown) for i in range(len(Measures()))))


def rounded(name: str, value: int) -> str:
    """A measure in at most six characters; `cost` in dollars.

    >>> rounded("count", 12345), rounded("cost", 1230), rounded("cost", 12345678)
    ('12.3k', '0.0012', '12.35')
    """
    if name != "cost":
        return _short(value)
    dollars = value / DOLLAR
    if round(dollars) < _THOUSAND:
        return f"{dollars:.4f}" if dollars < 1 else f"{dollars:.2f}"
    return _short(dollars)


def _short(value: float) -> str:
    if value < 10 * _THOUSAND:
        return f"{value:,.0f}"
    power = 0
    while round(value) >= _THOUSAND:
        value, power = value / _THOUSAND, power + 1
    return f"{value:.3g}{_POWERS[power]}"
