"""Entries, open checks and notes: what is put, when it is skipped, and what a token protects."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from aggregated_metrics.adapters.pending_hours import (
    LEASE_SECONDS,
    Entry,
    OpenCheck,
    PendingHours,
)
from aggregated_metrics.core.errors import ServiceError
from aggregated_metrics.core.series import HourId, Series, hour_key
from botocore.exceptions import ClientError

from testbench import local
from testbench.fakes.dynamodb import MemoryTable
from testbench.hours import GRACE, HOUR, NOW, SERIES, TEN
from testbench.templates import template
from testbench.world import World

OLD = HourId(SERIES, TEN - 600)
OVER = (TEN + 60) * 60 + GRACE


@pytest.fixture
def world() -> World:
    return World(now=NOW)


def now(world: World) -> int:
    return int(world.clock.timestamp())


def another(world: World) -> PendingHours:
    """The pending hours of a process that has just begun."""
    return world.new_engine().process.pending()


def entry_of(world: World, hour: HourId = OLD) -> Entry:
    found, _ = world.pending().find(hour)
    assert found is not None
    return found


def check_of(world: World, hour: HourId = OLD) -> OpenCheck:
    _, found = world.pending().find(hour)
    assert found is not None
    return found


def touched(world: World, hour: HourId = OLD) -> Entry:
    world.pending().touch({hour: now(world)})
    return entry_of(world, hour)


# Entries ------------------------------------------------------------------------------------------


def test_an_entry_says_whose_hour_when_and_until_when(world: World) -> None:
    hour = HourId(Series("acct-1", "items", "scorecard-1", "score-1"), TEN)
    assert world.pending().touch({hour: now(world) + 30}) == 1
    entry = entry_of(world, hour)
    assert entry.hour.series[:] == hour.series[:]
    assert (entry.due, entry.over) == (now(world) + 30, OVER)
    assert entry.until == now(world) + 1 + LEASE_SECONDS, "rounded up"


def test_a_lease_is_longer_than_any_invocation_that_writes_a_batch() -> None:
    assert template("template.yaml")["Globals"]["Function"]["Timeout"] < LEASE_SECONDS


def test_only_what_is_due_is_given_the_longest_due_first(world: World) -> None:
    dues = {60 * n: now(world) + offset for n, offset in enumerate((-5, 0, 1, -90, 3600))}
    world.pending().touch({HourId(SERIES, TEN + start): due for start, due in dues.items()})
    found = world.pending().due(10)
    assert [(e.due or 0) - now(world) for e in found] == [-90, -5, 0]
    assert world.pending().due(2) == found[:2]


def test_only_hours_that_are_over_are_given_whether_something_is_due_or_not(world: World) -> None:
    world.pending().touch({HOUR: None, OLD: None, HourId(SERIES, TEN - 1200): now(world)})
    world.pending().reschedule(entry_of(world, OLD), None)
    assert [entry.hour.start for entry in world.pending().over()] == [TEN - 1200, TEN - 600]


def test_a_complete_hour_is_due_when_its_writer_has_certainly_ended(world: World) -> None:
    world.pending().touch({OLD: None})
    assert world.pending().due(10) == []
    world.clock.advance(LEASE_SECONDS + 1)
    assert [entry.hour for entry in world.pending().due(10)] == [OLD]


def test_more_entries_than_a_request_takes_are_all_put(world: World) -> None:
    client = Throttled(world.table, 0)
    hours = {HourId(SERIES, TEN - 60 * n): now(world) for n in range(60)}
    assert client.pending(world).touch(hours) == 60
    assert {entry.hour for entry in world.pending().due(100)} == set(hours)
    assert client.requests == 3


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
        return None if seconds is None else int(NOW.timestamp()) + seconds

    assert world.pending().touch({hour: due(first)}) == 1
    world.clock.advance(wait)
    assert world.pending().touch({hour: due(second)}) == put
    assert another(world).touch({hour: due(second)}) == 1, "another process knows nothing of it"


def test_what_was_not_put_is_put_again(world: World) -> None:
    client = Throttled(world.table, 6)
    pending = client.pending(world)
    with pytest.raises(ServiceError, match=r"it is throttled.*PENDING_HOURS_TABLE"):
        pending.touch({HOUR: now(world) + 60})
    assert pending.touch({HOUR: now(world) + 60}) == 1


def test_what_is_deleted_is_not_remembered(world: World) -> None:
    world.pending().touch({HOUR: now(world) + 60})
    world.pending().delete(entry_of(world, HOUR))
    assert world.pending().touch({HOUR: now(world) + 60}) == 1


# Tokens -------------------------------------------------------------------------------------------


def test_a_visited_hour_is_due_when_it_is_said_or_never_again(world: World) -> None:
    entry = touched(world)
    assert world.pending().reschedule(entry, now(world) + 300)
    assert world.pending().due(1) == []
    world.clock.advance(300)
    assert [found.token for found in world.pending().due(1)] == [entry.token]
    assert world.pending().reschedule(entry, None)
    assert world.pending().due(1) == []
    assert entry_of(world).due is None


@pytest.mark.parametrize("act", ["later", "never", "delete"])
def test_what_was_touched_meanwhile_is_neither_moved_nor_deleted(world: World, act: str) -> None:
    entry = touched(world)
    another(world).touch({OLD: now(world)})
    acts: Mapping[str, Callable[[Entry], bool]] = {
        "later": lambda read: world.pending().reschedule(read, now(world) + 300),
        "never": lambda read: world.pending().reschedule(read, None),
        "delete": world.pending().delete,
    }
    assert not acts[act](entry)
    assert entry_of(world).due == now(world)
    assert acts[act](entry_of(world))


# Claims -------------------------------------------------------------------------------------------


def test_a_repair_claims_an_hour_that_has_no_entry(world: World) -> None:
    claimed = world.pending().claim(OLD, None)
    assert claimed is not None
    assert claimed == entry_of(world)
    assert claimed.until == claimed.due == now(world) + 1 + LEASE_SECONDS
    assert world.pending().delete(claimed)


def test_a_repair_replaces_the_entry_that_it_has_read_when_its_writer_has_ended(
    world: World,
) -> None:
    entry = touched(world)
    world.clock.advance(LEASE_SECONDS + 1)
    claimed = world.pending().claim(OLD, entry)
    assert claimed is not None
    assert not world.pending().delete(entry)
    assert world.pending().delete(claimed)


@pytest.mark.parametrize("why", ["still written", "touched meanwhile", "new meanwhile"])
def test_where_another_may_still_write_the_entry_stays_after_the_repair(
    world: World, why: str
) -> None:
    known = None if why == "new meanwhile" else touched(world)
    if why != "still written":
        world.clock.advance(LEASE_SECONDS + 1)
        another(world).touch({OLD: now(world)})
    until = entry_of(world).until
    assert world.pending().claim(OLD, known) is None
    assert entry_of(world).until >= until, "nor is it deleted before that other one has ended"
    assert known is None or not world.pending().delete(known)


# Open checks --------------------------------------------------------------------------------------


def test_an_open_check_keeps_its_first_since_and_gets_a_new_reason_and_token(world: World) -> None:
    world.pending().open_check(OLD, "first")
    before = check_of(world)
    assert before[:5] == (OLD, now(world), False, "first", now(world))
    world.clock.advance(600)
    world.pending().open_check(OLD, "second")
    after = check_of(world)
    assert after[:5] == (OLD, before.since, False, "second", now(world))
    assert not world.pending().close_check(before)
    assert world.pending().close_check(after)
    assert list(world.pending().open_checks()) == []


def test_deferred_is_kept_whatever_an_index_check_says_later(world: World) -> None:
    for deferred, kept in ((False, False), (True, True), (False, True)):
        world.pending().open_check(OLD, "why", deferred=deferred)
        assert check_of(world).deferred is kept


def test_open_checks_are_given_the_oldest_first(world: World) -> None:
    for n in range(3):
        world.pending().open_check(HourId(SERIES, TEN + 60 * n), f"{n}")
        world.clock.advance(60)
    world.pending().open_check(HOUR, "again")
    assert [check.reason for check in world.pending().open_checks()] == ["again", "1", "2"]


def test_neither_an_entry_nor_an_open_check_erases_the_other(world: World) -> None:
    world.pending().open_check(OLD, "why", deferred=True)
    entry = touched(world)
    assert check_of(world).deferred
    world.pending().open_check(OLD, "again")
    assert entry_of(world) == entry
    world.pending().delete(entry)
    assert world.pending().find(OLD) == (None, check_of(world))


def test_to_expect_an_hour_is_an_entry_that_is_due_now_and_an_open_check(world: World) -> None:
    world.pending().expect(OLD, "a batch was lost", deferred=True)
    assert entry_of(world)[:4] == (OLD, now(world), OLD.start * 60 + 3600 + GRACE, now(world))
    assert check_of(world)[2:4] == (True, "a batch was lost")


def test_to_expect_a_touched_hour_keeps_when_it_is_due_and_how_long_it_is_written(
    world: World,
) -> None:
    world.pending().touch({OLD: now(world) + 300})
    before = entry_of(world)
    world.pending().expect(OLD, "a batch was lost")
    assert entry_of(world)[:4] == before[:4]
    assert not world.pending().delete(before), "it has a new token: it is to be checked again"


# Notes --------------------------------------------------------------------------------------------


def test_a_note_counts_for_ten_minutes_and_a_shard_has_one(world: World) -> None:
    world.pending().put_note("Item", "a", 100.25)
    world.clock.advance(300)
    world.pending().put_note("Item", "b", 200.0)
    world.pending().put_note("Task", "a", 300.0)
    assert world.pending().notes() == [
        *(("Item", 100.25), ("Item", 200.0), ("Task", 300.0)),
    ]
    world.clock.advance(301)
    world.pending().put_note("Item", "b", 150.0)
    assert world.pending().notes() == [("Task", 300.0), ("Item", 150.0)]


# Trouble ------------------------------------------------------------------------------------------


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


def test_what_was_throttled_is_put_again_after_a_while(world: World) -> None:
    client = Throttled(world.table, 3)
    hours = {HourId(SERIES, TEN - 60 * n): now(world) for n in range(3)}
    client.pending(world).touch(hours)
    assert (len(world.pending().due(10)), client.requests) == (3, 4)
    assert world.clock.now - NOW > timedelta(seconds=0.5)


@pytest.mark.parametrize("call", ["batch_write_item", "get_item", "update_item", "query"])
def test_a_table_that_does_not_answer_is_named(
    world: World, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def refused(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, call)

    monkeypatch.setattr(world.table, call, refused)
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
    touched(world)
    world.table.items["odd"] = world.table.items[hour_key(OLD)] | {
        "hour": {"S": "odd"},
        "until": {"S": "soon"},
    }
    assert [entry.hour for entry in world.pending().due(10)] == [OLD]
    assert [line["level"] for line in lines()] == ["WARNING"]
