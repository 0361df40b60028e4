"""Entries, open checks and notes: what is put, when it is skipped, and what a token protects."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from aggregated_metrics.adapters.pending_hours import (
    LEASE_SECONDS,
    Entry,
    Note,
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
from testbench.world import Clock

OLD = HourId(SERIES, TEN - 600)
OVER = (TEN + 60) * 60 + GRACE


class Table:
    """The table, and processes that use it."""

    def __init__(self) -> None:
        self.clock = Clock(NOW)
        self.fake = MemoryTable()
        self.pending = self.process()

    def process(self, **options: Any) -> PendingHours:
        """What a new process has."""
        given: dict[str, Any] = {"clock": self.clock, "grace": GRACE, "sleep": self.clock.advance}
        client: Any = options.pop("client", self.fake)
        return PendingHours(client, local.PENDING_HOURS, **given | options)

    def now(self) -> int:
        return int(self.clock.timestamp())

    def entry(self, hour: HourId = OLD) -> Entry:
        found, _ = self.pending.find(hour)
        assert found is not None
        return found

    def check(self, hour: HourId = OLD) -> OpenCheck:
        _, found = self.pending.find(hour)
        assert found is not None
        return found

    def touched(self, hour: HourId = OLD) -> Entry:
        self.pending.touch({hour: self.now()})
        return self.entry(hour)


@pytest.fixture
def table() -> Table:
    return Table()


# Entries ------------------------------------------------------------------------------------------


def test_an_entry_says_whose_hour_when_and_until_when(table: Table) -> None:
    hour = HourId(Series("acct-1", "items", "scorecard-1", "score-1"), TEN)
    assert table.pending.touch({hour: table.now() + 30}) == 1
    entry = table.entry(hour)
    assert entry.hour.series[:] == hour.series[:]
    assert (entry.due, entry.over) == (table.now() + 30, OVER)
    assert entry.until == table.now() + 1 + LEASE_SECONDS, "rounded up"


def test_a_lease_is_longer_than_any_invocation_that_writes_a_batch() -> None:
    assert template("template.yaml")["Globals"]["Function"]["Timeout"] < LEASE_SECONDS


def test_only_what_is_due_is_given_the_longest_due_first(table: Table) -> None:
    dues = {60 * n: table.now() + offset for n, offset in enumerate((-5, 0, 1, -90, 3600))}
    table.pending.touch({HourId(SERIES, TEN + start): due for start, due in dues.items()})
    found = table.pending.due(10)
    assert [(e.due or 0) - table.now() for e in found] == [-90, -5, 0]
    assert table.pending.due(2) == found[:2]


def test_only_hours_that_are_over_are_given_whether_something_is_due_or_not(table: Table) -> None:
    table.pending.touch({HOUR: None, OLD: None, HourId(SERIES, TEN - 1200): table.now()})
    table.pending.reschedule(table.entry(OLD), None)
    assert [entry.hour.start for entry in table.pending.over()] == [TEN - 1200, TEN - 600]


def test_a_complete_hour_is_due_when_its_writer_has_certainly_ended(table: Table) -> None:
    table.pending.touch({OLD: None})
    assert table.pending.due(10) == []
    table.clock.advance(LEASE_SECONDS + 1)
    assert [entry.hour for entry in table.pending.due(10)] == [OLD]


def test_more_entries_than_a_request_takes_are_all_put(table: Table) -> None:
    client = Throttled(table.fake, 0)
    hours = {HourId(SERIES, TEN - 60 * n): table.now() for n in range(60)}
    assert table.process(client=client).touch(hours) == 60
    assert {entry.hour for entry in table.pending.due(100)} == set(hours)
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
    table: Table, hour: HourId, first: int | None, second: int | None, wait: float, put: int
) -> None:
    def due(seconds: int | None) -> int | None:
        return None if seconds is None else int(NOW.timestamp()) + seconds

    assert table.pending.touch({hour: due(first)}) == 1
    table.clock.advance(wait)
    assert table.pending.touch({hour: due(second)}) == put
    assert table.process().touch({hour: due(second)}) == 1, "another process knows nothing of it"


def test_what_was_not_put_is_not_remembered(table: Table) -> None:
    remembered: dict[HourId, int] = {}
    broken = table.process(client=Throttled(table.fake, 1_000), remembered=remembered)
    for _ in range(2):
        with pytest.raises(ServiceError, match=r"it is throttled.*PENDING_HOURS_TABLE"):
            broken.touch({HOUR: table.now() + 60})
    assert remembered == {}


def test_what_is_deleted_is_not_remembered(table: Table) -> None:
    table.pending.touch({HOUR: table.now() + 60})
    table.pending.delete(table.entry(HOUR))
    assert table.pending.touch({HOUR: table.now() + 60}) == 1


# Tokens -------------------------------------------------------------------------------------------


def test_a_visited_hour_is_due_when_it_is_said_or_never_again(table: Table) -> None:
    entry = table.touched()
    assert table.pending.reschedule(entry, table.now() + 300)
    assert table.pending.due(1) == []
    table.clock.advance(300)
    assert [found.token for found in table.pending.due(1)] == [entry.token]
    assert table.pending.reschedule(entry, None)
    assert table.pending.due(1) == []
    assert table.entry().due is None


@pytest.mark.parametrize("act", ["later", "never", "delete"])
def test_what_was_touched_meanwhile_is_neither_moved_nor_deleted(table: Table, act: str) -> None:
    entry = table.touched()
    table.process().touch({OLD: table.now()})
    acts: Mapping[str, Callable[[Entry], bool]] = {
        "later": lambda read: table.pending.reschedule(read, table.now() + 300),
        "never": lambda read: table.pending.reschedule(read, None),
        "delete": table.pending.delete,
    }
    assert not acts[act](entry)
    assert table.entry().due == table.now()
    assert acts[act](table.entry())


# Claims -------------------------------------------------------------------------------------------


def test_a_repair_claims_an_hour_that_has_no_entry(table: Table) -> None:
    claimed = table.pending.claim(OLD, None)
    assert claimed is not None
    assert claimed == table.entry()
    assert claimed.until == claimed.due == table.now() + 1 + LEASE_SECONDS
    assert table.pending.delete(claimed)


def test_a_repair_replaces_the_entry_that_it_has_read_when_its_writer_has_ended(
    table: Table,
) -> None:
    entry = table.touched()
    table.clock.advance(LEASE_SECONDS + 1)
    claimed = table.pending.claim(OLD, entry)
    assert claimed is not None
    assert not table.pending.delete(entry)
    assert table.pending.delete(claimed)


@pytest.mark.parametrize("why", ["still written", "touched meanwhile", "new meanwhile"])
def test_where_another_may_still_write_the_entry_stays_after_the_repair(
    table: Table, why: str
) -> None:
    known = None if why == "new meanwhile" else table.touched()
    if why != "still written":
        table.clock.advance(LEASE_SECONDS + 1)
        table.process().touch({OLD: table.now()})
    until = table.entry().until
    assert table.pending.claim(OLD, known) is None
    assert table.entry().until >= until, "nor is it deleted before that other one has ended"
    assert known is None or not table.pending.delete(known)


# Open checks --------------------------------------------------------------------------------------


def test_an_open_check_keeps_its_first_since_and_gets_a_new_reason_and_token(table: Table) -> None:
    table.pending.open_check(OLD, "first")
    before = table.check()
    assert before[:5] == (OLD, table.now(), False, "first", table.now())
    table.clock.advance(600)
    table.pending.open_check(OLD, "second")
    after = table.check()
    assert after[:5] == (OLD, before.since, False, "second", table.now())
    assert not table.pending.close_check(before)
    assert table.pending.close_check(after)
    assert list(table.pending.open_checks()) == []


def test_deferred_is_kept_whatever_an_index_check_says_later(table: Table) -> None:
    for deferred, kept in ((False, False), (True, True), (False, True)):
        table.pending.open_check(OLD, "why", deferred=deferred)
        assert table.check().deferred is kept


def test_open_checks_are_given_the_oldest_first(table: Table) -> None:
    for n in range(3):
        table.pending.open_check(HourId(SERIES, TEN + 60 * n), f"{n}")
        table.clock.advance(60)
    table.pending.open_check(HOUR, "again")
    assert [check.reason for check in table.pending.open_checks()] == ["again", "1", "2"]


def test_neither_an_entry_nor_an_open_check_erases_the_other(table: Table) -> None:
    table.pending.open_check(OLD, "why", deferred=True)
    entry = table.touched()
    assert table.check().deferred
    table.pending.open_check(OLD, "again")
    assert table.entry() == entry
    table.pending.delete(entry)
    assert table.pending.find(OLD) == (None, table.check())


def test_to_expect_an_hour_is_an_entry_that_is_due_now_and_an_open_check(table: Table) -> None:
    table.pending.expect(OLD, "a batch was lost", deferred=True)
    assert table.entry()[:4] == (OLD, table.now(), OLD.start * 60 + 3600 + GRACE, table.now())
    assert table.check()[2:4] == (True, "a batch was lost")


def test_to_expect_a_touched_hour_keeps_when_it_is_due_and_how_long_it_is_written(
    table: Table,
) -> None:
    table.pending.touch({OLD: table.now() + 300})
    before = table.entry()
    table.pending.expect(OLD, "a batch was lost")
    assert table.entry()[:4] == before[:4]
    assert not table.pending.delete(before), "it has a new token: it is to be checked again"


# Notes --------------------------------------------------------------------------------------------


def test_a_note_counts_for_ten_minutes_and_a_shard_has_one(table: Table) -> None:
    table.pending.put_note("Item", "a", 100.25)
    table.clock.advance(300)
    table.pending.put_note("Item", "b", 200.0)
    table.pending.put_note("Task", "a", 300.0)
    assert table.pending.notes() == [
        *(Note("Item", "a", 100.25), Note("Item", "b", 200.0), Note("Task", "a", 300.0)),
    ]
    table.clock.advance(301)
    table.pending.put_note("Item", "b", 150.0)
    assert table.pending.notes() == [Note("Task", "a", 300.0), Note("Item", "b", 150.0)]


# Trouble ------------------------------------------------------------------------------------------


class Throttled:
    """A client that leaves the last of every batch unprocessed, some times."""

    def __init__(self, table: MemoryTable, times: int) -> None:
        self._table, self.times, self.requests = table, times, 0
        self.exceptions = table.exceptions

    def batch_write_item(self, *, RequestItems: Mapping[str, Any]) -> Any:
        ((name, requests),) = RequestItems.items()
        assert len(requests) <= 25
        self.requests += 1
        self.times -= 1
        done = requests if self.times < 0 else requests[:-1]
        self._table.batch_write_item(RequestItems={name: done})
        return {"UnprocessedItems": {name: requests[-1:]} if self.times >= 0 else {}}


def test_what_was_throttled_is_put_again_after_a_while(table: Table) -> None:
    client = Throttled(table.fake, 3)
    hours = {HourId(SERIES, TEN - 60 * n): table.now() for n in range(3)}
    table.process(client=client).touch(hours)
    assert len(table.pending.due(10)) == 3
    assert client.requests == 4
    assert table.clock.now - NOW > timedelta(seconds=0.5)


class Gone:
    """A client whose every call is refused."""

    exceptions = MemoryTable.exceptions

    def __getattr__(self, call: str) -> Any:
        return self if call == "get_paginator" else partial(self._refuse, call)

    def __call__(self, _: str) -> "Gone":
        return self

    def paginate(self, **_: Any) -> Iterator[Any]:
        yield self._refuse("Query")

    def _refuse(self, call: str, **_: Any) -> Any:
        raise ClientError({"Error": {"Code": "ResourceNotFoundException"}}, call)


def test_a_table_that_does_not_answer_is_named(table: Table) -> None:
    entry = table.touched()
    table.pending.open_check(OLD, "why")
    check, gone = table.check(), table.process(client=Gone())
    asked: list[Callable[[], object]] = [
        lambda: gone.touch({OLD: 0}),
        lambda: gone.claim(OLD, None),
        lambda: gone.due(1),
        lambda: list(gone.over()),
        lambda: gone.find(OLD),
        lambda: gone.reschedule(entry, 1),
        lambda: gone.delete(entry),
        lambda: gone.open_check(OLD, "why"),
        lambda: list(gone.open_checks()),
        lambda: gone.close_check(check),
        lambda: gone.put_note("Item", "a", 1.0),
        gone.notes,
    ]
    for ask in asked:
        with pytest.raises(ServiceError, match=f"{local.PENDING_HOURS}.*PENDING_HOURS_TABLE"):
            ask()


def test_an_item_that_is_not_understood_costs_no_other_and_is_logged(
    table: Table, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    table.touched()
    table.fake.items["odd"] = table.fake.items[hour_key(OLD)] | {
        "hour": {"S": "odd"},
        "until": {"S": "soon"},
    }
    assert [entry.hour for entry in table.pending.due(10)] == [OLD]
    assert [line["level"] for line in lines()] == ["WARNING"]
