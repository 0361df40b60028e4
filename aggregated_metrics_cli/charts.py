"""The page's charts, as plotly draws them: the only module that needs it."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from html import escape
from typing import Any

from aggregated_metrics import Summary
from aggregated_metrics.core.cover import Step
from plotly import graph_objects as go
from plotly.offline import get_plotlyjs

from aggregated_metrics_cli.overview import OTHER, Breakdown, Overview
from aggregated_metrics_cli.show import DOLLAR

COLORS = ("#4c7dff", "#f0a020", "#14a38b", "#a36bf2", "#e8618c", "#3bb3d9", "#8fae3c", "#c98a5e")
_REST = "#8d99ae"
_ERRORS = "#e5484d"
MOST_BARS = 12
_TICKS = 6
_FEW, _THOUSANDS = 5, 10_000
_DAY = timedelta(days=1)

type Figures = dict[str, dict[str, Any]]


def figures(overview: Overview) -> Figures:
    """Every chart by the id of its place on the page, as plotly's JSON."""
    made = {}
    for section in overview.sections:
        made[f"counts-{section.whole.record_type}"] = _bars(
            section.whole.points, section.layers, overview.step
        )
    for measure, unit in (("cost", DOLLAR), ("errorCount", 1)):
        layers = [
            (
                section.whole.record_type,
                [p.sums[measure] / unit for p in section.whole.points],
            )
            for section in overview.sections
            if section.whole.sums[measure]
        ]
        if layers:
            made[f"all-{measure}"] = _bars(
                overview.sections[0].whole.points, layers, overview.step, measure
            )
    for breakdown in overview.breakdowns:
        made[f"scopes-{breakdown.record_type}"] = _scopes(breakdown)
    return {name: json.loads(figure.to_json()) for name, figure in made.items()}


def script() -> str:
    """Plotly's own script, to be put into the page."""
    text: str = get_plotlyjs()
    return text


def _bars(
    points: Sequence[Summary],
    layers: Sequence[tuple[str, Sequence[float]]],
    step: Step,
    measure: str = "count",
) -> go.Figure:
    """Bars over time, one upon the other; striped where numbers may still grow."""
    names = labels(points, step)
    figure = go.Figure()
    for (name, values), color in zip(layers, _colors(layers, measure), strict=True):
        figure.add_bar(
            name=escape(name),
            x=names,
            y=values,
            marker={
                "color": color,
                "pattern": {
                    "shape": ["" if point.complete else "/" for point in points],
                    "fillmode": "overlay",
                    "solidity": 0.35,
                },
            },
            hovertemplate="%{y:$,.4~f}" if measure == "cost" else "%{y:,}",
        )
    shown = range(0, len(points), -(-len(points) // _TICKS))
    figure.update_layout(
        _layout(legend=len(layers) > 1),
        barmode="stack",
        hovermode="x unified",
        xaxis={
            "type": "category",
            "tickvals": list(shown),
            "ticktext": [_tick(points[i], step) for i in shown],
            "tickangle": 0,
            "fixedrange": True,
        },
        yaxis={
            "rangemode": "tozero",
            "fixedrange": True,
            **_scale(
                [sum(column) for column in zip(*(v for _, v in layers), strict=True)], measure
            ),
        },
    )
    return figure


def _scale(values: Sequence[float], measure: str) -> dict[str, Any]:
    """Few, short and whole numbers at an axis; dollars with their cents while they are few."""
    most = max(values, default=0)
    sign = "$" if measure == "cost" else ""
    if most >= _THOUSANDS:
        return {"nticks": 5, "tickformat": f"{sign}~s"}
    if measure == "cost":
        return {"nticks": 5, "tickformat": "$,~f"}
    return {"tickformat": ",d", "dtick": 1} if most < _FEW else {"nticks": 5, "tickformat": ",d"}


def _scopes(breakdown: Breakdown) -> go.Figure:
    """The largest scorecards, or scores where there are no scorecards."""
    largest = (breakdown.scorecards or breakdown.scores)[:MOST_BARS][::-1]
    figure = go.Figure()
    figure.add_bar(
        orientation="h",
        x=[scope.sums["count"] for scope in largest],
        y=[escape(str(scope.score_id or scope.scorecard_id)) for scope in largest],
        text=[f"{scope.sums['count']:,}" for scope in largest],
        textposition="auto",
        marker={"color": COLORS[0]},
        hovertemplate="%{y}: %{x:,}<extra></extra>",
    )
    figure.update_layout(
        _layout(legend=False),
        height=56 + 30 * len(largest),
        xaxis={"fixedrange": True, **_scale([scope.sums["count"] for scope in largest], "count")},
        yaxis={
            "type": "category",
            "fixedrange": True,
            "automargin": True,
            "tickvals": list(range(len(largest))),
            "ticktext": [
                escape(shortened(str(scope.score_id or scope.scorecard_id))) for scope in largest
            ],
        },
    )
    return figure


def _layout(*, legend: bool) -> Mapping[str, Any]:
    """What the charts share; the page sets the colours of text and grid."""
    return {
        "template": "none",
        "height": 260,
        "margin": {"l": 48, "r": 8, "t": 34 if legend else 10, "b": 34},
        "bargap": 0.18,
        "dragmode": False,
        "showlegend": legend,
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "traceorder": "normal"},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    }


def _colors(layers: Sequence[tuple[str, Any]], measure: str) -> list[str]:
    if measure == "errorCount" and len(layers) == 1:
        return [_ERRORS]
    return [
        _REST if name == OTHER else COLORS[i % len(COLORS)] for i, (name, _) in enumerate(layers)
    ]


def labels(points: Sequence[Summary], step: Step) -> list[str]:
    """What each point is called, all different: where clocks go back, with the offset."""
    offsets = {point.start.utcoffset() for point in points}
    suffix = " UTC%z" if len(offsets) > 1 and _is_fine(step) else ""
    form = "%a %d %b %Y, %H:%M" if _is_fine(step) else "%a %d %b %Y" if step != "month" else "%B %Y"
    return [point.start.strftime(form + suffix) for point in points]


def _tick(point: Summary, step: Step) -> str:
    if not _is_fine(step):
        return f"{point.start:%d %b}" if step != "month" else f"{point.start:%b<br>%Y}"
    return f"{point.start:%H:%M}"


def _is_fine(step: Step) -> bool:
    return isinstance(step, timedelta) and step < _DAY


def shortened(name: str, most: int = 16) -> str:
    """A name that leaves room for the bars; ids differ at both ends.

    >>> shortened("0f8fad5b-d9cb-469f-a165-70867728950e")
    '0f8fad5b…728950e'
    """
    return name if len(name) <= most else f"{name[: most // 2]}…{name[1 - most // 2 :]}"
