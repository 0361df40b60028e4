"""`make repair-batches`: what it sends to the reconciler, and when it lets a note go."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from aggregated_metrics.jobs.reconciler import hours_of_batch
from moto import mock_aws

from aggregated_metrics_cli.repair_batches import RepairError, event, repair

KEPT = json.loads(
    (Path(__file__).parents[2] / "events" / "reconciler" / "on_failure.json").read_text()
)["onFailure"]
GOOD = {"hours": 4, "driftCount": 2, "repaired": 2, "movingCount": 0, "behindSeconds": None}


class Lambda:
    """Answers as the reconciler does."""

    def __init__(self, **answer: Any) -> None:
        self.answer = answer
        self.asked: list[dict[str, Any]] = []

    def invoke(self, FunctionName: str, Payload: bytes) -> dict[str, Any]:
        assert FunctionName == "reconciler"
        self.asked.append(json.loads(Payload))
        failed = {"FunctionError": "Unhandled"} if "errorType" in self.answer else {}
        return {"Payload": io.BytesIO(json.dumps(self.answer).encode()), **failed}


class World:
    """A bucket with one object, its note in the queue, and a reconciler."""

    def __init__(self) -> None:
        self.clients = {
            service: boto3.client(service, region_name="us-east-1") for service in ("s3", "sqs")
        }
        self.clients["s3"].create_bucket(Bucket="failed")
        self.clients["s3"].put_object(Bucket="failed", Key="a b", Body=json.dumps(KEPT).encode())
        self.queue = self.clients["sqs"].create_queue(QueueName="notes")["QueueUrl"]
        note = {"detail": {"bucket": {"name": "failed"}, "object": {"key": "a b"}}}
        self.clients["sqs"].send_message(QueueUrl=self.queue, MessageBody=json.dumps(note))

    def repair(self, reconciler: Lambda) -> list[tuple[str, dict[str, Any]]]:
        outputs = {"FailedBatchesQueueUrl": self.queue, "ReconcilerFunction": "reconciler"}
        clients = {**self.clients, "lambda": reconciler}
        return list(repair(clients.__getitem__, outputs))

    def notes(self) -> int:
        asked = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        got = self.clients["sqs"].get_queue_attributes(QueueUrl=self.queue, AttributeNames=asked)
        return sum(map(int, got["Attributes"].values()))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "made-up-for-tests")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with mock_aws():
        yield World()


def test_a_repaired_batch_is_taken_off_the_queue(world: World) -> None:
    reconciler = Lambda(**GOOD)
    assert world.repair(reconciler) == [("a b", GOOD)]
    assert len(reconciler.asked) == 1
    assert world.notes() == 0


@pytest.mark.parametrize("why", [{"behindSeconds": 90.0}, {"movingCount": 3}])
def test_a_batch_that_could_not_be_repaired_stays(world: World, why: dict[str, Any]) -> None:
    with pytest.raises(RepairError, match="run this again"):
        world.repair(Lambda(**GOOD | why))
    assert world.notes() == 1


def test_a_reconciler_that_fails_is_quoted_and_its_batch_stays(world: World) -> None:
    with pytest.raises(RepairError, match="ContentionError: a day has too many rows"):
        world.repair(Lambda(errorType="ContentionError", errorMessage="a day has too many rows"))
    assert world.notes() == 1


def test_what_is_sent_names_the_same_hours_without_the_rows_contents() -> None:
    sent = event(KEPT)
    assert hours_of_batch(sent["onFailure"], {}) == hours_of_batch(KEPT, {})
    assert hours_of_batch(KEPT, {})
    assert "Good morning" in KEPT["payload"]
    assert "Good morning" not in json.dumps(sent)
