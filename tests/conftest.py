"""Fixtures for every tier."""

import io
import json
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import boto3
import pytest
from aggregated_metrics import wiring
from aggregated_metrics.adapters import observability
from botocore.config import Config
from hypothesis import settings
from moto import mock_aws

from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.signatures import Signatures
from testbench.in_process import CREDENTIALS, ENDPOINT, GRACE, TABLE, Clock, Line, Stack
from testbench.templates import template

type Aws = Callable[[str], Any]

# A slow machine is no failure.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


@pytest.fixture
def clock() -> Clock:
    """A clock that stands at 2026-11-22T10:06:40Z."""
    return Clock()


@pytest.fixture(scope="session")
def _clients() -> Aws:
    """boto3's clients: they cost 50 ms each, and moto catches whatever they send."""
    session = boto3.Session("AKIDEXAMPLE", "made-up-for-tests", region_name="us-east-1")
    once = Config(retries={"total_max_attempts": 1})
    return cache(lambda service: session.client(service, config=once))


@pytest.fixture
def aws(_clients: Aws) -> Iterator[Aws]:
    """DynamoDB with the table of pending hours as template.yaml describes it, and SQS."""
    table = template("template.yaml")["Resources"]["PendingHoursTable"]["Properties"]
    with mock_aws():
        _clients("dynamodb").create_table(
            TableName=TABLE,
            **{
                name: table[name]
                for name in (
                    "BillingMode",
                    "AttributeDefinitions",
                    "KeySchema",
                    "GlobalSecondaryIndexes",
                )
            },
        )
        yield _clients


@pytest.fixture
def queue_url(aws: Aws) -> str:
    """The quarantine queue."""
    return str(aws("sqs").create_queue(QueueName="quarantine")["QueueUrl"])


@pytest.fixture
def api(clock: Clock) -> FakeAppSync:
    """The API; it refuses what is not signed with the right secret."""
    secrets = {CREDENTIALS["AWS_ACCESS_KEY_ID"]: CREDENTIALS["AWS_SECRET_ACCESS_KEY"]}
    return FakeAppSync(clock=clock, monotonic=clock.monotonic, signatures=Signatures(secrets))


@pytest.fixture
def environment(queue_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The functions' environment, and nothing of the machine's own."""
    variables = {
        "GRAPHQL_ENDPOINT": ENDPOINT,
        "PENDING_HOURS_TABLE": TABLE,
        "QUARANTINE_QUEUE_URL": queue_url,
        "GRACE_SECONDS": str(GRACE),
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        **CREDENTIALS,
    }
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL", "SOURCE_TABLES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[Line]]:
    """What the functions have logged, line by line."""
    stream = io.StringIO()
    monkeypatch.setattr(observability.logger.registered_handler, "stream", stream)
    monkeypatch.setattr(observability.metrics.provider, "namespace", "AggregatedMetrics")
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def stack(
    api: FakeAppSync,
    aws: Aws,
    clock: Clock,
    environment: dict[str, str],
    lines: Callable[[], list[Line]],
) -> Iterator[Stack]:
    """The functions and what they talk to."""
    wiring.process.cache_clear()
    made = Stack(api, aws, clock, wiring.process(), lines)
    yield made
    made.process.session.close()
    wiring.process.cache_clear()
