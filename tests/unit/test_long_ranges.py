"""A range of any number of days: each look lists each row once, and what is set right is right."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aggregated_metrics.core.record_types import BREAKDOWNS
from aggregated_metrics.jobs import long_ranges
from aggregated_metrics.jobs.reconciler import Checked

from testbench import rows
from testbench.fakes.dynamodb import MemoryTable
from testbench.reconciliation import START, World, truth

_MODELS = ("Item", "Task")
"""One listed by createdAt, one by updatedAt."""
_RECORD_TYPES = ("items", "predictionItems", "tasks")


@pytest.fixture
def world() -> World:
    return World(MemoryTable())


def _history(world: World, days: int, *, each: int = 2, models: Sequence[str] = _MODELS) -> int:
    """Rows on every day; only the tables hold them, no stream brings them."""
    for day in range(days):
        for number in range(each):
            at = START - timedelta(days=day, minutes=7 * number, hours=2)
            text = at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            later = (at + timedelta(hours=day % 40)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            for model in models:
                world.insert(
                    model, f"{model}-{day}-{number}", createdAt=text, updatedAt=min(later, _NOW)
                )
    world.undelivered.clear()
    return days * each * len(models)


_NOW = START.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _ask(days: int, *, repair: bool = True) -> dict[str, Any]:
    start = (START - timedelta(days=days)).date()
    return {
        "accountId": rows.ACCOUNT,
        "start": f"{start}T00:00:00Z",
        "end": START.isoformat(),
        "repair": repair,
        "recordTypes": [*_RECORD_TYPES],
    }


_OLD = "2026-10-30T08:03:00.000Z"


@pytest.mark.parametrize("days", [5, 64])
def test_both_looks_read_each_row_once_however_many_the_days(world: World, days: int) -> None:
    whole = _history(world, days)
    result = world.run(_ask(days))
    assert result["next"] is None
    assert world.stored() == truth(world.api)
    assert result["rows"] / whole <= 2.05
    again = world.run(_ask(days))
    assert (again["driftCount"], again["movingCount"]) == (0, 0)
    assert again["rows"] / whole <= 1.05  # nothing differs: no second look


def test_sums_are_put_away_while_the_reading_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_ranges, "HELD", 3)
    _history(world, 33)
    world.run(_ask(33))
    assert world.stored() == truth(world.api)


def test_a_row_that_moves_while_the_looks_are_taken_is_left_to_the_next_check(
    world: World,
) -> None:
    _history(world, 33)
    world.at("wait", lambda: world.update("Task", "Task-3-0", status="FAILED"))
    result = world.run(_ask(33))
    moving = {drift["recordType"] for drift in result["moving"]}
    assert moving == {"tasks"}
    world.deliver()
    world.clock.advance(3600)
    world.run(_ask(33))
    assert world.stored() == truth(world.api)


def test_a_change_that_comes_late_is_not_counted_twice(world: World) -> None:
    _history(world, 33)
    created = datetime(2026, 11, 2, 8, 3, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    world.insert("Task", "late", createdAt=created)
    world.clock.advance(60)
    world.run(_ask(33))
    assert world.stored() == truth(world.api)
    world.deliver()  # the fence holds it
    assert world.stored() == truth(world.api)


def test_a_minute_that_was_written_after_the_fence_is_moving(world: World) -> None:
    _history(world, 33)
    world.at("wait", lambda: world.clock.advance(3))
    page = {"number": 0}

    def deliver_in_second_look() -> None:
        page["number"] += 1

    # A delta from before both looks is applied between the fence and the comparison.
    created = datetime(2026, 11, 2, 8, 3, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    world.insert("Task", "late", createdAt=created)
    world.clock.advance(60)
    world.at("page", *[deliver_in_second_look] * 4, world.deliver)
    world.run(_ask(33) | {"recordTypes": ["tasks"]})
    stored = world.stored()
    key = (rows.ACCOUNT, "tasks", "2026-11-02T08:03:00Z", 1)
    assert stored[key][0] == truth(world.api)[key][0]


def test_what_was_repaired_of_a_range_that_fails_half_way_is_reported(world: World) -> None:
    def refuse() -> None:
        raise RuntimeError("nothing more is saved")

    _history(world, 32)
    world.at("save", lambda: None, *[refuse] * 10)  # the older window, and not the newer one
    checked = world.checks().run(_ask(32) | {"recordTypes": ["tasks"]})
    assert isinstance(checked, Checked)
    assert len(checked.findings.failed) == 1
    minutes = [key for key in world.stored() if key[3] == 1]
    assert checked.findings.set_right == len(minutes) > 0


def test_what_was_set_right_of_a_part_that_fails_half_way_is_reported(world: World) -> None:
    """One part's hours are saved in several requests."""

    def refuse() -> None:
        raise RuntimeError("nothing more is saved")

    _history(world, 31, each=20)
    world.at("save", lambda: None, *[refuse] * 20)
    checked = world.checks().run(_ask(32) | {"recordTypes": ["tasks"]})
    assert isinstance(checked, Checked)
    minutes = [key for key in world.stored() if key[3] == 1]
    assert checked.findings.set_right == len(minutes) > 0
    assert checked.findings.drifted > len(minutes)
    assert len(checked.findings.failed) == 1


def test_a_row_that_is_listed_elsewhere_and_comes_during_the_first_look_stays(
    world: World,
) -> None:
    """Neither look reads where it is listed: the range was known before."""
    at = "2026-11-20T11:30:30Z"
    world.insert("Task", "plain", createdAt=at)
    world.deliver()
    world.insert("Task", "odd", createdAt=at, updatedAt="2026-01-22T03:00:00.000Z")
    world.clock.advance(600)
    world.at("page", world.deliver)
    world.run(_ask(40) | {"recordTypes": ["tasks"]})
    assert world.stored() == truth(world.api)


def test_where_a_long_range_finds_a_row_is_kept_although_its_count_is_right(world: World) -> None:
    """The record that moved it was lost: the next check would look where it was."""
    world.insert("Task", "odd", createdAt="2026-11-22T12:10:30Z")
    world.deliver()
    world.update("Task", "odd", updatedAt="2026-11-22T03:00:00.000Z")
    world.undelivered.clear()
    world.clock.advance(3_600)
    world.run(_ask(40) | {"recordTypes": ["tasks"], "end": "2026-11-23T00:00:00Z"})
    for _ in range(2):
        world.sweep()
        world.run({"repair": True})
    assert world.stored() == truth(world.api)


def test_every_scope_of_a_long_range_is_counted_and_lowered(world: World) -> None:
    """Breakdowns are asked for without naming a scope: it comes from the rows, or is stored."""
    world.breakdowns = BREAKDOWNS
    _history(world, 33, each=1, models=["FeedbackItem"])
    for number, score in enumerate(("score-1", "score-2", "score-9")):
        world.insert("FeedbackItem", f"f{number}", createdAt=_OLD, editedAt=_OLD, scoreId=score)
    world.deliver()
    world.remove("FeedbackItem", "f2")  # no row of its score is left
    world.update("FeedbackItem", "f1", finalAnswerValue="Maybe")
    world.undelivered.clear()
    world.clock.advance(60)
    names = ["feedbackItems", "feedbackItemsByScorecard", "feedbackItemsByScore"]
    world.run(_ask(33) | {"recordTypes": names})
    expected = truth(world.api, breakdowns=True)
    stored = {key: sums for key, sums in world.stored().items() if any(sums)}
    assert stored == expected
    assert any(key[1] == "feedbackItemsByScore#score-2" for key in expected)
