"""Consumers that have stopped, and up to when each stream is known to be applied."""

from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from aggregated_metrics.adapters.consumers import (
    NEVER,
    STREAMS,
    AsOf,
    Consumers,
    as_of,
    consumers,
    load_as_of,
    not_consumed,
    update_as_of,
)
from aggregated_metrics.core.errors import ServiceError
from botocore.exceptions import ClientError

from testbench import local
from testbench.world import START, World
from tests.conftest import Aws

MODELS = ("Item", "Task")
STREAM = {model: f"{model}/{local.LABEL}" for model in MODELS}
LONG_AGO = START - timedelta(hours=1)
NOW = 1_000_000.0


@pytest.fixture
def world() -> World:
    """Two tables with streams, each with a mapping that counts."""
    return World(MODELS)


def state(world: World, tables: Any = None, streams: Any = STREAM) -> Consumers:
    functions: Any = world.ports.mappings
    return consumers(functions, tables or world.aws("dynamodb"), "stream-aggregator", streams)


def stopped(found: Consumers) -> dict[str, str]:
    return {model: problem for model, (_, problem, _) in found.items() if problem}


@pytest.mark.parametrize(
    ("status", "result", "throttled", "problem"),
    [
        ("Disabled", "OK", False, "Disabled"),
        ("Creating", "", False, "Creating"),
        ("Enabled", "PROBLEM: failed", False, "PROBLEM: failed"),
        ("Enabled", "OK", True, "the function is throttled"),
        *(
            ("Enabled", result, False, "")
            for result in ("OK", "No records processed", "OK - 1", "")
        ),
    ],
)
def test_a_mapping_that_is_off_fails_or_is_throttled_is_reported(
    status: str, result: str, problem: str, *, throttled: bool
) -> None:
    world = World(["Task"])
    world.ports.mappings.throttled = throttled
    world.ports.mappings.mappings[STREAM["Task"]] = (status, result, LONG_AGO)
    named = [{"stream": STREAM["Task"], "consumer": problem}] if problem else []
    found = not_consumed(state(world, streams={"Task": STREAM["Task"]}))
    assert (found["streamsNotConsumed"], found.get("streams", [])) == (len(named), named)


def test_a_mapping_that_was_deleted_or_reads_another_stream_is_reported(world: World) -> None:
    mappings = world.ports.mappings.mappings
    del mappings[STREAM["Task"]]
    mappings[f"{STREAM['Item']}-older"] = mappings.pop(STREAM["Item"])
    assert stopped(state(world)) == dict.fromkeys(MODELS, "no mapping")


def test_a_stream_that_was_turned_off_or_made_again_is_reported(world: World, aws: Aws) -> None:
    tables = aws("dynamodb")
    for model in MODELS:
        tables.create_table(
            TableName=model,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
        )
    tables.update_table(TableName="Item", StreamSpecification={"StreamEnabled": False})
    found = stopped(state(world, tables))
    assert found["Item"] == "Enabled, but the table's stream is off now"
    assert found["Task"].startswith("Enabled, but the table's stream is 20")
    tables.delete_table(TableName="Task")
    assert stopped(state(world, tables))["Task"] == found["Item"]


def test_a_refusal_names_the_operation_and_the_settings(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = ClientError({"Error": {"Code": "AccessDenied"}}, "ListEventSourceMappings")
    monkeypatch.setattr(world.ports.mappings, "list_event_source_mappings", Mock(side_effect=error))
    with pytest.raises(ServiceError, match=r"ListEventSourceMappings.*STREAM_FUNCTION"):
        state(world)
    assert state(world, streams={}) == {}  # without streams nothing is asked


def consumer(problem: str = "", modified: float = 0.0, model: str = "Item") -> Consumers:
    return {model: ("table/label", problem, modified)}


@pytest.mark.parametrize(
    ("item", "notes", "stored", "expected"),
    [
        (consumer(), [], {}, NOW),
        (consumer(), [("Item", NOW - 90), ("Item", NOW - 300), ("Item", NOW + 9)], {}, NOW - 300),
        (consumer(modified=NOW - 600), [], {"items": 5.0}, NOW),
        (consumer(modified=NOW - 599), [], {"items": NOW - 700}, NOW - 700),
        (consumer(problem="Disabled"), [], {"items": NOW - 700}, NOW - 700),
        (consumer(problem="Disabled"), [("Item", NOW - 900)], {"items": NOW - 700}, NOW - 900),
        (consumer(problem="Disabled"), [], {"tasks": NOW - 60}, NEVER),
    ],
)
def test_as_of_is_now_or_the_oldest_note_and_stays_while_the_stream_is_not_read(
    item: Consumers, notes: Any, stored: AsOf, expected: float
) -> None:
    counted = {"Item": ["items"], "Task": ["tasks"]}
    found = as_of(
        {**item, **consumer(model="Task")}, counted, [*notes, ("Task", 5.0)], stored, NOW, 600
    )
    assert found == {"items": expected, "tasks": 5.0}


def update(world: World, problem: str = "", now: float = NOW) -> AsOf:
    """Of a mapping that was modified as long ago as holds as of."""
    found = consumer(problem, now - 600, model="Task")
    settings = world.engine.process.settings
    return update_as_of(found, world.store(), world.pending(), settings, now)


def test_the_record_is_made_of_what_is_stored_with_one_read_and_one_write(world: World) -> None:
    assert load_as_of(world.store()) == {}
    first = len(world.log)
    update(world, now=NOW + 60.9)
    stays = update(world, "Disabled", now=NOW + 90)
    assert stays == load_as_of(world.store()) == {"tasks": NOW + 60}
    assert len(world.log) - first == 2 * 2 + 1
    (stored,) = world.api.rows("AggregatedMetrics")
    assert (stored["accountId"], stored["recordType"]) == STREAMS.series[:2]
    assert stored["compositeKey"] == "_streams#1970-01-01T00:00:00Z#60"
    assert (stored["count"], stored["complete"]) == (0, False)
    assert stored["metadata"] == {"asOf": {"tasks": "1970-01-12T13:47:40Z"}, "completeAfter": 120}


def test_a_record_of_another_shape_is_read_as_unknown_and_replaced(world: World) -> None:
    update(world)
    (stored,) = world.api.rows("AggregatedMetrics")
    for metadata in ("[]", "{}", '{"asOf": 5}', '{"asOf": {"tasks": "soon"}}'):
        world.api.put("AggregatedMetrics", stored | {"metadata": metadata})
        assert set(load_as_of(world.store()).values()) <= {NEVER}
        update(world)
        assert load_as_of(world.store()) == {"tasks": NOW}
