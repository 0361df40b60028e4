"""How far the stream's consumer is behind, as CloudWatch knows it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient

_WINDOW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class IteratorAge:
    """The stream function's IteratorAge; a function that nothing invokes is behind nothing."""

    client: "CloudWatchClient"
    function: str
    clock: Callable[[], datetime]

    def seconds(self) -> float:
        """The greatest age in the last five minutes."""
        now = self.clock()
        answer = self.client.get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName="IteratorAge",
            Dimensions=[{"Name": "FunctionName", "Value": self.function}],
            StartTime=now - _WINDOW,
            EndTime=now,
            Period=60,
            Statistics=["Maximum"],
        )
        ages = (point["Maximum"] for point in answer["Datapoints"])
        return max(ages, default=0.0) / 1000
