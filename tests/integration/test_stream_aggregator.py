"""stream_aggregator, from the event to what is stored."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from testbench.fakes.signatures import Request
from testbench.rows import item, score_result, task
from testbench.streams import Stream, window_event
from testbench.world import World
from tests.conftest import NOW

HOUR = "2026-11-22T10:00:00Z#60"
WINDOW_AND_LATE = 10 + 60
"""After so many seconds a batch is late: the batching window, and a minute."""
MINUTE = "2026-11-22T10:05:00Z#1"


def count(world: World, *records: Any, **named: Any) -> Any:
    return world.invoke("stream_aggregator", window_event(*records, **named))


# What it costs ------------------------------------------------------------------------------------


def test_what_changes_no_count_costs_no_request(world: World) -> None:
    record = Stream("ScoreResult").modify(score_result(), score_result(explanation="Because."))
    assert count(world, record) == {"state": {}}
    assert world.log == []
    assert world.items("entry") == {}


def test_an_invocation_reports_numbers_and_no_contents(world: World) -> None:
    secret = item("id-secret", accountId="acct-secret", text="text-secret")
    stream = Stream("Item")
    count(world, stream.insert(secret), stream.insert(secret | {"createdAt": "secret"}))
    (report,) = world.reports
    assert "secret" not in json.dumps(report)
    assert (report["records"], report["written"], report["quarantined"]) == (2, 8, 1)


# What it leaves to others ------------------------------------------------------------------------


@pytest.mark.parametrize(("seconds", "notes"), [(0, 0), (1, 1)])
def test_a_batch_is_late_by_its_first_record(world: World, seconds: int, notes: int) -> None:
    stream, began = Stream("Task"), NOW.replace(microsecond=0)
    first = stream.insert(task("a"), created=began)
    world.clock.now = began + timedelta(seconds=WINDOW_AND_LATE + seconds)
    count(world, first, stream.insert(task("b"), created=world.clock.now))
    found = [(note["model"], float(note["first"])) for note in world.items("note").values()]
    assert found == [("Task", began.timestamp())] * notes
    count(world, stream.insert(task("c"), created=world.clock.now))
    assert len(world.items("note")) == notes


def test_rollups_that_are_left_make_their_hour_due_at_once(world: World) -> None:
    world.insert("Task", "first")
    world.deliver()

    def another(request: Request) -> None:
        if b"mutation" not in request.body:
            world.clock.advance(0.001)
            rollup = world.bucket(f"tasks#{HOUR}")
            world.api.put("AggregatedMetrics", rollup | {"updatedAt": world.now()})

    world.after = another
    world.insert("Task", "second")
    world.deliver()
    assert world.reports[-1]["rollupsLeft"] == 1
    assert world.stored(1) == world.counted(1)
    assert world.bucket(f"tasks#{HOUR}")["count"] == 1
    (entry,) = world.items("entry").values()
    assert int(entry["due"]) == int(world.clock.timestamp())
    world.after = lambda _: None
    world.sweep(times=1, seconds=0)
    assert world.stored() == world.counted()


def test_an_hour_that_is_left_out_is_deferred_and_named_and_the_batch_succeeds(
    world: World, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    world.insert("Task", "first")
    world.deliver()
    key = "tasks#2026-11-22T10:06:00Z#1"
    world.api.put("AggregatedMetrics", world.bucket(key) | {"updatedAt": None})
    world.table.items.clear()
    world.new_engine()
    world.insert("Task", "second")
    world.insert("Task", "elsewhere", createdAt="2026-11-22T09:00:00Z")
    world.deliver()
    assert [report["unreadableRecords"] for report in world.reports[-2:]] == [1, 0]
    (check,) = world.items("check").values()
    assert check["deferred"] is True
    assert check["reason"] == f"a stored record cannot be read: {key}"
    assert len(world.items("entry")) == 2
    assert [line["key"] for line in lines() if line["level"] == "ERROR"] == [key]
    assert world.bucket("tasks#2026-11-22T09:00:00Z#1")["count"] == 1
