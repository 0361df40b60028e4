"""Consumers that have stopped, and up to when each stream is known to be applied."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from aggregated_metrics.adapters.consumers import (
    STREAMS,
    AsOf,
    Consumer,
    Consumers,
    as_of,
    load_as_of,
    report,
    update_as_of,
)
from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.core.errors import ServiceError
from botocore.exceptions import ClientError

from testbench.fakes.appsync import FakeAppSync
from testbench.world import Clock

STREAMED = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
LONG_AGO = datetime(2026, 11, 1, tzinfo=UTC)
NOW = 1_000_000.0
COUNTED = {"Item": ("items", "predictionItems"), "Task": ("tasks",)}


class FakeLambda:
    """A function's mappings, a page each, and its reserved concurrency."""

    def __init__(self) -> None:
        self.mappings: list[dict[str, Any]] = []
        self.reserved: dict[str, int] = {}
        self.refused = False
        self.asked = 0

    def get_function_concurrency(self, *, FunctionName: str) -> dict[str, int]:
        assert FunctionName == "the-stream-function"
        return self.reserved

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

    def __init__(self, dynamodb: Any) -> None:
        self.dynamodb, self.functions = dynamodb, FakeLambda()
        arns = {model: self.table(f"{model}-api-NONE") for model in ("Item", "Task")}
        self.streams = {model: "/".join(arn.split("/")[1::2]) for model, arn in arns.items()}
        self.functions.mappings = [
            {
                "EventSourceArn": arn,
                "State": "Enabled",
                "LastProcessingResult": "OK",
                "LastModified": LONG_AGO,
            }
            for arn in arns.values()
        ]

    def table(self, name: str) -> str:
        made = self.dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            StreamSpecification=STREAMED,
        )
        return str(made["TableDescription"]["LatestStreamArn"])

    def state(self) -> list[Consumer]:
        functions: Any = self.functions
        consumers = Consumers(functions, self.dynamodb, "the-stream-function", self.streams)
        return consumers.state()

    def stopped(self) -> list[tuple[str, str]]:
        return [(each.model, each.problem) for each in self.state() if not each.is_running]


@pytest.fixture
def world(aws: Any) -> World:
    return World(aws("dynamodb"))


# Consumers ---------------------------------------------------------------------------------------


def test_where_every_stream_is_consumed_the_number_is_zero(world: World) -> None:
    assert report(world.state()) == {"streamsNotConsumed": 0}
    assert [each.modified for each in world.state()] == [LONG_AGO.timestamp()] * 2


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
def test_a_mapping_that_is_off_or_fails_is_reported(world: World, wrong: dict[str, str]) -> None:
    world.functions.mappings[1] |= wrong
    found: Any = report(world.state())
    assert found["streamsNotConsumed"] == 1
    (named,) = found["streams"]
    assert named["stream"] == world.streams["Task"]
    assert named["consumer"] in wrong.values()


@pytest.mark.parametrize("result", ["OK", "No records processed", "OK - 12 records", ""])
def test_a_mapping_with_nothing_to_do_is_not_reported(world: World, result: str) -> None:
    world.functions.mappings[0]["LastProcessingResult"] = result
    assert world.stopped() == []


def test_a_throttled_function_consumes_no_stream(world: World) -> None:
    world.functions.reserved = {"ReservedConcurrentExecutions": 0}
    assert world.stopped() == [(name, "the function is throttled") for name in ("Item", "Task")]
    world.functions.reserved = {"ReservedConcurrentExecutions": 5}
    assert world.stopped() == []


def test_a_mapping_that_was_deleted_or_reads_another_stream_is_reported(world: World) -> None:
    world.functions.mappings.pop()
    world.functions.mappings[0]["EventSourceArn"] += "-older"
    assert world.stopped() == [("Item", "no mapping"), ("Task", "no mapping")]


def test_a_stream_that_was_turned_off_or_made_again_is_reported(world: World) -> None:
    world.dynamodb.update_table(
        TableName="Item-api-NONE", StreamSpecification={"StreamEnabled": False}
    )
    assert world.stopped() == [("Item", "")]
    world.dynamodb.delete_table(TableName="Task-api-NONE")
    assert world.stopped() == [("Item", ""), ("Task", "")]
    world.functions.mappings[1]["EventSourceArn"] = world.table("Task-api-NONE") + "-before"
    world.streams["Task"] += "-before"
    assert [model for model, _ in world.stopped()] == ["Item", "Task"]


def test_a_refusal_names_the_operation_and_the_settings(world: World) -> None:
    world.functions.refused = True
    with pytest.raises(ServiceError, match=r"ListEventSourceMappings.*STREAM_FUNCTION"):
        world.state()


