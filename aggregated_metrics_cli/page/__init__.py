"""The page: one HTML file that needs nothing else, not even a network."""

from collections.abc import Iterable, Iterator
from html import escape
from importlib.resources import files
from itertools import starmap
from string import Template

from aggregated_metrics_cli import charts
from aggregated_metrics_cli.charts import Chart
from aggregated_metrics_cli.overview import Group, Overview, label, measures_of
from aggregated_metrics_cli.tables import number


def render(overview: Overview, source: str = "") -> str:
    """The whole file's text.

    Args:
        overview: what to show.
        source: where it was read, such as a stack's name.
    """
    return Template(_part("page.html")).substitute(
        title=escape(f"{overview.account_id}, {overview.span}"),
        account=escape(overview.account_id),
        range=escape(overview.span),
        made=escape(f"{overview.made:%d %b %Y, %H:%M:%S %Z}"),
        as_of=escape(overview.freshness),
        source=escape(f" from {source}" if source else ""),
        kind="good" if overview.is_complete else "note",
        state=escape(overview.state),
        totals=_table("record type", overview.totals),
        charts="".join(map(_figure, charts.over_time(overview))),
        breakdowns="".join(starmap(_breakdown, overview.breakdowns.items())),
        open="".join(_open(overview)),
        quiet=escape(f"Nothing of {', '.join(overview.quiet)}." if overview.quiet else ""),
        style=_part("page.css"),
    )


def _part(name: str) -> str:
    return files(__name__).joinpath(name).read_text("utf-8")


def _figure(chart: Chart) -> str:
    caption = f"<figcaption>{escape(chart.title)}</figcaption>" if chart.title else ""
    keys = "".join(
        f'<li><i style="background:{color}"></i>{escape(each)}</li>'
        for each, color in chart.legend.items()
    )
    caption += f'<ul class="legend">{keys}</ul>' if keys else ""
    return (
        f'<figure>{caption}<div class="chart" id="{escape(chart.name)}" role="img" '
        f'aria-label="{escape(chart.title or chart.name)}">{chart.svg}</div></figure>'
    )


def _breakdown(title: str, group: Group) -> str:
    name, _, ids = title.partition(" by ")
    return (
        f"<section><h2>{escape(title)}</h2>"
        f"{_figure(charts.by_scope(name, group))}{_table(ids, group)}</section>"
    )


def _table(first: str, group: Group) -> str:
    names = measures_of(group)
    rows = (
        _row(each.name, (_cell(name, each.sums.get(name, 0)) for name in names), each.depth)
        for each in group
    )
    heads = "".join(f"<th>{escape(each)}</th>" for each in (first, *map(label, names)))
    return (
        f'<div class="wide"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(name: str, cells: Iterable[str], depth: int = 0) -> str:
    kind = ' class="part"' if depth else ""
    return f'<tr{kind}><th scope="row">{escape(name)}</th>{"".join(cells)}</tr>'


def _cell(measure: str, value: int) -> str:
    return f"<td>{number(measure, value)}</td>" if value else '<td class="none">&ndash;</td>'


def _open(overview: Overview) -> Iterator[str]:
    """What may still grow; nothing where everything is complete."""
    if overview.is_complete:
        return
    yield "<section><h2>Not complete yet</h2>"
    state = escape(overview.state)
    yield f"<p>{state}. Later numbers may still grow; their bars are paler.</p><ul>"
    for since, names in overview.open.items():
        yield f"<li>from {since:%d %b, %H:%M} on: {escape(', '.join(names))}</li>"
    yield "</ul></section>"
