"""repair-batches: repairs the hours of batches that aged out uncounted.

    aggregated-metrics repair-batches --stack aggregated-metrics-prod
    aggregated-metrics repair-batches --stack aggregated-metrics-prod s3://bucket/key batch.json

For each note in the stack's FailedBatchesQueue, or for the objects that are named, the object is
read and the hours that its records touch are checked and set right (queue_repair). Its records that
cannot be counted go into quarantine. Then the note is deleted; the object stays in its bucket until
it expires.
"""

import json
from argparse import Namespace
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from aggregated_metrics.core.errors import EventError
from aggregated_metrics.jobs.reconciler import folded_batch

from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.output import Output
from aggregated_metrics_cli.queue_repair import (
    Job,
    Queue,
    QueueMessage,
    conclude,
    work_through,
)

_S3 = "s3://"

type Read = Callable[[str], str]
"""Gives the text of an object such as s3://bucket/key, or of a file; raises EventError."""


def run(options: Namespace, deployment: Deployment, output: Output) -> int:
    """Repair the batches; returns the exit code."""
    process = deployment.process
    tables, breakdowns = process.settings.SOURCE_TABLES, process.settings.BREAKDOWNS

    def read(place: str) -> str:
        return read_text(process.aws("s3"), place)

    if options.places:
        given = [job_of(None, place, read, tables, breakdowns) for place in options.places]
        jobs, repaired = work_through(process, given, lambda _: None)
        hidden, limit = 0, None
    else:
        queue = Queue(process.aws("sqs"), deployment.failed_batches_queue, options.wait)
        hidden, limit = queue.hidden(), options.limit
        with queue.received(options.limit) as (messages, delete):
            given = [job_of(note, place_of(note), read, tables, breakdowns) for note in messages]
            jobs, repaired = work_through(process, given, delete)
    for line in repaired.failed:
        output.say(f"not checked: {line}")
    found = repaired.findings
    output.show(
        {
            "batches": [as_json(job) for job in jobs],
            "driftCount": len(found.drift),
            "repaired": len(found.repaired),
            "movingCount": len(found.moving),
            "hidden": hidden,
        },
        lambda display: display.batches(jobs, found),
    )
    return conclude(jobs, output, hidden=hidden, limit=limit)


def place_of(note: QueueMessage) -> str | None:
    """Where the object lies that a note is about; None where it does not say."""
    try:
        detail = (note.body or {})["detail"]
        return f"{_S3}{detail['bucket']['name']}/{detail['object']['key']}"
    except (KeyError, TypeError):
        return None


def job_of(
    note: QueueMessage | None,
    place: str | None,
    read: Read,
    source_tables: Mapping[str, str],
    breakdowns: Collection[str] = frozenset(),
) -> Job:
    """What an on-failure object asks for, or why it cannot be repaired. Changes nothing."""
    if place is None:
        return Job(note, "-", left="the note names no object: see what else sends to this queue")
    try:
        kept = json.loads(read(place))
        if isinstance(kept, Mapping) and not ({"payload", "Records"} & kept.keys()):
            return Job(note, place, left=_without_payload(kept))
        folded = folded_batch(kept, source_tables, breakdowns)
    except ValueError as error:  # EventError is one, and so is what json raises
        return Job(note, place, left=str(error))
    return Job(
        note,
        place,
        frozenset(folded.hours()),
        folded.listed(),
        folded.rejects,
    )


def _without_payload(kept: Mapping[str, Any]) -> str:
    """What to do about an object that does not hold its batch."""
    batch = kept.get("DDBStreamBatchInfo")
    if not isinstance(batch, Mapping):
        return "the object is no batch that aged out: it has no payload"
    table = str(batch.get("streamArn")).split("/")
    return (
        "the object has no payload, so its rows are not known: repair the range of what was "
        f"written to {table[1] if len(table) > 1 else table[0]} from "
        f"{batch.get('approximateArrivalOfFirstRecord')} to "
        f"{batch.get('approximateArrivalOfLastRecord')}"
    )


def read_text(s3: Any, place: str) -> str:
    """The text of a file, or of an object such as s3://bucket/key.

    Raises:
        EventError: it cannot be read.
    """
    try:
        if place.startswith(_S3):
            bucket, _, key = place.removeprefix(_S3).partition("/")
            return str(s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode())
        return Path(place).read_text(encoding="utf-8")
    except Exception as error:
        # whatever keeps it from being read, the one who named the place has to look at it
        raise EventError(f"{place} cannot be read: {error}") from error


def as_json(job: Job) -> dict[str, Any]:
    """For machines."""
    return {
        "object": job.name,
        "hours": job.hours_as_json(),
        "quarantined": 0 if job.left else len(job.rejects),
        "left": job.left,
    }
