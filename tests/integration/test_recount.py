"""A check counts rows again and compares; it sets only what both passes and T allow."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from aggregated_metrics.adapters import source_rows
from aggregated_metrics.core.models import BUILT_IN

from testbench import oracle, rows
from testbench.fakes.signatures import Request
from testbench.world import START, World

AT, EARLY = "2026-11-22T12:10:00Z", "2026-11-22T09:05:30.000Z"


def _exact(world: World) -> bool:
    return world.stored() == world.counted()


def _over(world: World) -> None:
    """Let the hour of the world's beginning end, and all that may complete do so."""
    world.clock.advance(3_600)
    world.sweep()


def _lose_an_insert(world: World, model: str = "Item", id: str = "lost", **changes: Any) -> None:  # noqa: A002
    """A row beside one that is counted; its record never comes."""
    world.insert(model, f"counted-{id}", **changes)
    world.deliver()
    world.insert(model, id, **changes)
    world.lose()


# What is repaired ---------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["Item", "ScoreResult", "Task", "ChatMessage"])
def test_a_lost_insert_is_repaired_and_its_entry_deleted(model: str) -> None:
    world = World()
    _lose_an_insert(world, model)
    _over(world)
    result = world.check()
    assert (result["driftCount"], result["repaired"]) >= (1, 1)
    assert _exact(world)
    assert (world.items("entry"), world.items("check")) == ({}, {})


def test_what_is_right_is_not_written_and_its_entries_go() -> None:
    world = World()
    for model in world.models:
        world.insert(model, f"row-{model}")
    world.deliver()
    _over(world)
    before = dict(world.api.rows("AggregatedMetrics")[0])
    result = world.check()
    assert (result["driftCount"], result["inFlux"], result["deferred"]) == (0, 0, 0)
    assert world.api.rows("AggregatedMetrics")[0] == before
    assert (world.items("entry"), world.items("check")) == ({}, {})


def test_a_check_that_may_not_repair_keeps_the_entry_and_asks_again_after_a_day() -> None:
    world = World()
    _lose_an_insert(world)
    _over(world)
    assert world.check(repair=False)["driftCount"] > 0
    assert not _exact(world)
    assert {check["reason"] for check in world.items("check").values()} == {"repairs are off"}
    assert world.check(repair=False)["hours"] == 0
    world.clock.advance(86_400)
    assert world.check(repair=False)["driftCount"] > 0
    world.check(repair=True)
    assert _exact(world)
    assert (world.items("entry"), world.items("check")) == ({}, {})


def test_a_rollup_without_minutes_is_drift_like_any_other() -> None:
    world = World(["Task"])
    _lose_an_insert(world, "Task", createdAt=EARLY, updatedAt=EARLY)
    for bucket in world.api.rows("AggregatedMetrics"):
        if bucket.get("numberOfMinutes") == 1:
            world.api.remove("AggregatedMetrics", bucket["accountId"], bucket["compositeKey"])
    _over(world)
    world.check()
    assert _exact(world)
    world.insert("Task", "late", createdAt=EARLY)
    world.deliver()
    assert _exact(world)


@pytest.mark.parametrize("size", [5, 60])
def test_a_wrong_rollup_is_reported_once_beside_a_wrong_minute_of_another_hour(size: int) -> None:
    world = World(["Task"])
    world.insert("Task", "rolled up", createdAt=EARLY, updatedAt=EARLY)
    _lose_an_insert(world, "Task")
    _over(world)
    rollup = world.bucket(f"tasks#2026-11-22T09:0{5 * (size == 5)}:00Z#{size}")
    world.api.put("AggregatedMetrics", rollup | {"count": 7})
    drift = world.check_range()["drift"]
    assert [(d["numberOfMinutes"], d["stored"]["count"]) for d in drift] == [(size, 7), (1, 1)]


def test_a_range_finds_every_score_that_is_stored_or_has_rows() -> None:
    """Also one whose id looks like the beginning of another's keys."""
    world = World(breakdowns="all")
    for score in ("q", "q#greeting", "2026-11-22T12:", "gone"):
        world.insert("ScoreResult", score, scoreId=score)
    world.deliver()
    world.update("ScoreResult", "q#greeting", value="ERROR")
    world.update("ScoreResult", "q", scoreId="q#2026-11-22T12:00:00Z")
    world.update("ScoreResult", "gone", scoreId=None)
    world.insert("Evaluation", "new", scoreId="new")
    world.lose()
    world.clock.advance(7_200)
    drift = world.check_range()["drift"]
    assert {each.get("scoreId") for each in drift if each["recordType"].endswith("ByScore")} == {
        *("q", "q#greeting", "q#2026-11-22T12:00:00Z", "gone", "new")
    }
    world.check_range(repair=True)
    assert _exact(world)
    assert world.check_range()["driftCount"] == 0


