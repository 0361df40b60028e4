"""Turning quarantined records back into events."""

import io
import json
from typing import Any

import pytest
from aggregated_metrics.adapters.quarantine import message
from aggregated_metrics.core.changes import Reject, fold
from aggregated_metrics.core.errors import AuthorizationError, EventError
from botocore.exceptions import ClientError

from aggregated_metrics_cli.redrive import (
    Held,
    InvocationError,
    Redriven,
    event_of,
    invoker,
    judge,
    quarantined,
    redrive,
    source_tables_of,
)
from testbench import rows
from testbench.streams import Stream


def _held(record: Any, *, old_counted: bool = False, **changes: Any) -> Held:
    body = json.loads(message(Reject(record, "because", old_counted), "2026-11-22T10:00:00Z"))
    return Held("m", "r", body | changes)


RECORD = Stream("Item").insert(rows.item())


def test_a_record_becomes_an_event_of_its_own_that_names_no_shard() -> None:
    assert event_of(_held(RECORD).body) == {"Records": [RECORD]}


def test_half_a_record_is_an_insert_under_a_name_of_its_own() -> None:
    modified = Stream("Item").modify(rows.item(), rows.item(createdByType="evaluation"))
    (record,) = event_of(_held(modified, old_counted=True).body)["Records"]
    assert record["eventName"] == "INSERT"
    assert record["eventID"] == modified["eventID"] + "/new"
    assert "OldImage" not in record["dynamodb"]
    batches = [
        fold(event, {}).batches[0] for event in ({"Records": [modified]}, {"Records": [record]})
    ]
    assert batches[0].shard != batches[1].shard


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "no record"),
        ({"record": "x"}, "no record"),
        ({"record": RECORD, "truncated": True}, "repair its hours"),
    ],
)
def test_what_cannot_be_sent_says_what_to_do(body: dict[str, Any], says: str) -> None:
    with pytest.raises(EventError, match=says):
        event_of(body)
    assert says in (judge(Held("m", "r", body), {}, _never).left or "")


def test_what_would_only_come_back_is_not_sent() -> None:
    held = _held(Stream("Item").insert(rows.item(accountId=None)))
    stays = [Redriven(held, "accountId is missing")]
    assert redrive([held], _never, _never, {}, lambda *_: rows.item(accountId=None)) == stays


def _never(*_: Any) -> Any:
    raise AssertionError


def test_a_message_goes_only_when_its_record_was_counted() -> None:
    deleted: list[Held] = []
    held = _held(RECORD)
    assert redrive([held], lambda _: 0, deleted.append, {}, _never)[0].left is None
    assert deleted == [held]
    assert (
        redrive([held], lambda _: 1, _never, {}, _never)[0].left == "it came back into quarantine"
    )

    def fails(_: Any) -> int:
        raise InvocationError("stream failed")

    assert redrive([held], fails, _never, {}, _never)[0].left == "stream failed"


SPOILED = rows.score_result(cost="not json")
MENDED = rows.score_result(cost='{"total_cost": 1}', updatedAt="2026-11-22T11:00:00Z")
AHEAD = {"createdAt": "2026-11-25T10:05:30Z"}


@pytest.mark.parametrize(
    ("old", "old_counted"), [(None, False), (SPOILED, False), (rows.score_result(), True)]
)
@pytest.mark.parametrize(("row", "said"), [(MENDED, "mended"), (None, "gone")])
def test_a_record_whose_row_is_mended_or_gone_is_deleted_and_never_sent(
    old: Any, old_counted: bool, row: Any, said: str
) -> None:
    stream, deleted = Stream("ScoreResult"), list[Held]()
    record = stream.modify(old, SPOILED | {"status": "x"}) if old else stream.insert(SPOILED)
    held = _held(record, old_counted=old_counted)
    (result,) = redrive([held], _never, deleted.append, {}, lambda *_: row)
    assert (result.left, result.row, deleted) == (None, said, [held])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (SPOILED, "cost is not JSON"),
        (rows.score_result(accountId=None), "accountId is missing"),
        (rows.score_result(cost=None, **AHEAD), "more than a day after the write"),
    ],
)
def test_a_record_whose_row_cannot_be_counted_either_stays(row: Any, says: str) -> None:
    held = _held(Stream("ScoreResult").insert(SPOILED))
    (result,) = redrive([held], _never, _never, {}, lambda *_: row)
    assert says in (result.left or "")


