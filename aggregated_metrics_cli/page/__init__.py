"""The page: one HTML file that needs nothing else, not even a network."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from html import escape
from importlib.resources import files
from string import Template

from aggregated_metrics_cli import charts
from aggregated_metrics_cli.charts import Chart
from aggregated_metrics_cli.overview import Breakdown, Overview, Section, Sums, label, names_of
from aggregated_metrics_cli.tables import DOLLAR

_TITLES = {"all-cost": "Cost", "all-errorCount": "Errors"}


def render(overview: Overview, source: str = "") -> str:
    """The whole file's text.

    Args:
        overview: what to show.
        source: where it was read, such as a stack's name.
    """
    drawn = charts.charts(overview)
    return Template(_part("page.html")).substitute(
        title=escape(f"{overview.account_id}, {_range(overview)}"),
        account=escape(overview.account_id),
        range=escape(_range(overview)),
        made=escape(f"{overview.made:%d %b %Y, %H:%M:%S %Z}"),
        source=escape(f" from {source}" if source else ""),
        state=_state(overview),
        cards="".join(_card(section) for section in overview.sections) or _NOTHING,
        charts="".join(_charts(overview, drawn)),
        breakdowns="".join(_breakdown(each, drawn) for each in overview.breakdowns),
        open="".join(_open(overview)),
        totals=_totals(overview),
        points=_points(overview),
        style=_part("page.css"),
    )


_NOTHING = '<p class="nothing">Nothing was counted in this range.</p>'


def _part(name: str) -> str:
    return files(__name__).joinpath(name).read_text("utf-8")


def _range(overview: Overview) -> str:
    start, end = overview.start, overview.end
    zone = f"{start:%Z}"
    if start.time() == end.time() == datetime.min.time():
        days = (end.date() - start.date()).days
        return (
            f"{start:%A %d %B %Y} {zone}"
            if days == 1
            else (f"{start:%d %b %Y} to {end:%d %b %Y} {zone}, the last day not included")
        )
    day = "" if start.date() == end.date() else f"{end:%d %b %Y}, "
    return f"{start:%d %b %Y}, {start:%H:%M} to {day}{end:%H:%M} {zone}"


def _state(overview: Overview) -> str:
    if overview.is_complete:
        return '<span class="state good">complete</span>'
    if overview.complete_until is None:
        return '<span class="state note">not known to be complete</span>'
    until = f"{overview.complete_until:%d %b, %H:%M %Z}"
    return f'<span class="state note">complete up to {escape(until)}</span>'


def number(measure: str, value: int) -> str:
    """With thousands apart; `cost` in dollars, with as many digits as say something."""
    if not value:
        return "0"
    if measure != "cost":
        return f"{value:,}"
    return f"${value / DOLLAR:,.2f}" if value >= 100 * DOLLAR else f"${value / DOLLAR:,.4f}"


def _card(section: Section) -> str:
    sums = section.whole.sums
    facts = [
        f"{number(name, value)} {label(name).removesuffix(' $')}" for name, value in _beside(sums)
    ]
    share = f" ({sums['errorCount'] / sums['count']:.1%})" if sums["errorCount"] else ""
    lines = "".join(
        f'<li class="{"errors" if fact.endswith("errors") else ""}">'
        f"{escape(fact)}{share if fact.endswith('errors') else ''}</li>"
        for fact in facts
    )
    return (
        f'<section class="card"><h3>{escape(section.whole.record_type)}</h3>'
        f'<p class="big">{sums["count"]:,}</p><ul>{lines}</ul></section>'
    )


def _beside(sums: Sums) -> Iterator[tuple[str, int]]:
    return ((name, value) for name, value in sums.items() if value and name != "count")


def _charts(overview: Overview, drawn: Mapping[str, Chart]) -> Iterator[str]:
    by_id = {f"counts-{s.whole.record_type}": s for s in overview.sections}
    for name in drawn:
        if not name.startswith("scopes-"):
            title = by_id[name].whole.record_type if name in by_id else _TITLES[name]
            yield _figure(name, title, f"{title} over time", drawn)


def _figure(name: str, title: str, what: str, drawn: Mapping[str, Chart]) -> str:
    caption = f"<figcaption>{escape(title)}</figcaption>" if title else ""
    keys = "".join(
        f'<li><i style="background:{color}"></i>{escape(each)}</li>'
        for each, color in drawn[name].legend.items()
    )
    caption += f'<ul class="legend">{keys}</ul>' if keys else ""
    return (
        f'<figure>{caption}<div class="chart" id="{escape(name)}" role="img" '
        f'aria-label="{escape(what)}; the numbers are in the table below">{drawn[name].svg}</div>'
        "</figure>"
    )


def _breakdown(breakdown: Breakdown, drawn: Mapping[str, Chart]) -> str:
    names = names_of(scope.sums for scope in (*breakdown.scorecards, *breakdown.scores))
    head = "".join(f"<th>{escape(label(name))}</th>" for name in names)
    rows = []
    for card in breakdown.scorecards:
        rows.append(_row(card.scorecard_id, card.sums, names, "scorecard"))
        scores = breakdown.scores_of(card.scorecard_id)
        rows += [_row(score.score_id, score.sums, names, "score") for score in scores]
    if not breakdown.scorecards:
        rows += [_row(score.score_id, score.sums, names, "score") for score in breakdown.scores]
    name = breakdown.record_type
    return (
        f"<section><h2>{escape(name)} by scorecard and score</h2>"
        f"{_figure(f'scopes-{name}', '', f'{name} by scorecard', drawn)}"
        f'<div class="wide"><table><thead><tr><th>scorecard, score</th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div></section>"
    )


def _row(name: str | None, sums: Sums, names: Iterable[str], kind: str) -> str:
    cells = "".join(map(_cell, names, (sums.get(each, 0) for each in names)))
    return f'<tr class="{kind}"><th scope="row">{escape(name or "-")}</th>{cells}</tr>'


def _cell(measure: str, value: int) -> str:
    return f"<td>{number(measure, value)}</td>" if value else '<td class="none">&ndash;</td>'


def _open(overview: Overview) -> Iterator[str]:
    if overview.is_complete:
        yield "<p>Everything in this range is complete: nothing more is expected.</p>"
        return
    until = overview.complete_until
    known = (
        f"Numbers up to <b>{until:%d %b %Y, %H:%M %Z}</b> are complete."
        if until
        else "It is not known how far the streams are applied."
    )
    yield f"<p>{known} Later numbers may still grow; their bars are paler.</p>"
    if overview.open:
        yield "<ul>"
        for since, names in overview.open.items():
            yield f"<li>from {since:%d %b, %H:%M} on: {escape(', '.join(names))}</li>"
        yield "</ul>"


def _totals(overview: Overview) -> str:
    names = overview.measures
    head = "".join(f"<th>{escape(label(name))}</th>" for name in names)
    rows = "".join(
        _row(counted.record_type, counted.sums, names, kind)
        for section in overview.sections
        for counted, kind in ((section.whole, "scorecard"), *((s, "score") for s in section.splits))
    )
    quiet = f"<p>Nothing of {escape(', '.join(overview.quiet))}.</p>" if overview.quiet else ""
    return (
        f'<div class="wide"><table><thead><tr><th>record type</th>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{quiet}"
    )


def _points(overview: Overview) -> str:
    if not overview.sections:
        return ""
    names = charts.labels(overview.sections[0].whole.points, overview.step)
    head = "".join(f"<th>{escape(s.whole.record_type)}</th>" for s in overview.sections)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>'
        + "".join(f"<td>{s.whole.counts[i]:,}</td>" for s in overview.sections)
        + "</tr>"
        for i, name in enumerate(names)
    )
    return (
        '<details><summary>The counts of every point</summary><div class="wide"><table><thead>'
        f"<tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table></div></details>"
    )
