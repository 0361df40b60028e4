import json
from collections.abc import Callable
from typing import Any

import pytest
from aggregated_metrics.adapters.quarantine import MESSAGE_BYTES, Quarantine, message
from aggregated_metrics.core.changes import Reject
from aggregated_metrics.core.errors import QuarantineError

from testbench.in_process import Clock
from testbench.rows import item, score_result
from testbench.streams import Stream

AT = "2026-11-22T10:06:40.123+00:00"


def reject(id: str = "item-1", **row: Any) -> Reject:  # noqa: A002
    record = Stream("Item").insert(item(id, **row))
    return Reject(record, "accountId is missing")


class Recorder:
    """SQS, with its limits: it takes what it is given, or fails as told."""

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


def test_a_record_goes_whole_with_the_reason(
    aws: Callable[[str], Any], queue_url: str, clock: Clock
) -> None:
    change = Stream("Item").modify(item(), item(accountId="", text="Größe: 5 µm \u0000"))
    sent = Quarantine(aws("sqs"), queue_url, clock=clock).send(
        [Reject(change, "accountId is missing")]
    )
    assert sent == 1
    (got,) = aws("sqs").receive_message(QueueUrl=queue_url)["Messages"]
    assert json.loads(got["Body"]) == {
        "reason": "accountId is missing",
        "table": "Item-abcdefghij-NONE",
        "at": AT,
        "eventID": change["eventID"],
        "truncated": False,
        "record": change,
    }


def test_nothing_refused_sends_nothing(clock: Clock) -> None:
    recorder = Recorder()
    assert Quarantine(recorder, "", clock=clock).send([]) == 0  # type: ignore[arg-type]
    assert recorder.requests == []


def test_a_request_carries_at_most_ten_messages(clock: Clock) -> None:
    recorder = Recorder()
    rejects = [reject(f"i{n}") for n in range(23)]
    assert Quarantine(recorder, "q", clock=clock).send(rejects) == 23  # type: ignore[arg-type]
    assert [len(request) for request in recorder.requests] == [10, 10, 3]


def test_a_request_carries_no_more_bytes_than_sqs_takes(clock: Clock) -> None:
    recorder = Recorder()
    rejects = [reject(f"i{n}", text="x" * 100_000) for n in range(5)]
    Quarantine(recorder, "q", clock=clock).send(rejects)  # type: ignore[arg-type]
    assert [len(request) for request in recorder.requests] == [2, 2, 1]


def test_what_is_too_large_for_a_message_keeps_what_counting_reads() -> None:
    row = score_result(accountId="", explanation="é" * 150_000)
    record = Stream("ScoreResult").insert(row)
    body = message(Reject(record, "accountId is missing"), AT)
    assert len(body.encode()) <= MESSAGE_BYTES
    kept = json.loads(body)
    assert kept["truncated"]
    change = kept["record"].pop("dynamodb")
    assert set(change.pop("NewImage")) == {
        "id",
        "accountId",
        "createdAt",
        "type",
        "value",
        "code",
        "cost",
        "status",
        "scorecardId",
        "scoreId",
        "updatedAt",
    }
    original = record.pop("dynamodb")
    del original["NewImage"]
    assert (change, kept["record"]) == (original, record)


def test_however_large_what_counting_reads_is_the_message_fits() -> None:
    names = ("value", "code", "cost", "status", "type", "createdAt", "createdByType", "accountId")
    old, new = (score_result(**dict.fromkeys(names, "\u0001" * size)) for size in (2_650, 2_660))
    record = Stream("ScoreResult").modify(old, new)
    body = message(Reject(record, "cost " + "€" * 300_000), AT)
    assert len(body.encode()) <= MESSAGE_BYTES


def test_a_message_that_was_not_taken_is_an_error(clock: Clock) -> None:
    quarantine = Quarantine(Recorder(failed=1), "q", clock=clock)  # type: ignore[arg-type]
    with pytest.raises(QuarantineError, match=r"refused 1 records \(InternalError\)"):
        quarantine.send([reject("a"), reject("b")])


@pytest.mark.parametrize("url", ["", "https://sqs.us-east-1.amazonaws.com/123456789012/absent"])
def test_a_queue_that_does_not_answer_is_an_error_with_its_cure(
    aws: Callable[[str], Any], clock: Clock, url: str
) -> None:
    with pytest.raises(QuarantineError, match="QUARANTINE_QUEUE_URL"):
        Quarantine(aws("sqs"), url, clock=clock).send([reject()])


def test_a_record_of_an_unknown_shape_is_kept_too() -> None:
    kept = json.loads(message(Reject({"dynamodb": "text"}, "not one"), AT))
    assert (kept["table"], kept["eventID"]) == (None, None)
    assert kept["record"] == {"dynamodb": "text"}
