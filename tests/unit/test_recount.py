"""One engine checks and repairs: its passes, its time, and what it says of hours afterwards."""

import json
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from aggregated_metrics.core import buckets
from aggregated_metrics.core.series import HourId, Series
from aggregated_metrics.jobs import recount

from testbench.fakes.endpoint import Answer
from testbench.fakes.signatures import Request
from testbench.fakes.transport import Exchange
from testbench.hours import GRACE
from testbench.world import SETTLE, START, World

TWELVE = HourId(Series("acct-1", "tasks"), buckets.to_minute(START.replace(minute=0)))
MINUTE = "tasks#2026-11-22T12:10:00Z#1"
UNINDEXED = {"updatedAt": "2026-11-20T10:00:00.000Z"}


def over(world: World) -> None:
    """Let the hour that the world begins in end, and all that may complete do so."""
    world.clock.advance(3_600)
    world.sweep()


def drifting(**environment: str) -> World:
    """A world in which one of two tasks of 12:10 is counted, and its hour is over and complete."""
    world = World(["Task"], environment=environment)
    world.insert("Task", "counted")
    world.deliver()
    world.insert("Task", "lost")
    world.lose()
    over(world)
    return world


def late(world: World, name: str = "late", **changes: Any) -> None:
    """A task of 12:10 is written now."""
    at = world.row("Task", "counted")["createdAt"]
    world.insert("Task", name, createdAt=at, **changes)


def listed(requests: list[Exchange]) -> list[str]:
    """The account of each page that was read from its beginning."""
    asked = [json.loads(e.body)["variables"] for e in requests if b"query Count" in e.body]
    return [each["account"] for each in asked if each["sort"] == "DESC"]


def reasons(world: World) -> list[tuple[str, bool]]:
    return [(check["reason"], check["deferred"]) for check in world.items("check").values()]


def is_right(world: World) -> bool:
    return world.stored() == world.counted()


# Passes -------------------------------------------------------------------------------------------


def test_what_is_right_is_read_once_and_without_a_wait() -> None:
    world = World(["Task"])
    for account in ("a", "b"):
        world.insert("Task", account, accountId=account)
    world.deliver()
    over(world)
    before = world.clock.now
    assert sorted(listed(world.requests(world.check))) == ["a", "b"]
    assert world.clock.now == before


def test_all_accounts_wait_once_and_only_what_differs_is_read_again() -> None:
    world = World(["Task"])
    for account in ("a", "b", "c"):
        world.insert("Task", account, accountId=account)
        world.deliver()
        if account != "c":
            world.insert("Task", f"lost-{account}", accountId=account)
            world.lose()
    over(world)
    before = world.clock.now
    pages = [0, 0, 0, 0, 20, 20]  # c's page and tail: they are in the time of the wait
    world.at("page", *(partial(world.clock.advance, seconds) for seconds in pages))
    assert listed(world.requests(world.check)) == ["a", "b", "c", "a", "b"]
    assert world.clock.now - before == timedelta(seconds=SETTLE)
    assert is_right(world)


def test_an_hour_of_which_only_a_rollup_is_wrong_needs_no_second_reading() -> None:
    world = World(["Task"])
    world.insert("Task", "counted")
    world.deliver()
    over(world)
    rollup = world.bucket("tasks#2026-11-22T12:00:00Z#60")
    world.api.put("AggregatedMetrics", rollup | {"count": 7})
    assert listed(world.requests(world.check)) == ["acct-1"]
    assert is_right(world)


def test_t_lies_in_the_middle_between_the_passes() -> None:
    world = drifting()
    times: list[float] = []

    def takes_a_while() -> None:
        world.clock.advance(10)
        times.append(world.clock.timestamp())

    world.at("page", *[takes_a_while] * 4)  # a page and a tail in each pass
    world.check()
    counted_until, both = world.metadata("tasks", "2026-11-22T12:10:00Z")["countedUntil"]
    assert both is None
    assert counted_until == (times[1] + SETTLE / 2) * 1000


# Time and limits ----------------------------------------------------------------------------------


