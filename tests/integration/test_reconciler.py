"""The reconciler against the API in memory, the real aggregator and the real sweeper."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from aggregated_metrics.adapters import source_rows as source
from aggregated_metrics.core.changes import Reject
from aggregated_metrics.core.errors import EventError
from aggregated_metrics.core.findings import Findings

from testbench import rows
from testbench.in_process import ROOT, Stack
from testbench.reconciliation import World, hour_id, truth

AT = "2026-11-22T12:05:30.000Z"
MINUTE = ("acct-1", "items", "2026-11-22T12:05:00Z", 1)
REPAIR = {"accountId": "acct-1", "start": "2026-11-22T12:00:00Z", "end": "2026-11-22T13:00:00Z"}


@pytest.fixture
def world(aws: Callable[[str], Any]) -> World:
    return World(aws("dynamodb"))


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(source, "PAGE", 2)
    source._query.cache_clear()
    yield
    source._query.cache_clear()


def _item(world: World, name: str, **changes: Any) -> None:
    world.insert("Item", name, createdAt=AT, **({"createdByType": "upload"} | changes))


def _item_delivered(world: World, name: str) -> None:
    _item(world, name)
    world.deliver()


def _event(name: str) -> Any:
    return json.loads((ROOT / f"events/{name}.json").read_text())


def _set(world: World, key: str, **changes: Any) -> None:
    row = next(r for r in world.api.rows("AggregatedMetrics") if r["compositeKey"] == key)
    world.api.put("AggregatedMetrics", row | changes)


def _damage(world: World) -> None:
    """One right row whose minute says 7."""
    _item(world, "a")
    world.deliver()
    _set(world, "items#2026-11-22T12:05:00Z#1", count=7)
    world.clock.advance(60)


def _counts(found: Findings) -> tuple[int, int, int]:
    return len(found.drift), len(found.moving), len(found.repaired)


# Races --------------------------------------------------------------------------------------------


def test_a_row_inserted_between_the_looks_is_moving_and_left(world: World) -> None:
    _damage(world)
    world.at("wait", lambda: _item(world, "b"))
    found = world.check(repair=True)
    assert MINUTE in {_key(drift) for drift in found.moving}
    assert found.repaired == []
    assert world.stored()[MINUTE][0] == 7
    world.deliver()
    world.clock.advance(60)
    world.check(repair=True)
    assert world.stored() == truth(world.api)


def test_a_delta_delivered_between_the_looks_is_not_counted_twice(world: World) -> None:
    _damage(world)
    _item(world, "b")
    world.at("wait", world.deliver)
    found = world.check(repair=True)
    assert found.repaired == []
    assert world.stored()[MINUTE][0] == 8
    world.clock.advance(60)
    assert _counts(world.check(repair=True))[1] == 0
    assert world.stored() == truth(world.api)


def test_a_delta_delivered_between_the_second_look_and_the_write_is_left(world: World) -> None:
    _damage(world)
    world.at("save", lambda: _item_delivered(world, "b"))
    found = world.check(repair=True)
    assert MINUTE in {_key(drift) for drift in found.moving}
    assert world.stored()[MINUTE][0] == 8
    world.clock.advance(60)
    world.check(repair=True)
    assert world.stored() == truth(world.api)


def test_opposite_changes_around_the_looks_are_no_agreement(
    world: World, small_pages: None
) -> None:
    """Delivered +1 after the rows are read, an undelivered -1 before they are read again."""
    for name in "abc":
        _item(world, name)
    world.deliver()
    world.clock.advance(300)
    world.at("page", lambda: None, lambda: _item_delivered(world, "a-late"))
    world.at("wait", lambda: world.remove("Item", "a-late"))
    found = world.check(repair=True)
    world.deliver()
    assert found.repaired == []
    assert world.stored() == truth(world.api)


def test_rows_that_are_updated_while_they_are_read_do_not_raise_a_count(
    world: World, small_pages: None
) -> None:
    """Their index sorts by updatedAt: each look meets one of them at its beginning and its end."""
    for number, name in enumerate("abc"):
        world.insert("Task", name, createdAt=AT, updatedAt=f"2026-11-22T12:06:0{number}Z")
    world.deliver()
    world.clock.advance(300)
    nothing = list[str]
    world.at("page", lambda: world.update("Task", "a"), nothing, nothing)
    world.at("page", lambda: world.update("Task", "b"))
    hours = [hour_id("tasks", 12)]
    found = world.check(repair=True, hours=hours)
    assert not any(world.moments.values())
    assert (_counts(found), found.rows) == ((0, 1, 0), 8)
    assert world.stored() == truth(world.api)
    assert _counts(world.check(repair=True, hours=hours)) == (0, 0, 0)


def test_two_reconcilers_at_once_repair_once(world: World) -> None:
    _damage(world)
    world.at("save", lambda: world.run(REPAIR | {"repair": True}))
    found = world.check(repair=True)
    assert MINUTE in {_key(drift) for drift in found.repaired}
    assert world.stored() == truth(world.api)


def _key(drift: Any) -> tuple[str, str, str, int]:
    shown = drift.as_json()
    return (
        shown["accountId"],
        shown["recordType"],
        shown["timeRangeStart"],
        shown["numberOfMinutes"],
    )


# Hours that wait ----------------------------------------------------------------------------------


def test_a_repaired_hour_waits_until_a_later_check_finds_nothing(world: World) -> None:
    _damage(world)
    world.sweep()
    mark = "acct-1#items#2026-11-22T12:"
    assert world.marks() == {mark: "closed"}
    result = world.run(_event("reconciler/closed_hours"))
    assert (result["driftCount"], result["repaired"], result["done"]) == (1, 1, True)
    assert world.marks() == {mark: "pending"}
    world.sweep()
    assert world.marks() == {mark: "closed"}
    assert world.run(_event("reconciler/closed_hours"))["driftCount"] == 0
    assert world.marks() == {}


def test_verifying_closed_hours_forgets_the_right_ones_and_keeps_the_wrong(world: World) -> None:
    _damage(world)
    world.insert("Task", "t", createdAt=AT)
    world.deliver()
    world.sweep()
    before = world.api.rows("AggregatedMetrics")
    result = world.run({"repair": False})
    assert result["driftCount"] == 1
    assert world.marks() == {"acct-1#items#2026-11-22T12:": "closed"}
    assert world.api.rows("AggregatedMetrics") == before


def test_an_hour_marked_again_during_its_check_is_not_forgotten(world: World) -> None:
    _item(world, "a")
    world.deliver()
    world.sweep()
    world.at("page", lambda: _item_delivered(world, "b"))
    world.run({"repair": True})
    assert world.marks() == {"acct-1#items#2026-11-22T12:": "pending"}


def test_the_hours_that_were_closed_first_are_checked_first_and_the_rest_waits(
    world: World,
) -> None:
    for day in ("22", "20", "21"):
        world.insert("Item", day, createdAt=f"2026-11-{day}T08:00:00Z", createdByType="upload")
        world.deliver()
        world.sweep()
    world.at("page", lambda: setattr(world, "seconds_left", 20.0))
    checked = world.checks().run({"repair": True})
    result, report = checked.result(), checked.as_report()
    assert (result["hours"], report["waiting"]) == (1, 2)
    assert set(world.marks()) == {"acct-1#items#2026-11-20T08:", "acct-1#items#2026-11-21T08:"}


# What is never lowered, and what is found anyhow --------------------------------------------------


def test_an_hour_whose_rows_have_expired_is_never_lowered(world: World) -> None:
    _item(world, "a")
    _item(world, "b")
    world.deliver()
    world.clock.advance(86_400 * 2)
    world.remove("Item", "a", expired=True)
    world.deliver()
    expiring = world.checks(lifetimes={"Item": _days(1)})
    result = expiring.run(REPAIR | {"repair": True}).result()
    assert (result["driftCount"], world.stored()[MINUTE][0]) == (0, 2)


def test_an_expired_hour_is_left_as_it_is_for_its_rows_no_longer_tell_what_was(
    world: World,
) -> None:
    _damage(world)
    _set(world, "items#2026-11-22T12:05:00Z#1", count=0, errorCount=3)
    world.clock.advance(86_400 * 2)
    world.checks(lifetimes={"Item": _days(1)}).run(REPAIR | {"repair": True}).result()
    assert world.stored()[MINUTE] == (0, 0, 0, 0, 0, 3)


def test_an_expired_hour_with_all_its_rows_counted_is_decided_whatever_they_cost(
    world: World,
) -> None:
    world.insert("Evaluation", "gone", cost=-1.0)
    world.insert("Evaluation", "stays", cost=1.0)
    world.deliver()
    world.clock.advance(3 * 86_400)
    world.remove("Evaluation", "gone", expired=True)
    world.deliver()
    checker = world.reconciler(lifetimes={"Evaluation": timedelta(days=2)})
    assert checker.check([hour_id("evaluations", 12)], repair=True).undecided == set()


def test_an_expired_hour_of_which_nothing_is_stored_counts_the_rows_that_are_left(
    world: World,
) -> None:
    _item(world, "a")
    world.undelivered.clear()
    world.clock.advance(86_400 * 2)
    world.checks(lifetimes={"Item": _days(1)}).run(REPAIR | {"repair": True}).result()
    assert world.stored() == truth(world.api)


def test_other_models_are_lowered_all_the_same(world: World) -> None:
    _damage(world)
    world.clock.advance(86_400 * 2)
    world.checks(lifetimes={"Task": _days(1)}).run(REPAIR | {"repair": True}).result()
    assert world.stored()[MINUTE][0] == 1


def _days(days: float) -> Any:
    from datetime import timedelta  # noqa: PLC0415

    return timedelta(days=days)


@pytest.mark.parametrize("created", ["2026-11-22T17:35:30+05:30", "2026-11-22T01:05-11:00"])
def test_rows_with_times_of_other_zones_are_right_from_the_beginning(
    world: World, created: str
) -> None:
    world.insert("Item", "a", createdAt=created, createdByType="upload")
    world.insert("ScoreResult", "b", createdAt=created, updatedAt=created)
    world.deliver()
    assert world.stored()[MINUTE][0] == 1
    assert _counts(world.check()) == (0, 0, 0)
    assert world.check().minutes == 3


# Events -------------------------------------------------------------------------------------------


def test_every_event_of_the_reconciler_is_used_in_a_test() -> None:
    here = "".join(
        path.read_text()
        for path in (ROOT / "tests").rglob("test_*.py")
        if path.name in ("test_reconciler.py", "test_checks.py", "test_ranges.py")
    )
    names = [path.stem for path in (ROOT / "events/reconciler").glob("*.json")]
    assert [name for name in names if f"reconciler/{name}" not in here] == []


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({"lostBatches": "true"}, "lostBatches is 'true', not true or false"),
        ({"lostBatches": 1}, "lostBatches is 1, not true or false"),
        (None, "not a JSON object"),
        (5, "not a JSON object"),
        ("lostBatches", "not a JSON object"),
        (["lostBatches"], "not a JSON object"),
    ],
)
def test_the_function_refuses_what_it_does_not_take(stack: Stack, event: Any, says: str) -> None:
    with pytest.raises(EventError, match=says):
        stack.invoke("reconciler", event)
    assert stack.log == []


def test_verify_range_finds_and_writes_nothing(world: World) -> None:
    _damage(world)
    before = world.api.rows("AggregatedMetrics")
    result = world.run(_event("reconciler/verify_range"))
    assert (result["driftCount"], result["repaired"], result["hours"]) == (1, 0, 48)
    assert world.api.rows("AggregatedMetrics") == before
    assert result["drift"][0] == {
        "accountId": "acct-1",
        "recordType": "items",
        "timeRangeStart": "2026-11-22T12:05:00Z",
        "numberOfMinutes": 1,
        "stored": _measures(7),
        "counted": _measures(1),
    }


def _measures(count: int) -> dict[str, int]:
    names = ("cost", "decisionCount", "externalAiApiCount", "cachedAiApiCount", "errorCount")
    return {"count": count} | dict.fromkeys(names, 0)


def test_repair_range_sets_right_what_is_in_it(world: World) -> None:
    world.insert("Task", "t", createdAt="2026-11-22T10:59:59Z")
    world.insert("Task", "u", createdAt="2026-11-22T12:00:00Z")
    world.undelivered.clear()
    world.clock.advance(60)
    result = world.run(_event("reconciler/repair_range"))
    assert result["repaired"] == 1
    assert {key[2][11:13] for key in world.stored()} == {"10"}
    assert set(world.marks()) == {"acct-1#tasks#2026-11-22T10:"}


@pytest.mark.parametrize("shape", ["object", "parsed payload", "payload", "text"])
def test_on_failure_the_hours_of_a_lost_batch_are_repaired(world: World, shape: str) -> None:
    given = _event("reconciler/on_failure")["onFailure"]
    forms = {
        "object": given,
        "parsed payload": given | {"payload": json.loads(given["payload"])},
        "payload": json.loads(given["payload"]),
        "text": given["payload"],
    }
    world.api.put("Item", rows.item("item-1"))
    world.api.put(
        "Item",
        rows.item("item-2", createdAt="2026-11-22T11:59:59.999Z", createdByType="evaluation"),
    )
    result = world.run({"onFailure": forms[shape]})
    assert (result["hours"], result["repaired"]) == (4, 4)
    assert world.stored() == truth(world.api)


class _Quarantine:
    """Takes what cannot be counted."""

    def __init__(self) -> None:
        self.taken = 0

    def send(self, rejects: Sequence[Reject]) -> int:
        self.taken += len(rejects)
        return len(rejects)


def test_what_a_lost_batch_cannot_count_goes_to_quarantine_once_its_hours_are_right(
    world: World,
) -> None:
    world.insert("Task", "a")
    world.insert("Task", "bad", accountId=None)
    event = {"onFailure": {"Records": [record for _, record in world.undelivered]}}
    world.undelivered.clear()
    world.clock.advance(23 * 3_600)
    quarantine: Any = _Quarantine()
    checks = replace(world.checks(), quarantine=quarantine)
    checks.run(event | {"repair": False})
    assert quarantine.taken == 0
    world.at("wait", lambda: world.update("Task", "a", status="FAILED"))
    assert checks.run(event).result()["movingCount"] == 1
    assert quarantine.taken == 0
    world.clock.advance(3_600)
    assert checks.run(event).result()["movingCount"] == 0
    assert quarantine.taken == 1


def test_a_backfill_of_its_plan_is_exact(world: World) -> None:
    for number in range(40):
        day, hour = 20 + number % 3, number % 24
        world.api.put(
            "ScoreResult",
            rows.score_result(f"r{number}", createdAt=f"2026-11-{day}T{hour:02}:00:00Z"),
        )
    for part in world.run(_event("reconciler/backfill_plan"))["units"]:
        assert world.run(part)["done"]
    assert world.stored() == truth(world.api)
    assert all(
        world.run(part)["driftCount"] == 0
        for part in world.run({"plan": _event("backfill")})["units"]
    )
