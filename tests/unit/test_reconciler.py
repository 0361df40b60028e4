"""What the reconciler's events ask for, what they may not be, and what it reports."""

import json
from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from aggregated_metrics.adapters.observability import METRICS
from aggregated_metrics.core.errors import EventError, RunError
from aggregated_metrics.jobs.reconciler import LOST
from botocore.exceptions import ClientError

from testbench.streams import Stream, window_event
from testbench.world import START, World
from tests.conftest import over

RANGE = {"accountId": "acct-1", "start": "2026-11-22T00:00:00Z", "end": "2026-11-23T00:00:00Z"}
DECLARED = json.dumps({"models": [{"name": "Account", "recordType": "accounts"}]})


def insert_uncounted(world: World, model: str = "Item", *names: str, **changes: Any) -> None:
    """Rows whose records are lost."""
    for name in names or ("lost",):
        world.insert(model, name, **changes)
    world.lose()


def accounts(world: World, *names: str) -> list[Any]:
    """Stream records of a declared model that no index lists."""
    stream = Stream("Account")
    times = {"createdAt": world.now(), "updatedAt": world.now()}
    row = {"accountId": "acct-1", **times}
    return [stream.insert({"id": name, **row}, created=world.clock.now) for name in names]


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (None, "see events/reconciler/"),
        ([], "see events/reconciler/"),
        ({"source": "aws.scheduler"}, "see events/reconciler/"),
        ({"range": RANGE, "quarantine": {}}, "see events/reconciler/"),
        ({"tables": {}}, "see events/reconciler/"),
        ({"repair": "yes"}, "not true or false"),
        ({"range": RANGE | {"repair": 1}}, "not true or false"),
        ({"quarantine": {"repair": None}}, "not true or false"),
        ({"failedBatches": []}, "failedBatches is \\[\\], not a JSON object"),
        ({"quarantine": {"limit": 5}}, "unknown name 'limit'"),
        ({"range": RANGE | {"days": 7}}, "unknown name 'days': use accountId, start, end"),
        ({"range": {"accountId": "a", "start": "2026-11-22T00:00:00Z"}}, "end"),
        ({"range": RANGE | {"accountId": ""}}, "not an account's id"),
        ({"range": RANGE | {"start": "yesterday"}}, "2026-11-22T10:00:00Z"),
        ({"range": RANGE | {"end": RANGE["start"]}}, "end must be later"),
        ({"range": RANGE | {"recordTypes": "items"}}, "not a list"),
        ({"range": RANGE | {"recordTypes": ["item"]}}, "'item': use items, "),
        ({"range": RANGE | {"recordTypes": ["accounts"]}}, "backfill --models Account"),
    ],
)
def test_an_event_of_another_shape_is_refused_with_its_remedy(event: Any, says: str) -> None:
    world = World(environment={"MODELS": DECLARED})
    with pytest.raises(EventError, match=says):
        world.invoke("reconciler", event)
    assert world.log == []


def test_a_range_is_widened_to_whole_hours() -> None:
    world, noon = World(["Task"]), START.replace(minute=0)
    world.clock.advance(86_400)
    for start, minutes, hours in ((START, 1, 1), (START, 60, 2), (noon, 60, 1)):
        end = start + timedelta(minutes=minutes)
        assert world.check_range(start, end, recordTypes=["tasks"])["hours"] == hours


def test_hours_that_are_not_over_with_their_grace_are_left_out_of_a_range() -> None:
    world = World(["Task"])
    world.clock.advance(50 * 60 + 119)
    assert world.check_range(recordTypes=["tasks"])["hours"] == 12
    world.clock.advance(1)
    assert world.check_range(recordTypes=["tasks"])["hours"] == 13


def test_a_range_without_record_types_means_all_that_an_index_lists() -> None:
    world = World(environment={"MODELS": DECLARED}, breakdowns="all")
    insert_uncounted(world, "ScoreResult")
    world.clock.advance(7_200)
    result = world.check_range()
    assert {drift["recordType"] for drift in result["drift"]} == {
        *("scoreResults", "predictionScoreResults"),
        *("scoreResultsByScorecard", "scoreResultsByScore"),
    }
    assert not any(b"CountAccount" in exchange.body for exchange in world.log)


