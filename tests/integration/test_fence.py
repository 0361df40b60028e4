"""A repair need not know anything of the stream: what it has counted is told apart by its fence."""

from collections.abc import Callable
from typing import Any

import pytest
from aggregated_metrics.core.buckets import DAY
from aggregated_metrics.core.hours import HourId

from testbench import rows
from testbench.backfilling import Backfilling
from testbench.reconciliation import World, hour_id, truth


@pytest.fixture
def world(aws: Callable[[str], Any]) -> World:
    return World(aws("dynamodb"))


_DAY = {"accountId": "acct-1", "start": "2026-11-22T00:00:00Z", "end": "2026-11-23T00:00:00Z"}


def _rows(world: World, count: int, first: int = 0) -> None:
    for n in range(first, first + count):
        world.insert("Item", f"row-{n}")


def _lose_a_removal(world: World, model: str) -> None:
    """Two rows are counted; one is gone, and nobody brings that."""
    for name in ("gone", "stays"):
        world.insert(model, name)
    world.deliver()
    world.remove(model, "gone")
    world.undelivered.clear()


def _is_exact(world: World) -> bool:
    return world.stored() == truth(world.api)


def test_a_mapping_that_was_off_counts_nothing_twice_when_it_is_on_again(world: World) -> None:
    _rows(world, 1)
    world.deliver()
    _rows(world, 9, first=1)  # the mapping is off: nothing is delivered
    world.clock.advance(7_200)
    assert len(world.check(repair=True).repaired) > 0
    assert _is_exact(world)
    world.deliver()
    assert _is_exact(world)


def test_a_batching_window_longer_than_the_looks_counts_nothing_twice(world: World) -> None:
    _rows(world, 5)
    world.clock.advance(150)
    world.check(repair=True)
    world.insert("Item", "late")
    world.clock.advance(150)
    world.deliver()
    assert _is_exact(world)


def test_a_backfill_before_the_first_delivery_counts_nothing_twice(world: World) -> None:
    _rows(world, 5)
    world.clock.advance(60)
    world.check(repair=True)
    assert _is_exact(world)
    world.deliver()
    assert _is_exact(world)


def test_a_replay_from_the_trim_horizon_after_a_backfill_counts_nothing_twice(
    world: World,
) -> None:
    _rows(world, 10)
    replay = list(world.undelivered)
    world.undelivered.clear()  # LATEST: the mapping saw none of them
    world.clock.advance(3_600)
    world.check(repair=True)
    assert _is_exact(world)
    world.undelivered.extend(replay)
    world.deliver()
    assert _is_exact(world)


def test_a_batch_that_aged_out_was_repaired_and_is_read_again_counts_once(world: World) -> None:
    _rows(world, 1)
    world.deliver()
    _rows(world, 4, first=1)
    lost = list(world.undelivered)
    world.undelivered.clear()
    world.clock.advance(23 * 3_600)
    records = [record for _, record in lost]
    world.run({"onFailure": {"payload": {"Records": records}}, "repair": True})
    assert _is_exact(world)
    world.undelivered.extend(lost)
    world.deliver()
    assert _is_exact(world)


def test_what_happens_after_a_repair_is_counted_on_top(world: World) -> None:
    _rows(world, 5)
    world.clock.advance(3_600)
    world.check(repair=True)
    world.remove("Item", "row-0")
    world.update("Item", "row-1", createdByType="prediction")
    world.insert("Item", "old", createdAt=world.row("Item", "row-2")["createdAt"])
    world.deliver()
    assert _is_exact(world)


def test_a_row_that_is_updated_between_the_looks_is_left_to_a_later_check(world: World) -> None:
    _rows(world, 3)
    world.clock.advance(3_600)
    world.at("wait", lambda: world.update("Item", "row-0", createdByType="prediction"))
    found = world.check(repair=True)
    assert found.moving
    assert any(state == "pending" for state in world.marks().values())
    world.deliver()
    world.sweep()
    world.run({"repair": True})
    assert _is_exact(world)


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("Task", {"updatedAt": "2026-11-20T10:00:00.000Z"}),
        ("ScoreResult", {"updatedAt": None}),
        ("Task", {"createdAt": "2026-11-23T06:00:00.000Z"}),
        ("Item", {"createdAt": "2026-11-22T21:05:00+11:00"}),
    ],
    ids=["updated before it was created", "no updatedAt", "created ahead", "an offset"],
)
def test_a_row_that_is_listed_elsewhere_is_never_taken_for_absent(
    world: World, model: str, changes: dict[str, Any]
) -> None:
    world.insert(model, "odd", **changes)
    world.insert(model, "plain")
    world.deliver()
    before = world.stored()
    world.sweep()
    world.clock.advance(30 * 3_600)
    world.sweep()
    world.run({"repair": True})
    assert world.stored() == before