# T, passes, fingerprints --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["range", "lost batch", "whole table"])
def test_what_a_repair_has_counted_is_not_counted_again_and_later_changes_are(how: str) -> None:
    world = World()
    for n in range(5):
        world.insert("Task", f"row-{n}")
    replay = list(world.undelivered)
    if how == "lost batch":
        world.lose_batch([change.record for change in replay])
    world.lose()
    world.clock.advance(23 * 3_600)
    at = world.row("Task", "row-0")["createdAt"]
    if how == "range":
        world.check_range(repair=True)
    elif how == "lost batch":
        world.check()
    else:
        world.backfill()
    assert _exact(world)
    world.undelivered.extend(replay)
    world.remove("Task", "row-0")
    world.update("Task", "row-1", status="FAILED")
    world.insert("Task", "late", createdAt=at)
    world.deliver()
    assert _exact(world)


def test_a_change_between_the_passes_leaves_the_minute_to_the_next_check() -> None:
    world = World()
    _lose_an_insert(world, "Task")
    _over(world)
    world.at("wait", lambda: world.insert("Task", "new", createdAt=_minute(world)))
    assert world.check()["inFlux"] > 0
    assert {check["reason"] for check in world.items("check").values()} != set()
    world.deliver()
    _over(world)
    world.check()
    assert _exact(world)
    assert (world.items("entry"), world.items("check")) == ({}, {})


def _minute(world: World) -> str:
    return str(world.api.rows("Task")[0]["createdAt"])


def test_two_rows_that_change_places_between_the_passes_are_not_one() -> None:
    world = World(["Task"])
    _lose_an_insert(world, "Task")
    _over(world)

    def swap() -> None:
        world.remove("Task", "lost")
        world.insert("Task", "other", createdAt=_minute(world))

    world.at("wait", swap)
    assert world.check()["inFlux"] > 0


def test_a_row_that_is_touched_all_the_time_delays_no_repair() -> None:
    world = World(["Task"])
    world.insert("Task", "alive")
    world.deliver()
    for n in range(5):
        world.insert("Task", f"lost-{n}")
    world.lose()
    _over(world)

    def touch() -> None:
        world.update("Task", "alive", command=world.now())

    world.at("page", *[touch] * 20)
    world.at("wait", touch)
    result = world.check()
    assert result["inFlux"] == 0
    assert _exact(world)


@pytest.mark.parametrize("moment", ["save", "wait"])
def test_a_stream_write_after_t_is_not_overwritten(moment: str) -> None:
    world = World(["Task"])
    _lose_an_insert(world, "Task")
    world.insert("Task", "lost too")
    world.lose()
    _over(world)
    at = _minute(world)

    def late() -> None:
        world.insert("Task", "late", createdAt=at)
        world.deliver()

    world.at(moment, late)  # of the four rows the pass has read three, and two are counted
    assert world.check()["inFlux"] == 1
    assert world.stored()["acct-1", "tasks", AT, 1][0] == 2
    _over(world)
    world.check()
    assert _exact(world)


def test_two_checks_at_once_repair_once() -> None:
    world = World(["Task"])
    _lose_an_insert(world, "Task")
    _over(world)
    world.at("save", world.check)
    world.check()
    assert _exact(world)
    _over(world)
    world.check()
    assert world.items("entry") == world.items("check") == {}


def test_a_touch_between_reading_and_deleting_keeps_the_entry() -> None:
    world = World(["Item"])
    world.insert("Item", "first")
    world.deliver()
    _over(world)

    def touch() -> None:
        world.update("Item", "first", createdByType="evaluation")
        world.deliver()

    before = world.items("entry")
    world.at("page", touch)
    world.check()
    after = world.items("entry")
    touched = {key for key, entry in before.items() if entry["recordType"] == "predictionItems"}
    assert touched
    assert touched <= after.keys()
    world.sweep()
    world.check()
    assert _exact(world)
    assert world.items("entry") == {}