def test_record_types_of_one_model_are_one_reading() -> None:
    world = World()
    world.clock.advance(7_200)
    names = ["predictionItems", "items", "tasks", "items"]
    world.check_range(recordTypes=names)
    read = [exchange for exchange in world.log if b"query Count" in exchange.body]
    assert sorted(exchange.body[16:25] for exchange in read) == [
        *(b"CountItem", b"CountTask", b"CountTask"),  # Task's second one is the tail
    ]


def test_a_range_is_bounded_by_its_time_and_names_what_it_does_not_reach() -> None:
    world = World(["Task"], environment={"CHECK_ROWS_LIMIT": "1000"})
    at = START.replace(hour=3).isoformat().replace("+00:00", "Z")
    insert_uncounted(world, "Task", *(f"lost-{n}" for n in range(1_001)), createdAt=at)
    world.clock.advance(7_200)
    assert world.check_range()["notReachedCount"] == 0, "CHECK_ROWS_LIMIT is not for a range"
    world.at("page", lambda: world.clock.advance(600))
    result = world.check_range(recordTypes=["tasks"])
    assert result["notReachedCount"] > 0
    assert result["notReached"] == [
        "acct-1: Task: count its whole table: aggregated-metrics backfill --models Task"
    ]
    assert (world.items("entry"), world.items("check")) == ({}, {})


def test_open_checks_are_reported_for_the_alarms() -> None:
    world = World(["Item", "Task"])
    world.insert("Item", "unindexed", createdAt="2026-11-22T14:10:00.000+02:00")
    world.insert("Task", "unindexed", updatedAt="2026-11-20T10:00:00.000Z")
    for record in world.undelivered:
        world.lose_batch([record])
    world.lose()
    over(world)
    world.check()
    report = world.reports[-1]
    assert (report["deferred"], report["oldestOpenCheckSeconds"]) == (3, 0.0)
    deferred = {each["model"]: each["hours"] for each in report["deferredModels"]}
    assert deferred == {"Item": 2, "Task": 1}
    insert_uncounted(world, "Item", "lost")
    world.lose_batch([Stream("Item").insert(world.row("Item", "lost"), created=world.clock.now)])
    world.check()
    world.clock.advance(1_800)
    world.check()
    assert world.reports[-1]["oldestOpenCheckSeconds"] == 1_800.0


def test_hours_of_a_model_without_an_index_are_completed_and_forgotten_but_not_judged() -> None:
    """Judged by an index that does not exist they would have no rows, and be lowered to zero."""
    world = World(["Account"], environment={"MODELS": DECLARED})
    world.invoke("stream_aggregator", window_event(*accounts(world, "a", "b")))
    stored = world.stored()
    assert {sums[0] for sums in stored.values()} == {2}
    over(world)
    assert world.check()["driftCount"] == 0
    assert world.stored() == stored
    assert (world.items("entry"), world.items("check")) == ({}, {})


def test_a_lost_batch_of_a_model_without_an_index_waits_for_a_scan() -> None:
    world = World(["Account"], environment={"MODELS": DECLARED})
    world.lose_batch(accounts(world, "lost"))
    over(world)
    world.check()
    assert [check["deferred"] for check in world.items("check").values()] == [True]


def test_a_failed_batch_gives_its_hours_entries_and_is_then_forgotten() -> None:
    world = World(["Item"])
    world.insert("Item", "lost")
    world.insert("Item", "uncountable", accountId="")
    world.lose_batch(world.undelivered)
    world.lose_batch([world.undelivered[-1]])
    world.lose()
    assert world.check()["hours"] == 0, "its hour is not over yet"
    assert {entry["recordType"] for entry in world.items("entry").values()} == {
        *("items", "predictionItems"),
    }
    assert {each["reason"] for each in world.items("check").values()} == {LOST}
    report = world.reports[-1]
    assert (report["failedBatches"], report["quarantined"], len(world.quarantined())) == (2, 2, 2)
    over(world)
    assert world.check()["repaired"] > 0
    assert world.reports[-1]["failedBatches"] == 0
    assert world.stored() == world.counted()