def test_elapsed_buckets_that_nobody_sweeps_are_completed_by_a_check(world: World) -> None:
    _rows(world, 2)
    world.deliver()
    world.clock.advance(7_200)
    found = world.check(repair=True)
    assert (found.completed, found.drift) == (8, [])
    assert all(row["complete"] for row in world.api.rows("AggregatedMetrics"))
    assert world.check(repair=True).completed == 0


def _minutes(world: World, record_type: str) -> list[int]:
    return [numbers[0] for key, numbers in world.stored().items() if key[1:4:2] == (record_type, 1)]


def test_a_minute_with_rows_that_no_index_lists_is_left_to_the_stream(world: World) -> None:
    for n in range(2):
        world.insert("ScoreResult", f"unlisted-{n}", updatedAt=None)
    world.deliver()
    for n in range(3):
        world.insert("ScoreResult", f"plain-{n}")
    world.clock.advance(3_600)  # the mapping is off
    assert world.check(repair=True).repaired == []
    world.deliver()
    assert _minutes(world, "scoreResults") == [5]


@pytest.mark.parametrize(
    "changes",
    [{"updatedAt": None}, {"updatedAt": "2026-11-22T02:00:00.000Z"}],
    ids=["listed nowhere", "listed before its hour"],
)
def test_a_row_that_is_listed_only_since_its_update_is_counted_once(
    world: World, changes: dict[str, Any]
) -> None:
    """The repair reads it where it is now; the stream brings first where it was."""
    world.insert("Task", "plain")
    world.insert("Task", "odd", **changes)
    world.update("Task", "odd", status="FAILED")
    world.clock.advance(3_600)
    world.check(repair=True)
    assert _minutes(world, "tasks") == [2]
    world.deliver()
    assert world.stored() == truth(world.api)


def test_a_row_that_the_api_cannot_give_is_neither_lowered_nor_counted_twice(
    world: World,
) -> None:
    """ScoreResult.value is required by the schema; a writer past the API left it out."""
    created = world.clock.now.isoformat().replace("+00:00", "Z")
    world.insert("ScoreResult", "plain")
    world.deliver()
    world.insert("ScoreResult", "odd", value=None, createdAt=created)
    world.insert("ScoreResult", "late")
    world.clock.advance(3_600)
    found = world.check(repair=True)
    assert found.unreadable == 1
    assert _minutes(world, "scoreResults") == [1]  # its minute is left to the stream
    world.deliver()
    assert _minutes(world, "scoreResults") == [3]
    world.clock.advance(3_600)
    assert world.check(repair=True).drift == []
    assert _minutes(world, "scoreResults") == [3]


def test_a_row_that_the_api_cannot_give_keeps_only_its_own_minute_from_being_lowered(
    world: World,
) -> None:
    """A model listed by updatedAt is read to the end of the index: each check lists that row."""
    _lose_a_removal(world, "ScoreResult")
    world.clock.advance(3 * 3_600)
    world.insert("ScoreResult", "odd", value=None)
    world.deliver()
    found = world.check(repair=True)
    assert (found.unreadable, found.undecided) == (1, set())
    assert world.stored() == truth(world.api)


def test_a_row_whose_time_the_api_cannot_give_keeps_all_that_it_is_listed_with_from_being_lowered(
    world: World,
) -> None:
    _lose_a_removal(world, "Item")
    world.api.put("Item", rows.item("odd", createdAt="2026-11-22T12:40:30"))
    world.clock.advance(3_600)
    found = world.check(repair=True)
    assert _minutes(world, "items") == [2]
    assert hour_id("items", 12) in found.undecided


def test_an_hour_that_its_rows_do_not_decide_is_told(world: World) -> None:
    """Of its two rows the check reads the one that was lost, and not the one that is counted."""
    world.insert("Task", "lost")
    world.undelivered.clear()
    world.insert("Task", "unlisted", updatedAt=None)
    world.deliver()
    world.clock.advance(3_600)
    assert world.check(repair=True).undecided == {hour_id("tasks", 12)}
    checked = world.checks().run({**_DAY, "repair": True})
    assert checked.result()["undecided"] == checked.as_report()["undecidedHours"]
    assert checked.result()["undecidedCount"] == checked.as_report()["undecided"] == 1
    assert _minutes(world, "tasks") == [1]
    world.clock.advance(60)
    Backfilling(world).run()
    assert _minutes(world, "tasks") == [2]
    assert world.check(repair=True).undecided == set()


