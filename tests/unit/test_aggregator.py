"""The order in which a batch is applied, and what it leaves to others."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from aggregated_metrics.adapters.observability import METRICS

from testbench.fakes.signatures import Request
from testbench.hours import GRACE
from testbench.rows import item, task
from testbench.streams import Stream, window_event
from testbench.world import START, World

MINUTE, HOUR = "tasks#2026-11-22T12:10:00Z#1", "tasks#2026-11-22T12:00:00Z#60"
WINDOW_AND_LATE = 10 + 60
"""After so many seconds a batch is late: the batching window, and a minute."""


@pytest.fixture
def world() -> World:
    return World(["Task", "Item"])


def apply(world: World, *records: Any) -> dict[str, Any]:
    """Apply a batch; gives the report."""
    world.invoke("stream_aggregator", window_event(*records))
    return world.reports[-1]


def ordered(world: World) -> list[str]:
    """What the functions ask for from now on, in order."""
    order: list[str] = []
    world.before = lambda request: order.append("save" if b"mutation" in request.body else "load")

    def note(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(**asked: Any) -> Any:
            kinds = {
                request["PutRequest"]["Item"]["kind"]["S"]
                for requests in asked.get("RequestItems", {}).values()
                for request in requests
            }
            order.append(kinds.pop() if kinds else name)
            return real(**asked)

        return call

    for port, call in ((world.table, "batch_write_item"), (world.queue, "send_message_batch")):
        setattr(port, call, note(call, getattr(port, call)))
    return order


def test_a_batch_is_noted_loaded_touched_saved_and_then_quarantined(world: World) -> None:
    world.clock.advance(WINDOW_AND_LATE + 1)
    stream = Stream("Item")
    order = ordered(world)
    now = START - timedelta(seconds=1)
    apply(world, *(stream.insert(item(**c), created=now) for c in ({}, {"accountId": ""})))
    assert order == ["note", "load", "entry", "save", "send_message_batch"]


@pytest.mark.parametrize(("seconds", "notes"), [(0, 0), (1, 1)])
def test_a_batch_is_late_by_its_first_record(world: World, seconds: int, notes: int) -> None:
    stream = Stream("Task")
    first = stream.insert(task("a"), created=START)
    world.clock.advance(WINDOW_AND_LATE + seconds)
    apply(world, first, stream.insert(task("b"), created=world.clock.now))
    found = [(note["model"], float(note["first"])) for note in world.items("note").values()]
    assert found == [("Task", START.timestamp())] * notes
    apply(world, stream.insert(task("c"), created=world.clock.now))
    assert len(world.items("note")) == notes


def test_an_entry_says_when_the_next_bucket_elapses(world: World) -> None:
    world.insert("Task", "now")
    world.insert("Task", "earlier", createdAt="2026-11-22T12:01:00Z")
    world.deliver()
    (entry,) = world.items("entry").values()
    assert int(entry["due"]) == START.replace(minute=2).timestamp() + GRACE


def test_rollups_that_are_left_make_their_hour_due_at_once(world: World) -> None:
    world.insert("Task", "first")
    world.deliver()

    def another(request: Request) -> None:
        if b"mutation" not in request.body:
            world.clock.advance(0.001)
            version = world.clock.now.isoformat().replace("+00:00", "Z")
            world.api.put("AggregatedMetrics", world.bucket(HOUR) | {"updatedAt": version})

    world.after = another
    world.insert("Task", "second")
    world.deliver()
    assert world.reports[-1]["rollupsLeft"] == 1
    assert (world.bucket(MINUTE)["count"], world.bucket(HOUR)["count"]) == (2, 1)
    (entry,) = world.items("entry").values()
    assert int(entry["due"]) == int(world.clock.timestamp())
    world.after = lambda _: None
    world.sweep(times=1, seconds=0)
    assert world.bucket(HOUR)["count"] == 2


def test_an_hour_that_is_left_out_is_deferred_and_named_and_the_batch_succeeds(
    world: World, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    world.insert("Task", "first")
    world.deliver()
    world.api.put("AggregatedMetrics", world.bucket(MINUTE) | {"updatedAt": None})
    world.table.items.clear()
    world.new_engine()
    world.insert("Task", "second")
    world.insert("Task", "elsewhere", createdAt="2026-11-22T11:00:00Z")
    world.deliver()
    assert [report["unreadableRecords"] for report in world.reports[-2:]] == [1, 0]
    (check,) = world.items("check").values()
    assert check["deferred"] is True
    assert check["reason"] == f"a stored record cannot be read: {MINUTE}"
    assert len(world.items("entry")) == 2
    assert [line["keys"] for line in lines() if line["level"] == "ERROR"] == [[MINUTE]]
    assert world.bucket("tasks#2026-11-22T11:00:00Z#1")["count"] == 1


def test_every_metric_is_a_number_that_a_function_reports(world: World) -> None:
    world.insert("Task", "first")
    world.deliver()
    world.sweep(times=1)
    world.check()
    reported = {name for report in world.reports for name in report}
    assert METRICS.keys() <= reported
