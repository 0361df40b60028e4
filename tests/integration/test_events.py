"""Every event in events/ does what its name says, through the function's own handler.

An event without an expectation here fails: it would be an example that nothing checks.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from testbench import oracle, rows
from testbench.streams import Stream, window_event
from testbench.templates import ROOT
from testbench.world import World

OURS = "6f1c2b9e-4d1a-4c0e-9a57-2b8f0e7d9c11"
OTHERS = "c0a8d7e4-93b5-4f62-8d1e-5a7b6c3f2e90"
EVENTS = sorted(ROOT.glob("events/**/*.json"))

type Hours = dict[tuple[str, str], tuple[int, ...]]

# What the hours' buckets have afterwards: count, cost, decisions, calls, cached calls, errors.
COUNTED: dict[str, Hours] = {
    "insert": {
        (OURS, "scoreResults"): (1, 1230, 1, 2, 1, 0),
        (OURS, "predictionScoreResults"): (1, 1230, 1, 2, 1, 0),
    },
    "modify": {
        (OURS, "scoreResults"): (0, 1230, 1, 2, 1, 0),
        (OURS, "predictionScoreResults"): (0, 1230, 1, 2, 1, 0),
    },
    "remove": {(OURS, "evaluations"): (0, 0, 0, 0, 0, 0)},  # it was never counted
    "expiry": {},
    "mixed_batch": {
        (OURS, "scoreResults"): (3, 5430, 3, 5, 1, 0),
        (OURS, "predictionScoreResults"): (2, 1230, 2, 2, 1, 0),
        (OURS, "evaluationScoreResults"): (1, 4200, 1, 3, 0, 0),
        (OTHERS, "scoreResults"): (1, 1230, 1, 2, 1, 0),
        (OTHERS, "predictionScoreResults"): (1, 1230, 1, 2, 1, 0),
    },
    "tumbling_window": {
        (OURS, "items"): (3, 0, 0, 0, 0, 0),
        (OURS, "predictionItems"): (2, 0, 0, 0, 0, 0),
        (OURS, "evaluationItems"): (1, 0, 0, 0, 0, 0),
    },
    "final_invocation": {},
    "uncountable": {(OURS, "tasks"): (1, 0, 0, 0, 0, 0)},
}
QUARANTINED = {
    "mixed_batch": ["accountId is missing"],
    "uncountable": [
        "accountId is missing",
        "createdAt '22.11.2026 10:06' is not an AWSDateTime of the years 1 to 9999",
        "createdAt '2026-12-24T18:00:00Z' is more than a day after the write",
        (
            "no model is known for table 'Invoice-abcdefghij-NONE': name it in SOURCE_TABLES, "
            'for example {"Invoice-abcdefghij-NONE": "Item"}, or declare its model'
        ),
    ],
}
REQUESTS = {"expiry": 0, "final_invocation": 0}
"""Of a delivery and its redelivery together; 2 and 1 where something is counted."""


def counts(name: str, world: World, event: Any) -> None:
    """An event of stream_aggregator."""
    for _ in range(2):  # it can be tried by hand again and again
        assert world.invoke("stream_aggregator", event) == {"state": {}}
        hours = [row for row in world.buckets() if row["numberOfMinutes"] == 60]
        found = {(row["accountId"], row["recordType"]): oracle.held(row)[:6] for row in hours}
        assert found == COUNTED[name]
    reasons = [message["reason"] for message in world.quarantined()]
    assert sorted(reasons) == sorted(QUARANTINED.get(name, []) * 2)
    assert len(world.log) == REQUESTS.get(name, 3)


def completes(world: World, event: Any) -> None:
    """The event of bucket_sweeper."""
    world.invoke("stream_aggregator", window_event(Stream("Task").insert(rows.task())))
    world.clock.set(event["time"])
    assert world.invoke("bucket_sweeper", event)["completed"] == 4


def lose_rows(world: World) -> None:
    """A row that is counted, and one that no stream has brought; then their hour is over."""
    world.insert("Item", "counted")
    world.deliver()
    world.insert("Item", "lost")
    record = world.undelivered[-1].record
    world.lose_batch([record])
    world.queue.send_message(json.dumps({"record": record, "reason": "no model was known"}))
    world.lose()
    world.clock.advance(3_600)
    world.sweep()


def repairs(world: World, event: Any) -> None:
    """An event of reconciler."""
    lose_rows(world)
    result = world.invoke("reconciler", event)
    assert (result["driftCount"], result["repaired"]) >= (1, 1)
    assert world.stored() == world.counted()


def verifies(world: World, event: Any) -> None:
    """An event that writes nothing."""
    lose_rows(world)
    before = world.buckets()
    result = world.invoke("reconciler", event)
    assert (result["driftCount"], result["repaired"]) == (1, 0)
    assert result["drift"][0] == {
        "accountId": rows.ACCOUNT,
        "recordType": "items",
        "timeRangeStart": "2026-11-22T10:06:00Z",
        "numberOfMinutes": 1,
        "stored": dict.fromkeys(oracle.MEASURES, 0) | {"count": 1},
        "counted": dict.fromkeys(oracle.MEASURES, 0) | {"count": 2},
    }
    assert world.buckets() == before


def verifies_tables(world: World, event: Any) -> None:
    """An event of the state machine."""
    lose_rows(world)
    assert world.backfill(**event["tables"])["driftCount"] > 0
    assert world.stored() != world.counted()


CHECKS: dict[str, Callable[[World, Any], None]] = {
    "backfill": verifies_tables,
    "bucket_sweeper/scheduled": completes,
    "reconciler/failed_batches": repairs,
    "reconciler/pending_hours": repairs,
    "reconciler/quarantine": repairs,
    "reconciler/repair_range": repairs,
    "reconciler/verify_range": verifies,
    **{f"stream_aggregator/{name}": partial(counts, name) for name in COUNTED},
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT / "events").with_suffix(""))


@pytest.mark.parametrize("path", EVENTS, ids=name_of)
def test_an_event_does_what_its_name_says(world: World, path: Path) -> None:
    CHECKS[name_of(path)](world, json.loads(path.read_text()))


def test_every_expectation_has_its_event() -> None:
    assert [name_of(path) for path in EVENTS] == sorted(CHECKS)
