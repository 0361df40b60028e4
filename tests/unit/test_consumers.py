"""Consumers that have stopped, and up to when each stream is known to be applied."""

from datetime import UTC, datetime
from typing import Any

import pytest
from aggregated_metrics.adapters.consumers import (
    STREAMS,
    Consumer,
    Consumers,
    StreamsRecord,
    as_of,
    report,
)
from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.adapters.pending_hours import Note
from aggregated_metrics.core.errors import ServiceError
from botocore.exceptions import ClientError

from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.aws import FakeMappings
from testbench.in_process import Clock

LONG_AGO = datetime(2026, 11, 1, tzinfo=UTC)
NOW = 1_000_000.0
COUNTED = {"Item": ("items", "predictionItems"), "Task": ("tasks",)}
STREAMS_OF = {"Item": "Item-api-NONE/2026-11-01", "Task": "Task-api-NONE/2026-11-01"}


class FakeTables:
    """Each table's stream label; empty if it is off. A table that is left out does not exist."""

    class exceptions:  # noqa: N801 - boto3's name
        class ResourceNotFoundException(Exception):  # noqa: N818 - as boto3's
            pass

    def __init__(self) -> None:
        self.labels = dict(stream.split("/") for stream in STREAMS_OF.values())

    def describe_table(self, *, TableName: str) -> dict[str, Any]:
        if TableName not in self.labels:
            raise self.exceptions.ResourceNotFoundException
        label = self.labels[TableName]
        on = {"StreamSpecification": {"StreamEnabled": True}} if label else {}
        return {"Table": {"LatestStreamLabel": label or "2026-10-01", **on}}


class World:
    """Two tables with streams, each with a mapping that counts."""

    def __init__(self) -> None:
        self.functions, self.tables = FakeMappings(), FakeTables()
        self.functions.enable(STREAMS_OF.values(), LONG_AGO)
        self.streams = dict(STREAMS_OF)

    def change(self, state: str, result: str) -> None:
        """Change the mapping of Task."""
        self.functions.mappings[STREAMS_OF["Task"]] = (state, result, LONG_AGO)

    def state(self) -> list[Consumer]:
        functions: Any = self.functions
        tables: Any = self.tables
        return Consumers(functions, tables, "the-stream-function", self.streams).state()

    def stopped(self) -> list[tuple[str, str]]:
        return [(each.model, each.problem) for each in self.state() if not each.is_running]


@pytest.fixture
def world() -> World:
    return World()


# Consumers ---------------------------------------------------------------------------------------


def test_where_every_stream_is_consumed_the_number_is_zero(world: World) -> None:
    assert report(world.state()) == {"streamsNotConsumed": 0}
    assert [each.modified for each in world.state()] == [LONG_AGO.timestamp()] * 2


@pytest.mark.parametrize(
    ("state", "result", "problem"),
    [
        ("Disabled", "OK", "Disabled"),
        ("Creating", "", "Creating"),
        ("Enabled", "PROBLEM: Function call failed", "PROBLEM: Function call failed"),
        ("Enabled", "PROBLEM: Stream no longer exists", "PROBLEM: Stream no longer exists"),
    ],
)
def test_a_mapping_that_is_off_or_fails_is_reported(
    world: World, state: str, result: str, problem: str
) -> None:
    world.change(state, result)
    named = {"stream": STREAMS_OF["Task"], "consumer": problem, "latest": "2026-11-01"}
    assert report(world.state()) == {"streamsNotConsumed": 1, "streams": [named]}


@pytest.mark.parametrize("result", ["OK", "No records processed", "OK - 12 records", ""])
def test_a_mapping_with_nothing_to_do_is_not_reported(world: World, result: str) -> None:
    world.change("Enabled", result)
    assert world.stopped() == []


def test_a_throttled_function_consumes_no_stream(world: World) -> None:
    world.functions.throttled = True
    assert world.stopped() == [(name, "the function is throttled") for name in ("Item", "Task")]


def test_a_mapping_that_was_deleted_or_reads_another_stream_is_reported(world: World) -> None:
    world.functions.mappings = {f"{STREAMS_OF['Item']}-older": ("Enabled", "OK", LONG_AGO)}
    assert world.stopped() == [("Item", "no mapping"), ("Task", "no mapping")]


@pytest.mark.parametrize("label", ["", "2026-11-09", None])
def test_a_stream_that_was_turned_off_or_made_again_is_reported(
    world: World, label: str | None
) -> None:
    world.tables.labels.pop("Task-api-NONE")
    if label is not None:
        world.tables.labels["Task-api-NONE"] = label
    assert world.stopped() == [("Task", "")]


def test_a_refusal_names_the_operation_and_the_settings(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: Any) -> None:
        error: Any = {"Error": {"Code": "AccessDeniedException", "Message": "no"}}
        raise ClientError(error, "ListEventSourceMappings")

    monkeypatch.setattr(world.functions, "paginate", refuse)
    with pytest.raises(ServiceError, match=r"ListEventSourceMappings.*STREAM_FUNCTION"):
        world.state()


