"""A range that is too much for one invocation is done in smaller steps, or refused at once."""

from collections.abc import Callable
from typing import Any

import pytest
from aggregated_metrics.adapters.source_rows import Counted
from aggregated_metrics.core.errors import ContentionError
from aggregated_metrics.core.findings import Findings
from aggregated_metrics.core.ranges import Range, parse_range
from aggregated_metrics.jobs.range_check import check_range, stop_in_time

from testbench.reconciliation import World, truth

SECONDS = 900
DAYS = 30


@pytest.fixture
def world(aws: Callable[[str], Any]) -> World:
    return World(aws("dynamodb"))


def _asked(start: str, end: str) -> Range:
    event = {"accountId": "acct-1", "start": start, "end": end}
    return parse_range(event | {"recordTypes": ["items", "predictionItems"]})


def _invoke(world: World, asked: Range, seconds_a_row: float) -> Range | None:
    """One invocation; what is left to be done."""
    began = world.clock.now

    def left() -> float:
        return SECONDS - (world.clock.now - began).total_seconds()

    stop = stop_in_time(left)

    def on_page(counted: Counted) -> None:
        world.clock.advance(seconds_a_row * counted.rows)
        stop(counted)

    checker = world.reconciler(on_page=on_page)
    found = Findings()
    rest = check_range(checker, asked, left, found, repair=True)
    assert found.failed == []
    return rest


def test_a_range_whose_second_look_has_no_time_is_done_in_smaller_steps(world: World) -> None:
    for day in range(1, DAYS + 1):
        at = f"2026-10-{day:02}T12:10:30.000Z"
        world.insert("Item", f"row-{day}", createdAt=at)
    world.undelivered.clear()
    rest: Range | None = _asked("2026-10-01T00:00:00Z", "2026-10-31T00:00:00Z")
    invocations = 0
    while rest is not None:
        invocations += 1
        assert invocations < 5
        rest = _invoke(world, rest, 500 / DAYS)
    assert world.stored() == truth(world.api)


def test_a_range_of_an_hour_that_is_too_much_is_refused_at_once(world: World) -> None:
    world.insert("Item", "a")
    world.undelivered.clear()
    with pytest.raises(ContentionError, match="too many rows"):
        _invoke(world, _asked("2026-11-22T12:00:00Z", "2026-11-22T13:00:00Z"), SECONDS)
