"""Runs over whole tables, step by step, on rows that no stream has brought."""

from itertools import count
from typing import Any

import pytest
from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.core.errors import EventError, RunError
from aggregated_metrics.jobs import reducer, scanner

from testbench import rows
from testbench.backfilling import Backfilling, Died
from testbench.fakes.dynamodb import MemoryTable
from testbench.reconciliation import SETTLE, World, truth


@pytest.fixture
def world() -> World:
    return World(MemoryTable())


def _write(world: World, number: int = 40) -> None:
    for i in range(number):
        at = f"2026-1{i % 2}-{1 + i % 20:02}T08:{i % 60:02}:00.000Z"
        for model in ("Item", "ScoreResult", "Task", "Evaluation"):
            world.insert(
                model, f"{model}-{i}", createdAt=at, updatedAt=at, accountId=f"acct-{i % 3}"
            )
    world.undelivered.clear()


def test_every_account_is_counted_and_each_look_reads_each_row_once(world: World) -> None:
    _write(world)
    run = Backfilling(world)
    report = run.run()
    assert world.stored() == truth(world.api)
    assert run.tables.read == 2 * 160
    assert sum(report["rows"].values()) == 160
    assert report["drift"] == report["repaired"]
    assert report["drift"]["items"] > 0
    assert run.run()["drift"] == {}


def test_a_run_that_does_not_repair_writes_nothing(world: World) -> None:
    _write(world)
    run = Backfilling(world)
    report = run.run(repair=False)
    assert world.stored() == {}
    assert report["repaired"] == {}
    drift = sum(report["drift"].values())
    asked = {"report": {"run": report["run"]}}
    assert run.job().run(asked).report["deepDrift"] == drift > 0, "an alarm watches it"
    asked = {"report": {"run": run.run()["run"]}}
    assert "deepDrift" not in run.job().run(asked).report


def test_a_scanner_that_dies_or_runs_out_of_time_goes_on_and_counts_nothing_twice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanner, "ROWS", 8)
    _write(world)
    at = iter(range(10**6))
    run = Backfilling(world, dies=lambda: next(at) % 7 == 6, seconds_left=20.0)
    run.run()
    assert run.deaths > 10
    assert world.stored() == truth(world.api)


def test_a_reducer_that_fails_is_gone_on_with_and_the_report_has_all_that_was_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reducer, "HOURS_AT_ONCE", 1)
    _write(world)
    update, calls = HourStore.update, count(1)

    def sometimes(store: HourStore, *given: Any, **named: Any) -> Any:
        if next(calls) % 3 == 0:
            raise Died
        return update(store, *given, **named)

    monkeypatch.setattr(HourStore, "update", sometimes)
    report = Backfilling(world).run()
    assert world.stored() == truth(world.api)
    assert report["drift"] == report["repaired"]
    assert sum(report["repaired"].values()) == report["minutes"]
    assert report["written"] == len(world.api.rows("AggregatedMetrics"))


def test_a_reducer_that_fails_in_its_first_part_reports_what_it_had_set_right(
    world: World,
) -> None:
    """A part is saved in several requests: the first ones went through."""
    for hour in range(24):
        at = f"2026-11-21T{hour:02}:05:00.000Z"
        for kind in ("prediction", "evaluation"):
            world.insert("Item", f"{kind}-{hour}", createdAt=at, updatedAt=at, createdByType=kind)
    world.undelivered.clear()

    def die() -> None:
        raise Died

    world.at("save", lambda: None, die)
    report = Backfilling(world).run(partitions=1)
    minutes = [key for key in world.stored() if key[3] == 1]
    assert sum(report["repaired"].values()) == len(minutes)
    assert world.stored() == truth(world.api)


def test_of_two_scanners_of_a_segment_the_second_goes_on_from_what_the_first_put_down(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanner, "ROWS", 8)
    _write(world)
    run = Backfilling(world)
    rival: list[Any] = []

    def the_other_one_is_first(key: str) -> None:
        if "/Item/0000/000001" in key and not rival:
            rival.append(key)
            _, name, look, model, segment, _ = key.split("/")
            run.invoke(
                {"scan": {"run": name, "look": int(look), "model": model, "segment": int(segment)}}
            )

    run.bucket.on_put = the_other_one_is_first
    run.run()
    assert rival
    assert world.stored() == truth(world.api)


def test_a_row_in_no_index_is_counted_and_a_later_check_does_not_lower_it(world: World) -> None:
    old = {"createdAt": "2026-11-22T09:05:00.000Z"}
    world.insert("ScoreResult", "unlisted", **old, updatedAt=rows.REMOVED)
    world.insert(
        "Item",
        "offset",
        createdAt="2026-11-22T13:05:00+04:00",
        updatedAt="2026-11-22T09:06:00Z",
    )
    world.undelivered.clear()
    Backfilling(world).run()
    assert world.stored() == truth(world.api)
    found = world.check(repair=True)
    assert found.drift == found.moving == []
    assert world.stored() == truth(world.api)


def test_a_change_of_a_row_in_no_index_that_comes_late_is_not_counted_twice(world: World) -> None:
    world.insert(
        "ScoreResult", "late", createdAt="2026-11-22T09:05:00.000Z", updatedAt=rows.REMOVED
    )
    world.clock.advance(60)
    Backfilling(world).run()
    world.deliver()
    assert world.stored() == truth(world.api)


