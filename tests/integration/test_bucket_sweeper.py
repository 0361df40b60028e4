"""bucket_sweeper: completes what has elapsed, as far as the streams are known to be applied."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from aggregated_metrics.core.errors import AggregatedMetricsError
from aggregated_metrics.core.series import HourId, Series

from testbench import local
from testbench.fakes.signatures import Request
from testbench.world import World

HOUR, MINUTE = "tasks#2026-11-22T12:00:00Z#60", "tasks#2026-11-22T12:10:00Z#1"
STREAM = f"Task/{local.LABEL}"


@pytest.fixture
def world() -> World:
    """A task is counted at 12:10."""
    made = World(["Task"])
    made.insert("Task", "first")
    made.deliver()
    return made


def sweep(world: World, at: str = "") -> Any:
    if at:
        world.clock.set(f"2026-11-22T{at}+00:00")
    return world.invoke("bucket_sweeper", {})


def incomplete(world: World) -> list[int]:
    return sorted(row["numberOfMinutes"] for row in world.buckets() if not row["complete"])


def is_due(world: World) -> list[bool]:
    return ["due" in entry for entry in world.items("entry").values()]


def test_buckets_become_complete_one_after_the_other_and_then_the_hour_is_visited_no_more(
    world: World,
) -> None:
    seen = []
    for at in ("12:12:59", "12:13:00", "12:17:00", "13:01:59", "13:02:00"):
        report = sweep(world, at)
        seen.append((incomplete(world), report["completed"], is_due(world)))
    assert seen == [
        ([1, 5, 15, 60], 0, [True]),
        ([5, 15, 60], 1, [True]),
        ([60], 2, [True]),
        ([60], 0, [True]),
        ([], 1, [False]),
    ]
    assert sweep(world)["due"] == 0


def test_a_row_that_is_counted_during_a_sweep_is_not_lost(world: World) -> None:
    def meanwhile(request: Request) -> None:
        if b"h0" in request.body and b'"tasks#' in request.body:
            world.after = lambda _: None
            world.insert("Task", "meanwhile", createdAt="2026-11-22T12:10:30Z")
            world.deliver()

    world.clock.set("2026-11-22T12:13:30Z")
    world.after = meanwhile
    assert sweep(world)["conflicts"] > 0
    assert world.stored() == world.counted()
    assert is_due(world) == [True]


# As of --------------------------------------------------------------------------------------------


def as_of(world: World) -> Any:
    return world.bucket("_streams#1970-01-01T00:00:00Z#60", "_streams")["metadata"]


def test_readers_are_told_how_far_each_record_type_is_applied(world: World) -> None:
    sweep(world, "12:30:00")
    assert as_of(world) == {"asOf": {"tasks": "2026-11-22T12:30:00Z"}, "completeAfter": 120}


@pytest.mark.parametrize("problem", ["Disabled", "just enabled", "throttled"])
def test_nothing_is_completed_while_a_stream_may_not_be_applied(world: World, problem: str) -> None:
    sweep(world, "12:13:00")
    mappings = world.ports.mappings
    mappings.throttled = problem == "throttled"
    state = "Enabled" if problem != "Disabled" else problem
    modified = datetime.fromisoformat("2026-11-22T11:00:00+00:00")
    if problem == "just enabled":
        modified = world.clock.now + timedelta(minutes=55)
    mappings.mappings[STREAM] = (state, "OK", modified)
    sweep(world, "13:10:00")
    assert incomplete(world) == [5, 15, 60]
    assert as_of(world)["asOf"] == {"tasks": "2026-11-22T12:13:00Z"}
    mappings.throttled = False
    mappings.enable([STREAM], modified)
    sweep(world, "13:25:00")
    assert incomplete(world) == []


def test_before_a_stream_was_ever_applied_nothing_is_completed() -> None:
    world = World(["Task"])
    world.ports.mappings.mappings.clear()
    world.insert("Task", "first")
    world.deliver()
    sweep(world, "14:00:00")
    assert incomplete(world) == [1, 5, 15, 60]
    assert as_of(world)["asOf"] == {"tasks": None}
    assert world.reports[-1]["streamsNotConsumed"] == 1


def test_a_late_batch_holds_back_what_may_be_missing(world: World) -> None:
    """The batch began with a record of 12:20; more of the kind may still be on their way."""
    world.clock.set("2026-11-22T12:20:00Z")
    world.insert("Task", "late")
    world.clock.set("2026-11-22T13:10:00Z")
    world.deliver()
    sweep(world)
    assert incomplete(world) == [1, 5, 15, 60]
    assert world.bucket("tasks#2026-11-22T12:00:00Z#15")["complete"]
    sweep(world, "13:21:00")
    assert incomplete(world) == []


def test_hours_are_swept_although_it_is_not_known_how_far_the_streams_are(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.api.remove("AggregatedMetrics", "acct-1", HOUR)

    def fails(**_: Any) -> Any:
        raise AggregatedMetricsError("Lambda is gone")

    monkeypatch.setattr(world.ports.mappings, "get_function_concurrency", fails)
    world.clock.set("2026-11-22T12:13:00+00:00")
    with pytest.raises(AggregatedMetricsError, match="gone"):
        sweep(world)
    assert world.stored() == world.counted()
    assert incomplete(world) == [1, 5, 15, 60]


def test_an_entry_of_a_record_type_that_nothing_counts_is_deleted(world: World) -> None:
    world.pending().touch({HourId(Series("acct-1", "others"), 0): 0})
    sweep(world, "12:13:00")
    assert [entry["recordType"] for entry in world.items("entry").values()] == ["tasks"]
