"""What is put, and when it is skipped. Orders, conditions and tokens: integration/test_aws."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from aggregated_metrics.adapters.pending_hours import LEASE_SECONDS, PendingHours
from aggregated_metrics.core.errors import ServiceError
from aggregated_metrics.core.series import HourId, Series, hour_key
from botocore.exceptions import ClientError

from testbench import local
from testbench.fakes.dynamodb import MemoryTable
from testbench.hours import GRACE, HOUR, NOW, SERIES, TEN
from testbench.world import World

OLD = HourId(SERIES, TEN - 600)
AT = int(NOW.timestamp())
LEASE = LEASE_SECONDS + 1
"""From AT on, rounded up."""


@pytest.fixture
def world() -> World:
    return World(now=NOW)


def entry_of(world: World, hour: HourId = OLD) -> Any:
    return world.pending().find(hour)[0]


def check_of(world: World) -> Any:
    return world.pending().find(OLD)[1]


def test_an_entry_says_whose_hour_when_and_until_when(world: World) -> None:
    hour = HourId(Series("acct-1", "items", "scorecard-1", "score-1"), TEN)
    assert world.pending().touch({hour: AT + 30}) == 1
    entry = entry_of(world, hour)
    assert entry.hour.series[:] == hour.series[:]
    assert entry[1:4] == (AT + 30, (TEN + 60) * 60 + GRACE, AT + LEASE)


def test_a_complete_hour_is_due_when_its_writer_has_certainly_ended(world: World) -> None:
    world.pending().touch({OLD: None})
    assert entry_of(world).due == AT + LEASE


@pytest.mark.parametrize(
    ("hour", "first", "second", "wait", "put"),
    [
        (HOUR, 60, 60, 0, 0),
        (HOUR, 60, 90, 0, 0),
        (HOUR, 60, 59, 0, 1),
        (HOUR, 60, 90, 61, 1),
        (HOUR, 3600, 3600, 3600 - 30 + GRACE - LEASE_SECONDS - 1, 1),
        (OLD, 60, 60, 0, 1),
        (OLD, None, None, 0, 1),
    ],
    ids=["the same", "later", "earlier", "come due", "over within the lease", "over", "complete"],
)
def test_an_entry_is_skipped_if_it_is_no_later_still_ahead_and_not_over_within_the_lease(
    world: World, hour: HourId, first: int | None, second: int | None, wait: float, put: int
) -> None:
    def due(seconds: int | None) -> int | None:
        return None if seconds is None else AT + seconds

    assert world.pending().touch({hour: due(first)}) == 1
    world.clock.advance(wait)
    assert world.pending().touch({hour: due(second)}) == put
    another = world.new_engine().process.pending()
    assert another.touch({hour: due(second)}) == 1, "another process knows nothing of it"


def test_what_is_deleted_is_not_remembered(world: World) -> None:
    world.pending().touch({HOUR: AT + 60})
    world.pending().delete(entry_of(world, HOUR))
    assert world.pending().touch({HOUR: AT + 60}) == 1


def test_neither_an_entry_nor_an_open_check_erases_the_other(world: World) -> None:
    world.pending().open_check(OLD, "why", deferred=True)
    world.pending().touch({OLD: AT})
    entry = entry_of(world)
    world.pending().open_check(OLD, "again")
    assert entry_of(world) == entry
    world.pending().delete(entry)
    assert world.pending().find(OLD) == (None, check_of(world))


def test_to_expect_an_hour_is_an_entry_that_is_due_now_and_an_open_check(world: World) -> None:
    world.pending().expect(OLD, "a batch was lost", deferred=True)
    assert entry_of(world)[:4] == (OLD, AT, OLD.start * 60 + 3600 + GRACE, AT)
    assert check_of(world)[2:4] == (True, "a batch was lost")


def test_to_expect_a_touched_hour_keeps_when_it_is_due_and_how_long_it_is_written(
    world: World,
) -> None:
    world.pending().touch({OLD: AT + 300})
    before = entry_of(world)
    world.pending().expect(OLD, "a batch was lost")
    assert entry_of(world)[:4] == before[:4]
    assert not world.pending().delete(before), "it has a new token: it is to be checked again"


class Throttled:
    """A client that leaves the last of every batch unprocessed, some times."""

    def __init__(self, table: MemoryTable, times: int) -> None:
        self._table, self.times, self.requests = table, times, 0

    def pending(self, world: World) -> PendingHours:
        return replace(world.engine.process, aws=lambda _: self, remembered={}).pending()

    def batch_write_item(self, *, RequestItems: Mapping[str, Any]) -> Any:
        ((name, requests),) = RequestItems.items()
        assert len(requests) <= 25
        self.requests += 1
        self.times -= 1
        done = requests if self.times < 0 else requests[:-1]
        self._table.batch_write_item(RequestItems={name: done})
        return {"UnprocessedItems": {name: requests[-1:]} if self.times >= 0 else {}}


@pytest.mark.parametrize(("times", "number", "requests"), [(0, 60, 3), (3, 3, 4)])
def test_what_a_request_does_not_take_is_put_by_another_after_a_while(
    world: World, times: int, number: int, requests: int
) -> None:
    client = Throttled(world.table, times)
    hours = {HourId(SERIES, TEN - 60 * n): AT for n in range(number)}
    assert client.pending(world).touch(hours) == number
    assert {entry.hour for entry in world.pending().due()} == set(hours)
    assert client.requests == requests
    assert world.clock.now - NOW >= timedelta(seconds=0.2 * times)


def test_what_was_not_put_is_put_again(world: World) -> None:
    pending = Throttled(world.table, 6).pending(world)
    with pytest.raises(ServiceError, match=r"it is throttled.*PENDING_HOURS_TABLE"):
        pending.touch({HOUR: AT + 60})
    assert pending.touch({HOUR: AT + 60}) == 1


@pytest.mark.parametrize("call", ["batch_write_item", "get_item", "update_item", "query"])
def test_a_table_that_does_not_answer_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    error = ClientError({"Error": {"Code": "ResourceNotFoundException"}}, call)
    monkeypatch.setattr(world.table, call, Mock(side_effect=error))
    asked: dict[str, Callable[[], object]] = {
        "batch_write_item": lambda: world.pending().touch({OLD: 0}),
        "get_item": lambda: world.pending().find(OLD),
        "update_item": lambda: world.pending().open_check(OLD, "why"),
        "query": world.pending().notes,
    }
    with pytest.raises(ServiceError, match=f"{local.PENDING_HOURS}.*PENDING_HOURS_TABLE"):
        asked[call]()


def test_an_item_that_is_not_understood_costs_no_other_and_is_logged(
    world: World, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    world.pending().touch({OLD: AT})
    odd = {"hour": {"S": "odd"}, "until": {"S": "soon"}}
    world.table.items["odd"] = world.table.items[hour_key(OLD)] | odd
    assert [entry.hour for entry in world.pending().due()] == [OLD]
    assert [line["level"] for line in lines()] == ["WARNING"]
