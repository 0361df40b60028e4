"""The page's views in the terminal."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from aggregated_metrics_cli.overview import Breakdown, Overview, Sums, added, label
from aggregated_metrics_cli.show import bar, rounded

_BARS = 32
"""How many characters all bars of a line have together."""
_FEW = 4
_FINE = "%d %b %H:%M"


def overview(found: Overview) -> RenderableType:
    """Totals, a chart, breakdowns, and what may still grow."""
    return Group(
        Text(f"{found.account_id}, {_span(found)}", style="bold"),
        _totals(found),
        *([_chart(found)] if found.sections else []),
        *(_breakdown(each) for each in found.breakdowns),
        *_open(found),
        Text(f"Read on {found.made:%d %b %Y, %H:%M:%S %Z}.", style="dim"),
    )


def _span(found: Overview) -> str:
    return f"{found.start:%a %d %b %Y %H:%M} to {found.end:%a %d %b %Y %H:%M %Z}"


def _table(title: str, first: str, names: Sequence[str]) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 0, 0, 1),
        pad_edge=False,
    )
    table.add_column(first, overflow="fold", min_width=len("22 Nov 10:00"))
    for name in names:
        table.add_column(label(name), justify="right", no_wrap=True)
    return table


def _cells(sums: Sums, names: Sequence[str]) -> list[str]:
    return [rounded(name, sums.get(name, 0)) for name in names]


def _totals(found: Overview) -> Table:
    names = found.measures
    table = _table("totals", "record type", names)
    for section in found.sections:
        table.add_row(section.whole.record_type, *_cells(section.whole.sums, names), style="bold")
        for split in section.splits:
            table.add_row(f"  {split.record_type}", *_cells(split.sums, names))
    if found.quiet:
        table.caption, table.caption_justify = f"nothing of {', '.join(found.quiet)}", "left"
    return table


def _chart(found: Overview) -> Table:
    """A line for each point, with a bar for each model."""
    table = _table("over time", f"from ({found.start:%Z})", [])
    width = _BARS // max(len(found.sections), _FEW)
    most = []
    for section in found.sections:
        table.add_column(section.whole.record_type, no_wrap=True)
        most.append(max(section.whole.counts))
    rest = [name for name in ("cost", "errorCount") if name in found.measures]
    for name in rest:
        table.add_column(label(name), justify="right", no_wrap=True)
    for points in zip(*(section.whole.points for section in found.sections), strict=True):
        cells: list[str | Text] = []
        for point, top in zip(points, most, strict=True):
            cell = Text(f"{rounded('count', point.measures.count):>6} ")
            style = "cyan" if point.complete else "yellow"
            cells.append(cell.append(bar(point.measures.count, top, width), style=style))
        sums = added(point.sums for point in points)
        table.add_row(points[0].start.strftime(_FINE), *cells, *_cells(sums, rest))
    return table


def _breakdown(each: Breakdown) -> Table:
    names = ["count", "cost", "errorCount"]
    table = _table(f"{each.record_type} by scorecard and score", "scorecard, score", names)
    if not each.scorecards:
        for score in each.scores:
            table.add_row(score.score_id, *_cells(score.sums, names))
    for card in each.scorecards:
        table.add_row(card.scorecard_id, *_cells(card.sums, names), style="bold")
        for score in each.scores_of(card.scorecard_id):
            table.add_row(f"  {score.score_id}", *_cells(score.sums, names))
    return table


def _open(found: Overview) -> Iterator[Text]:
    if found.is_complete:
        yield Text("Everything in this range is complete.", style="green")
        return
    until = found.complete_until
    known = f"Complete up to {until:%d %b %Y, %H:%M %Z}" if until else "Not known to be complete"
    yield Text(f"{known}; later numbers may still grow.", style="yellow")
    for since, names in found.open.items():
        yield Text(f"  from {since.strftime(_FINE)} on: {', '.join(names)}")