def _accounts(world: World, *names: str) -> None:
    """Accounts with a lost task each; the hour that was over first is checked first."""
    for hour, name in enumerate(names, start=9):
        at = START.replace(hour=hour, minute=5).isoformat().replace("+00:00", "Z")
        world.insert("Task", f"{name}-counted", accountId=name, createdAt=at)
        world.deliver()
        world.insert("Task", f"{name}-lost", accountId=name, createdAt=at)
        world.lose()
    over(world)


def _unreached(world: World) -> dict[str, tuple[bool, bool]]:
    """By account of its open check: whether it is deferred, and whether its entry stands."""
    entries = {entry["accountId"] for entry in world.items("entry").values()}
    checks = world.items("check").values()
    assert {check["reason"] for check in checks} <= {recount.NOT_REACHED}
    return {c["accountId"]: (c["deferred"], c["accountId"] in entries) for c in checks}


def test_a_first_reading_that_takes_all_the_time_leaves_its_hours_to_a_scan() -> None:
    world = World(["Task"])
    _accounts(world, "slow", "b")
    world.at("page", lambda: world.clock.advance(500))
    result = world.check()
    assert _unreached(world) == {"slow": (True, False)}
    assert (result["notReachedCount"], result["deferred"]) == (1, 1)
    assert result["notReached"] == ["slow: Task"]
    assert {key[0] for key, sums in world.counted().items() if world.stored()[key] == sums} == {"b"}


def test_a_later_reading_that_runs_out_of_time_is_first_next_time() -> None:
    world = World(["Task"])
    _accounts(world, "a", "slow")
    page = [lambda: None, lambda: None, lambda: world.clock.advance(700)]
    world.at("page", *page)
    world.check()
    assert _unreached(world) == {"slow": (False, True)}
    assert listed(world.requests(world.check))[0] == "slow"
    assert is_right(world)
    assert world.items("check") == {}


def test_a_reading_that_is_not_begun_says_nothing_of_its_hours() -> None:
    world = World(["Task"])
    _accounts(world, "a", "b", "c")
    world.at("page", lambda: None, lambda: world.clock.advance(780))
    result = world.check()
    assert (result["notReachedCount"], world.items("check")) == (2, {})
    assert {entry["accountId"] for entry in world.items("entry").values()} == {"b", "c"}
    world.check()
    assert is_right(world)


def test_a_pass_that_found_differences_reserves_its_own_duration_for_the_second() -> None:
    """Of 900 s the first account takes 300 s twice: nothing is left for another one."""
    world = World(["Task"])
    _accounts(world, "a", "b")
    world.at("page", *[lambda: world.clock.advance(150)] * 6)
    assert world.check()["repaired"] == 1
    assert {key[0] for key, sums in world.counted().items() if world.stored()[key] == sums} == {"a"}


def test_a_reading_over_its_limit_leaves_the_hours_to_a_scan_and_the_others_go_on() -> None:
    world = World(["Task"], environment={"CHECK_ROWS_LIMIT": "1000"})
    _accounts(world, "b", "large")
    for n in range(1_001):
        late_at = world.now()
        world.insert("Task", f"{n}", accountId="large", createdAt=late_at)
    world.lose()
    result = world.check()
    assert _unreached(world) == {"large": (True, False)}
    assert (result["repaired"], result["deferred"]) == (1, 1)


# Tokens and claims --------------------------------------------------------------------------------


def test_an_entry_stays_while_the_invocation_that_touched_the_hour_may_write_it() -> None:
    world = drifting()
    world.check()
    late(world)
    world.deliver()
    result = world.check()
    assert (result["hours"], result["driftCount"]) == (1, 0)
    assert len(world.items("entry")) == 1
    world.clock.advance(91)
    world.check()
    assert world.items("entry") == {}


def test_an_open_check_that_was_put_again_meanwhile_is_not_closed() -> None:
    world = World(["Task"])
    world.insert("Task", "counted")
    world.deliver()
    over(world)
    for put_again in (True, False):
        world.pending().expect(TWELVE, "first")
        world.clock.advance(1)
        if put_again:
            world.at("page", lambda: world.pending().open_check(TWELVE, "again"))
        world.check()
        assert reasons(world) == ([("again", False)] if put_again else [])


