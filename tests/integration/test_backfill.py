"""Runs over whole tables, step by step, on rows that no stream has brought."""

from functools import partial
from itertools import count
from typing import Any

import pytest
from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.core.errors import EventError, RunError
from aggregated_metrics.core.series import HourId, Series
from aggregated_metrics.jobs import backfiller

from testbench import rows
from testbench.world import SETTLE, START, World

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
    assert world.ports.tables.read == 2 * 160
    assert report["rows"] == 160
    assert report["driftCount"] == report["repaired"] > 0
    again = world.backfill()
    assert (again["driftCount"], again["hours"]) == (0, report["hours"])
    assert world.items("entry") == world.items("check") == {}


def test_breakdowns_are_counted_too() -> None:
    world = new_world(breakdowns="all")
    write(world)
    for hour, score in ((8, "stays"), (9, "goes")):
        at = f"2026-11-20T{hour:02}:05:00Z"
        world.insert("ScoreResult", score, createdAt=at, updatedAt=at, scoreId=score)
    world.backfill()
    assert world.stored() == world.counted()
    world.remove("ScoreResult", "goes")
    world.lose()
    world.backfill()
    assert world.stored() == world.counted()


@pytest.mark.parametrize("scores", [1, 20])
def test_the_stored_scores_of_a_day_are_found_once_a_run(scores: int) -> None:
    world = new_world(breakdowns="all")
    for n in range(3 * scores):
        at = f"2026-11-{18 + n % 3}T08:05:00.000Z"
        world.insert("ScoreResult", f"r{n}", createdAt=at, updatedAt=at, scoreId=f"s{n}")
    world.lose()
    world.backfill(models=["ScoreResult"])
    found = [each for each in world.log if b"query FindBreakdownHours" in each.body]
    assert len(found) == 3 * 2  # days and breakdowns
    assert world.stored() == world.counted()


def test_a_run_that_does_not_repair_writes_nothing_and_measures_drift(world: World) -> None:
    write(world)
    report = world.backfill(repair=False)
    assert world.stored() == {}
    assert report["repaired"] == 0
    measured = [each for each in world.reports if "drift" in each]
    assert {each["check"] for each in measured} == {"deep"}
    assert sum(each["drift"] for each in measured) == report["driftCount"] > 0
    world.backfill()
    more = [each for each in world.reports if "drift" in each][len(measured) :]
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
    world.backfill(segments=2)
    assert len(deaths) > 10
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


def test_a_reducer_that_fails_within_a_window_reports_what_it_had_repaired(world: World) -> None:
    """A window is saved in several requests: the first ones went through."""
    for hour in range(24):
        at = f"2026-11-21T{hour:02}:05:00.000Z"
        for kind in ("prediction", "evaluation"):
            world.insert("Item", f"{kind}-{hour}", createdAt=at, updatedAt=at, createdByType=kind)
    world.lose()
    revive(world)
    world.at("save", lambda: None, die)
    report = world.backfill(partitions=1)
    assert world.stored() == world.counted()
    assert report["repaired"] >= len(world.stored(1))


def test_the_second_of_two_scanners_of_a_segment_continues_from_the_firsts_part(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfiller, "ROWS_A_PART", 8)
    write(world)
    rival: list[Any] = []

    def the_other_one_is_first(key: str) -> None:
        if "/Item/0000/000001" in key and not rival:
            _, run, number, model, segment, _ = key.split("/")
            rival.append({"run": run, "model": model, "segment": int(segment)})
            world.invoke("backfiller", {"scan": rival[0] | {"pass": int(number)}})

    world.ports.bucket.on_put = the_other_one_is_first
    world.backfill(segments=2)
    assert rival
    assert world.stored() == world.counted()


# What is compared --------------------------------------------------------------------------------


