"""Feedback: counted when it was edited, with three measures that live in metadata."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from aggregated_metrics.core.measures import INT_MAX

from testbench import oracle
from testbench.in_process import Stack
from testbench.reconciliation import World, truth
from testbench.rows import REMOVED, feedback_item
from testbench.streams import Stream, window_event

FUNCTION = "stream_aggregator"
MINUTE = "feedbackItems#2026-11-22T10:05:00Z#1"


@pytest.fixture
def world(aws: Any) -> World:
    return World(aws("dynamodb"))


def metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row["metadata"].get(name) for name in oracle.FEEDBACK}


@pytest.mark.parametrize(
    ("changes", "measure"),
    [
        ({}, "unchangedCount"),
        ({"finalAnswerValue": "No"}, "changedCount"),
        ({"finalAnswerValue": "yes"}, "changedCount"),
        ({"initialAnswerValue": ""}, "changedCount"),
        ({"initialAnswerValue": "", "finalAnswerValue": ""}, "unchangedCount"),
        ({"isInvalid": True}, "invalidCount"),
        ({"isInvalid": True, "finalAnswerValue": "No"}, "invalidCount"),
        ({"isInvalid": None}, "unchangedCount"),
        ({"isInvalid": REMOVED}, "unchangedCount"),
        ({"initialAnswerValue": None}, "invalidCount"),
        ({"finalAnswerValue": REMOVED}, "invalidCount"),
    ],
)
def test_an_answer_is_changed_unchanged_or_invalid(
    stack: Stack, changes: dict[str, Any], measure: str
) -> None:
    stack.invoke(FUNCTION, window_event(Stream("FeedbackItem").insert(feedback_item(**changes))))
    for row in stack.rows():
        assert row["count"] == 1
        assert metadata(row) == dict.fromkeys(oracle.FEEDBACK, 0) | {measure: 1}
    assert len(stack.rows()) == 4


@pytest.mark.parametrize(
    ("changes", "minute"),
    [
        ({"editedAt": "2026-11-22T10:01:10Z", "updatedAt": "2026-11-22T10:02:10Z"}, "10:01"),
        ({"editedAt": None, "updatedAt": "2026-11-22T10:02:10Z"}, "10:02"),
        ({"updatedAt": "2026-11-22T10:02:10Z"}, "10:02"),
        ({"updatedAt": REMOVED, "createdAt": "2026-11-22T10:03:10Z"}, "10:03"),
    ],
)
def test_its_time_is_when_it_was_edited_else_updated_else_created(
    stack: Stack, changes: dict[str, Any], minute: str
) -> None:
    stack.invoke(FUNCTION, window_event(Stream("FeedbackItem").insert(feedback_item(**changes))))
    assert stack.row(f"feedbackItems#2026-11-22T{minute}:00Z#1")["count"] == 1


def test_an_unreadable_time_of_editing_is_not_replaced_by_another(stack: Stack) -> None:
    row = feedback_item(editedAt="yesterday")
    stack.invoke(FUNCTION, window_event(Stream("FeedbackItem").insert(row)))
    (message,) = stack.quarantined()
    assert message["reason"] == "editedAt 'yesterday' is not an AWSDateTime"
    assert stack.rows() == []


def test_an_edit_moves_a_row_with_all_its_measures(world: World) -> None:
    world.insert("FeedbackItem", "a", finalAnswerValue=None)
    world.insert("FeedbackItem", "b")
    world.deliver()
    world.clock.advance(180)
    world.update("FeedbackItem", "a", finalAnswerValue="No", editedAt="2026-11-22T12:13:00.000Z")
    world.update("FeedbackItem", "b", itemId="item-2")  # no edit: but the update is its time
    records = list(world.undelivered)
    world.deliver()
    world.undelivered.extend(records)
    world.deliver()
    assert world.stored() == truth(world.api)


def test_whoever_writes_over_the_metadata_is_set_right(world: World) -> None:
    for n in range(3):
        world.insert("FeedbackItem", f"f{n}", finalAnswerValue="No")
    world.deliver()
    for row in world.api.rows("AggregatedMetrics"):
        changed = {"metadata": {"changedCount": "some", "note": "kept"}}
        world.api.put("AggregatedMetrics", dict(row) | changed)
    world.clock.advance(60)
    found = world.check(repair=True)
    assert {drift.stored.extra for drift in found.drift} == {(0, 0, 0)}
    assert world.stored() == truth(world.api)
    (minute,) = (r for r in world.api.rows("AggregatedMetrics") if r["numberOfMinutes"] == 1)
    assert minute["metadata"]["note"] == "kept"
    assert minute["metadata"]["other"] == {"changedCount": "some"}


def test_a_drift_of_such_a_measure_is_reported_by_its_name(world: World) -> None:
    world.insert("FeedbackItem", "a")
    world.deliver()
    world.update(
        "FeedbackItem", "a", isInvalid=True, updatedAt=world.row("FeedbackItem", "a")["updatedAt"]
    )
    world.undelivered.clear()
    world.clock.advance(60)
    hour = {"accountId": "acct-1", "start": "2026-11-22T12:00:00Z", "end": "2026-11-22T13:00:00Z"}
    checked = world.checks().run(hour)
    result = checked.result()
    report: dict[str, Any] = {**checked.as_report()}
    first = result["drift"][0]
    assert (first["stored"]["unchangedCount"], first["counted"]["unchangedCount"]) == (1, 0)
    assert (first["stored"]["invalidCount"], first["counted"]["invalidCount"]) == (0, 1)
    assert report["drifted"][0]["differs"] == ["unchangedCount", "invalidCount"]


def test_what_clamping_cuts_off_is_kept_and_settled(stack: Stack) -> None:
    """Removals of rows that were never counted come first, in any order."""
    stream = Stream("FeedbackItem")
    old, new = feedback_item("a"), feedback_item("b")
    stack.invoke(FUNCTION, window_event(stream.remove(old), shard_id="one"))
    row = stack.row(MINUTE)
    assert (row["count"], metadata(row)["unchangedCount"]) == (0, 0)
    assert row["metadata"]["beyond"] == {"count": "-1", "unchangedCount": "-1"}
    records = [stream.insert(old), stream.insert(new)]
    stack.invoke(FUNCTION, window_event(*records, shard_id="two"))
    row = stack.row(MINUTE)
    assert (row["count"], metadata(row)["unchangedCount"]) == (1, 1)
    assert "beyond" not in row["metadata"]


def test_a_sum_beyond_32_bits_is_kept_whole(stack: Stack) -> None:
    stream = Stream("FeedbackItem")
    stack.invoke(FUNCTION, window_event(stream.insert(feedback_item("a"))))
    for row in stack.rows():
        large = {**row["metadata"], "unchangedCount": INT_MAX}
        stack.api.put("AggregatedMetrics", dict(row) | {"metadata": large})
    stack.invoke(FUNCTION, window_event(stream.insert(feedback_item("b"))))
    row = stack.row(MINUTE)
    assert metadata(row)["unchangedCount"] == INT_MAX
    assert json.loads(json.dumps(row["metadata"]["beyond"])) == {"unchangedCount": "1"}


def test_a_chat_message_without_an_account_waits_in_quarantine(stack: Stack) -> None:
    from testbench.rows import chat_message  # noqa: PLC0415 - of this test alone

    stream = Stream("ChatMessage")
    rows = [chat_message("a"), chat_message("b", accountId=None)]
    stack.invoke(FUNCTION, window_event(*map(stream.insert, rows)))
    assert stack.row("chatMessages#2026-11-22T10:05:00Z#1")["count"] == 1
    (message,) = stack.quarantined()
    assert message["reason"] == "accountId is missing"
    mended = rows[1] | {"accountId": "acct-1"}
    stack.invoke(FUNCTION, window_event(stream.modify(rows[1], mended)))
    assert stack.row("chatMessages#2026-11-22T10:05:00Z#1")["count"] == 2
