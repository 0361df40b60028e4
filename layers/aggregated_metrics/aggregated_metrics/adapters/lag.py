"""How far the stream's consumer is behind, as CloudWatch knows it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from aggregated_metrics.core.errors import SettingsError, StreamLagError

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
        """The greatest age in the last five minutes.

        Raises:
            SettingsError: no function is named.
            StreamLagError: CloudWatch did not answer.
        """
        if not self.function:
            raise SettingsError(
                "STREAM_FUNCTION is empty: name the function that takes in the streams, because a "
                "repair is safe only while it is not behind"
            )
        now = self.clock()
        try:
            answer = self.client.get_metric_statistics(
                Namespace="AWS/Lambda",
                MetricName="IteratorAge",
                Dimensions=[{"Name": "FunctionName", "Value": self.function}],
                StartTime=now - _WINDOW,
                EndTime=now,
                Period=60,
                Statistics=["Maximum"],
            )
        except (BotoCoreError, ClientError) as error:
            raise StreamLagError(
                f"CloudWatch did not say how far {self.function} is behind ({error}); check "
                "STREAM_FUNCTION and that the role may call cloudwatch:GetMetricStatistics"
            ) from error
        ages = (point["Maximum"] for point in answer["Datapoints"])
        return max(ages, default=0.0) / 1000
