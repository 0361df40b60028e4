"""The tables of single buckets in the terminal: a chart of them, or everything known of one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from aggregated_metrics.core import buckets
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.record_types import extra_of
from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from aggregated_metrics_cli.explain import Explanation, verdict
from aggregated_metrics_cli.overview import label
from aggregated_metrics_cli.show import DOLLAR, Shown, bar, rounded, totals

_ENDLESS = 1000
"""More columns than any table needs."""


class _Layout(NamedTuple):
    """One way to draw a chart."""

    start: slice
    complete: str
    bar: int
    gap: int
    number: Callable[[str, int], str]


@dataclass(frozen=True, slots=True)
class _Chart:
    """The table of a chart in the first layout that fits."""

    shown: Sequence[Shown]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        endless = options.update(width=_ENDLESS)
        *roomy, narrowest = _LAYOUTS
        for layout in roomy:
            table = _buckets(self.shown, layout)
            if console.measure(table, options=endless).maximum <= options.max_width:
                yield table
                return
        yield _buckets(self.shown, narrowest)
        yield Text("Rounded: a wider terminal or --json has every digit.", style="dim")


def chart(shown: Sequence[Shown]) -> RenderableType:
    """Buckets as a table with a bar for each count; rounded only where there is no room."""
    return _Chart(shown)


def _buckets(shown: Sequence[Shown], layout: _Layout) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, layout.gap), pad_edge=False)
    table.add_column("start (UTC)", no_wrap=True)
    for name in map(label, Measures._fields):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(layout.complete, no_wrap=True)
    table.add_column("", no_wrap=True)
    most = max((bucket.measures[0] for bucket in shown), default=0)
    for bucket in shown:
        complete = {True: "yes", False: "no", None: "-"}[bucket.complete]
        table.add_row(
            time_text(bucket.start)[layout.start],
            *_numbers(bucket.measures, layout.number),
            complete,
            Text(bar(bucket.measures[0], most, layout.bar), style="cyan"),
        )
    table.add_section()
    table.add_row("sum", *_numbers(totals(shown), layout.number), "", "")
    return table


def explanation(e: Explanation) -> RenderableType:
    """Everything that is known of one bucket, and the verdict."""
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(e):
        facts.add_row(Text(name, style="dim"), value)
    parts: list[RenderableType] = [facts]
    if e.size > 1 and e.minutes:
        parts.append(_minutes(e))
    style = "bold green" if e.measures == e.counted else "bold red"
    return Group(*parts, Text(verdict(e), style=style))


def _facts(e: Explanation) -> list[tuple[str, str]]:
    stored, series = e.stored, e.hour.series
    mark = "none" if e.marks_known else "not asked for (--pending-table, or --stack)"
    if e.mark is not None:
        mark = f"{e.mark[0]}, due {_seconds(e.mark[1].due)}"
    entries = stored.metadata.ledger.items() if stored else ()
    extra = extra_of(series.record_type)
    ledger = [f"{shard} up to {last}" for shard, (last, _) in entries]
    return [
        ("bucket", f"{series.account_id} {series.record_type} {time_text(e.start)} {e.size} min"),
        ("stored", _all(stored.measures, extra) if stored else "nothing"),
        ("counted", _all(e.counted, extra)),
        ("complete", "-" if stored is None else "yes" if stored.complete else "no"),
        ("last write", (stored.version or "-") if stored else "-"),
        ("ledger", "\n".join(ledger) or "empty"),
        ("hour's mark", mark),
    ]


def _minutes(e: Explanation) -> Table:
    table = Table("minute (UTC)", "stored", "counted", "", box=box.SIMPLE)
    extra = extra_of(e.hour.series.record_type)
    for minute, (was, rows) in sorted(e.minutes.items()):
        table.add_row(time_text(minute), str(was[0]), str(rows[0]), difference(was, rows, extra))
    return table


def difference(stored: Measures, counted: Measures, extra: Sequence[str] = ()) -> str:
    """The measures that differ: `count 7 → 1, errors 0 → 2`; `extra` names the model's own."""
    rows = counted.named(extra)
    return ", ".join(
        f"{label(name)} {_number(name, was)} → {_number(name, rows[name])}"
        for name, was in stored.named(extra).items()
        if was != rows[name]
    )


def time_text(minute: int) -> str:
    """`2026-11-22 10:05`, UTC."""
    return buckets.iso(minute)[:16].replace("T", " ")


def _seconds(epoch: int) -> str:
    return f"{time_text(epoch // 60)}:{epoch % 60:02}"


def _all(measures: Measures, extra: Sequence[str]) -> str:
    return ", ".join(
        f"{label(name)} {_number(name, value)}" for name, value in measures.named(extra).items()
    )


def _numbers(measures: Measures, number: Callable[[str, int], str]) -> list[str]:
    return [number(name, value) for name, value in measures._asdict().items()]


def _number(name: str, value: int) -> str:
    return f"{value / DOLLAR:,.6f}" if name == "cost" else f"{value:,}"


_LAYOUTS = (
    _Layout(slice(None), "complete", 30, 1, _number),
    _Layout(slice(5, None), "done", 8, 0, _number),  # without the year
    _Layout(slice(5, None), "done", 8, 0, rounded),
)
