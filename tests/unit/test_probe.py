"""A stream that nobody reads is told apart from a quiet table."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from aggregated_metrics.adapters.consumers import Consumers
from aggregated_metrics.adapters.observability import Report
from aggregated_metrics.core.errors import ConsumersError
from aggregated_metrics.jobs.probe import EVERY_SECONDS, Probe
from botocore.exceptions import ClientError

from testbench.in_process import Clock, Stack

STREAMED = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}


class FakeLambda:
    """What Lambda says of a function's mappings, a page each."""

    def __init__(self) -> None:
        self.mappings: list[dict[str, str]] = []
        self.refused = False
        self.asked = 0

    def get_paginator(self, name: str) -> "FakeLambda":
        assert name == "list_event_source_mappings"
        return self

    def paginate(self, *, FunctionName: str) -> Iterator[dict[str, Any]]:
        assert FunctionName == "the-stream-function"
        self.asked += 1
        if self.refused:
            error: Any = {"Error": {"Code": "AccessDeniedException", "Message": "no"}}
            raise ClientError(error, "ListEventSourceMappings")
        for mapping in self.mappings:
            yield {"EventSourceMappings": [mapping]}


class World:
    """Two tables with streams, each with a mapping that counts."""

    def __init__(self, dynamodb: Any, clock: Clock) -> None:
        self.dynamodb, self.clock, self.functions = dynamodb, clock, FakeLambda()
        self.streams = {name: self.table(name) for name in ("Item-api-NONE", "Task-api-NONE")}
        self.functions.mappings = [
            {"EventSourceArn": arn, "State": "Enabled", "LastProcessingResult": "OK"}
            for arn in self.streams.values()
        ]
        self.looked: dict[str, float] = {}

    def table(self, name: str) -> str:
        made = self.dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            StreamSpecification=STREAMED,
        )
        return str(made["TableDescription"]["LatestStreamArn"])

    def look(self) -> Report:
        consumers: Any = Consumers(self.functions, self.dynamodb, "the-stream-function")  # type: ignore[arg-type]
        return Probe(consumers, list(self.streams.values()), self.clock, self.looked).look()


@pytest.fixture
def world(aws: Any, clock: Clock) -> World:
    return World(aws("dynamodb"), clock)


def test_where_all_is_well_both_numbers_are_zero(world: World) -> None:
    assert world.look() == {"stoppedConsumers": 0, "replacedStreams": 0}


@pytest.mark.parametrize(
    "wrong",
    [
        {"State": "Disabled"},
        {"State": "Disabling"},
        {"State": "Creating"},
        {"LastProcessingResult": "PROBLEM: Function call failed"},
        {"LastProcessingResult": "PROBLEM: Stream no longer exists"},
    ],
)
def test_a_mapping_that_is_off_or_in_trouble_is_counted(
    world: World, wrong: dict[str, str]
) -> None:
    world.functions.mappings[1] |= wrong
    report = world.look()
    assert report["stoppedConsumers"] == 1
    named: Any = report["streams"]
    (named,) = named
    assert named["table"] == "Task-api-NONE"
    assert named["consumer"] in wrong.values()


@pytest.mark.parametrize("result", ["OK", "No records processed", "OK - 12 records"])
def test_a_mapping_that_has_nothing_to_do_is_not_counted(world: World, result: str) -> None:
    world.functions.mappings[0]["LastProcessingResult"] = result
    assert world.look()["stoppedConsumers"] == 0


def test_a_mapping_that_was_deleted_is_counted(world: World) -> None:
    world.functions.mappings.pop()
    assert world.look()["stoppedConsumers"] == 1


def test_a_mapping_of_another_stream_takes_no_attached_one_in(world: World) -> None:
    world.functions.mappings[0]["EventSourceArn"] += "-older"
    assert world.look()["stoppedConsumers"] == 1


def test_a_stream_that_was_turned_off_or_made_again_is_counted(world: World) -> None:
    world.dynamodb.update_table(
        TableName="Item-api-NONE", StreamSpecification={"StreamEnabled": False}
    )
    assert world.look()["replacedStreams"] == 1
    world.clock.advance(hours=1)
    world.dynamodb.delete_table(TableName="Task-api-NONE")
    assert world.look()["replacedStreams"] == 2
    world.table("Task-api-NONE")
    world.looked.clear()
    world.streams["Task-api-NONE"] += "-of-the-table-before"
    assert world.look()["replacedStreams"] == 2


def test_it_asks_now_and_then_only(world: World) -> None:
    world.look()
    world.clock.advance(seconds=EVERY_SECONDS - 1)
    assert world.look() == {}
    assert world.functions.asked == 1
    world.clock.advance(seconds=1)
    assert world.look()["stoppedConsumers"] == 0


def test_a_look_that_failed_is_tried_again_at_once(world: World) -> None:
    world.functions.refused = True
    with pytest.raises(ConsumersError, match="lambda:ListEventSourceMappings"):
        world.look()
    world.functions.refused = False
    assert world.look()["stoppedConsumers"] == 0


def test_without_streams_nothing_is_asked(world: World) -> None:
    world.streams = {}
    assert world.look() == {"stoppedConsumers": 0, "replacedStreams": 0}
    assert world.functions.asked == 0


def test_a_look_that_fails_keeps_no_hour_from_being_swept(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arn = "arn:aws:dynamodb:us-east-1:123456789012:table/Item-api-NONE/stream/2026"
    stack.rewire(monkeypatch, STREAM_FUNCTION="the-stream-function", STREAM_ARNS=arn)
    functions = FakeLambda()
    functions.refused = True
    known = stack.process.aws
    stack.process.aws = lambda service: functions if service == "lambda" else known(service)
    with pytest.raises(ConsumersError):
        stack.invoke("bucket_sweeper", {})
    assert stack.lines()[-1]["due"] == 0  # the sweep was done, and its numbers are kept
    emitted = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert emitted["OldestPendingHour"] == [0.0]
    assert "StreamNotConsumed" not in emitted
