"""One engine checks and repairs: its passes, its time, and what it says of hours afterwards."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any
from unittest.mock import Mock

import pytest
from aggregated_metrics.core import buckets
from aggregated_metrics.core.series import HourId, Series
from aggregated_metrics.jobs import recount

from testbench.fakes.endpoint import Answer
from testbench.fakes.signatures import Request
from testbench.fakes.transport import Exchange
from testbench.world import SETTLE, START, World
from tests.conftest import over

TWELVE = HourId(Series("acct-1", "tasks"), buckets.to_minute(START.replace(minute=0)))
MINUTE = "tasks#2026-11-22T12:10:00Z#1"


def counted(*models: str, breakdowns: str = "", **environment: str) -> World:
    """A world in which a row of each model is counted, the Task by default."""
    world = World(models or ["Task"], breakdowns=breakdowns, environment=environment)
    for model in world.models:
        world.insert(model, "counted")
    world.deliver()
    return world


def drifting(*models: str, **environment: str) -> World:
    """The same with a lost row of each beside it, when its hour is over and complete."""
    world = counted(*models, **environment)
    for model in world.models:
        late(world, "lost", model)
    world.lose()
    over(world)
    return world


def late(world: World, name: str = "late", model: str = "Task", **changes: Any) -> None:
    """A row of the minute of 12:10 is written now."""
    row = {"createdAt": world.row(model, "counted")["createdAt"]} | changes
    world.insert(model, name, **row)


def listed(requests: list[Exchange]) -> list[str]:
    """The account of each page that was read from its beginning."""
    asked = [json.loads(e.body)["variables"] for e in requests if b"query Count" in e.body]
    return [each["account"] for each in asked if each["sort"] == "DESC"]


def reasons(world: World) -> list[tuple[str, bool]]:
    return [(check["reason"], check["deferred"]) for check in world.items("check").values()]


def is_right(world: World) -> bool:
    return world.stored() == world.counted()


def is_done(world: World) -> bool:
    """Whether everything is right, and nothing is left to do."""
    return is_right(world) and world.table.items == {}


def act(world: World, asked: str) -> Callable[[], dict[str, Any]]:
    acts: dict[str, Callable[[], dict[str, Any]]] = {
        "hourly": world.check,
        "range": partial(world.check_range, repair=True),
        "backfill": world.backfill,
    }
    return acts[asked]


EVERY = pytest.mark.parametrize("asked", ["hourly", "range", "backfill"])


def test_what_is_right_is_read_once_without_a_wait_and_not_written() -> None:
    world = World(["Task"])
    for account in ("a", "b"):
        world.insert("Task", account, accountId=account)
    world.deliver()
    over(world)
    before, stored = world.clock.now, world.buckets()
    assert sorted(listed(world.requests(world.check))) == ["a", "b"]
    assert (world.clock.now, world.buckets()) == (before, stored)
    assert is_done(world)


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
    assert is_done(world)


def test_an_hour_of_which_only_a_rollup_is_wrong_needs_no_second_reading() -> None:
    world = counted()
    over(world)
    rollup = world.bucket("tasks#2026-11-22T12:00:00Z#60")
    world.api.put("AggregatedMetrics", rollup | {"count": 7})
    assert listed(world.requests(world.check)) == ["acct-1"]
    assert is_done(world)


def test_t_lies_in_the_middle_between_the_passes() -> None:
    world = drifting()
    times: list[float] = []

    def takes_a_while() -> None:
        world.clock.advance(10)
        times.append(world.clock.timestamp())

    world.at("page", *[takes_a_while] * 4)  # a page and a tail in each pass
    world.check()
    counted_until = world.bucket("tasks#2026-11-22T12:10:00Z#1")["metadata"]["countedUntil"]
    assert counted_until == [times[1] + SETTLE / 2, -1]


def test_a_row_that_is_touched_all_the_time_delays_no_repair() -> None:
    world = drifting()

    def touch() -> None:
        world.update("Task", "counted", command=world.now())

    world.at("page", *[touch] * 20)
    world.at("wait", touch)
    assert world.check()["inFlux"] == 0
    assert is_right(world)


def _accounts(*names: str, **environment: str) -> World:
    """Accounts with a lost task each; the hour that was over first is checked first."""
    world = World(["Task"], environment=environment)
    for hour, name in enumerate(names, start=9):
        at = START.replace(hour=hour, minute=5).isoformat().replace("+00:00", "Z")
        world.insert("Task", f"{name}-counted", accountId=name, createdAt=at)
        world.deliver()
        world.insert("Task", f"{name}-lost", accountId=name, createdAt=at)
        world.lose()
    over(world)
    return world


def _right(world: World) -> set[str]:
    """The accounts of which everything is right."""
    stored, rows = world.stored(), world.counted()
    return {key[0] for key in rows} - {key[0] for key in rows if stored.get(key) != rows[key]}


def _unreached(world: World) -> dict[str, tuple[bool, bool]]:
    """By account of its open check: whether it is deferred, and whether its entry stands."""
    entries = {entry["accountId"] for entry in world.items("entry").values()}
    checks = world.items("check").values()
    assert {check["reason"] for check in checks} <= {recount.NOT_REACHED}
    return {c["accountId"]: (c["deferred"], c["accountId"] in entries) for c in checks}


def test_a_first_reading_that_takes_all_the_time_leaves_its_hours_to_a_scan() -> None:
    world = _accounts("slow", "b")
    world.at("page", lambda: world.clock.advance(500))
    result = world.check()
    assert _unreached(world) == {"slow": (True, False)}
    assert (result["notReached"], result["deferred"]) == (["slow: Task"], 1)
    assert _right(world) == {"b"}


def test_a_later_reading_that_runs_out_of_time_is_first_next_time() -> None:
    world = _accounts("a", "slow")
    world.at("page", lambda: None, lambda: None, lambda: world.clock.advance(700))
    world.check()
    assert _unreached(world) == {"slow": (False, True)}
    assert listed(world.requests(world.check))[0] == "slow"
    assert is_done(world)


def test_a_reading_that_is_not_begun_says_nothing_of_its_hours() -> None:
    world = _accounts("a", "b", "c")
    world.at("page", lambda: None, lambda: world.clock.advance(780))
    result = world.check()
    assert (result["notReachedCount"], world.items("check")) == (2, {})
    assert {entry["accountId"] for entry in world.items("entry").values()} == {"b", "c"}
    world.check()
    assert is_right(world)


def test_a_pass_that_found_differences_reserves_its_own_duration_for_the_second() -> None:
    """Of 900 s the first account takes 300 s twice: nothing is left for another one."""
    world = _accounts("a", "b")
    world.at("page", *[lambda: world.clock.advance(150)] * 6)
    assert world.check()["repaired"] == 1
    assert _right(world) == {"a"}


def test_a_reading_over_its_limit_leaves_the_hours_to_a_scan_and_the_others_go_on() -> None:
    world = _accounts("b", "large", CHECK_ROWS_LIMIT="1000")
    for n in range(1_001):
        world.insert("Task", f"{n}", accountId="large", createdAt=world.now())
    world.lose()
    result = world.check()
    assert _unreached(world) == {"large": (True, False)}
    assert (result["repaired"], result["deferred"]) == (1, 1)


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
    assert is_done(world)


def test_what_was_put_again_meanwhile_is_not_deleted() -> None:
    world = counted()
    over(world)
    for put_again in (True, False):
        world.pending().expect(TWELVE, "first")
        world.clock.advance(1)
        if put_again:
            world.at("page", lambda: world.pending().expect(TWELVE, "again"))
        world.check()
        assert reasons(world) == ([("again", False)] if put_again else [])
        assert len(world.items("entry")) == put_again


@EVERY
def test_a_repair_puts_its_entry_before_it_writes_and_deletes_it_when_all_is_right(
    asked: str,
) -> None:
    world = drifting()
    if asked != "hourly":
        world.table.items.clear()
    entries: list[int] = []
    world.at("save", lambda: entries.append(len(world.items("entry"))))
    act(world, asked)()
    assert entries == [1]
    assert is_done(world)


def test_an_hour_that_another_touches_while_it_is_repaired_keeps_its_entry() -> None:
    world = drifting()
    world.at("saved", lambda: world.new_engine().process.pending().touch({TWELVE: None}))
    assert world.check()["repaired"] == 1
    assert len(world.items("entry")) == 1


def test_two_checks_at_once_repair_once() -> None:
    world = drifting()
    world.at("save", world.check)
    world.check()
    assert is_right(world)
    over(world)
    world.check()
    assert is_done(world)


@pytest.mark.parametrize("repair", [False, True])
def test_a_range_says_what_it_could_not_settle_only_if_it_may_repair(*, repair: bool) -> None:
    world = drifting()
    world.check()
    late(world, "lost-2")
    world.lose()
    world.at("wait", lambda: world.update("Task", "lost-2", status="FAILED"))
    assert world.check_range(repair=repair, recordTypes=["tasks"])["inFlux"] == 1
    assert (len(world.items("entry")), reasons(world)) == (
        (1, [(recount.IN_FLUX, False)]) if repair else (0, [])
    )


def test_a_check_that_may_not_repair_keeps_the_entry_and_asks_again_after_a_day() -> None:
    world = drifting()
    assert world.check(repair=False)["driftCount"] == 1
    assert not is_right(world)
    assert reasons(world) == [(recount.REPAIRS_OFF, False)]
    assert world.check(repair=False)["hours"] == 0
    world.clock.advance(86_400)
    assert world.check(repair=False)["driftCount"] == 1
    world.check(repair=True)
    assert is_done(world)


@pytest.mark.parametrize("asked", ["hourly", "range"])
def test_an_account_and_model_that_fails_costs_the_others_nothing(asked: str) -> None:
    world = drifting("Task", "Item")
    failing = iter([True])

    def fail(request: Request) -> None:
        if b"CountTask" in request.body and next(failing, False):
            raise RuntimeError("this account fails")

    world.before = fail
    with pytest.raises(
        Exception, match="1 accounts and models, or lost batches, could not be checked"
    ):
        act(world, asked)()
    assert world.reports[-1]["repaired"] > 0
    act(world, asked)()
    assert is_right(world)


def test_a_failure_after_a_repair_reports_what_was_repaired() -> None:
    world, gone = drifting(), Mock(side_effect=RuntimeError("the table is gone"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.table, "delete_item", gone)
        with pytest.raises(Exception, match="could not be checked"):
            world.check()
    assert world.reports[-1]["repaired"] > 0
    world.check()
    assert is_right(world)


def test_what_no_check_through_an_index_can_judge_waits_for_a_scan() -> None:
    world = counted()
    world.api.put("AggregatedMetrics", world.bucket(MINUTE) | {"metadata": {"theirs": 1}})
    late(world, "lost")
    world.lose()
    over(world)
    assert world.check()["deferred"] == 1
    assert (is_right(world), reasons(world)) == (False, [(recount.UNINDEXED, True)])
    world.backfill()
    assert is_done(world)


def test_expired_rows_lower_nothing() -> None:
    world = counted(SOURCE_LIFETIME_DAYS='{"Task": 0.1}')
    stored = world.stored()
    world.remove("Task", "counted", expired=True)
    world.deliver()
    world.clock.advance(86_400)
    world.sweep()
    for asked in ("hourly", "range", "backfill"):
        assert act(world, asked)()["driftCount"] == 0
    assert world.stored() == stored
    at = {"createdAt": "2026-11-22T12:20:00.000Z", "updatedAt": "2026-11-22T12:20:00.000Z"}
    world.insert("Task", "never counted", **at)
    world.lose()
    world.check_range(repair=True)
    assert world.stored(1).items() - stored.items() == world.counted(1).items()


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


def _items(world: World, *minutes: int, **changes: Any) -> None:
    for minute in minutes:
        at = START.replace(minute=minute).isoformat().replace("+00:00", "Z")
        item = {"createdAt": at, "createdByType": "upload"} | changes
        world.insert("Item", f"item-{minute}-{len(changes)}", **item)


@pytest.mark.parametrize("lost", [(), (20,)])
def test_an_unverified_minute_is_left_to_a_scan_whatever_else_is_repaired(
    lost: tuple[int, ...],
) -> None:
    world = World(["Item"])
    _items(world, 10)
    _items(world, 10, createdByType={})  # the API cannot give it
    world.deliver()
    _items(world, *lost)
    world.lose()
    over(world)
    result = world.check()
    assert (result["unverified"], result["repaired"], result["deferred"]) == (1, len(lost), 1)
    assert (reasons(world), world.items("entry")) == ([(recount.UNVERIFIED, True)], {})
    world.backfill()
    assert is_done(world)


def test_where_not_even_its_time_can_be_read_nothing_is_lowered_and_the_rest_is_raised() -> None:
    world = World(["Item"])
    _items(world, 10, 20)
    world.deliver()
    world.remove("Item", "item-10-0")
    _items(world, 30)
    world.lose()
    over(world)
    world.api.put("Item", world.row("Item", "item-20-0") | {"createdByType": {}})

    def hide_times(request: Request) -> Answer | None:
        if b"CountItem" not in request.body or b"createdByType" in request.body:
            return None
        given = world.api.answer(request)
        return given._replace(body=re.sub(rb'{"id": ?"item-20-0"[^}]*}', b"null", given.body))

    world.before = hide_times
    stored = world.stored(1)
    result = world.check()
    assert (result["unverified"], result["repaired"], result["deferred"]) == (2, 1, 1)
    raised = ("acct-1", "items", "2026-11-22T12:30:00Z", 1)
    assert world.stored(1) == stored | {raised: world.counted(1)[raised]}


def test_a_minute_that_could_not_be_read_is_replaced_and_left_to_a_scan() -> None:
    world = drifting()
    world.api.put("AggregatedMetrics", world.bucket(MINUTE) | {"updatedAt": None})
    world.pending().touch({TWELVE: None})
    world.clock.advance(91)
    assert world.check()["deferred"] == 1
    assert is_right(world)
    assert reasons(world) == [(recount.UNREADABLE, True)]


@EVERY
def test_elapsed_buckets_are_completed_where_a_repair_writes_the_hour_anyway(asked: str) -> None:
    world = drifting()
    for bucket in world.buckets():
        world.api.put("AggregatedMetrics", bucket | {"complete": False})
    act(world, asked)()
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


def test_the_sweeper_is_sent_to_an_hour_that_is_right_and_not_complete() -> None:
    """Its entry was lost."""
    world = counted()
    world.table.items.clear()
    world.clock.advance(7_200)
    world.check_range(repair=True, recordTypes=["tasks"])
    world.sweep()
    assert all(bucket["complete"] for bucket in world.buckets())
