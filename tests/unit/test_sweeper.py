"""When the sweeper visits an hour, what a visit costs, and what keeps an hour due."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import AuthorizationError
from aggregated_metrics.core.series import HourId, Series

from testbench.fakes.endpoint import Answer, refusal
from testbench.fakes.signatures import Request
from testbench.hours import GRACE
from testbench.world import START, World

LEASE = 91
OLD = "2026-11-01T23:59:59Z"


@pytest.fixture
def world() -> World:
    return World(["Task"])


def count(world: World, *created: str, accounts: int = 1) -> None:
    """Let tasks be counted, one an account, and forget what was asked for it."""
    for n in range(accounts):
        for at in created or (world.now(),):
            world.insert("Task", f"{n}-{at}", accountId=f"acct-{n + 1}", createdAt=at)
    world.deliver()
    world.log.clear()


def sweep(world: World, at: datetime | None = None) -> Any:
    world.clock.now = at or world.clock.now
    return world.invoke("bucket_sweeper", {})


def hours_loaded(world: World) -> list[int]:
    """The number of hours of each query since the tasks were counted."""
    loads = [e for e in world.log if b"LoadHours" in e.body and b"_streams" not in e.body]
    return [len(exchange.operations) for exchange in loads]


def dues(world: World) -> list[float | None]:
    """When each entry is due: seconds from now."""
    found = (entry.get("due") for entry in world.items("entry").values())
    return [None if due is None else int(due) - world.clock.timestamp() for due in found]


def test_with_nothing_due_no_hour_is_asked_for(world: World) -> None:
    report = sweep(world)
    assert hours_loaded(world) == []
    assert (report["due"], report["oldestPendingSeconds"]) == (0, 0.0)


def test_a_quiet_hour_is_loaded_about_four_times(world: World) -> None:
    count(world, "2026-11-22T12:17:00Z")
    while dues(world) != [None]:
        world.clock.advance(60)
        sweep(world)
    assert len(hours_loaded(world)) == 4
    assert all(bucket["complete"] for bucket in world.buckets())


def test_a_late_hour_is_visited_at_once_and_again_when_its_writer_has_ended(world: World) -> None:
    count(world, OLD)
    assert sweep(world)["completed"] == 4
    assert dues(world) == [LEASE - 1]
    sweep(world, world.clock.now + timedelta(seconds=LEASE))
    assert (hours_loaded(world), dues(world)) == ([1, 1], [None])


def test_what_may_not_be_completed_yet_is_due_again_in_ten_minutes(world: World) -> None:
    world.ports.mappings.mappings.clear()
    count(world)
    assert sweep(world, START + timedelta(hours=2))["completed"] == 0
    assert dues(world) == [600]


def test_an_hour_that_was_touched_for_nothing_is_visited_until_it_is_over(world: World) -> None:
    """Its process may know the entry, skip the next one, and write the first bucket then."""
    hour = HourId(Series("acct-1", "tasks"), buckets.to_minute(START.replace(minute=0)))
    world.pending().touch({hour: int(world.clock.timestamp())})
    over = START.replace(hour=13, minute=0) + timedelta(seconds=GRACE)
    sweep(world, START + timedelta(minutes=5))
    assert dues(world) == [(over - world.clock.now).total_seconds()]
    sweep(world, over)
    assert dues(world) == [None]


def test_many_hours_are_visited_forty_at_a_time(world: World) -> None:
    count(world, OLD, accounts=45)
    report = sweep(world, world.clock.now + timedelta(seconds=LEASE))
    assert (report["due"], report["swept"], report["waiting"]) == (45, 45, 0)
    assert sorted(hours_loaded(world)) == [5, 40]
    assert dues(world) == [None] * 45


def test_one_bad_hour_costs_no_other_hour_and_is_raised(world: World) -> None:
    count(world, OLD, accounts=45)

    def refuse(request: Request) -> Answer | None:
        return refusal(403, "AccessDenied", "No.") if b'"acct-1"' in request.body else None

    world.before = refuse
    with pytest.raises(AuthorizationError):
        sweep(world, world.clock.now + timedelta(seconds=LEASE))
    assert dues(world).count(None) == 44
    assert (world.reports[-1]["failedHours"], world.reports[-1]["swept"]) == (1, 44)
    world.before = lambda _: None
    sweep(world)
    assert dues(world) == [None] * 45


def test_what_does_not_fit_into_the_time_stays_due(world: World) -> None:
    count(world, OLD, accounts=3)
    world.seconds_left = 4.9
    report = sweep(world, world.clock.now + timedelta(seconds=LEASE))
    assert (report["due"], report["swept"], report["waiting"]) == (3, 0, 3)
    assert None not in dues(world)


def test_how_long_the_oldest_hour_has_been_due_is_reported(world: World) -> None:
    count(world)
    moment = START + timedelta(minutes=1, seconds=GRACE + 90)
    assert sweep(world, moment)["oldestPendingSeconds"] == 90.0


def test_an_hour_with_a_rollup_that_is_left_stays_due(world: World) -> None:
    count(world)
    rollup = "tasks#2026-11-22T12:00:00Z#60"
    world.api.put("AggregatedMetrics", world.bucket(rollup) | {"count": 7})

    def another(request: Request) -> None:
        if b"mutation" not in request.body:
            world.clock.advance(0.001)
            version = world.clock.now.isoformat().replace("+00:00", "Z")
            world.api.put("AggregatedMetrics", world.bucket(rollup) | {"updatedAt": version})

    world.after = another
    moment = START + timedelta(minutes=1, seconds=GRACE)
    sweep(world, moment)
    assert (dues(world)[0] or 0) <= 0
    world.after = lambda _: None
    sweep(world)
    assert world.bucket(rollup)["count"] == 1


def test_a_missing_rollup_is_made_and_complete_at_once(world: World) -> None:
    count(world)
    world.api.remove("AggregatedMetrics", "acct-1", "tasks#2026-11-22T12:00:00Z#60")
    report = sweep(world, START + timedelta(hours=1))
    assert (report["written"], report["completed"], dues(world)) == (4, 4, [None])


def test_an_hour_with_an_unreadable_minute_is_left_to_a_check(world: World) -> None:
    count(world)
    minute = "tasks#2026-11-22T12:10:00Z#1"
    world.api.put("AggregatedMetrics", world.bucket(minute) | {"updatedAt": None})
    report = sweep(world, START + timedelta(hours=1, seconds=GRACE))
    assert (report["unreadableRecords"], report["written"], dues(world)) == (1, 0, [None])
