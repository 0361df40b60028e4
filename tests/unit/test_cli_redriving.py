"""Turning quarantined records back into events."""

import io
import json
from typing import Any

import pytest
from aggregated_metrics.changes import Reject, fold
from aggregated_metrics.cli.redriving import (
    Held,
    InvocationError,
    Redriven,
    event_of,
    invoker,
    quarantined,
    redrive,
    refusal,
    source_tables_of,
)
from aggregated_metrics.errors import EventError
from aggregated_metrics.quarantine import message
from botocore.exceptions import ClientError

from tests.fakes import rows
from tests.fakes.streams import Stream


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
    assert says in (refusal(body, {}) or "")


def test_what_would_only_come_back_is_not_sent() -> None:
    held = _held(Stream("Item").insert(rows.item(accountId=None)))
    assert refusal(held.body, {}) == "accountId is missing"
    assert refusal({"record": {"eventName": "INSERT"}, "oldCounted": True}, {}) is not None
    assert redrive([held], _never, _never, {}) == [Redriven(held, "accountId is missing")]


def _never(*_: Any) -> Any:
    raise AssertionError


def test_a_message_goes_only_when_its_record_was_counted() -> None:
    deleted: list[Held] = []
    held = _held(RECORD)
    assert redrive([held], lambda _: 0, deleted.append, {})[0].left is None
    assert deleted == [held]
    assert redrive([held], lambda _: 1, _never, {})[0].left == "it came back into quarantine"

    def fails(_: Any) -> int:
        raise InvocationError("stream failed")

    assert redrive([held], fails, _never, {})[0].left == "stream failed"


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