def test_without_streams_nothing_is_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.streams = {}
    monkeypatch.delattr(FakeMappings, "paginate")
    assert world.state() == []


# As of -------------------------------------------------------------------------------------------


def consumer(model: str = "Item", problem: str = "", modified: float = 0.0) -> Consumer:
    return Consumer(model, "table/label", problem, modified, "label")


def test_a_consumed_stream_is_applied_up_to_now() -> None:
    found = as_of([consumer(), consumer("Task")], COUNTED, [], {}, NOW)
    assert found == {"items": NOW, "predictionItems": NOW, "tasks": NOW}


def test_the_oldest_note_of_any_shard_holds_its_own_model_back() -> None:
    notes = [Note("Item", "1", NOW - 90), Note("Item", "2", NOW - 300), Note("Item", "3", NOW + 9)]
    found = as_of([consumer(), consumer("Task")], COUNTED, notes, {}, NOW)
    assert found == {"items": NOW - 300, "predictionItems": NOW - 300, "tasks": NOW}


@pytest.mark.parametrize(
    "stopped", [consumer(problem="Disabled"), consumer(modified=NOW - 599)], ids=["off", "modified"]
)
def test_a_stopped_or_just_modified_mapping_keeps_as_of_where_it_was(stopped: Consumer) -> None:
    stored = {"items": NOW - 700, "tasks": NOW - 60}
    found = as_of([stopped], COUNTED, [], stored, NOW)
    assert found == {"items": NOW - 700, "predictionItems": None}
    late = [Note("Item", "1", NOW - 900)]
    assert as_of([stopped], COUNTED, late, stored, NOW)["items"] == NOW - 900


def test_a_mapping_counts_as_running_ten_minutes_after_it_was_modified() -> None:
    found = as_of([consumer(modified=NOW - 600)], COUNTED, [], {"items": 5.0}, NOW)
    assert found["items"] == NOW
    short = as_of([consumer(modified=NOW - 3)], COUNTED, [], {"items": 5.0}, NOW, recent=2)
    assert short["items"] == NOW


# The record --------------------------------------------------------------------------------------


class Client:
    """The Fake as a client; remembers the operations."""

    def __init__(self, clock: Clock) -> None:
        self.api = FakeAppSync(clock=clock, monotonic=clock.monotonic)
        self.operations: list[str] = []

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        self.operations.append(query.split()[1].partition("(")[0])
        data: dict[str, Any] = self.api.execute(query, variables)["data"]
        return data


@pytest.fixture
def client(clock: Clock) -> Client:
    return Client(clock)


@pytest.fixture
def record(client: Client, clock: Clock) -> StreamsRecord:
    return StreamsRecord(HourStore(client, clock=clock, sleep=clock.sleep))


def test_the_record_is_stored_with_one_read_and_one_write(
    record: StreamsRecord, client: Client, clock: Clock
) -> None:
    assert record.load() == {}
    client.operations.clear()
    for seconds in (NOW + 0.9, NOW + 60):
        values = {"items": seconds, "tasks": None}
        assert record.update(lambda _, values=values: values, 120) == values  # type: ignore[misc]
        clock.advance(seconds=60)
    assert client.operations == ["LoadHours", "SaveHours"] * 2
    assert record.load() == {"items": NOW + 60, "tasks": None}
    (stored,) = client.api.rows("AggregatedMetrics")
    assert (stored["accountId"], stored["recordType"]) == STREAMS.series[:2]
    assert stored["compositeKey"] == "_streams#1970-01-01T00:00:00Z#60"
    assert (stored["count"], stored["complete"]) == (0, False)
    assert stored["metadata"] == {
        "asOf": {"items": "1970-01-12T13:47:40Z", "tasks": None},
        "completeAfter": 120,
    }


def test_an_update_is_made_of_what_is_stored(record: StreamsRecord) -> None:
    record.update(lambda _: {"items": NOW}, 120)
    record.update(lambda stored: {"items": (stored["items"] or 0) + 60}, 120)
    assert record.load() == {"items": NOW + 60}


@pytest.mark.parametrize("metadata", ["[]", "{}", '{"asOf": 5}', '{"asOf": {"items": "soon"}}'])
def test_a_record_of_another_shape_is_read_as_unknown_and_replaced(
    record: StreamsRecord, client: Client, metadata: str
) -> None:
    record.update(lambda _: {"items": NOW}, 120)
    (stored,) = client.api.rows("AggregatedMetrics")
    client.api.put("AggregatedMetrics", stored | {"metadata": metadata})
    assert not any(record.load().values())
    record.update(lambda _: {"items": NOW}, 120)
    assert record.load() == {"items": NOW}
