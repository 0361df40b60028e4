"""The hourly check, run after run, where one account has more rows than a run can list."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from aggregated_metrics.adapters import source_rows
from aggregated_metrics.adapters.source_rows import Counted
from aggregated_metrics.jobs.closed_hours import Closed, ClosedHours
from aggregated_metrics.jobs.range_check import stop_in_time

from testbench.backfilling import Backfilling
from testbench.fakes.dynamodb import MemoryTable
from testbench.reconciliation import World, truth

ROWS_LIMIT = 100
LATER = 200
SECONDS = 900
AT = "2026-11-22T12:10:30.000Z"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Pages of five rows; twice as many rows of today as a check of an earlier hour may list."""
    monkeypatch.setattr(source_rows, "PAGE", 5)
    source_rows._query.cache_clear()
    yield World(MemoryTable())
    source_rows._query.cache_clear()


def _hourly(world: World, page_seconds: float, rows_limit: int = ROWS_LIMIT) -> Closed:
    """One run of 900 s in which a page takes so long; the next one begins an hour later."""
    began = world.clock.now

    def left() -> float:
        return SECONDS - (world.clock.now - began).total_seconds()

    stop = stop_in_time(left)

    def on_page(counted: Counted) -> None:
        world.clock.advance(page_seconds)
        stop(counted)

    checker = world.reconciler(on_page=on_page)
    check = ClosedHours(checker, world.pending, left, world.clock, rows_limit)
    check.check(repair=True)
    world.clock.now = began + timedelta(hours=1)
    return check.done


def _later_rows(world: World, *, delivered: bool = False) -> None:
    for number in range(LATER):
        world.insert("Task", f"later-{number}")
    if delivered:
        world.deliver()
    world.undelivered.clear()


def _other_account_with_a_lost_row(world: World) -> None:
    world.insert("Task", "counted", accountId="acct-2", createdAt=AT)
    world.deliver()
    world.insert("Task", "lost", accountId="acct-2", createdAt=AT)
    world.undelivered.clear()
    world.sweep()


def _is_repaired(world: World) -> bool:
    minutes = {k: v for k, v in world.stored().items() if k[0] == "acct-2" and k[3] == 1}
    return [numbers[0] for numbers in minutes.values()] == [2]


@pytest.mark.parametrize("page_seconds", [1.0, 6.0, 10.0, 10.5, 20.0, 22.0, 25.0, 40.0])
def test_an_old_day_of_a_large_account_does_not_keep_the_others_waiting(
    world: World, page_seconds: float
) -> None:
    _later_rows(world)
    for hour in range(24):
        at = f"2026-11-01T{hour:02}:10:30.000Z"
        world.insert("Task", f"old-{hour}", createdAt=at, updatedAt=at)
    world.deliver()
    world.sweep()
    _other_account_with_a_lost_row(world)
    runs = [_hourly(world, page_seconds) for _ in range(4)]
    assert _is_repaired(world), runs


def test_a_group_that_takes_all_the_time_leaves_what_was_found_wrong_its_second_look(
    world: World,
) -> None:
    _other_account_with_a_lost_row(world)
    _later_rows(world, delivered=True)
    world.sweep()
    first = _hourly(world, 25.0, rows_limit=10 * LATER)
    assert (first.findings.failed, _is_repaired(world)) == ([], True)
    second = _hourly(world, 25.0, rows_limit=10 * LATER)
    assert len(second.findings.failed) == 1  # it had all of the time


@pytest.mark.parametrize("page_seconds", [0.1, 3.0])
def test_a_first_backfill_of_a_large_account_costs_the_hourly_check_few_looks(
    world: World, page_seconds: float
) -> None:
    """A backfill marks each hour that it writes: all of history waits to be checked at once."""
    _later_rows(world)
    for day in range(1, 11):
        for hour in range(24):
            at = f"2026-11-{day:02}T{hour:02}:10:30.000Z"
            world.insert("Task", f"old-{day}-{hour}", createdAt=at, updatedAt=at)
    world.undelivered.clear()
    world.clock.advance(60)
    Backfilling(world, page=500).run()
    assert world.stored() == truth(world.api)
    world.sweep()
    _other_account_with_a_lost_row(world)
    first = _hourly(world, page_seconds)
    assert _is_repaired(world), first
    assert (first.set_aside, first.waiting) == (10 * 24 + 1, 0)  # today's hour as well
    assert first.findings.pages < LATER
