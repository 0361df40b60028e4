"""The quarantine queue, and the queue of notes of failed batches."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from aggregated_metrics.adapters import queues
from aggregated_metrics.adapters.queues import (
    MESSAGE_BYTES,
    FailedBatches,
    Quarantine,
    message,
)
from aggregated_metrics.core.changes import Reject
from aggregated_metrics.core.errors import ServiceError

from testbench.rows import item, score_result
from testbench.streams import Stream
from testbench.world import Clock

AT = "2026-11-22T10:06:40.123+00:00"
BUCKET = "failed-batches"
KEPT = ("id", "accountId", "createdAt", "value", "code", "cost", "status", "type", "updatedAt")

type Aws = Callable[[str], Any]


@pytest.fixture(autouse=True)
def _no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """moto has one server: an empty answer is one."""
    monkeypatch.setattr(queues, "_WAIT_SECONDS", 0)


def reject(id: str = "item-1", **row: Any) -> Reject:  # noqa: A002
    record = Stream("Item").insert(item(id, **row))
    return (record, "accountId is missing")


class Recorder:
    """SQS with its limits; it refuses the first `failed` entries of each request."""

    def __init__(self, failed: int = 0) -> None:
        self.requests: list[list[str]] = []
        self._failed = failed

    def send_message_batch(self, QueueUrl: str, Entries: list[Any]) -> dict[str, Any]:
        bodies = [entry["MessageBody"] for entry in Entries]
        assert len({entry["Id"] for entry in Entries}) == len(Entries) <= 10
        assert sum(len(body.encode()) for body in bodies) <= 262_144
        self.requests.append(bodies)
        failed = [
            {"Id": entry["Id"], "SenderFault": False, "Code": "InternalError"}
            for entry in Entries[: self._failed]
        ]
        return {"Successful": [], **({"Failed": failed} if failed else {})}

    def delete_message_batch(self, QueueUrl: str, Entries: list[Any]) -> dict[str, Any]:
        return {"Failed": [{"Id": "0", "Code": "ReceiptHandleIsInvalid"}]}


def recorded(clock: Clock, recorder: Recorder) -> Quarantine:
    queue: Any = recorder
    return Quarantine(queue, "q", clock=clock)


# Quarantine --------------------------------------------------------------------------------------


def test_a_record_is_sent_whole_with_the_reason(aws: Aws, queue_url: str, clock: Clock) -> None:
    change = Stream("Item").modify(item(), item(accountId="", text="Größe: 5 µm \u0000"))
    quarantine = Quarantine(aws("sqs"), queue_url, clock=clock)
    assert quarantine.send([(change, "accountId is missing")]) == 1
    (got,) = aws("sqs").receive_message(QueueUrl=queue_url)["Messages"]
    assert json.loads(got["Body"]) == {
        "reason": "accountId is missing",
        "at": AT,
        "truncated": False,
        "record": change,
    }


@pytest.mark.parametrize(
    ("number", "text", "requests"),
    [(0, "", []), (23, "", [10, 10, 3]), (5, "x" * 100_000, [2, 2, 1])],
)
def test_a_request_has_at_most_ten_messages_and_the_bytes_that_sqs_takes(
    clock: Clock, number: int, text: str, requests: list[int]
) -> None:
    recorder = Recorder()
    rejects = [reject(f"i{n}", text=text) for n in range(number)]
    assert recorded(clock, recorder).send(rejects) == number
    assert [len(request) for request in recorder.requests] == requests


def test_a_record_too_large_for_a_message_keeps_what_counting_reads() -> None:
    record = Stream("ScoreResult").insert(score_result(accountId="", explanation="é" * 150_000))
    body = message((record, "accountId is missing"), AT, KEPT)
    assert len(body.encode()) <= MESSAGE_BYTES
    kept = json.loads(body)
    assert kept["truncated"]
    change, original = kept["record"].pop("dynamodb"), record.pop("dynamodb")
    image = original.pop("NewImage")
    assert change.pop("NewImage") == {name: image[name] for name in KEPT if name in image}
    assert (change, kept["record"]) == (original, record)


@pytest.mark.parametrize("size", [2_650, 9_000, 40_000])
def test_the_message_fits_however_large_the_counted_attributes_are(size: int) -> None:
    row = score_result(**dict.fromkeys(KEPT, "\u0001" * size))
    record = Stream("ScoreResult").modify(row, row)
    body = message((record, "cost " + "€" * 300_000), AT, KEPT)
    assert len(body.encode()) <= MESSAGE_BYTES


def test_a_record_of_an_unknown_shape_is_kept_too() -> None:
    kept = json.loads(message(({"dynamodb": "text"}, "not one"), AT, KEPT))
    assert kept["record"] == {"dynamodb": "text"}


def test_a_record_that_was_not_accepted_is_an_error(clock: Clock) -> None:
    with pytest.raises(ServiceError, match=r"refused 1 messages \(InternalError\)"):
        recorded(clock, Recorder(failed=1)).send([reject("a"), reject("b")])


@pytest.mark.parametrize("url", ["", "https://sqs.us-east-1.amazonaws.com/123456789012/absent"])
def test_a_queue_that_does_not_answer_is_an_error_with_its_remedy(
    aws: Aws, clock: Clock, url: str
) -> None:
    quarantine = Quarantine(aws("sqs"), url, clock=clock)
    for ask in (lambda: quarantine.send([reject()]), lambda: quarantine.receive(1)):
        with pytest.raises(ServiceError, match="QUARANTINE_QUEUE_URL"):
            ask()


@pytest.mark.parametrize(("limit", "received"), [(100, 23), (12, 12)])
def test_received_messages_are_hidden_until_they_are_deleted_or_released(
    aws: Aws, queue_url: str, clock: Clock, limit: int, received: int
) -> None:
    quarantine = Quarantine(aws("sqs"), queue_url, clock=clock)
    quarantine.send([reject(f"i{n}") for n in range(23)])
    messages = quarantine.receive(limit)
    assert len({receipt for _, receipt in messages}) == received
    assert len(quarantine.receive(100)) == 23 - received
    quarantine.delete(messages[:11])
    quarantine.release(messages[11:])
    again = [record for record, _ in quarantine.receive(100)]
    assert again == [record for record, _ in messages[11:]]


@pytest.mark.parametrize("body", ["text", "[1]", '{"record": 5}', "{}"])
def test_a_message_without_a_record_is_received_as_one(
    aws: Aws, queue_url: str, clock: Clock, body: str
) -> None:
    aws("sqs").send_message(QueueUrl=queue_url, MessageBody=body)
    (found,) = Quarantine(aws("sqs"), queue_url, clock=clock).receive(1)
    assert found[0] is None


def test_a_message_that_was_not_deleted_is_an_error(clock: Clock) -> None:
    quarantine = recorded(clock, Recorder())
    with pytest.raises(ServiceError, match="refused 1 messages"):
        quarantine.delete([({}, "receipt")])


# Failed batches ----------------------------------------------------------------------------------


class World:
    """The queue and the bucket, with notes as EventBridge makes them."""

    def __init__(self, aws: Aws) -> None:
        self.sqs, self.s3 = aws("sqs"), aws("s3")
        self.s3.create_bucket(Bucket=BUCKET)
        self.queue = self.sqs.create_queue(QueueName="notes")["QueueUrl"]
        self.batches = FailedBatches(self.sqs, self.s3, self.queue)

    def lose(self, content: Any, key: str = "batch") -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(content))
        self.note({"detail": {"bucket": {"name": BUCKET}, "object": {"key": key}}})

    def note(self, content: Any) -> None:
        self.sqs.send_message(QueueUrl=self.queue, MessageBody=json.dumps(content))


@pytest.fixture
def world(aws: Aws) -> World:
    return World(aws)


def test_a_note_leads_to_the_event_of_its_batch_and_is_hidden(world: World) -> None:
    event = {"Records": [{"eventID": "1"}]}
    world.lose({"requestContext": {}, "payload": json.dumps(event)})
    note = world.batches.next()
    assert note is not None
    assert world.batches.content(note) == event
    assert world.batches.next() is None


def test_a_note_that_was_ended_does_not_come_again(world: World) -> None:
    world.lose({"payload": {"Records": []}})
    note = world.batches.next()
    assert note is not None
    world.batches.end(note)
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    got = world.sqs.get_queue_attributes(QueueUrl=world.queue, AttributeNames=names)
    assert [int(value) for value in got["Attributes"].values()] == [0, 0]


@pytest.mark.parametrize("content", [{}, [], "text", {"payload": "no JSON"}])
def test_a_batch_that_cannot_be_read_is_an_error_with_its_note(world: World, content: Any) -> None:
    world.lose(content)
    with pytest.raises(ServiceError, match=r"cannot be read.*its note: "):
        world.batches.content(world.batches.next() or ("", ""))


@pytest.mark.parametrize("detail", [{}, {"bucket": {"name": BUCKET}, "object": {"key": "gone"}}])
def test_a_note_without_its_object_is_an_error(world: World, detail: Any) -> None:
    world.note({"detail": detail})
    with pytest.raises(ServiceError, match="cannot be read"):
        world.batches.content(world.batches.next() or ("", ""))


def test_a_queue_of_notes_that_does_not_answer_is_an_error(world: World) -> None:
    world.lose({"payload": {}})
    note = world.batches.next()
    assert note is not None
    world.sqs.delete_queue(QueueUrl=world.queue)
    for ask in (world.batches.next, lambda: world.batches.end(note)):
        with pytest.raises(ServiceError, match="FAILED_BATCHES_QUEUE_URL"):
            ask()
