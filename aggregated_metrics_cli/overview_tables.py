"""The page's views in the terminal."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from aggregated_metrics import Summary
from rich.console import RenderableType
from rich.table import Table

from aggregated_metrics_cli.output import styled
from aggregated_metrics_cli.overview import Group, Overview, Sums, added, label
from aggregated_metrics_cli.tables import bar, number, table

_BAR = 12
_TOGETHER = ("cost", "errorCount")
_FINE = "%d %b %H:%M"


def overview(found: Overview) -> Iterator[RenderableType]:
    """Totals, a chart, breakdowns, and what may still grow."""
    yield styled(f"{found.account_id}, {found.span}", "bold")
    if found.sections:
        yield _sums("totals", found.totals)
        yield _chart(found)
    if found.quiet:
        yield styled(f"Nothing of {', '.join(found.quiet)}.", "dim")
    for title, group in found.breakdowns.items():
        yield _sums(title, group)
    yield styled(f"{found.state}.", "green" if found.is_complete else "yellow")
    for since, names in found.open.items():
        yield styled(f"  may still grow from {since:{_FINE}} on: {', '.join(names)}")
    yield styled(f"Read on {found.made:%d %b %Y, %H:%M:%S %Z}, {found.freshness}.", "dim")


def _sums(title: str, group: Group) -> Table:
    made = table(title, "of", "count", "other measures")
    made.columns[1].justify = "right"
    for each in group:
        name = styled("  " * each.depth + each.name, "" if each.depth else "bold")
        made.add_row(name, f"{each.sums['count']:,}", _others(each.sums))
    return made


def _others(sums: Sums) -> str:
    others = ((name, value) for name, value in sums.items() if value and name != "count")
    return ", ".join(f"{label(name)} {number(name, value)}" for name, value in others)


def _chart(found: Overview) -> Table:
    """A line for each point, with a bar for all of its rows; open points are marked."""
    last = found.end - timedelta(microseconds=1)
    form = "%H:%M" if found.start.date() == last.date() else _FINE
    points = [*zip(*(group[0].points for group in found.sections), strict=True)]
    most = max(sum(each.measures.count for each in point) for point in points)
    made = table("over time", "from", "rows", "", "of them", "")
    made.columns[1].justify = "right"
    for point in points:
        rows = sum(each.measures.count for each in point)
        start, state = f"{point[0].start:{form}}", all(each.complete for each in point)
        text = _parts(found, point) if len(point) > 1 else _others(point[0].sums)
        made.add_row(start, f"{rows:,}", bar(rows, most, _BAR), text, "" if state else "open")
    return made


def _parts(found: Overview, point: Sequence[Summary]) -> str:
    """The rows of each record type; their cost and errors together."""
    pairs = zip(found.sections, point, strict=True)
    parts = [
        f"{group[0].name} {each.measures.count:,}" for group, each in pairs if any(each.measures)
    ]
    sums = added(each.sums for each in point)
    return ", ".join([*parts, *filter(None, [_others({n: sums[n] for n in _TOGETHER})])])