@pytest.mark.parametrize("asked", ["hourly", "range", "backfill"])
def test_a_repair_puts_its_entry_before_it_writes_and_deletes_it_when_all_is_right(
    asked: str,
) -> None:
    world = drifting()
    if asked != "hourly":
        world.table.items.clear()
    entries: list[int] = []
    world.at("save", lambda: entries.append(len(world.items("entry"))))
    act: dict[str, Any] = {
        "hourly": world.check,
        "range": lambda: world.check_range(repair=True),
        "backfill": world.backfill,
    }
    act[asked]()
    assert entries == [1]
    assert is_right(world)
    assert world.table.items == {}


def test_an_hour_that_another_touches_while_it_is_repaired_keeps_its_entry() -> None:
    world = drifting()
    world.at("saved", lambda: world.new_engine().process.pending().touch({TWELVE: None}))
    assert world.check()["repaired"] == 1
    assert len(world.items("entry")) == 1


@pytest.mark.parametrize("repair", [False, True])
def test_a_range_says_what_it_could_not_settle_only_if_it_may_repair(*, repair: bool) -> None:
    world = drifting()
    world.check()
    assert world.table.items == {}
    world.insert("Task", "lost-2", createdAt=world.row("Task", "lost")["createdAt"])
    world.lose()
    world.at("wait", lambda: world.update("Task", "lost-2", status="FAILED"))
    result = world.check_range(repair=repair, recordTypes=["tasks"])
    assert result["inFlux"] == 1
    assert (len(world.items("entry")), reasons(world)) == (
        (1, [(recount.IN_FLUX, False)]) if repair else (0, [])
    )


# By Scan ------------------------------------------------------------------------------------------


def test_a_scan_closes_what_was_deferred_before_it_began_and_nothing_newer() -> None:
    world = World(["Task"])
    world.insert("Task", "counted")
    world.deliver()
    over(world)
    for put_again in (True, False):
        world.pending().open_check(TWELVE, "first", deferred=True)
        if put_again:
            world.at("wait", lambda: world.pending().open_check(TWELVE, "again", deferred=True))
        world.backfill()
        assert reasons(world) == ([("again", True)] if put_again else [])


@pytest.mark.parametrize(("changes", "deferred"), [({}, False), (UNINDEXED, True)])
def test_a_row_that_comes_between_the_scans_stands_for_no_lost_one(
    changes: dict[str, str], *, deferred: bool
) -> None:
    """The stream has counted it when the hour is judged: the sums are those of the first Scan."""
    world = World(["Task"])
    world.insert("Task", "counted")
    world.deliver()
    world.insert("Task", "lost", **changes)
    world.lose_batch([world.undelivered.pop().record])
    over(world)
    if deferred:
        world.check()

    def write() -> None:
        late(world, **changes)
        world.deliver()

    world.at("wait", write)
    assert world.backfill()["inFlux"] == 1
    assert len(world.items("entry")) == 1
    assert any(is_deferred for _, is_deferred in reasons(world)) is deferred
    world.clock.advance(600)
    _ = world.backfill() if deferred else world.check()
    assert is_right(world)
    assert world.items("check") == {}


def test_a_model_without_an_index_is_left_from_one_scan_to_the_next() -> None:
    """No check looks at its rows: neither at those of a running hour nor at those in flux."""
    declared = json.dumps({"models": [{"name": "Account", "recordType": "accounts"}]})
    world = World(["Account"], environment={"MODELS": declared})
    row = {"accountId": "acct-1", "createdAt": world.now(), "updatedAt": world.now()}
    world.api.put("Account", row | {"id": "early"})
    world.clock.advance(60)
    world.backfill()
    assert [deferred for _, deferred in reasons(world)] == [True]
    over(world)
    world.at("wait", lambda: world.api.put("Account", row | {"id": "late"}))
    assert world.backfill()["inFlux"] == 1
    world.check()
    assert [deferred for _, deferred in reasons(world)] == [True]
    world.backfill()
    assert {sums[0] for sums in world.stored().values()} == {2}
    assert world.items("check") == {}


# What cannot be read ------------------------------------------------------------------------------