def test_an_hour_that_may_be_right_with_what_cannot_be_read_is_not_undecided(
    world: World,
) -> None:
    """A row counted that every check takes for one a day ahead, and one that nobody can count."""
    world.insert("Task", "odd", updatedAt="2026-11-20T03:00:00.000Z")
    world.insert("Evaluation", "good")
    world.deliver()
    world.insert("Evaluation", "bad", cost="abc")  # in quarantine; the API cannot give it either
    world.undelivered.clear()
    world.clock.advance(3_600)
    found = world.check(repair=True)
    assert (found.unreadable, found.undecided) == (1, set())
    assert _minutes(world, "tasks") == _minutes(world, "evaluations") == [1]


@pytest.mark.parametrize("changes", [{"updatedAt": None}, {"status": None}])
def test_a_lost_row_that_no_check_can_read_is_told_where_nobody_has_counted_its_minute(
    world: World, changes: dict[str, Any]
) -> None:
    world.insert("Task", "odd", **changes)
    records = [record for _, record in world.undelivered]
    world.undelivered.clear()
    world.clock.advance(3_600)
    batch = {"payload": {"Records": records}}
    assert not world.checks().check_batch(batch, repair=True).is_settled()
    Backfilling(world).run()
    world.clock.advance(60)
    assert _minutes(world, "tasks") == [1]
    assert world.checks().check_batch(batch, repair=True).is_settled()


def test_a_row_ahead_of_its_write_keeps_no_series_back_that_it_does_not_count_into(
    world: World,
) -> None:
    at = "2026-11-24T12:10:30.000Z"
    world.insert("Item", "ahead", createdAt=at, createdByType="evaluation")
    world.undelivered.clear()  # in quarantine
    world.clock.advance(30 * 3_600)
    world.insert("Item", "counted", createdAt=at, createdByType="prediction")
    world.deliver()
    world.insert("Item", "lost", createdAt=at, createdByType="prediction")
    world.undelivered.clear()
    world.clock.advance(3_600)
    series, start = hour_id("predictionItems", 12)
    world.check(repair=True, hours=[HourId(series, start + 2 * DAY)])
    assert _minutes(world, "predictionItems") == [2]


def test_a_range_tells_of_no_hour_that_the_stream_decides_while_it_is_saved(world: World) -> None:
    world.insert("Task", "unlisted", updatedAt=None)
    world.deliver()
    world.insert("Task", "lost", createdAt="2026-11-22T12:20:30.000Z")
    world.undelivered.clear()
    world.clock.advance(3_600)
    world.insert(
        "Task", "late", createdAt="2026-11-22T12:10:30.000Z", updatedAt="2026-11-22T12:30:30.000Z"
    )
    world.at("save", world.deliver)
    asked = {"accountId": "acct-1", "start": "2026-10-01T00:00:00Z", "end": "2026-11-23T00:00:00Z"}
    result = world.run({**asked, "recordTypes": ["tasks"], "repair": True})
    assert world.stored() == truth(world.api)
    assert result["undecided"] == []


def test_the_rows_of_a_batch_that_aged_out_are_found_where_its_records_say(world: World) -> None:
    world.insert("Task", "plain")
    world.deliver()
    world.insert("Task", "odd", updatedAt="2026-11-22T02:00:00.000Z")
    records = [record for _, record in world.undelivered]
    world.undelivered.clear()
    world.clock.advance(23 * 3_600)
    world.run({"onFailure": {"payload": {"Records": records}}, "repair": True})
    assert _minutes(world, "tasks") == [2]
    world.sweep()
    assert world.run({"repair": True})["repaired"] == 0
    assert _minutes(world, "tasks") == [2]


_MOVED = pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("Task", {"updatedAt": "2026-11-22T03:00:00.000Z"}),
        ("Task", {"updatedAt": "2026-11-20T03:00:00.000Z"}),
        ("ScoreResult", {"updatedAt": None}),
        ("Item", {"createdAt": "2026-11-22T23:10:30+11:00"}),
    ],
    ids=["updated before it was created", "days before", "no updatedAt any more", "an offset"],
)


def _check_twice(world: World) -> None:
    for _ in range(2):
        world.sweep()
        world.run({"repair": True})
        world.check(repair=True)


def _lose(world: World) -> list[Any]:
    """What waits for delivery never comes."""
    lost = list(world.undelivered)
    world.undelivered.clear()
    world.clock.advance(3_600)
    return lost


def _on_failure(world: World) -> list[Any]:
    """What waits has aged out, and is repaired."""
    lost = _lose(world)
    records = [record for _, record in lost]
    world.run({"onFailure": {"payload": {"Records": records}}, "repair": True})
    return lost


