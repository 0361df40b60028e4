"""Messages of quarantine, notes of failed batches, and a queue that refuses or is silent."""

import json
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from aggregated_metrics.adapters.queues import (
    MESSAGE_BYTES,
    Queue,
    failed_batch,
    record_of,
    send_rejects,
)
from aggregated_metrics.core.changes import Reject
from aggregated_metrics.core.errors import ServiceError

from testbench.fakes.aws import MemoryQueue, Queues
from testbench.fakes.scans import FakeBucket
from testbench.rows import item, score_result
from testbench.streams import Stream
from tests.conftest import NOW

KEPT = ("id", "accountId", "createdAt", "value", "code", "cost", "status", "type", "updatedAt")


def queue_of(client: Any) -> Queue:
    return Queue(lambda: client, "q", "QUEUE_URL")


def sent(reject: Reject) -> dict[str, Any]:
    """The message that keeps a record."""
    sqs = MemoryQueue()
    assert send_rejects(queue_of(Queues({"q": sqs})), [reject], NOW, KEPT) == 1
    (body,) = sqs.bodies
    assert len(body.encode()) <= MESSAGE_BYTES
    found: dict[str, Any] = json.loads(body)
    return found


def test_a_record_is_sent_whole_with_the_reason() -> None:
    change = Stream("Item").modify(item(), item(accountId="", text="Größe: 5 µm \u0000"))
    assert sent((change, "accountId is missing")) == {
        "reason": "accountId is missing",
        "at": "2026-11-22T10:06:40.123+00:00",
        "truncated": False,
        "record": change,
    }


@pytest.mark.parametrize(
    ("number", "text", "requests"),
    [(0, "", []), (23, "", [10, 10, 3]), (3, "x" * 100_000, [1, 1, 1])],
)
def test_a_request_has_at_most_ten_messages_and_the_bytes_that_sqs_takes(
    number: int, text: str, requests: list[int]
) -> None:
    sqs = Mock(send_message_batch=Mock(return_value={}))
    queue_of(sqs).send([f"{n}{text}" for n in range(number)])
    asked = [call.kwargs["Entries"] for call in sqs.send_message_batch.call_args_list]
    assert [len({entry["Id"] for entry in entries}) for entries in asked] == requests


def test_a_record_too_large_for_a_message_keeps_what_counting_reads() -> None:
    record = Stream("ScoreResult").insert(score_result(accountId="", explanation="é" * 150_000))
    kept = sent((record, "accountId is missing"))
    assert kept["truncated"]
    change, original = kept["record"].pop("dynamodb"), record.pop("dynamodb")
    image = original.pop("NewImage")
    assert change.pop("NewImage") == {name: image[name] for name in KEPT if name in image}
    assert (change, kept["record"]) == (original, record)


def test_the_message_fits_however_large_the_counted_attributes_are() -> None:
    for size in (2_650, 9_000, 40_000):
        row = score_result(**dict.fromkeys(KEPT, "\u0001" * size))
        sent((Stream("ScoreResult").modify(row, row), "cost " + "€" * 300_000))


def test_a_record_of_an_unknown_shape_is_kept_too() -> None:
    assert sent(({"dynamodb": "text"}, "not one"))["record"] == {"dynamodb": "text"}


def test_a_message_without_a_record_is_received_as_one() -> None:
    assert not any(map(record_of, ("text", "[1]", '{"record": 5}', "{}")))


@pytest.mark.parametrize("act", [lambda queue: queue.send("ab"), lambda q: q.delete([("", "r")])])
def test_a_message_that_was_refused_is_an_error(act: Callable[[Queue], None]) -> None:
    refused = Mock(return_value={"Failed": [{"Id": "0", "Code": "InternalError"}]})
    sqs = Mock(send_message_batch=refused, delete_message_batch=refused)
    with pytest.raises(ServiceError, match=r"refused 1 messages \(InternalError\): QUEUE_URL"):
        act(queue_of(sqs))


@pytest.mark.parametrize("url", ["", "https://sqs.us-east-1.amazonaws.com/123456789012/absent"])
@pytest.mark.parametrize("act", [lambda queue: queue.send("a"), lambda queue: queue.receive(1)])
def test_a_queue_that_does_not_answer_is_an_error_with_its_remedy(
    aws: Callable[[str], Any], url: str, act: Callable[[Queue], object]
) -> None:
    with pytest.raises(ServiceError, match="check QUEUE_URL and the role"):
        act(Queue(lambda: aws("sqs"), url, "QUEUE_URL"))


def read(content: Any, note: Any = None) -> Any:
    """The event of a batch whose object has this content."""
    objects: Any = FakeBucket()
    objects.put_object(Bucket="lost", Key="batch", Body=json.dumps(content).encode())
    place = {"bucket": {"name": "lost"}, "object": {"key": "batch"}}
    return failed_batch(objects, json.dumps(note or {"detail": place}))


@pytest.mark.parametrize("payload", [json.dumps({"Records": [1]}), {"Records": [1]}])
def test_a_note_leads_to_the_event_of_its_batch(payload: Any) -> None:
    assert read({"requestContext": {}, "payload": payload}) == {"Records": [1]}


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ({}, None),
        ([], None),
        ("text", None),
        ({"payload": "no JSON"}, None),
        ({"payload": {}}, {"detail": {}}),
        ({"payload": {}}, {"detail": {"bucket": {"name": "lost"}, "object": {"key": "gone"}}}),
    ],
)
def test_a_batch_that_cannot_be_read_is_an_error_with_its_note(content: Any, note: Any) -> None:
    with pytest.raises(ServiceError, match=r"cannot be read.*its note: .*detail"):
        read(content, note)
