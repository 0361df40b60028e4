"""show: what was counted for an account in a range, in the terminal or for a spreadsheet."""

import csv
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TextIO

from aggregated_metrics.core import buckets
from aggregated_metrics.core.cover import minutes
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.models import BUILT_IN
from aggregated_metrics.model import AggregatedMetrics
from rich.console import RenderableType

from aggregated_metrics_cli import explain, overview_tables
from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.errors import CommandError
from aggregated_metrics_cli.exit_codes import DONE
from aggregated_metrics_cli.output import Output
from aggregated_metrics_cli.overview import Overview, collect, has_anything, label, read_scopes
from aggregated_metrics_cli.tables import Columns, Row, bar, exact, rounded

MOST_BUCKETS = 1500
_BAR = 12
_WIDEST = len("12.345678")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula."""

type Line = Mapping[str, Any]


class _View(NamedTuple):
    """What a range holds: for machines, for a spreadsheet, and for people."""

    machine: Any
    lines: Sequence[Line]
    drawn: Sequence[RenderableType]
    is_empty: bool


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
        CommandError: the range, a record type or the account is not known.
    """
    if options.explain:
        return explain.run(options, deployment, output)
    view = (_listed if options.record_types else _summary)(options, deployment)
    if view.is_empty:
        refuse_unknown(deployment, options.account)
    if options.csv:
        write_csv(output.out, view.lines)
    else:
        output.show(view.machine, *view.drawn)
    return DONE


def _summary(options: Namespace, deployment: Deployment) -> _View:
    found = overview_of(options, deployment)
    return _View(
        found.as_json(), list(found.lines()), list(overview_tables.overview(found)), found.is_empty
    )


def _listed(options: Namespace, deployment: Deployment) -> _View:
    """The buckets of each record type, and the series of each breakdown."""
    names = options.record_types
    counted = (*BUILT_IN.record_types, *BUILT_IN.breakdowns)
    if unknown := [name for name in names if name not in counted]:
        known = ", ".join(counted)
        raise CommandError(f"{unknown[0]!r} is no record type; there are {known}")
    start, end = range_of(options)
    now = deployment.process.clock()
    span, named = minutes(start, end), [name for name in names if name in BUILT_IN.breakdowns]
    scoped = read_scopes(deployment.client, options.account, span, now, named)
    machine: dict[str, Any] = {}
    drawn: list[RenderableType] = []
    for name in dict.fromkeys(names):
        if name in scoped:
            machine[name] = [each.as_json() for each in scoped[name]]
            drawn.append(overview_tables.scopes(name, scoped[name]))
        else:
            shown = _buckets(options, deployment, name, start, end)
            machine[name] = [each.as_json() for each in shown]
            drawn.append(chart(name, shown, options.minutes))
    lines = [{"recordType": name, **each} for name, listed in machine.items() for each in listed]
    is_empty = all(line.get("complete", 0) is None for line in lines)
    return _View(machine, lines, drawn, is_empty)


def range_of(options: Namespace) -> tuple[datetime, datetime]:
    """The range that --day, or --start and --end, ask for.

    Raises:
        CommandError: neither is given, or nothing lies between them.
    """
    if options.day is not None:
        first = datetime.combine(options.day, datetime.min.time(), options.zone)
        after = options.day + timedelta(days=1)
        return first, datetime.combine(after, datetime.min.time(), options.zone)
    if options.start is None or options.end is None:
        raise CommandError("a range is needed: --day, or --start and --end")
    start, end = buckets.parse(options.start), buckets.parse(options.end)
    if end <= start:
        raise CommandError("--end must be later than --start")
    return start, end


def overview_of(options: Namespace, deployment: Deployment) -> Overview:
    """Read what the views show."""
    now = deployment.process.clock()
    return collect(deployment.client, options.account, *range_of(options), options.zone, now=now)


def refuse_unknown(deployment: Deployment, account: str) -> None:
    """Refuse an account for which nothing is stored, whatever the range.

    Raises:
        CommandError: nothing is stored; that of a misspelt account is nothing, too.
    """
    if not has_anything(deployment.client, account):
        raise CommandError(f"nothing is stored for the account {account!r}: is it misspelt?")


def _buckets(
    options: Namespace, deployment: Deployment, name: str, start: datetime, end: datetime
) -> list[Shown]:
    """Every bucket that starts in the range and not after now, stored or not, in order."""
    size, now = options.minutes, buckets.to_minute(deployment.process.clock())
    low = buckets.floor(buckets.to_minute(start), size)
    high = min(buckets.to_minute(end), now + 1)
    if (high - low) / size > MOST_BUCKETS:
        raise CommandError(
            f"these are more than {MOST_BUCKETS} buckets: choose a shorter range, or larger "
            "--minutes"
        )
    if high <= low:
        raise CommandError("the range lies in the future")
    last = buckets.to_datetime(high) - timedelta(microseconds=1)
    records = AggregatedMetrics.list_by_time_range(
        deployment.client, options.account, buckets.to_datetime(low), last, name
    )
    stored = {
        buckets.to_minute(record.timeRangeStart): record
        for record in records
        if record.numberOfMinutes == size and not (record.scorecardId or record.scoreId)
    }
    return [_shown(at, stored.get(at)) for at in range(low, high, size)]


def _shown(start: int, record: AggregatedMetrics | None) -> Shown:
    if record is None:
        return Shown(start, Measures(), None)
    numbers = Measures(*(getattr(record, name) or 0 for name in Measures._fields))
    return Shown(start, numbers, record.complete)


def chart(name: str, shown: Sequence[Shown], size: int) -> Columns:
    """Buckets as a table with a bar for each count, and their sum."""
    sums = Measures(*(sum(each.measures[i] for each in shown) for i in range(len(Measures()))))
    used = [field for field, value in sums._asdict().items() if value or field == "count"]
    most = max(each.measures.count for each in shown)
    text = exact if all(len(exact(n, sums._asdict()[n])) <= _WIDEST for n in used) else rounded
    rows = [
        Row(
            buckets.iso(each.start)[:16].replace("T", " "),
            (
                *(text(n, each.measures._asdict()[n]) for n in used),
                {True: "yes", False: "no", None: "-"}[each.complete],
                bar(each.measures.count, most, _BAR).ljust(_BAR),
            ),
        )
        for each in shown
    ]
    total = Row("sum", (*(text(n, sums._asdict()[n]) for n in used), "", " " * _BAR), "bold")
    names = (*map(label, used), "complete", "")
    return Columns(f"{name}, {size} minutes", "start (UTC)", names, [*rows, total])


def write_csv(out: TextIO, lines: Iterable[Line]) -> None:
    """Write lines for a spreadsheet: costs in dollars, no text of which is a formula."""
    lines = list(lines)
    names = list(dict.fromkeys(name for line in lines for name in line))
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(name, line.get(name)) for name in names] for line in lines)


def _cell(name: str, value: Any) -> Any:
    if name == "cost" and value is not None:
        return exact(name, value).replace(",", "")
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value
