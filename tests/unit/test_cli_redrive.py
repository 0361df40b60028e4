"""What a record in quarantine has to do with, and why it stays there."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from aggregated_metrics.adapters.quarantine import message
from aggregated_metrics.core.changes import Reject
from aggregated_metrics.core.errors import AuthorizationError

from aggregated_metrics_cli.queue_repair import Job, QueueMessage
from aggregated_metrics_cli.redrive import as_json, classify
from testbench import rows
from testbench.streams import Stream


def _quarantined(record: Any) -> QueueMessage:
    body = json.loads(message(Reject(record, "because"), "2026-11-22T10:00:00Z"))
    return QueueMessage("m", "r", body)


def _classified(record: Any, row: Any, **source_tables: str) -> Job:
    return classify(_quarantined(record), source_tables, lambda *_: row, NOW)


def _never(*_: Any) -> Any:
    raise AssertionError


NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
SPOILED = rows.score_result(cost="not json")
MENDED = rows.score_result(cost='{"total_cost": 1}', updatedAt="2026-11-22T11:00:00Z")
AHEAD = {"createdAt": "2026-11-25T10:05:30Z"}
HERE = ["acct-1#predictionScoreResults#2026-11-22T10:", "acct-1#scoreResults#2026-11-22T10:"]


def test_a_mended_rows_hours_are_to_be_checked() -> None:
    job = _classified(Stream("ScoreResult").insert(SPOILED), MENDED)
    assert (job.hours_as_json(), job.left) == (HERE, None)


def test_a_row_that_is_gone_is_done_with() -> None:
    job = _classified(Stream("ScoreResult").insert(SPOILED), None)
    assert (job.hours, job.left) == (frozenset(), None)


def test_the_hours_of_both_images_and_of_the_row_as_it_is_now_are_to_be_checked() -> None:
    old = rows.item(createdByType="upload")
    record = Stream("Item").modify(old, old | {"createdAt": "2026-11-22T09:00:00Z"})
    job = _classified(record, old | {"accountId": "acct-2", "createdByType": "evaluation"})
    assert job.hours_as_json() == [
        "acct-1#items#2026-11-22T09:",
        "acct-1#items#2026-11-22T10:",
        "acct-2#evaluationItems#2026-11-22T10:",
        "acct-2#items#2026-11-22T10:",
    ]


@pytest.mark.parametrize("view", ["KEYS_ONLY", "NEW_IMAGE"])
def test_an_image_is_read_whatever_was_wrong_with_its_record(view: str) -> None:
    job = _classified(Stream("ScoreResult", view=view).insert(SPOILED), MENDED)
    assert (job.hours_as_json(), job.left) == (HERE, None)


def test_a_record_that_was_too_large_to_be_kept_whole_is_redriven_all_the_same() -> None:
    spoiled = rows.score_result(accountId="", explanation="é" * 150_000)
    job = _classified(Stream("ScoreResult").insert(spoiled), MENDED)
    assert job.message is not None
    assert job.message.body is not None
    assert job.message.body["truncated"]
    assert (job.hours_as_json(), job.left) == (HERE, None)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (SPOILED, "cost is not JSON"),
        (rows.score_result(accountId=None), "accountId is missing"),
        (rows.score_result(cost=None, **AHEAD), "more than a day after the write"),
        (rows.score_result(cost=None, updatedAt=None), "for want of a plain updatedAt"),
    ],
)
def test_a_record_whose_row_no_check_can_count_stays_and_its_old_hours_are_checked(
    row: Any, says: str
) -> None:
    job = _classified(Stream("ScoreResult").modify(rows.score_result(), SPOILED), row)
    assert says in (job.left or "")
    assert job.hours_as_json() == HERE


def test_a_record_whose_row_cannot_be_read_stays_and_says_why() -> None:
    def denied(*_: Any) -> Any:
        raise AuthorizationError("HTTP 401: not allowed", operation="ReadScoreResult")

    job = classify(_quarantined(Stream("ScoreResult").insert(SPOILED)), {}, denied, NOW)
    assert job.left == "its row cannot be read: ReadScoreResult: HTTP 401: not allowed"


def test_a_time_that_has_come_near_is_checked_like_any_other() -> None:
    near = rows.item(createdByType="upload", **AHEAD, updatedAt="2026-11-25T10:00:00Z")
    job = _classified(Stream("Item").insert(rows.item(**AHEAD)), near)
    assert "acct-1#items#2026-11-25T10:" in job.hours_as_json()
    assert job.left is None


def test_a_time_that_lies_days_ahead_stays_whatever_its_update_claims() -> None:
    far = rows.item(createdAt="2026-12-22T04:24:00Z", updatedAt="2026-12-21T12:00:00Z")
    job = _classified(Stream("Item").insert(far), far)
    assert "more than a day after the write" in (job.left or "")


def test_a_table_that_no_model_is_known_for_stays_until_it_is_named() -> None:
    record = Stream("Calls").insert(rows.item())
    assert "SOURCE_TABLES" in (classify(_quarantined(record), {}, _never, NOW).left or "")
    job = _classified(record, rows.item(), **{"Calls-abcdefghij-NONE": "Item"})
    assert job.left is None
    assert len(job.hours) == 2


@pytest.mark.parametrize("row", [None, rows.item()])
@pytest.mark.parametrize("change", ["modify", "remove"])
def test_a_record_that_does_not_say_where_its_row_counted_before_stays(
    change: str, row: Any
) -> None:
    stream = Stream("Item", view="KEYS_ONLY")
    given = [rows.item()] if change == "remove" else [rows.item(), rows.item()]
    assert "repair the range by hand" in (
        _classified(getattr(stream, change)(*given), row).left or ""
    )


def test_a_row_that_expired_is_not_taken_off() -> None:
    job = _classified(Stream("Item").expire(rows.item()), None)
    assert (job.hours, job.left) == (frozenset(), None)


def test_a_row_that_is_listed_outside_its_hours_range_says_where() -> None:
    text = "2026-11-22T15:35:30+05:30"
    job = _classified(Stream("Item").insert(rows.item(accountId=None)), rows.item(createdAt=text))
    assert job.listed.keys() == job.hours
    assert {listed for texts in job.listed.values() for _, listed in texts} == {text}
    plain = _classified(Stream("Item").insert(rows.item(accountId=None)), rows.item())
    assert plain.listed == {}


def test_whether_an_index_lists_a_row_is_asked_of_the_row_as_it_is_now() -> None:
    nowhere = rows.score_result(cost=None, updatedAt=None)
    record = Stream("ScoreResult").modify(rows.score_result(cost=None), nowhere)
    job = _classified(record, nowhere)
    assert job.listed.keys() == job.hours, "a check must lower nothing there"
    assert {text for texts in job.listed.values() for _, text in texts} == {None}
    mended = _classified(record, rows.score_result(cost=None))
    assert not any(mended.listed.values())


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (None, "no record"),
        ({}, "no record"),
        ({"record": "x"}, "no record"),
        ({"record": {}}, "no model is known"),
        ({"record": {"eventSourceARN": Stream("Item").arn}}, "names no row"),
        ({"record": {"eventSourceARN": Stream("Item").arn, "dynamodb": "x"}}, "names no row"),
    ],
)
def test_a_message_that_holds_no_usable_record_stays_and_says_so(body: Any, says: str) -> None:
    job = classify(QueueMessage("m", "r", body), {}, _never, NOW)
    assert says in (job.left or "")
    assert as_json(job)["keys"] == {}


def test_json_names_the_row_of_a_record_and_its_hours() -> None:
    listed = as_json(_classified(Stream("Item").insert(rows.item()), rows.item()))
    assert listed | {"keys": {"id": "item-1"}, "reason": "because", "left": None} == listed
    assert len(listed["hours"]) == 2