# Unindexed rows -----------------------------------------------------------------------------------

OTHER_ZONE = "2026-11-22T14:10:00.000+02:00"
"""An instant of the world's first minute, as no index by createdAt lists it within its hour."""


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("Item", {"createdAt": OTHER_ZONE}),
        ("Task", {"updatedAt": "2026-11-20T10:00:00.000Z"}),
        ("ScoreResult", {"updatedAt": None}),
        ("ScoreResult", {"value": None}),
        ("Task", {"updatedAt": "2026-11-22T12:10:30.123456"}),
    ],
    ids=["another zone", "updated days before", "never updated", "not given", "a naive update"],
)
def test_a_check_through_an_index_leaves_unindexed_rows_counted(
    model: str, changes: dict[str, Any]
) -> None:
    world = World([model])
    world.insert(model, "unindexed", **changes)
    _lose_an_insert(world, model)
    _over(world)
    result = world.check()
    assert _exact(world)
    assert result["unverified"] == 0
    (name, *_) = BUILT_IN[model].counts_into
    assert world.metadata(name, "2026-11-22T12:10:00Z")["unindexed"]["count"] == "1"
    world.sweep()
    assert world.check_range(repair=True)["driftCount"] == 0


def test_a_lost_unindexed_row_waits_for_a_scan() -> None:
    world = World(["Item"])
    world.insert("Item", "seen")
    world.deliver()
    world.insert("Item", "lost", createdAt=OTHER_ZONE)
    world.lose_batch([world.undelivered[-1].record])
    world.lose()
    _over(world)
    world.check()
    deferred = [check["deferred"] for check in world.items("check").values()]
    assert (True in deferred, world.items("entry")) == (True, {})
    world.insert("Item", "touches", createdAt=EARLY.replace("T09", "T12"))
    world.deliver()
    _over(world)
    world.check()
    assert [check["deferred"] for check in world.items("check").values()] == deferred
    world.backfill()
    assert _exact(world)
    assert world.items("check") == {}


@pytest.mark.parametrize(
    ("model", "changes"),
    [("Item", {"createdAt": OTHER_ZONE}), ("Task", {"updatedAt": "2026-11-20T10:00:00.000Z"})],
)
def test_an_unindexed_row_that_was_removed_uncounted_is_left_to_a_scan(
    model: str, changes: dict[str, str]
) -> None:
    """The row is older than the stream, which brings only its removal."""
    world = World([model])
    world.insert(model, "older", **changes)
    world.lose()
    world.insert(model, "counted")
    world.remove(model, "older")
    world.deliver()
    _over(world)
    assert world.check()["deferred"] > 0
    assert world.items("entry") == {}
    world.backfill()
    assert _exact(world)
    assert world.items("check") == {}


@pytest.mark.parametrize("model", ["Item", "FeedbackItem"])
def test_sums_that_another_writer_stored_are_left_to_a_scan(model: str) -> None:
    world = World([model])
    _lose_an_insert(world, model)
    for bucket in world.api.rows("AggregatedMetrics"):
        if bucket.get("numberOfMinutes") == 1:
            theirs = {"theirs": 1, "changedCount": "some"}
            world.api.put("AggregatedMetrics", bucket | {"metadata": theirs})
    world.insert(model, "after")
    world.deliver()
    minute = partial(world.metadata, BUILT_IN[model].record_type, "2026-11-22T12:10:00Z")
    assert minute()["foreign"] is True
    _over(world)
    result = world.check()
    assert result["deferred"] > 0
    assert not _exact(world)
    world.backfill()
    assert _exact(world)
    assert world.items("check") == {}
    assert (minute()["theirs"], "foreign" in minute()) == (1, False)


def test_expired_rows_lower_nothing() -> None:
    world = World(["Task"], environment={"SOURCE_LIFETIME_DAYS": '{"Task": 0.1}'})
    world.insert("Task", "expires")
    world.deliver()
    stored = world.stored()
    world.remove("Task", "expires", expired=True)
    world.deliver()
    world.clock.advance(86_400)
    world.sweep()
    assert world.check()["driftCount"] == 0
    assert world.check_range(repair=True)["driftCount"] == 0
    world.backfill()
    assert world.stored() == stored
    at = {"createdAt": "2026-11-22T12:20:00.000Z", "updatedAt": "2026-11-22T12:20:00.000Z"}
    world.insert("Task", "never counted", **at)
    world.lose()
    world.check_range(repair=True)
    assert world.stored(1).items() - stored.items() == world.counted(1).items()