def test_a_failed_batch_that_cannot_be_read_costs_no_other_and_no_hour() -> None:
    world = World(["Item"])
    insert_uncounted(world, "Item", "lost")
    record = Stream("Item").insert(world.row("Item", "lost"), created=world.clock.now)
    world.ports.failed_batches.send_message("not a note")
    world.lose_batch([record])
    over(world)
    with pytest.raises(RunError, match="its note: not a note"):
        world.check()
    assert (world.reports[-1]["failedBatches"], world.reports[-1]["repaired"] > 0) == (1, True)
    assert world.stored() == world.counted()


def test_a_queue_of_failed_batches_that_does_not_answer_costs_no_hour() -> None:
    world = World(["Item"])
    world.insert("Item", "counted")
    world.deliver()
    insert_uncounted(world)
    over(world)
    queue: Any = world.ports.failed_batches
    queue.receive_message = Mock(side_effect=ClientError({"Error": {"Code": "No"}}, "Receive"))
    with pytest.raises(RunError, match="check FAILED_BATCHES_QUEUE_URL"):
        world.check()
    assert world.stored() == world.counted()


@pytest.mark.parametrize("event", [{"failedBatches": {}}, {"quarantine": {}}])
def test_records_are_repaired_in_the_same_execution_unless_it_says_otherwise(event: Any) -> None:
    (kind,) = event
    world = World(["Item"])
    world.insert("Item", "lost")
    record = world.undelivered.pop()
    for repair in (False, True):
        if kind == "quarantine":
            world.queue.send_message(json.dumps({"record": record}))
        else:
            world.lose_batch([record])
        over(world)
        asked = {} if repair else {"repair": False}
        result = world.invoke("reconciler", {kind: asked})
        assert result["driftCount"] > 0
        assert (world.stored() == world.counted()) is repair


def test_exactly_the_hours_of_the_records_are_checked() -> None:
    world = World(["Item"])
    world.insert("Item", "another", createdAt="2026-11-22T10:05:30.000Z")
    world.deliver()
    world.insert("Item", "lost", createdByType="upload")
    world.lose_batch([world.undelivered.pop()])
    over(world)
    assert world.invoke("reconciler", {"failedBatches": {}})["hours"] == 1
    world.insert("Item", "too early", createdByType="upload")
    world.lose_batch([world.undelivered.pop()])
    result = world.invoke("reconciler", {"failedBatches": {}})
    assert result["notReached"] == [f"items#{world.now()[:13]}: is not over"]


def test_a_quarantined_record_is_deleted_only_when_it_can_be_counted() -> None:
    world = World(["Item"])
    for name, changes in (("good", {}), ("bad", {"accountId": ""})):
        world.insert("Item", name, **changes)
        record = world.undelivered.pop()
        world.queue.send_message(json.dumps({"reason": "", "record": record}))
    world.queue.send_message("not JSON")
    over(world)
    for repair, redriven in ((False, 0), (True, 1)):
        result = world.invoke("reconciler", {"quarantine": {"repair": repair}})
        assert (result["stillUncountable"], world.reports[-1]["redriven"]) == (2, redriven)
    assert len(world.queue.receive_message(MaxNumberOfMessages=10)["Messages"]) == 2, "and visible"


def test_the_report_has_the_numbers_of_the_metrics_and_the_first_that_drifted() -> None:
    world = World(["Task"])
    for n in range(12):
        insert_uncounted(world, "Task", f"{n}", createdAt=f"2026-11-22T09:{n:02}:30.000Z")
    world.clock.advance(3_600)
    world.check_range()
    report = world.reports[-1]
    assert (report["check"], report["driftCount"], report["repaired"]) == ("range", 12, 0)
    assert report.keys() & METRICS.keys() == {"driftCount", "inFlux", "unverified", "deferred"}
    assert len(report["drift"]) == 10
    assert report["drift"][0]["timeRangeStart"] == "2026-11-22T09:00:00Z"
    world.check()
    hourly = world.reports[-1]
    assert hourly["check"] == "hourly"
    assert hourly.keys() & METRICS.keys() >= {"deferred", "oldestOpenCheckSeconds"}
    assert hourly["drift"] == []
