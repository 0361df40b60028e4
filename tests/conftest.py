"""Fixtures for every tier."""

import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3
import pytest
from aggregated_metrics import wiring
from aggregated_metrics.adapters import observability
from botocore.config import Config
from hypothesis import settings
from moto import mock_aws

from testbench import local
from testbench.templates import resources
from testbench.world import Clock, World

type Aws = Callable[[str], Any]

# A slow machine is no failure.
settings.register_profile("project", deadline=None)
settings.load_profile("project")

NOW = datetime(2026, 11, 22, 10, 6, 40, 123456, tzinfo=UTC)


def over(world: World) -> None:
    """Let the hour that a world begins in end, and all that may complete do so."""
    world.clock.advance(3_600)
    world.sweep()


@pytest.fixture
def clock() -> Clock:
    """A clock that stands at 2026-11-22T10:06:40Z."""
    return Clock(NOW)


@pytest.fixture
def world() -> World:
    """A world at 10:06:40 whose requests go through the layer's own session, signed and retried."""
    return World(now=NOW, http=True)


@pytest.fixture(scope="session")
def _clients() -> Aws:
    """boto3's clients: they cost 50 ms each, and moto catches whatever they send."""
    session = boto3.Session("AKIDEXAMPLE", "made-up-for-tests", region_name="us-east-1")
    once = Config(retries={"total_max_attempts": 1})
    return cache(lambda service: session.client(service, config=once))


@pytest.fixture
def aws(_clients: Aws) -> Iterator[Aws]:
    """AWS as moto has it, with the table of pending hours as template.yaml describes it."""
    (table,) = resources("template.yaml", "AWS::DynamoDB::Table").values()
    names = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
    described = {name: table["Properties"][name] for name in names}
    with mock_aws():
        _clients("dynamodb").create_table(TableName=local.PENDING_HOURS, **described)
        yield _clients


@pytest.fixture
def queue_url(aws: Aws) -> str:
    """The quarantine queue."""
    return str(aws("sqs").create_queue(QueueName="quarantine")["QueueUrl"])


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """The functions' environment, and nothing of the machine's own."""
    for name in ("AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_ENDPOINT_URL", "SOURCE_TABLES"):
        monkeypatch.delenv(name, raising=False)
    for name, value in local.ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    wiring.process.cache_clear()
    yield local.ENVIRONMENT
    wiring.process.cache_clear()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[dict[str, Any]]]:
    """What the functions have logged, line by line."""
    stream = io.StringIO()
    monkeypatch.setattr(observability.logger.registered_handler, "stream", stream)
    monkeypatch.setattr(observability.metrics.provider, "namespace", "AggregatedMetrics")
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