def test_without_streams_nothing_is_asked(world: World) -> None:
    world.streams = {}
    assert world.state() == []
    assert world.functions.asked == 0


# As of -------------------------------------------------------------------------------------------


def consumer(model: str = "Item", problem: str = "", modified: float = 0.0) -> Consumer:
    return Consumer(model, "table/label", problem, modified, "label")


def test_a_consumed_stream_is_applied_up_to_now() -> None:
    found = as_of([consumer(), consumer("Task")], COUNTED, [], {}, NOW)
    assert found == {"items": NOW, "predictionItems": NOW, "tasks": NOW}


def test_the_oldest_note_of_any_shard_holds_its_own_model_back() -> None:
    notes = [("Item", NOW - 90), ("Item", NOW - 300), ("Item", NOW + 9)]
    found = as_of([consumer(), consumer("Task")], COUNTED, notes, {}, NOW)
    assert found == {"items": NOW - 300, "predictionItems": NOW - 300, "tasks": NOW}


@pytest.mark.parametrize(
    "stopped", [consumer(problem="Disabled"), consumer(modified=NOW - 599)], ids=["off", "modified"]
)
def test_a_stopped_or_just_modified_mapping_keeps_as_of_where_it_was(stopped: Consumer) -> None:
    stored = {"items": NOW - 700, "tasks": NOW - 60}
    found = as_of([stopped], COUNTED, [], stored, NOW)
    assert found == {"items": NOW - 700, "predictionItems": None}
    late = [("Item", NOW - 900)]
    assert as_of([stopped], COUNTED, late, stored, NOW)["items"] == NOW - 900


def test_a_mapping_counts_as_running_ten_minutes_after_it_was_modified() -> None:
    found = as_of([consumer(modified=NOW - 600)], COUNTED, [], {"items": 5.0}, NOW)
    assert found["items"] == NOW
    short = as_of([consumer(modified=NOW - 3)], COUNTED, [], {"items": 5.0}, NOW, hold_seconds=2)
    assert short["items"] == NOW


# The record --------------------------------------------------------------------------------------


class Client:
    """The Fake as a client; remembers the operations."""

    def __init__(self, clock: Clock) -> None:
        self.api = FakeAppSync(clock=clock, monotonic=clock.timestamp)
        self.operations: list[str] = []

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        self.operations.append(query.split()[1].partition("(")[0])
        data: dict[str, Any] = self.api.execute(query, variables)["data"]
        return data


@pytest.fixture
def client(clock: Clock) -> Client:
    return Client(clock)


@pytest.fixture
def store(client: Client, clock: Clock) -> HourStore:
    return HourStore(client, clock=clock, sleep=clock.advance)


def update(store: HourStore, change: Callable[[AsOf], AsOf]) -> AsOf:
    return update_as_of(store, change, complete_after=120, custom={})


def test_the_record_is_stored_with_one_read_and_one_write(
    store: HourStore, client: Client, clock: Clock
) -> None:
    assert load_as_of(store) == {}
    client.operations.clear()
    for seconds in (NOW + 0.9, NOW + 60):
        values = {"items": seconds, "tasks": None}
        assert update(store, lambda _, values=values: values) == values  # type: ignore[misc]
        clock.advance(seconds=60)
    assert client.operations == ["LoadHours", "SaveHours"] * 2
    assert load_as_of(store) == {"items": NOW + 60, "tasks": None}
    (stored,) = client.api.rows("AggregatedMetrics")
    assert (stored["accountId"], stored["recordType"]) == STREAMS.series[:2]
    assert stored["compositeKey"] == "_streams#1970-01-01T00:00:00Z#60"
    assert (stored["count"], stored["complete"]) == (0, False)
    assert stored["metadata"] == {
        "asOf": {"items": "1970-01-12T13:47:40Z", "tasks": None},
        "completeAfter": 120,
    }


def test_an_update_is_made_of_what_is_stored(store: HourStore) -> None:
    update(store, lambda _: {"items": NOW})
    update(store, lambda stored: {"items": (stored["items"] or 0) + 60})
    assert load_as_of(store) == {"items": NOW + 60}


@pytest.mark.parametrize("metadata", ["[]", "{}", '{"asOf": 5}', '{"asOf": {"items": "soon"}}'])
def test_a_record_of_another_shape_is_read_as_unknown_and_replaced(
    store: HourStore, client: Client, metadata: str
) -> None:
    update(store, lambda _: {"items": NOW})
    (stored,) = client.api.rows("AggregatedMetrics")
    client.api.put("AggregatedMetrics", stored | {"metadata": metadata})
    assert not any(load_as_of(store).values())
    update(store, lambda _: {"items": NOW})
    assert load_as_of(store) == {"items": NOW}