def _move(world: World, model: str, changes: dict[str, Any]) -> None:
    """A row is counted, and an update that lists it elsewhere waits."""
    world.insert(model, "odd", createdAt=_AT)
    world.deliver()
    world.update(model, "odd", **changes)


_AT = "2026-11-22T12:10:30Z"


@_MOVED
def test_where_a_lost_record_lists_its_row_is_kept_although_its_count_is_right(
    world: World, model: str, changes: dict[str, Any]
) -> None:
    """Otherwise the check after the repair would look where the row was, and lower it."""
    _move(world, model, changes)
    lost = _on_failure(world)
    assert _is_exact(world)
    _check_twice(world)
    assert _is_exact(world)
    world.undelivered.extend(lost)  # and when it comes after all
    world.deliver()
    assert _is_exact(world)
    _check_twice(world)
    assert _is_exact(world)


@_MOVED
def test_what_a_whole_table_shows_of_a_rows_place_is_kept_although_its_count_is_right(
    world: World, model: str, changes: dict[str, Any]
) -> None:
    _move(world, model, changes)
    _lose(world)
    Backfilling(world).run()
    _check_twice(world)
    assert _is_exact(world)


def test_a_row_whose_first_record_was_lost_hides_no_other_that_no_index_lists(
    world: World,
) -> None:
    """Its update takes away a row that nobody has added: there are not fewer than none."""
    world.insert("Task", "a", createdAt=_AT, updatedAt=None)
    _on_failure(world)
    world.update("Task", "a", status="FAILED")
    world.deliver()
    _check_twice(world)
    assert _minutes(world, "tasks") == [1]
    world.insert("Task", "b", createdAt=_AT, updatedAt=None)
    world.deliver()
    _check_twice(world)
    assert _minutes(world, "tasks") == [2]


def test_what_a_whole_table_shows_is_not_changed_again_by_a_record_from_before(
    world: World,
) -> None:
    for name in "ab":
        world.insert("Task", name, createdAt=_AT, updatedAt=None)
    world.deliver()
    world.clock.advance(60)
    world.update("Task", "a")
    world.clock.advance(60)
    Backfilling(world).run()  # the counts agree, but only one row is in no index
    world.deliver()
    _check_twice(world)
    assert _minutes(world, "tasks") == [2]


def test_a_whole_table_fences_no_minute_of_which_only_the_stream_knows_all_rows(
    world: World,
) -> None:
    """A row from days before its time is not in its sums: its record must not be skipped."""
    world.insert("Task", "a", createdAt=_AT, updatedAt=None)
    world.deliver()
    world.clock.advance(60)
    world.update("Task", "a")
    world.insert("Task", "early", createdAt=_AT, updatedAt="2026-11-20T03:00:00.000Z")
    world.clock.advance(60)
    Backfilling(world).run()
    world.deliver()
    assert _minutes(world, "tasks") == [2]


def test_a_lost_batch_that_also_lists_its_row_is_counted(world: World) -> None:
    world.insert("Task", "plain", createdAt=_AT)
    world.deliver()
    world.insert("Task", "b", createdAt=_AT, updatedAt=None)
    world.clock.advance(5)
    world.update("Task", "b")
    _on_failure(world)
    assert _minutes(world, "tasks") == [2]


def test_a_row_without_a_zone_in_its_updatedat_is_as_good_as_listed_nowhere(
    world: World,
) -> None:
    """The API cannot give it: a repair must not keep away what the stream brings."""
    world.insert("Task", "odd", createdAt=_AT, updatedAt="2026-11-22T12:10:30.123456")
    world.deliver()
    for name in "ab":
        world.insert("Task", name, createdAt=_AT)
    world.clock.advance(3_600)
    world.check(repair=True)
    world.deliver()
    _check_twice(world)
    assert _minutes(world, "tasks") == [3]


def test_a_row_born_and_gone_between_the_looks_is_right_after_the_next_check(
    world: World,
) -> None:
    """Its two deltas lie on both sides of the fence, and no look saw it."""
    _rows(world, 3)
    world.clock.advance(300)
    start = world.row("Item", "row-0")["createdAt"]

    def between() -> None:
        world.clock.advance(-55)
        world.insert("Item", "brief", createdAt=start)
        world.clock.advance(50)
        world.remove("Item", "brief")
        world.clock.advance(5)

    world.at("wait", between)
    world.check(repair=True)
    world.deliver()
    assert all(state == "pending" for state in world.marks().values())
    world.sweep()
    world.run({"repair": True})
    assert _is_exact(world)
