"""A check ends in time, whatever it has to read, and costs no account another one's turn."""

from datetime import timedelta
from typing import Any

import pytest
from aggregated_metrics.adapters import retries, source_rows
from aggregated_metrics.jobs import passes

from testbench import rows
from testbench.fakes.signatures import Request
from testbench.world import START, World

AT = "2026-11-22T12:10:30.000Z"
LATER = 200
"""Rows of today, which an index by update lists before those of an older hour."""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world with pages of five rows."""
    monkeypatch.setattr(source_rows, "PAGE", 5)
    return World(["Task"])


def slow(world: World, page_seconds: float) -> None:
    """Let each page of rows take a while."""

    def wait(request: Request) -> None:
        if b"query Count" in request.body:
            world.clock.advance(page_seconds)

    world.before = wait


def check(world: World) -> float:
    """One hourly check; returns the seconds that it had left. The next one is an hour later."""
    began = world.clock.now
    world.check()
    left = world.seconds_left - (world.clock.now - began).total_seconds()
    world.clock.now = began + timedelta(hours=1)
    return left


def large_account(world: World, hours: int = 24) -> None:
    """Rows in each hour of an old day, and many more of today."""
    for hour in range(hours):
        at = f"2026-11-01T{hour:02}:10:30.000Z"
        world.insert("Task", f"old-{hour}", createdAt=at, updatedAt=at, accountId="large")
    world.deliver()
    for n in range(LATER):
        world.api.put("Task", rows.task(f"later-{n}", accountId="large", updatedAt=world.now()))


def small_accounts(world: World, number: int = 1) -> None:
    """Each lacks a row."""
    for n in range(number):
        small = {"accountId": f"small-{n}", "createdAt": AT}
        world.insert("Task", f"counted-{n}", **small)
        world.deliver()
        world.insert("Task", f"lost-{n}", **small)
        world.lose()


def small_are_right(world: World) -> bool:
    stored, counted = world.stored(), world.counted()
    return all(stored.get(key) == counted[key] for key in counted if key[0] != "large")


@pytest.mark.parametrize("page_seconds", [1.0, 6.0, 10.5, 22.0, 40.0])
def test_an_old_day_of_a_large_account_keeps_no_other_waiting(
    world: World, page_seconds: float
) -> None:
    large_account(world)
    world.sweep()
    small_accounts(world, 3)
    world.sweep()
    slow(world, page_seconds)
    assert min(check(world) for _ in range(3)) > 0
    assert small_are_right(world)
    assert {each["reason"] for each in world.items("check").values()} <= {
        "a reading did not reach it"
    }


@pytest.mark.parametrize(
    ("removed", "part"), [(False, 5), (True, 300)], ids=["with rows", "all rows are gone"]
)
def test_forgetting_right_hours_is_in_the_budget(
    world: World, monkeypatch: pytest.MonkeyPatch, *, removed: bool, part: int
) -> None:
    monkeypatch.setattr(passes, "PART_HOURS", part)
    monkeypatch.setattr(retries, "GROUPS_AT_ONCE", 1)  # the world's clock adds up what waits
    for n in range(100):
        at = (START - timedelta(hours=n)).isoformat().replace("+00:00", "Z")
        world.insert("Task", f"row-{n}", createdAt=at, updatedAt=at)
    world.deliver()
    for n in range(100 if removed else 0):
        world.remove("Task", f"row-{n}")
    world.deliver()
    world.sweep()
    delete = world.table.delete_item

    def slowly(**asked: Any) -> Any:
        world.clock.advance(20)
        return delete(**asked)

    monkeypatch.setattr(world.table, "delete_item", slowly)
    hours = world.items("entry").keys()
    assert check(world) > 0
    assert set() < world.items("entry").keys() < hours
    assert not any(each["deferred"] for each in world.items("check").values())
    while world.items("entry"):
        assert check(world) > 0
    assert world.items("check") == {}
