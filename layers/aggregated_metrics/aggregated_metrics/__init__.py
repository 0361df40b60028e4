"""Exact, fresh and cheap counts for applications on AppSync and DynamoDB.

What a reader of counts needs is here: `connect` to the API, `summarize` a range, draw a
`timeline`, ask up to when numbers are complete (`complete_until`) and which `breakdowns` are
stored; `AggregatedMetrics` is the model of single buckets, for reading and writing. The functions
are made of the rest of the package (docs/architecture.md).
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aggregated_metrics.adapters.appsync import connect
    from aggregated_metrics.core.cover import cover
    from aggregated_metrics.model import AggregatedMetrics
    from aggregated_metrics.reading import Summary, breakdowns, complete_until, summarize, timeline

__all__ = [
    "AggregatedMetrics",
    "Summary",
    "breakdowns",
    "complete_until",
    "connect",
    "cover",
    "summarize",
    "timeline",
]
_MODULES = {"connect": "adapters.appsync", "cover": "core.cover", "AggregatedMetrics": "model"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: the functions, which start cold, do without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'reading')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
