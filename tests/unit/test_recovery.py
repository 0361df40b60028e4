"""Batches that aged out are repaired by themselves, and none is forgotten."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aggregated_metrics.adapters.lost_batches import LostBatches
from aggregated_metrics.adapters.observability import Report
from aggregated_metrics.core.errors import ContentionError, EventError, LostBatchError
from aggregated_metrics.core.findings import Drift, Findings
from aggregated_metrics.core.hours import HourId, Series
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.jobs.reconciler import Checked
from aggregated_metrics.jobs.recovery import Recovered, Recovery

BUCKET = "failed-batches"
DRIFT = Drift(HourId(Series("a", "items"), 0), 0, 1, Measures(1), Measures(2), None)


@dataclass
class FakeReconciler:
    """Repairs what it is given; what a batch names in `fate` happens to it."""

    given: list[Any] = field(default_factory=list)

    def check_batch(self, batch: dict[str, Any], *, repair: bool) -> Checked:
        self.given.append(batch["name"])
        assert repair is True
        found = Findings(drift=[DRIFT] * 2, repaired=[DRIFT] * 2)
        if batch["fate"] == "moves":
            found = Findings(drift=[DRIFT], repaired=[DRIFT], moving=[DRIFT])
        if batch["fate"] == "is undecided":
            found = Findings(undecided={DRIFT.hour})
        error = ContentionError("no time") if batch["fate"] == "fails" else None
        return Checked(found, repair, error=error)


class World:
    """The queue and the bucket, with notes as EventBridge makes them."""

    def __init__(self, aws: Callable[[str], Any]) -> None:
        self.sqs, self.s3 = aws("sqs"), aws("s3")
        self.s3.create_bucket(Bucket=BUCKET)
        self.queue = self.sqs.create_queue(QueueName="notes")["QueueUrl"]
        self.reconciler = FakeReconciler()
        self.seconds = 900.0

    def lose(self, name: str, fate: str = "is repaired") -> None:
        body = json.dumps({"name": name, "fate": fate})
        self.s3.put_object(Bucket=BUCKET, Key=name, Body=body)
        self.note({"detail": {"bucket": {"name": BUCKET}, "object": {"key": name}}})

    def note(self, content: Any) -> None:
        self.sqs.send_message(QueueUrl=self.queue, MessageBody=json.dumps(content))

    def recovery(self) -> Recovery:
        lost = LostBatches(self.sqs, self.s3, self.queue)
        reconciler: Any = self.reconciler
        return Recovery(lost, reconciler, 60, lambda: self.seconds)

    def recovered(self) -> Recovered:
        return self.recovery().recover()

    def recover(self) -> Report:
        done = self.recovered()
        return done.as_report() | done.result()

    def left(self) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        got = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=names)
        return sum(int(value) for value in got["Attributes"].values())


@pytest.fixture
def world(aws: Callable[[str], Any]) -> World:
    return World(aws)


def test_every_lost_batch_is_repaired_and_its_note_ended(world: World) -> None:
    world.lose("a")
    world.lose("b")
    report = world.recover()
    assert sorted(world.reconciler.given) == ["a", "b"]
    assert (report["lostBatches"], report["rangeDrift"], report["rangeRepaired"]) == (2, 4, 4)
    assert "drift" not in report  # the alarm is for what the hourly check finds
    assert world.left() == 0


def test_a_batch_whose_hours_are_not_known_to_be_right_keeps_its_note(world: World) -> None:
    world.lose("moves", "moves")
    world.lose("undecided", "is undecided")
    world.lose("fails", "fails")
    world.lose("good")
    with pytest.raises(ContentionError):
        world.recover()
    assert sorted(world.reconciler.given) == ["fails", "good", "moves", "undecided"]
    assert world.left() == 3


def test_a_batch_that_its_rows_do_not_decide_is_told(world: World) -> None:
    world.lose("undecided", "is undecided")
    report = world.recover()
    assert (report["lostBatches"], report["undecided"]) == (0, 1)
    assert report["undecidedHours"] != []


def test_what_was_repaired_of_a_batch_that_failed_is_reported(world: World) -> None:
    world.lose("fails", "fails")
    done = world.recovered()
    assert done.as_report()["rangeRepaired"] == 2
    assert len(done.errors) == 1


def test_a_batch_that_cannot_be_read_keeps_no_other_from_being_repaired(world: World) -> None:
    world.lose("gone")
    world.s3.delete_object(Bucket=BUCKET, Key="gone")
    world.note({"detail": {}})
    world.lose("good")
    with pytest.raises(LostBatchError):
        world.recover()
    assert world.reconciler.given == ["good"]
    assert world.left() == 2


def test_nothing_is_begun_that_there_is_no_time_for(world: World) -> None:
    world.lose("a")
    world.seconds = 179.0
    assert world.recover()["lostBatches"] == 0
    assert world.left() == 1


def test_without_lost_batches_nothing_is_done(world: World) -> None:
    assert world.recover()["lostBatches"] == 0


def test_where_repairs_are_not_wanted_no_batch_is_touched(world: World) -> None:
    """The schedule says which, as the template's parameter does."""
    world.lose("a")
    assert world.recovery().run({"lostBatches": False}).result() == {"lostBatches": 0}
    assert (world.reconciler.given, world.left()) == ([], 1)
    assert world.recovery().run({"lostBatches": True}).result() == {"lostBatches": 1}
    assert world.left() == 0


@pytest.mark.parametrize(
    "event", [{"lostBatches": "true"}, {"lostBatches": 1}, {"lostBatches": None}, {}]
)
def test_an_event_that_says_neither_true_nor_false_is_refused(world: World, event: Any) -> None:
    world.lose("a")
    with pytest.raises(EventError, match=r"lostBatches is .*, not true or false"):
        world.recovery().run(event)
    assert world.left() == 1


def test_a_queue_that_does_not_answer_ends_the_run(world: World) -> None:
    world.sqs.delete_queue(QueueUrl=world.queue)
    with pytest.raises(LostBatchError, match="did not answer"):
        world.recover()


def test_what_was_repaired_is_reported_where_the_queue_then_does_not_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.lose("a")
    then: Any = world.reconciler.check_batch

    def repaired_and_gone(batch: dict[str, Any], *, repair: bool) -> Checked:
        world.sqs.delete_queue(QueueUrl=world.queue)
        checked: Checked = then(batch, repair=repair)
        return checked

    monkeypatch.setattr(world.reconciler, "check_batch", repaired_and_gone)
    done = world.recovered()
    assert done.as_report()["rangeRepaired"] == 2
    assert done.errors != []