def test_a_count_without_any_row_is_lowered(world: World) -> None:
    world.insert("Item", "a", createdAt="2026-11-22T09:05:00.000Z")
    world.insert("Item", "b", createdAt="2026-11-22T03:05:00.000Z")
    world.deliver()
    world.remove("Item", "b")
    world.undelivered.clear()
    Backfilling(world).run()
    assert world.stored() == truth(world.api)


def test_hours_that_their_rows_do_not_decide_are_reported(world: World) -> None:
    """Whether a row more than a day ahead of its write counts only the stream knows."""
    at = "2026-11-24T12:10:30.000Z"
    world.insert("Task", "ahead", createdAt=at)
    world.undelivered.clear()  # in quarantine
    world.clock.advance(30 * 3_600)
    world.insert("Task", "lost", createdAt=at)
    world.undelivered.clear()
    world.clock.advance(3_600)
    report = Backfilling(world).run()
    assert (report["undecided"], report["drift"]) == ({"tasks": 1}, {})


def test_what_cannot_be_counted_is_reported_by_reason(world: World) -> None:
    for i in range(150):
        world.insert("Task", f"lost-{i:03}", accountId=rows.REMOVED)
    world.insert("Task", "when", createdAt="yesterday")
    world.undelivered.clear()
    run = Backfilling(world)
    report = run.run()
    assert report["uncountable"] == {
        "accountId is missing": 150,
        "createdAt … is not an AWSDateTime": 1,
    }
    named = run.job().files.get(report["run"], "uncountable.json")
    assert len(named["accountId is missing"][1]) == 100
    assert named["createdAt … is not an AWSDateTime"][1] == ["when"]


def test_hours_that_were_set_aside_are_checked_and_forgotten(world: World) -> None:
    world.insert("Task", "a", createdAt="2026-11-22T09:05:00.000Z")
    world.deliver()
    world.sweep()
    (mark,) = world.pending.closed()
    world.pending.set_aside(mark)
    world.remove("Task", "a")
    world.undelivered.clear()
    world.clock.advance(60)
    report = Backfilling(world).run()
    assert world.stored() == {}
    assert report["setAsideDone"] in (0, 1)  # a repair marks the hour anew
    assert world.pending.aside() == []


@pytest.mark.parametrize("moves", [False, True])
def test_an_hour_that_was_set_aside_and_moves_is_not_forgotten_by_a_verification(
    world: World,
    *,
    moves: bool,
) -> None:
    """Its count is wrong: a look that finds it moving does not know that it is right."""
    at = "2026-11-22T09:05:00.000Z"
    world.insert("Task", "a", createdAt=at)
    world.deliver()
    if moves:
        world.insert("Task", "lost", createdAt=at)
        world.undelivered.clear()
        world.at("wait", lambda: world.update("Task", "a"))
    world.sweep()
    (mark,) = world.pending.closed()
    world.pending.set_aside(mark)
    world.clock.advance(60)
    report = Backfilling(world).run(repair=False)
    assert report["drift"] == {}
    assert bool(report["moving"]) is moves
    assert [each.hour for each in world.pending.aside()] == [mark.hour] * moves


def test_hours_that_are_set_aside_after_the_run_has_looked_are_kept(world: World) -> None:
    """Closed long before the run, but set aside too late for it: no row of their day is left."""
    world.insert("Task", "a", createdAt="2026-11-22T09:05:00.000Z")
    world.deliver()
    world.remove("Task", "a")
    world.undelivered.clear()
    world.sweep()
    (mark,) = world.pending.closed()
    world.clock.advance(60)
    world.at("report", lambda: world.pending.set_aside(mark))
    report = Backfilling(world).run(repair=False)
    assert (report["drift"], report["setAsideDone"]) == ({}, 0)
    assert [each.hour for each in world.pending.aside()] == [mark.hour]


def test_a_look_that_is_not_whole_is_not_gathered(world: World) -> None:
    _write(world, 4)
    run = Backfilling(world)
    plan = run.invoke({"prepare": {"run": "r", "segments": 2}})
    for unit in plan["first"][1:]:
        run.invoke({"scan": unit})
    with pytest.raises(RunError, match=r"look 1 has read 1 of 2 segments of Item"):
        run.invoke({"gather": {"run": "r"}})


def test_looks_that_are_too_close_are_refused(world: World) -> None:
    _write(world, 4)
    run = Backfilling(world)
    plan = run.invoke({"prepare": {"run": "r", "segments": 1}})
    for unit in plan["first"]:
        run.invoke({"scan": unit})
    world.clock.advance(SETTLE - 1)
    for unit in plan["second"]:
        run.invoke({"scan": unit})
    with pytest.raises(EventError, match="SETTLE_SECONDS"):
        run.invoke({"gather": {"run": "r"}})


@pytest.mark.parametrize("event", [None, {}, {"scan": 5}, {"scan": {}}, {"other": {}}])
def test_an_event_of_another_shape_is_refused(world: World, event: Any) -> None:
    with pytest.raises(EventError):
        Backfilling(world).invoke(event)