@pytest.mark.parametrize("lines", [1, 2, 320])
def test_a_stored_count_without_rows_is_lowered_however_the_day_is_cut(
    world: World, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    monkeypatch.setattr(backfiller, "LINES_AT_ONCE", lines)
    for hour in range(12):
        at = f"2026-11-22T{hour:02}:05:00.000Z"
        world.insert("Item", f"row-{hour}", createdAt=at, updatedAt=at)
    world.deliver()
    for hour in (0, 1, 4, 7, 8, 11):
        world.remove("Item", f"row-{hour}")
    world.lose()
    world.seconds_left = 80.0  # one window a step
    report = world.backfill()
    assert world.stored() == world.counted()
    assert report["hours"] == 24  # of items and predictionItems: each once


def test_an_unindexed_row_is_counted_and_a_check_does_not_lower_it(world: World) -> None:
    world.insert("ScoreResult", "unlisted", createdAt=EARLY, updatedAt=rows.REMOVED)
    world.insert("Item", "offset", createdAt="2026-11-22T13:05:00+04:00", updatedAt=EARLY)
    world.lose()
    world.backfill()
    assert world.stored() == world.counted()
    assert world.check_range(repair=True)["driftCount"] == 0
    assert world.stored() == world.counted()


@pytest.mark.parametrize("updated", [EARLY, rows.REMOVED], ids=["indexed", "unindexed"])
def test_a_record_that_comes_after_its_row_was_counted_is_not_counted_twice(
    world: World, updated: Any
) -> None:
    world.insert("ScoreResult", "late", createdAt=EARLY, updatedAt=updated)
    world.clock.advance(60)
    world.backfill()
    world.deliver()
    assert world.stored() == world.counted()


def test_a_row_that_changes_between_the_passes_is_measured_and_left_to_a_later_check(
    world: World,
) -> None:
    world.insert("Task", "a", createdAt=EARLY, updatedAt=EARLY)
    world.insert("Task", "lost", createdAt=EARLY, updatedAt=EARLY)
    world.lose()
    for repair, status in ((False, "FAILED"), (True, "DONE")):
        world.at("wait", partial(world.update, "Task", "a", status=status))
        report = world.backfill(repair=repair)
        assert (report["driftCount"], report["inFlux"]) == (0, 1)
    measured = {each["check"]: each["inFlux"] for each in world.reports if each.get("inFlux")}
    assert measured == {"deep": 1, "backfill": 1}
    assert len(world.items("entry")) == len(world.items("check")) == 1
    world.lose()
    world.sweep(1)
    world.check()
    assert world.stored() == world.counted()


def test_hours_that_were_not_over_get_entries_and_unindexed_ones_wait_for_a_scan(
    world: World,
) -> None:
    world.insert("Item", "new")
    world.insert("ScoreResult", "unlisted", updatedAt=rows.REMOVED)
    world.lose()
    report = world.backfill()
    assert (report["hours"], world.stored()) == (0, {})
    entries, checks = world.items("entry"), world.items("check")
    assert {entry["recordType"] for entry in entries.values()} == {
        "items",
        "predictionItems",
        "scoreResults",
        "predictionScoreResults",
    }
    assert {check["recordType"] for check in checks.values()} == {
        "scoreResults",
        "predictionScoreResults",
    }
    assert all(check["deferred"] for check in checks.values())
    world.sweep(1)
    world.backfill()
    assert world.stored() == world.counted()
    assert world.items("check") == {}


# Open checks -------------------------------------------------------------------------------------


def defer(world: World, name: str = "tasks", at: str = EARLY) -> None:
    """Leave an hour to a Scan."""
    minute = int((START.fromisoformat(at.replace("Z", "+00:00")).timestamp()) // 3600 * 60)
    hour = HourId(Series(rows.ACCOUNT, name), minute)
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


def test_a_check_that_was_put_after_the_run_began_stays(world: World) -> None:
    world.insert("Task", "a", createdAt=EARLY)
    world.deliver()
    defer(world)
    world.at("wait", lambda: defer(world))
    world.backfill()
    assert len(world.items("check")) == 1


def test_checks_of_other_tables_stay_and_those_of_no_record_type_are_deleted(world: World) -> None:
    write(world, 2)
    for name in ("tasks", "items", "scoreResultsByScore", "noLongerCounted"):
        defer(world, name)
    world.backfill(models=["Task"])
    left = sorted(check["recordType"] for check in world.items("check").values())
    assert left == ["items"]


# Steps -------------------------------------------------------------------------------------------


def test_a_plan_that_step_functions_would_refuse_is_refused_before_anything_starts(
    world: World,
) -> None:
    asked = {"run": "r" * 80, "segments": 1_000}
    with pytest.raises(EventError, match=r"the plan has [0-9,]+ bytes.*fewer segments"):
        world.invoke("backfiller", {"prepare": asked})
    assert world.ports.bucket.objects == {}


def test_a_pass_that_is_not_complete_is_not_gathered(world: World) -> None:
    write(world, 4)
    plan = world.invoke("backfiller", {"prepare": {"run": "r", "segments": 2}})
    for unit in plan["units"][1:]:
        world.invoke("backfiller", {"scan": unit | {"pass": 1}})
    with pytest.raises(RunError, match=r"pass 1 has read 1 of 2 segments of Item"):
        world.invoke("backfiller", {"gather": {"run": "r"}})


def test_passes_that_are_too_close_are_refused(world: World) -> None:
    write(world, 4)
    plan = world.invoke("backfiller", {"prepare": {"run": "r", "segments": 1}})
    for number in (1, 2):
        for unit in plan["units"]:
            world.invoke("backfiller", {"scan": unit | {"pass": number}})
        world.clock.advance(SETTLE - 1)
    with pytest.raises(RunError, match="SETTLE_SECONDS"):
        world.invoke("backfiller", {"gather": {"run": "r"}})


@pytest.mark.parametrize("event", [None, {}, {"scan": 5}, {"scan": {}}, {"other": {}}])
def test_an_event_of_another_shape_is_refused(world: World, event: Any) -> None:
    with pytest.raises(EventError):
        world.invoke("backfiller", event)


def test_what_cannot_be_counted_is_reported_by_reason(world: World) -> None:
    world.insert("Task", "lost", accountId=rows.REMOVED)
    world.insert("Task", "when", createdAt="yesterday")
    world.lose()
    report = world.backfill()
    assert report["uncountable"] == {
        "accountId is missing": 1,
        "createdAt … is not an AWSDateTime of the years 1 to 9999": 1,
    }
    assert report["uncountableCount"] == 2


def test_old_rows_are_completed_at_once(world: World) -> None:
    world.insert("Task", "a", createdAt=EARLY)
    world.lose()
    world.backfill()
    buckets = [row for row in world.api.rows("AggregatedMetrics") if row["recordType"] == "tasks"]
    assert all(row["complete"] for row in buckets)
    assert world.items("entry") == {}