def test_a_record_whose_row_cannot_be_read_stays_and_says_why() -> None:
    def denied(*_: Any) -> Any:
        raise AuthorizationError("HTTP 401: not allowed", operation="ReadScoreResult")

    (result,) = redrive([_held(Stream("ScoreResult").insert(SPOILED))], _never, _never, {}, denied)
    assert result.left == "its row cannot be read: ReadScoreResult: HTTP 401: not allowed"


def test_a_record_whose_old_image_is_still_to_be_taken_off_is_not_deleted() -> None:
    record = Stream("ScoreResult").modify(rows.score_result(), SPOILED)
    held = _held(record, old_counted=False)  # such as one of a table that no model was known for
    assert judge(held, {}, _never).left == "cost is not JSON"


@pytest.mark.parametrize(
    "record",
    [
        Stream("Unknown").insert(rows.item()),
        Stream("Item", view="KEYS_ONLY").insert(rows.item()),
        {"eventSourceARN": Stream("Item").arn, "eventName": "INSERT"},
    ],
)
def test_a_record_that_was_refused_for_more_than_its_image_is_not_judged_by_its_row(
    record: Any,
) -> None:
    assert judge(_held(record), {}, _never).left is not None


def test_a_time_that_has_come_near_is_no_mend() -> None:
    held = _held(Stream("Item").insert(rows.item(**AHEAD)))
    near = rows.item(**AHEAD, updatedAt="2026-11-25T10:00:00Z")
    assert "repair its hour" in (judge(held, {}, lambda *_: near).left or "")
    assert judge(held, {}, lambda *_: rows.item()).row == "mended"


def test_json_names_the_row_of_a_record() -> None:
    listed = Redriven(_held(RECORD), None, "gone").as_json()
    assert listed | {"keys": {"id": "item-1"}, "row": "gone", "redriven": False} == listed
    assert Redriven(Held("m", "r", {"record": "x"}), "why").as_json()["keys"] == {}


@pytest.mark.parametrize(
    ("log", "number"),
    [
        ("", 0),
        ("START\nEND", 0),
        ('START\n{"quarantined": 2}\nREPORT', 2),
        ('2026-11-22\tINFO\t{"records": 1, "quarantined": 1}', 1),
        ('{"level"\n{"quarantined": "x"}\n{}', 0),
    ],
)
def test_the_log_tells_how_many_came_back(log: str, number: int) -> None:
    assert quarantined(log) == number


class _Lambda:
    def __init__(self, **answer: Any) -> None:
        self.answer = {"StatusCode": 200, "Payload": io.BytesIO(b"{}")} | answer

    def invoke(self, **_: Any) -> dict[str, Any]:
        return self.answer


def test_an_invocation_that_fails_is_an_error_with_its_message() -> None:
    failed = _Lambda(FunctionError="Unhandled", Payload=io.BytesIO(b'{"errorType": "ApiError"}'))
    with pytest.raises(InvocationError, match=r"stream failed: .*ApiError"):
        invoker(failed, "stream")({})
    assert invoker(_Lambda(), "stream")({}) == 0


def test_the_functions_own_tables_decide_if_they_may_be_read() -> None:
    class Refusing:
        def get_function_configuration(self, **_: Any) -> Any:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetFunctionConfiguration")

    class Answering:
        def get_function_configuration(self, **_: Any) -> Any:
            return {"Environment": {"Variables": {"SOURCE_TABLES": '{"t": "Item"}'}}}

    assert source_tables_of(Refusing(), "stream", {"o": "Task"}) == {"o": "Task"}
    assert source_tables_of(Answering(), "stream", {}) == {"t": "Item"}
