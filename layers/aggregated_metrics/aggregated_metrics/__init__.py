"""Exact, fresh and cheap counts for applications on AppSync and DynamoDB.

`AggregatedMetrics` is the model for reading and writing the counts; the rest is what the three
functions are made of (docs/architecture.md).
"""

from aggregated_metrics.model import AggregatedMetrics

__all__ = ["AggregatedMetrics"]
