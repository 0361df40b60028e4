"""Every event in events/ does what its name says, through the function's own handler.

An event without an expectation here fails: it would be an example that nothing checks.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from testbench import rows
from testbench.streams import Stream, window_event
from testbench.templates import ROOT
from testbench.world import World
from tests.conftest import over

EVENTS = sorted(ROOT.glob("events/**/*.json"))

type Totals = dict[str, tuple[int, int]]

# Count and cost of each record type's hours afterwards, and how many records are quarantined.
COUNTED: dict[str, tuple[Totals, int]] = {
    "insert": ({"scoreResults": (1, 1230), "predictionScoreResults": (1, 1230)}, 0),
    "modify": ({"scoreResults": (0, 1230), "predictionScoreResults": (0, 1230)}, 0),
    "remove": ({"evaluations": (0, 0)}, 0),  # it was never counted
    "expiry": ({}, 0),
    "mixed_batch": (
        {
            "scoreResults": (4, 6660),
            "predictionScoreResults": (3, 2460),
            "evaluationScoreResults": (1, 4200),
        },
        1,
    ),
    "tumbling_window": ({"items": (3, 0), "predictionItems": (2, 0), "evaluationItems": (1, 0)}, 0),
    "final_invocation": ({}, 0),
    "uncountable": ({"tasks": (1, 0)}, 3),
}
REQUESTS = {"expiry": 0, "final_invocation": 0}
"""Of a delivery and its redelivery together; 2 and 1 where something is counted."""


def counts(name: str, world: World, event: Any) -> None:
    """An event of stream_aggregator."""
    totals, quarantined = COUNTED[name]
    for _ in range(2):  # it can be tried by hand again and again
        assert world.invoke("stream_aggregator", event) == {"state": {}}
        hours = [row for row in world.buckets() if row["numberOfMinutes"] == 60]
        assert totals == {
            name: tuple(
                sum(hour[measure] for hour in hours if hour["recordType"] == name)
                for measure in ("count", "cost")
            )
            for name in {hour["recordType"] for hour in hours}
        }
    assert len(world.quarantined()) == 2 * quarantined
    assert len(world.log) == REQUESTS.get(name, 3)


def completes(world: World, event: Any) -> None:
    """The event of bucket_sweeper."""
    world.invoke("stream_aggregator", window_event(Stream("Task").insert(rows.task())))
    world.clock.set(event["time"])
    assert world.invoke("bucket_sweeper", event)["written"] == 4


def lose_rows(world: World) -> None:
    """A row that is counted, and one that no stream has brought; then their hour is over."""
    world.insert("Item", "counted")
    world.deliver()
    world.insert("Item", "lost")
    record = world.undelivered[-1]
    world.lose_batch([record])
    world.queue.send_message(json.dumps({"record": record, "reason": "no model was known"}))
    world.lose()
    over(world)


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
