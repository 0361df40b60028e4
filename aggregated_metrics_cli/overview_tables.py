"""The page's views in the terminal."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from rich.console import RenderableType

from aggregated_metrics_cli.output import styled
from aggregated_metrics_cli.overview import Breakdown, Overview, Scope, Sums, added, label
from aggregated_metrics_cli.tables import Columns, Row, bar, rounded

_BAR, _NARROW = 8, 4
_FEW = 2
_FINE = "%d %b %H:%M"
_NAMES = ("count", "cost", "errorCount")


def overview(found: Overview) -> Iterator[RenderableType]:
    """Totals, a chart, breakdowns, and what may still grow."""
    yield styled(f"{found.account_id}, {_span(found)}", "bold")
    if found.sections:
        yield _totals(found)
        yield _chart(found)
    if found.quiet:
        yield styled(f"Nothing of {', '.join(found.quiet)}.", "dim")
    for each in found.breakdowns:
        yield _breakdown(each)
    yield from _open(found)
    yield styled(f"Read on {found.made:%d %b %Y, %H:%M:%S %Z}.", "dim")


def scopes(name: str, found: Sequence[Scope]) -> Columns:
    """One breakdown's series and their sums."""
    rows = [
        Row(" ".join(filter(None, (each.scorecard_id, each.score_id))), _cells(each.sums, _NAMES))
        for each in found
    ]
    return Columns(name, "of", [label(each) for each in _NAMES], rows)


def _span(found: Overview) -> str:
    return f"{found.start:%a %d %b %Y %H:%M} to {found.end:%a %d %b %Y %H:%M %Z}"


def _cells(sums: Sums, names: Sequence[str]) -> list[str]:
    return [rounded(name, sums.get(name, 0)) for name in names]


def _totals(found: Overview) -> Columns:
    names = found.measures
    rows = []
    for section in found.sections:
        rows.append(Row(section.whole.record_type, _cells(section.whole.sums, names), "bold"))
        rows += [Row(f"  {s.record_type}", _cells(s.sums, names)) for s in section.splits]
    return Columns("totals", "record type", [label(name) for name in names], rows)


def _chart(found: Overview) -> Columns:
    """A line for each point, with a bar for each model; open points are marked."""
    last = found.end - timedelta(microseconds=1)
    form = "%H:%M" if found.start.date() == last.date() else _FINE
    width = _BAR if len(found.sections) <= _FEW else _NARROW
    most = [max(section.whole.counts) for section in found.sections]
    rest = [name for name in ("cost", "errorCount") if name in found.measures]
    rows = []
    for points in zip(*(section.whole.points for section in found.sections), strict=True):
        cells = [
            f"{rounded('count', point.measures.count):>6} "
            + bar(point.measures.count, top, width).ljust(width)
            for point, top in zip(points, most, strict=True)
        ]
        sums = _cells(added(point.sums for point in points), rest)
        state = "" if all(point.complete for point in points) else "open"
        rows.append(Row(f"{points[0].start:{form}}", [*cells, *sums, state]))
    names = [section.whole.record_type for section in found.sections]
    heads = [*names, *map(label, rest), ""]
    return Columns("over time", "from", heads, rows, left=True)


def _breakdown(each: Breakdown) -> Columns:
    rows = []
    for card in each.scorecards:
        rows.append(Row(str(card.scorecard_id), _cells(card.sums, _NAMES), "bold"))
        scores = each.scores_of(card.scorecard_id)
        rows += [Row(f"  {score.score_id}", _cells(score.sums, _NAMES)) for score in scores]
    if not each.scorecards:
        rows = [Row(str(score.score_id), _cells(score.sums, _NAMES)) for score in each.scores]
    title = f"{each.record_type} by scorecard and score"
    return Columns(title, "scorecard, score", [label(name) for name in _NAMES], rows)


def _open(found: Overview) -> Iterator[RenderableType]:
    if found.is_complete:
        yield styled("Everything in this range is complete.", "green")
        return
    until = found.complete_until
    known = f"Complete up to {until:%d %b %Y, %H:%M %Z}" if until else "Not known to be complete"
    yield styled(f"{known}; later numbers may still grow.", "yellow")
    for since, names in found.open.items():
        yield styled(f"  from {since:{_FINE}} on: {', '.join(names)}")
