"""Exact, fresh and cheap counts for applications on AppSync and DynamoDB.

What a reader of counts needs is here: `connect` to the API, `summarize` a range, draw a
`timeline`, ask for its `freshness` and for the `scopes` of a breakdown; `AggregatedMetrics` is the
model of single buckets, for reading and writing. The rest of the package is what the three
functions are made of (docs/architecture.md).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aggregated_metrics.adapters.connection import connect
    from aggregated_metrics.adapters.scopes import scopes
    from aggregated_metrics.core.cover import cover
    from aggregated_metrics.model import AggregatedMetrics
    from aggregated_metrics.reading import Summary, freshness, summarize, timeline

__all__ = [
    "AggregatedMetrics",
    "Summary",
    "connect",
    "cover",
    "freshness",
    "scopes",
    "summarize",
    "timeline",
]
_PLACES = {
    "AggregatedMetrics": "model",
    "Summary": "reading",
    "connect": "adapters.connection",
    "cover": "core.cover",
    "freshness": "reading",
    "scopes": "adapters.scopes",
    "summarize": "reading",
    "timeline": "reading",
}


def __getattr__(name: str) -> Any:
    """What somebody asks for, when they do: the functions, which start cold, do without."""
    if name in _PLACES:
        return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
