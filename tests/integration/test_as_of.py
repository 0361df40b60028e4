"""Readers report as of when while streams are late or stand still, and no confident zero."""

from datetime import datetime

import pytest
from aggregated_metrics import Summary, complete_until, summarize

from testbench import local
from testbench.world import World

STREAM = f"Task/{local.LABEL}"


def at(time: str) -> datetime:
    return datetime.fromisoformat(f"2026-11-22T{time}:00Z")


@pytest.fixture
def world() -> World:
    """A task is counted at 12:10, and swept at 12:30."""
    world = World(["Task"], http=True)
    world.insert("Task", "first")
    world.deliver()
    sweep(world, "12:30")
    return world


def sweep(world: World, time: str) -> None:
    world.clock.now = at(time)
    world.invoke("bucket_sweeper", {})


def read(world: World, start: str, end: str) -> Summary:
    return summarize(world.client(), "acct-1", at(start), at(end), "tasks", now=world.clock.now)


def seen(world: World, start: str, end: str) -> tuple[int, bool]:
    found = read(world, start, end)
    return found.measures.count, found.complete


@pytest.mark.parametrize("problem", ["off", "a shard fails", "throttled"])
def test_while_a_stream_is_not_applied_nothing_more_is_complete(world: World, problem: str) -> None:
    mappings = world.ports.mappings
    state = "Disabled" if problem == "off" else "Enabled"
    result = "PROBLEM: Function call failed" if problem == "a shard fails" else "OK"
    mappings.mappings[STREAM] = (state, result, at("12:30"))
    mappings.throttled = problem == "throttled"
    for hour in (13, 14, 15):
        sweep(world, f"{hour}:29")
    assert read(world, "12:30", "15:25").as_of == at("12:30")
    assert seen(world, "12:30", "15:25") == (0, False)
    assert seen(world, "12:00", "12:28") == (1, True)
    assert complete_until(world.client(), "acct-1", now=world.clock.now) == at("12:28")
    mappings.throttled = False
    mappings.enable([STREAM], at("15:30"))
    sweep(world, "15:45")
    assert seen(world, "12:30", "15:25") == (0, True)


def test_what_a_burst_is_still_to_bring_is_not_complete(world: World) -> None:
    """Its batches take twenty minutes, and each begins with a record of the burst."""
    world.clock.now = at("12:40")
    for n in range(3):
        world.insert("Task", f"burst {n}")
    for n, time in enumerate(("12:46", "12:53", "13:00"), 1):
        world.clock.now = at(time)
        world.deliver(1)
        sweep(world, time)
        assert seen(world, "12:40", "12:41") == (n, False)
        assert seen(world, "12:00", "12:35") == (1, True)
    sweep(world, "13:11")
    assert seen(world, "12:40", "12:41") == (3, True)
