"""repair-batches: what it reads of a note and of its object."""

import json
from typing import Any

import pytest
from aggregated_metrics.core.errors import EventError

from aggregated_metrics_cli.queue_repair import Job, QueueMessage
from aggregated_metrics_cli.repair_batches import job_of, place_of
from testbench import rows
from testbench.in_process import ROOT
from testbench.streams import Stream, event

KEPT = json.loads((ROOT / "events/reconciler/on_failure.json").read_text())["onFailure"]


def _job(kept: Any) -> Job:
    return job_of(None, "s3://failed/a b", lambda _: json.dumps(kept), {})


@pytest.mark.parametrize("kept", [KEPT, json.loads(KEPT["payload"])])
def test_an_object_and_its_payload_name_the_same_hours(kept: Any) -> None:
    job = _job(kept)
    assert job.hours_as_json() == [
        "acct-1#evaluationItems#2026-11-22T11:",
        "acct-1#items#2026-11-22T10:",
        "acct-1#items#2026-11-22T11:",
        "acct-1#predictionItems#2026-11-22T10:",
    ]
    assert (job.name, job.left) == ("s3://failed/a b", None)


def test_what_cannot_be_counted_is_kept_for_the_quarantine() -> None:
    stream = Stream("Item")
    records = [stream.insert(rows.item(accountId=None)), stream.insert(rows.item())]
    job = _job(KEPT | {"payload": json.dumps(event(*records))})
    assert [reject.reason for reject in job.rejects] == ["accountId is missing"]
    assert len(job.hours) == 2


def test_an_object_without_a_payload_says_which_range_to_repair() -> None:
    kept = {name: part for name, part in KEPT.items() if name != "payload"}
    left = _job(kept).left or ""
    assert "Item-abcdefghij-NONE" in left
    assert "from 2026-11-22T10:05:31Z to 2026-11-22T10:05:31Z" in left
    assert "no payload" in (_job({}).left or "")


def test_an_object_that_cannot_be_read_says_why() -> None:
    def refuse(place: str) -> str:
        raise EventError(f"{place} cannot be read: NoSuchKey")

    assert job_of(None, "s3://failed/x", refuse, {}).left == (
        "s3://failed/x cannot be read: NoSuchKey"
    )


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"detail": {"bucket": {"name": "b"}, "object": {"key": "a b/c"}}}, "s3://b/a b/c"),
        ({"detail": {"bucket": {"name": "b"}}}, None),
        ({"detail": None}, None),
        ({"Event": "s3:TestEvent"}, None),
        (None, None),
    ],
)
def test_a_note_that_names_no_object_is_told_apart(body: Any, place: str | None) -> None:
    note = QueueMessage("m", "r", body)
    assert place_of(note) == place
    if place is None:
        assert "names no object" in (job_of(note, place, lambda _: "", {}).left or "")
