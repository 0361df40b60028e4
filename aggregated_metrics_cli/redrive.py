"""redrive: repairs the hours of the records in quarantine.

Each record's row is read as it is now. The hours in which the record's images and the row count are
checked and set right (queue_repair). A message stays while its row cannot be counted, or while it
is not known where the row counted before.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from aggregated_metrics.adapters.source_rows import part_of
from aggregated_metrics.core.changes import Folded, fold, is_expiry, model_of_stream
from aggregated_metrics.core.errors import ApiError, UncountableError
from aggregated_metrics.core.hours import HourId
from aggregated_metrics.core.listing import Listed, where
from aggregated_metrics.core.source_models import Model, Row

from aggregated_metrics_cli.queue_repair import Job, QueueMessage

type RowOf = Callable[[Model, str], Row | None]
"""Reads a row by its id, as it is now; raises ApiError."""


def classify(
    message: QueueMessage,
    source_tables: Mapping[str, str],
    row_of: RowOf,
    now: datetime,
    breakdowns: Collection[str] = frozenset(),
) -> Job:
    """Which hours a message's record has to do with, and why it stays if it does.

    It changes nothing. The hours of the images are checked even where the record stays.
    """
    job = Job(message)
    try:
        record = _record_of(message)
        model = model_of_stream(str(record.get("eventSourceARN")), source_tables).only(breakdowns)
        images = _folded_images(record, source_tables, breakdowns)
        job = replace(
            job,
            hours=frozenset(images.hours()),
            listed=images.listed(),
        )
        row_id = keys_of(message).get("id")
        if row_id is None:
            raise UncountableError("the record names no row")  # noqa: TRY301 - one way to say why
        row = row_of(model, str(row_id))
        job = replace(job, listed=_somewhere(job.listed))
        if row is not None:
            job = _with_row(job, model, row, now)
        _demand_old_image(record)
    except ApiError as error:
        return replace(job, left=f"its row cannot be read: {error}")
    except UncountableError as error:
        return replace(job, left=str(error))
    return job


def _record_of(message: QueueMessage) -> Mapping[str, Any]:
    record = (message.body or {}).get("record")
    if not isinstance(record, Mapping):
        raise UncountableError("the message has no record")
    return record


def _demand_old_image(record: Mapping[str, Any]) -> None:
    """Only an insert has none: without it nobody knows from where its row is to be taken off."""
    if record.get("eventName") != "INSERT" and "OldImage" not in _change_of(record):
        raise UncountableError(
            "the record has no old image, so where its row counted before is not known: repair the "
            "range by hand"
        )


def _with_row(job: Job, model: Model, row: Row, now: datetime) -> Job:
    """A job that includes where its row counts now, and where it is listed.

    One that no index lists stays: a check only keeps its minute from being lowered.

    Raises:
        UncountableError: it counts nowhere, or no check can find it.
    """
    part = part_of(model, row, now)
    hours, minute = part.hours(), part.minute
    if model.listing is None:
        raise UncountableError(f"{model.name} has no listing: only a whole reading can repair it")
    key = model.listing[1]
    listed = dict(job.listed)
    elsewhere, nowhere = where(key, row.get(key), minute)
    if elsewhere is not None or nowhere:
        for hour in hours:
            listed[hour] = {*listed.get(hour, ()), (minute, elsewhere)}
    left = f"no index lists its row, for want of a plain {key}: write it again" if nowhere else None
    return replace(job, hours=job.hours | hours, listed=listed, left=left)


def _somewhere(listed: Mapping[HourId, Collection[Listed]]) -> dict[HourId, list[Listed]]:
    """Where images were listed: whether a row is listed at all is asked of it as it is now."""
    return {hour: [each for each in texts if each[1]] for hour, texts in listed.items()}


def _folded_images(
    record: Mapping[str, Any], source_tables: Mapping[str, str], breakdowns: Collection[str]
) -> Folded:
    """The images as if their rows had just been inserted: whenever, and whatever the view was.

    The old image of a row that expired is left out: what happened still happened.
    """
    change = _change_of(record)
    images = [change.get("NewImage"), None if is_expiry(record) else change.get("OldImage")]
    inserts = [
        {
            "eventSourceARN": record.get("eventSourceARN"),
            "eventName": "INSERT",
            "dynamodb": {"SequenceNumber": "0", "NewImage": image},
        }
        for image in images
        if isinstance(image, Mapping)
    ]
    return fold({"Records": inserts}, source_tables, breakdowns)


def _change_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    change = record.get("dynamodb")
    return change if isinstance(change, Mapping) else {}


def keys_of(message: QueueMessage | None) -> dict[str, Any]:
    """The key of a message's row, plain; empty where its record names none."""
    record = (message.body or {}).get("record") if message else None
    keys = _change_of(record).get("Keys") if isinstance(record, Mapping) else None
    return dict(_plain(keys)) if isinstance(keys, Mapping) else {}


def _plain(keys: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in keys.items():
        if value and isinstance(value, Mapping):
            yield name, next(iter(value.values()))
