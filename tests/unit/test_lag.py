from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from aggregated_metrics.adapters.lag import IteratorAge
from aggregated_metrics.core.errors import SettingsError, StreamLagError
from botocore.stub import Stubber

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture
def cloudwatch() -> Any:
    return boto3.client("cloudwatch", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x")


def _age(client: Any, function: str = "stream") -> IteratorAge:
    return IteratorAge(client, function, lambda: NOW)


def test_the_lag_is_the_greatest_age_of_the_last_minutes_in_seconds(cloudwatch: Any) -> None:
    asked = {
        "Namespace": "AWS/Lambda",
        "MetricName": "IteratorAge",
        "Dimensions": [{"Name": "FunctionName", "Value": "stream"}],
        "StartTime": NOW - timedelta(minutes=5),
        "EndTime": NOW,
        "Period": 60,
        "Statistics": ["Maximum"],
    }
    points = [{"Maximum": 1_500.0}, {"Maximum": 61_000.0}, {"Maximum": 0.0}]
    with Stubber(cloudwatch) as stub:
        stub.add_response("get_metric_statistics", {"Datapoints": points}, asked)
        assert _age(cloudwatch).seconds() == 61.0


def test_a_function_that_nothing_invokes_is_behind_nothing(cloudwatch: Any) -> None:
    with Stubber(cloudwatch) as stub:
        stub.add_response("get_metric_statistics", {"Datapoints": []})
        assert _age(cloudwatch).seconds() == 0.0


def test_a_refusal_says_what_to_check(cloudwatch: Any) -> None:
    with Stubber(cloudwatch) as stub:
        stub.add_client_error("get_metric_statistics", "AccessDenied")
        with pytest.raises(StreamLagError, match="cloudwatch:GetMetricStatistics"):
            _age(cloudwatch).seconds()


def test_without_a_function_the_setting_is_named(cloudwatch: Any) -> None:
    with pytest.raises(SettingsError, match="STREAM_FUNCTION is empty"):
        _age(cloudwatch, "").seconds()