def _unserializable(world: World, minute: int, **changes: Any) -> None:
    """A row that the API cannot give, beside those of a minute of twelve o'clock."""
    at = START.replace(minute=minute).isoformat().replace("+00:00", "Z")
    world.insert("Item", f"odd-{minute}", createdAt=at, createdByType={}, **changes)


def _items(world: World, *minutes: int) -> None:
    for minute in minutes:
        at = START.replace(minute=minute).isoformat().replace("+00:00", "Z")
        world.insert("Item", f"item-{minute}", createdAt=at, createdByType="upload")


@pytest.mark.parametrize("lost", [(), (20,)])
def test_an_unverified_minute_is_left_to_a_scan_whatever_else_is_repaired(
    lost: tuple[int, ...],
) -> None:
    world = World(["Item"])
    _items(world, 10)
    _unserializable(world, 10)
    world.deliver()
    _items(world, *lost)
    world.lose()
    over(world)
    result = world.check()
    assert (result["unverified"], result["repaired"]) == (1, len(lost))
    assert is_right(world)
    assert (result["deferred"], world.items("entry")) == (1, {})
    assert reasons(world) == [(recount.UNVERIFIED, True)]
    world.backfill()
    assert (world.items("check"), is_right(world)) == ({}, True)


def test_where_not_even_its_time_can_be_read_nothing_is_lowered_and_the_rest_is_raised() -> None:
    world = World(["Item"])
    _items(world, 10, 20)
    world.deliver()
    world.remove("Item", "item-10")
    _items(world, 30)
    world.lose()
    over(world)
    world.api.put("Item", world.row("Item", "item-20") | {"createdByType": {}})

    def hide_times(request: Request) -> Answer | None:
        if b"CountItem" not in request.body or b"createdByType" in request.body:
            return None
        given = world.api.answer(request)
        answer = json.loads(given.body)
        items = answer["data"]["page"]["items"]
        answer["data"]["page"]["items"] = [i if i["id"] != "item-20" else None for i in items]
        return given._replace(body=json.dumps(answer).encode())

    world.before = hide_times
    stored = world.stored(1)
    result = world.check()
    assert (result["unverified"], result["repaired"], result["deferred"]) == (2, 1, 1)
    raised = ("acct-1", "items", "2026-11-22T12:30:00Z", 1)
    assert world.stored(1) == stored | {raised: world.counted(1)[raised]}


def test_a_minute_that_could_not_be_read_is_replaced_and_left_to_a_scan() -> None:
    world = drifting()
    damaged = world.bucket(MINUTE) | {"updatedAt": None}
    world.api.put("AggregatedMetrics", damaged)
    world.pending().touch({TWELVE: None})
    world.clock.advance(91)
    result = world.check()
    assert result["deferred"] == 1
    assert is_right(world)
    assert [deferred for _, deferred in reasons(world)] == [True]


# Completing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["check", "range", "backfill"])
def test_elapsed_buckets_are_completed_where_a_repair_writes_the_hour_anyway(asked: str) -> None:
    world = World(["Task"])
    world.insert("Task", "counted")
    world.deliver()
    world.insert("Task", "lost")
    world.lose()
    world.clock.now = START.replace(hour=13, minute=0) + timedelta(seconds=GRACE + 91)
    world.sweep(times=1, seconds=0)  # as of is known
    for bucket in world.buckets():
        world.api.put("AggregatedMetrics", bucket | {"complete": False})
    act: dict[str, Any] = {
        "check": world.check,
        "range": lambda: world.check_range(repair=True, recordTypes=["tasks"]),
        "backfill": world.backfill,
    }
    act[asked]()
    assert all(bucket["complete"] for bucket in world.buckets())


def test_nothing_is_completed_beyond_the_streams_as_of() -> None:
    world = World(["Task"])
    world.sweep(times=1, seconds=0)
    world.insert("Task", "lost")
    world.lose()
    world.ports.mappings.mappings.clear()  # the stream is not consumed any more
    world.sweep()
    world.check_range(repair=True, recordTypes=["tasks"])
    assert is_right(world)
    assert not any(bucket["complete"] for bucket in world.buckets())
    assert len(world.items("entry")) == 1, "the sweeper completes it when it may"
