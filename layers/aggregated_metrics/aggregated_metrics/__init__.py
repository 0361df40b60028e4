"""Exact, fresh and cheap counts for applications on AppSync and DynamoDB.

`AggregatedMetrics` is the model for reading and writing the counts; the rest is what the three
functions are made of (docs/architecture.md).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aggregated_metrics.model import AggregatedMetrics

__all__ = ["AggregatedMetrics"]


def __getattr__(name: str) -> Any:
    """`AggregatedMetrics` when somebody asks for it: the functions do without."""
    if name == "AggregatedMetrics":
        from aggregated_metrics.model import AggregatedMetrics  # noqa: PLC0415 - late

        return AggregatedMetrics
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
