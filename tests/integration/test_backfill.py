"""Runs over whole tables, step by step, on rows that no stream has brought."""

from itertools import count
from typing import Any

import pytest
from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import EventError, RunError
from aggregated_metrics.core.series import HourId, Series
from aggregated_metrics.jobs import backfiller

from testbench import rows
from testbench.world import SETTLE, World

EARLY = "2026-11-22T09:05:00.000Z"


class Died(Exception):  # noqa: N818 - nothing went wrong: the test wants it
    """The process is gone."""


def write(world: World, number: int = 40) -> None:
    """Rows of three accounts in two months, which no stream brings."""
    for i in range(number):
        at = f"2026-1{i % 2}-{1 + i % 20:02}T08:{i % 60:02}:00.000Z"
        for model in ("Item", "ScoreResult", "Task", "Evaluation"):
            world.insert(
                model, f"{model}-{i}", createdAt=at, updatedAt=at, accountId=f"acct-{i % 3}"
            )
    world.lose()


def revive(world: World) -> list[Died]:
    """Have steps that die invoked again; gives the deaths."""
    invoke, deaths = world.invoke, list[Died]()

    def again(function: str, event: Any) -> Any:
        while True:
            try:
                return invoke(function, event)
            except Died as death:
                deaths.append(death)

    world.invoke = again  # type: ignore[method-assign]
    return deaths


def die() -> None:
    raise Died


def new_world(**options: Any) -> World:
    """A world whose streams are known to be applied."""
    world = World(page=4, **options)
    world.invoke("bucket_sweeper", {})
    return world


@pytest.fixture
def world() -> World:
    return new_world()


def test_every_account_is_counted_and_each_pass_reads_each_row_once(world: World) -> None:
    write(world)
    report = world.backfill(segments=2, partitions=3)
    assert world.stored() == world.counted()
    assert world.ports.table.read == 2 * 160
    assert report["rows"] == 160
    assert report["driftCount"] == report["repaired"] > 0
    assert all(bucket["complete"] for bucket in world.buckets())
    again = world.backfill()
    assert (again["driftCount"], again["hours"]) == (0, report["hours"])
    assert world.items("entry") == world.items("check") == {}


def test_the_stored_scores_of_a_day_are_found_once_a_run() -> None:
    world = new_world(breakdowns="all")
    for n in range(60):
        at = f"2026-11-{18 + n % 3}T08:05:00.000Z"
        world.insert("ScoreResult", f"r{n}", createdAt=at, updatedAt=at, scoreId=f"s{n}")
    world.lose()
    world.backfill(models=["ScoreResult"])
    found = [each for each in world.log if b"query FindHours" in each.body]
    assert sum(len(each.operations) for each in found) == 3 * 5  # days and record types
    assert len(found) <= 3
    assert world.stored() == world.counted()


def test_a_run_that_does_not_repair_writes_nothing_and_measures_what_it_finds(world: World) -> None:
    write(world)
    world.at("wait", lambda: world.update("Task", "Task-0", status="FAILED"))
    report = world.backfill(repair=False)
    assert world.stored() == {}
    assert report["repaired"] == 0
    measured = [each for each in world.reports if "driftCount" in each]
    assert {each["check"] for each in measured} == {"deep"}
    assert sum(each["driftCount"] for each in measured) == report["driftCount"] > 0
    assert sum(each["inFlux"] for each in measured) == report["inFlux"] == 1
    world.backfill()
    more = [each for each in world.reports if "driftCount" in each][len(measured) :]
    assert {each["check"] for each in more} == {"backfill"}


def test_a_scanner_that_dies_or_runs_out_of_time_continues_and_counts_nothing_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfiller, "ROWS_A_PART", 8)
    write(world)
    deaths = revive(world)
    world.seconds_left = 20.0
    for _ in range(12):
        world.at("page", *[lambda: None] * 6, die)
    report = world.backfill(segments=2)
    assert len(deaths) > 10
    assert report["rows"] == 160
    assert world.stored() == world.counted()


