"""The page's charts: Vega-Lite specifications, drawn as static SVG."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import cycle
from typing import Any, NamedTuple

import vl_convert
from aggregated_metrics import Summary
from aggregated_metrics.core.cover import Step

from aggregated_metrics_cli.output import printable
from aggregated_metrics_cli.overview import Counted, Group, Overview
from aggregated_metrics_cli.tables import DOLLAR

COLORS = ("#4c7dff", "#e08a00", "#14a38b", "#a36bf2", "#e8618c", "#2f9fc4", "#7f9c2a", "#c07a45")
_REST = "#8d99ae"
MOST_BARS = 12
OTHER = "other"
"""The rows of a record type that are in none of its splits."""
_WIDTH, _HEIGHT, _BAR, _NAMES = 360, 170, 22, 150
_TICKS = 6
_OPEN = 0.45
"""How opaque a bar is that may still grow."""
_DAY = timedelta(days=1)
_CONFIG = {
    "aria": False,
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {"labelFontSize": 13, "domain": False, "ticks": False, "labelPadding": 6},
}

type Layers = Sequence[tuple[str, Sequence[float]]]
"""Names, and a value for each point."""


class Chart(NamedTuple):
    """A picture; the page draws its title and its legend, in its own font.

    Attributes:
        name: its id on the page.
        title: above it; empty where a heading says it.
        legend: name to colour.
    """

    name: str
    title: str
    svg: str
    legend: Mapping[str, str]


def over_time(overview: Overview) -> Iterator[Chart]:
    """The counts of each record type; then all costs and all errors."""
    step = overview.step
    for whole, *splits in overview.sections:
        name = whole.name
        yield _drawn(f"counts-{name}", name, whole.points, layers_of(whole, splits), step)
    for measure, title, unit in (("cost", "Cost", DOLLAR), ("errorCount", "Errors", 1)):
        layers = [
            (whole.name, [point.sums[measure] / unit for point in whole.points])
            for whole, *_ in overview.sections
            if whole.sums[measure]
        ]
        if layers:
            points = overview.sections[0][0].points
            yield _drawn(f"all-{measure}", title, points, layers, step, measure)


def by_scope(name: str, group: Group) -> Chart:
    """The largest scorecards of a record type, or scores where there are no scorecards."""
    largest = [each for each in group if not each.depth][:MOST_BARS]
    return Chart(f"scopes-{name}", "", _svg(_scopes(largest)), {})


def layers_of(whole: Counted, splits: Sequence[Counted]) -> Layers:
    """Counts that add up to the whole's, point by point: each split's, and what is in none."""
    splits = [split for split in splits if split.sums["count"]]
    if not splits:
        return [(whole.name, whole.counts)]
    in_one = map(sum, zip(*(split.counts for split in splits), strict=True))
    rest = [max(0, a - b) for a, b in zip(whole.counts, in_one, strict=True)]
    layers = [(split.name, split.counts) for split in splits]
    return [*layers, (OTHER, rest)] if any(rest) else layers


def _drawn(
    name: str,
    title: str,
    points: Sequence[Summary],
    layers: Layers,
    step: Step,
    measure: str = "count",
) -> Chart:
    legend = legend_of([each for each, _ in layers]) if len(layers) > 1 else {}
    return Chart(name, title, _svg(_bars(points, layers, step, measure)), legend)


def _svg(specification: Mapping[str, Any]) -> str:
    svg: str = vl_convert.vegalite_to_svg(json.dumps(specification))
    return svg


def _bars(points: Sequence[Summary], layers: Layers, step: Step, measure: str) -> Mapping[str, Any]:
    """Bars over time, one upon the other; paler where numbers may still grow."""
    rows = [
        {"at": at, "of": name, "is": value, "order": order, "open": not points[at].complete}
        for order, (name, values) in enumerate(layers)
        for at, value in enumerate(values)
        if value
    ]
    every = -(-len(points) // _TICKS)
    ticks = {at: _tick(points[at], step) for at in range(0, len(points), every)}
    axis = {
        "values": list(ticks),
        "labelExpr": f"{json.dumps(ticks)}[datum.value]",
        "labelAngle": 0,
        "title": None,
    }
    legend = legend_of([name for name, _ in layers])
    return {
        "data": {"values": rows},
        "width": _WIDTH,
        "height": _HEIGHT,
        "mark": {"type": "bar"},
        "encoding": {
            "x": {
                "field": "at",
                "type": "ordinal",
                "scale": {"domain": list(range(len(points))), "paddingInner": 0.18},
                "axis": axis,
            },
            "y": {"field": "is", "type": "quantitative", "axis": _axis(measure)},
            "color": {
                "field": "of",
                "type": "nominal",
                "scale": {"domain": list(legend), "range": list(legend.values())},
                "legend": None,
            },
            "order": {"field": "order"},
            "opacity": {"condition": {"test": "datum.open", "value": _OPEN}, "value": 1},
        },
        "config": _CONFIG,
    }


def _axis(measure: str) -> Mapping[str, Any]:
    """Few, short numbers; whole ones for counts."""
    numbers = {"format": "~s", "labelExpr": "datum.value % 1 ? '' : datum.label"}
    numbers = {"format": "$,~f"} if measure == "cost" else numbers
    return {"title": None, "tickCount": 4, "minExtent": 40, **numbers}


def _scopes(largest: Group) -> Mapping[str, Any]:
    names = {at: printable(each.name) for at, each in enumerate(largest)}
    rows = [
        {"at": at, "is": each.sums["count"], "text": f"{each.sums['count']:,}"}
        for at, each in enumerate(largest)
    ]
    label = {"labelExpr": f"{json.dumps(names)}[datum.value]", "title": None}
    y = {
        "field": "at",
        "type": "ordinal",
        "axis": {**label, "minExtent": _NAMES, "labelLimit": 0.8 * _NAMES},
    }
    x = {"field": "is", "type": "quantitative", "axis": None}
    text = {"type": "text", "align": "left", "dx": 5, "fontSize": 13}
    return {
        "data": {"values": rows},
        "width": _WIDTH - _NAMES,
        "height": {"step": _BAR},
        "encoding": {"y": y, "x": x},
        "layer": [
            {"mark": {"type": "bar", "color": COLORS[0]}},
            {"mark": text, "encoding": {"text": {"field": "text"}}},
        ],
        "config": _CONFIG,
    }


def legend_of(names: Sequence[str]) -> dict[str, str]:
    """The colour of each name."""
    colors = dict(zip(names, cycle(COLORS), strict=False))
    return colors | ({OTHER: _REST} if OTHER in colors else {})


def _tick(point: Summary, step: Step) -> str:
    if isinstance(step, timedelta):
        return f"{point.start:%H:%M}" if step < _DAY else f"{point.start:%d %b}"
    return f"{point.start:%b %y}" if step == "month" else f"{point.start:%d %b}"