# What cannot be read ------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [{"updatedAt": None}, {"count": 3.5}, {"complete": None}])
def test_a_stored_minute_that_cannot_be_read_costs_its_own_hour(damage: dict[str, Any]) -> None:
    world = World(["Item"])
    world.insert("Item", "here")
    world.insert("Item", "there", accountId="acct-2")
    world.deliver()
    (minute,) = (
        bucket
        for bucket in world.api.rows("AggregatedMetrics")
        if oracle.key_of(bucket) == (rows.ACCOUNT, "items", "2026-11-22T12:10:00Z", 1)
    )
    world.api.put("AggregatedMetrics", minute | damage)
    world.insert("Item", "here-too")
    world.insert("Item", "there-too", accountId="acct-2")
    world.deliver()
    assert [check["deferred"] for check in world.items("check").values()] == [True]
    assert all(key in world.stored() for key in world.counted() if key[0] == "acct-2")
    _over(world)
    world.check()
    assert _exact(world)


# One of many --------------------------------------------------------------------------------------


def test_a_lost_batch_of_many_accounts_waits_only_for_the_one_that_is_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(["Task"], environment={"CHECK_ROWS_LIMIT": "1000"})
    monkeypatch.setattr(source_rows, "PAGE", 100)
    for n in range(1_200):
        world.api.put("Task", rows.task(f"big-{n}", accountId="big", createdAt=world.now()))
    for account in ("big", "a", "b", "c", "d", "e"):
        world.insert("Task", f"lost-{account}", accountId=account)
    world.lose_batch([change.record for change in world.undelivered])
    world.lose()
    _over(world)
    world.check()
    wrong = {key for key, sums in world.counted().items() if world.stored().get(key) != sums}
    assert {key[0] for key in wrong} == {"big"}


@pytest.mark.parametrize("ranged", [False, True])
def test_an_account_and_model_that_fails_costs_the_others_nothing(*, ranged: bool) -> None:
    world = World(["Task", "Item"])
    for model in ("Task", "Item"):
        _lose_an_insert(world, model, f"lost-{model}")
    _over(world)
    check = partial(world.check_range, repair=True) if ranged else world.check
    failing = iter([True])

    def fail(request: Request) -> None:
        if b"CountTask" in request.body and next(failing, False):
            raise RuntimeError("this account fails")

    world.before = fail
    with pytest.raises(Exception, match="1 accounts and models could not be checked"):
        check()
    assert world.reports[-1]["repaired"] > 0
    check()
    assert _exact(world)


def test_one_old_hour_in_each_of_many_days_is_read_once_a_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(["Task"])
    for day in range(30):
        at = (START - timedelta(days=day, hours=3)).isoformat().replace("+00:00", "Z")
        world.insert("Task", f"row-{day}", createdAt=at, updatedAt=at)
    world.deliver()
    world.insert("Task", "lost", createdAt=at, updatedAt=at)
    world.lose()
    world.sweep()
    result = world.check()
    assert _exact(world)
    assert result["rows"] <= 2.05 * len(world.api.rows("Task"))


def test_what_stands_in_the_result_fits_a_state_machine() -> None:
    world = World(["Task"])
    for n in range(300):
        account = f"{n:08}-aaaa-bbbb-cccc-dddddddddddd"
        _lose_an_insert(world, "Task", f"lost-{n}", accountId=account)
    _over(world)
    result = world.check()
    assert result["driftCount"] >= 300
    assert len(str(result)) < 200_000


def test_a_foreign_failure_reports_what_was_repaired() -> None:
    world = World(["Task"])
    _lose_an_insert(world, "Task")
    _over(world)
    real = world.table.delete_item

    def fails(**_: Any) -> Any:
        raise RuntimeError("the table is gone")

    world.table.delete_item = fails  # type: ignore[method-assign]
    with pytest.raises(Exception, match="could not be checked"):
        world.check()
    assert world.reports[-1]["repaired"] > 0
    world.table.delete_item = real  # type: ignore[method-assign]
    world.check()
    assert _exact(world)