def test_a_reducer_that_fails_is_continued_and_the_report_has_all_that_was_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfiller, "LINES_AT_ONCE", 1)
    write(world)
    revive(world)
    update, calls = HourStore.update, count(1)

    def sometimes(store: HourStore, *given: Any, **named: Any) -> Any:
        if next(calls) % 3 == 0:
            raise Died
        return update(store, *given, **named)

    monkeypatch.setattr(HourStore, "update", sometimes)
    report = world.backfill()
    assert world.stored() == world.counted()
    assert report["driftCount"] == report["repaired"]


def test_a_step_that_fails_within_a_window_ends_with_what_it_has_repaired(world: World) -> None:
    """A window is saved in several requests: the first ones went through."""
    for hour in range(24):
        at = f"2026-11-21T{hour:02}:05:00.000Z"
        for kind in ("prediction", "evaluation"):
            world.insert("Item", f"{kind}-{hour}", createdAt=at, updatedAt=at, createdByType=kind)
    world.lose()
    deaths = revive(world)
    world.at("save", lambda: None, die)
    report = world.backfill(partitions=1)
    assert (world.stored(), deaths) == (world.counted(), [])
    assert report["repaired"] >= len(world.stored(1))


def test_the_second_of_two_scanners_of_a_segment_continues_from_the_firsts_part(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(world)
    rivals: list[str] = []

    def the_other_one_is_first(key: str) -> None:
        if "/Item/0000/000000" in key and not rivals:
            rivals.append(key)
            _, run, number, model, segment, _ = key.split("/")
            asked = {"run": run, "pass": int(number), "model": model, "segment": int(segment)}
            with monkeypatch.context() as shorter:
                shorter.setattr(backfiller, "ROWS_A_PART", 8)
                world.invoke("backfiller", {"scan": asked})

    world.ports.bucket.on_put = the_other_one_is_first
    world.backfill(segments=2)
    assert rivals
    assert world.stored() == world.counted()


# What is compared --------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [1, 2, 320])
def test_a_stored_count_without_rows_is_lowered_however_the_day_is_cut(
    world: World, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    monkeypatch.setattr(backfiller, "LINES_AT_ONCE", lines)
    for hour in range(12):
        for at in (f"2026-11-21T{hour:02}:05:00.000Z", f"2026-11-22T{hour:02}:05:00.000Z"):
            for model in ("Item", "Task"):
                for account in ("acct-1", "acct-2"):
                    named = {"createdAt": at, "updatedAt": at, "accountId": account}
                    world.insert(model, f"{at}-{account}", **named)
    world.deliver()
    for row in world.api.rows("Item"):
        if int(row["createdAt"][11:13]) in (0, 1, 4, 7, 8, 11):
            for model in ("Item", "Task"):
                world.remove(model, row["id"])
    world.lose()
    world.seconds_left = 80.0  # one window a step
    report = world.backfill(partitions=1)
    assert world.stored() == world.counted()
    assert report["hours"] == 4 * 36  # of items, predictionItems and tasks: each once


def test_hours_that_were_not_over_get_entries_and_unindexed_ones_wait_for_a_scan(
    world: World,
) -> None:
    """Also those of which only one of the passes has seen a row."""

    def between() -> None:
        world.remove("Task", "gone")
        world.insert("Task", "new", accountId="acct-3")
        world.lose()

    world.insert("Item", "new")
    world.insert("Task", "gone", accountId="acct-2")
    world.insert("ScoreResult", "unlisted", updatedAt=rows.REMOVED)
    world.lose()
    world.at("wait", between)
    report = world.backfill()
    assert (report["hours"], world.stored()) == (0, {})
    items = {"acct-1 items", "acct-1 predictionItems"}
    results = {"acct-1 scoreResults", "acct-1 predictionScoreResults"}
    assert named(world, "entry") == items | results | {"acct-2 tasks", "acct-3 tasks"}
    assert named(world, "check") == results
    assert all(check["deferred"] for check in world.items("check").values())
    world.sweep(1)
    world.backfill()
    assert world.stored() == world.counted()
    assert world.items("check") == {}


def named(world: World, kind: str) -> set[str]:
    return {f"{each['accountId']} {each['recordType']}" for each in world.items(kind).values()}


# Open checks -------------------------------------------------------------------------------------


def defer(world: World, name: str = "tasks") -> None:
    """Leave an hour to a Scan."""
    hour = HourId(Series(rows.ACCOUNT, name), buckets.floor(buckets.minute_of(EARLY), buckets.HOUR))
    world.pending().open_check(hour, "a record was lost", deferred=True)


@pytest.mark.parametrize("stored", [False, True])
def test_a_deferred_hour_without_rows_is_compared_and_its_check_closed(
    world: World, *, stored: bool
) -> None:
    world.insert("Task", "a", createdAt=EARLY)
    if stored:
        world.deliver()
    world.remove("Task", "a")
    world.lose()
    defer(world)
    world.backfill()
    assert (world.stored(), world.items("check")) == ({}, {})


def test_checks_of_other_tables_stay_and_the_hourly_one_deletes_those_of_no_record_type(
    world: World,
) -> None:
    write(world, 2)
    others = {"items", "scoreResultsByScore", "noLongerCounted"}
    for name in others | {"tasks"}:
        defer(world, name)
    world.backfill(models=["Task"])
    assert {check["recordType"] for check in world.items("check").values()} == others
    world.check()
    assert {check["recordType"] for check in world.items("check").values()} == {"items"}


# Steps -------------------------------------------------------------------------------------------


def scan(world: World, plan: Any, number: int) -> None:
    for unit in plan["units"]:
        assert world.invoke("backfiller", {"scan": unit | {"pass": number}})["done"]


@pytest.mark.parametrize("sizes", [(10, 250_000), (250_000, 10)], ids=["grown", "shrunk"])
def test_a_plan_that_is_made_again_is_the_one_that_is_carried_out(
    world: World, monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, int]
) -> None:
    """DynamoDB counts its rows again between two tries of the step."""
    write(world, 4)
    for size in sizes:
        described = {"Table": {"ItemCount": size}}
        monkeypatch.setattr(world.ports.table, "describe_table", lambda d=described, **_: d)
        plan = world.invoke("backfiller", {"prepare": {"run": "r", "models": ["Item"]}})
    scan(world, plan, 1)
    world.clock.advance(SETTLE)
    scan(world, plan, 2)
    for partition in plan["partitions"]:
        assert world.invoke("backfiller", {"reduce": partition})["done"]
    assert world.ports.table.read == 2 * 4


def test_passes_that_are_not_complete_or_too_close_are_refused(world: World) -> None:
    write(world, 3)
    plan = world.invoke("backfiller", {"prepare": {"run": "r", "segments": 2}})
    scan(world, {"units": plan["units"][1:]}, 1)
    with pytest.raises(RunError, match=r"pass 1 has read 1 of 2 segments of Item"):
        world.invoke("backfiller", {"reduce": plan["partitions"][0]})
    scan(world, plan, 1)
    world.clock.advance(SETTLE - 1)
    scan(world, plan, 2)
    with pytest.raises(RunError, match="SETTLE_SECONDS"):
        world.invoke("backfiller", {"reduce": plan["partitions"][0]})


@pytest.mark.parametrize("event", [None, {}, {"scan": 5}, {"scan": {}}, {"other": {}}])
def test_an_event_of_another_shape_is_refused(world: World, event: Any) -> None:
    with pytest.raises(EventError):
        world.invoke("backfiller", event)


def test_what_cannot_be_counted_is_reported_by_reason(world: World) -> None:
    world.insert("Task", "lost", accountId=rows.REMOVED)
    for i in range(2):
        world.insert("Task", f"when-{i}", createdAt=f"yesterday {i}")
    world.lose()
    report = world.backfill()
    assert report["uncountable"] == {
        "accountId is missing": 1,
        "createdAt … is not an AWSDateTime of the years 1 to 9999": 2,
    }
    assert report["uncountableCount"] == 3
