"""The page's charts: Vega-Lite specifications, drawn as static SVG."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from itertools import cycle
from typing import Any, NamedTuple

import vl_convert
from aggregated_metrics import Summary
from aggregated_metrics.core.cover import Step

from aggregated_metrics_cli.output import printable
from aggregated_metrics_cli.overview import OTHER, Breakdown, Overview, Scope
from aggregated_metrics_cli.tables import DOLLAR

COLORS = ("#4c7dff", "#e08a00", "#14a38b", "#a36bf2", "#e8618c", "#2f9fc4", "#7f9c2a", "#c07a45")
_REST = "#8d99ae"
_ERRORS = "#e5484d"
MOST_BARS = 12
_WIDTH, _HEIGHT, _BAR, _NAMES = 360, 170, 22, 150
_TICKS = 6
_FEW, _THOUSANDS = 5, 10_000
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
    """A picture, and what its colours mean; the page draws that, in its own font."""

    svg: str
    legend: Mapping[str, str]


def charts(overview: Overview) -> dict[str, Chart]:
    """Every chart by the id of its place on the page."""
    made: dict[str, Chart] = {}
    for section in overview.sections:
        name = f"counts-{section.whole.record_type}"
        made[name] = _drawn(section.whole.points, section.layers, overview.step)
    for measure, unit in (("cost", DOLLAR), ("errorCount", 1)):
        layers = [
            (s.whole.record_type, [point.sums[measure] / unit for point in s.whole.points])
            for s in overview.sections
            if s.whole.sums[measure]
        ]
        if layers:
            points = overview.sections[0].whole.points
            made[f"all-{measure}"] = _drawn(points, layers, overview.step, measure)
    for breakdown in overview.breakdowns:
        made[f"scopes-{breakdown.record_type}"] = Chart(_svg(_scopes(breakdown)), {})
    return made


def _drawn(points: Sequence[Summary], layers: Layers, step: Step, measure: str = "count") -> Chart:
    legend = legend_of([name for name, _ in layers], measure) if len(layers) > 1 else {}
    return Chart(_svg(_bars(points, layers, step, measure)), legend)


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
    legend = legend_of([name for name, _ in layers], measure)
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
            "y": {"field": "is", "type": "quantitative", "axis": _axis(layers, measure)},
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


def _axis(layers: Layers, measure: str) -> Mapping[str, Any]:
    """Few, short numbers; whole ones for counts."""
    most = max((sum(column) for column in zip(*(v for _, v in layers), strict=True)), default=0)
    form = "~s" if most >= _THOUSANDS else ",~f"
    money = measure == "cost"
    whole = {} if money or most > _FEW else {"values": list(range(_FEW + 1))}
    form = f"${form}" if money else form
    return {"title": None, "tickCount": 4, "format": form, "minExtent": 40, **whole}


def _scopes(breakdown: Breakdown) -> Mapping[str, Any]:
    """The largest scorecards, or scores where there are no scorecards."""
    largest = (breakdown.scorecards or breakdown.scores)[:MOST_BARS]
    names = {at: printable(shortened(_id(scope))) for at, scope in enumerate(largest)}
    rows = [
        {"at": at, "is": scope.sums["count"], "text": f"{scope.sums['count']:,}"}
        for at, scope in enumerate(largest)
    ]
    label = {"labelExpr": f"{json.dumps(names)}[datum.value]", "title": None}
    y = {
        "field": "at",
        "type": "ordinal",
        "axis": {**label, "minExtent": _NAMES, "labelLimit": 2 * _NAMES},
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


def _id(scope: Scope) -> str:
    return str(scope.score_id or scope.scorecard_id)


def legend_of(names: Sequence[str], measure: str) -> dict[str, str]:
    """The colour of each name."""
    if measure == "errorCount" and len(names) == 1:
        return {names[0]: _ERRORS}
    colors = dict(zip(names, cycle(COLORS), strict=False))
    return colors | ({OTHER: _REST} if OTHER in colors else {})


def labels(points: Sequence[Summary], step: Step) -> list[str]:
    """What each point is called, all different: where clocks go back, with the offset."""
    offsets = {point.start.utcoffset() for point in points}
    suffix = " UTC%z" if len(offsets) > 1 and _is_fine(step) else ""
    form = "%a %d %b %Y, %H:%M" if _is_fine(step) else "%a %d %b %Y" if step != "month" else "%B %Y"
    return [point.start.strftime(form + suffix) for point in points]


def _tick(point: Summary, step: Step) -> str:
    if not _is_fine(step):
        return f"{point.start:%d %b}" if step != "month" else f"{point.start:%b %y}"
    return f"{point.start:%H:%M}"


def _is_fine(step: Step) -> bool:
    return isinstance(step, timedelta) and step < _DAY


def shortened(name: str, most: int = 16) -> str:
    """A name that leaves room for the bars; ids differ at both ends.

    >>> shortened("0f8fad5b-d9cb-469f-a165-70867728950e")
    '0f8fad5b…728950e'
    """
    return name if len(name) <= most else f"{name[: most // 2]}…{name[1 - most // 2 :]}"
