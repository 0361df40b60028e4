"""Stream records to deltas. Pure: no I/O, no clock.

A delta is what one record adds to one minute. It keeps the record's sequence number, because each
minute decides for itself, by its checkpoints, which deltas have already been applied.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2s
from math import inf
from typing import Any

from aggregated_metrics.core.buckets import DAY, HOUR, floor
from aggregated_metrics.core.errors import EventError, UncountableError
from aggregated_metrics.core.measures import Sums, minus, negative
from aggregated_metrics.core.models import Model, Models, Part, Place
from aggregated_metrics.core.series import HourId

_EXPIRY_PRINCIPAL = "dynamodb.amazonaws.com"
_VIEW_TYPE = "NEW_AND_OLD_IMAGES"

type Delta = tuple[int, Sums, float | None, bool]
"""What one record adds to one minute, as a plain tuple, which is cheap:

- the record's sequence number;
- what is added to the measures, negative for what is taken away;
- when the stream recorded the change, in epoch seconds, or None if it does not say;
- whether the index that checks read lists the row within the row's own hour.

An update has one delta for each minute and index status that its row leaves or enters: where both
are the same, the difference.
"""


type Reject = tuple[Mapping[str, Any], str]
"""A record for the quarantine, and why it cannot be counted."""


@dataclass(slots=True)
class Batch:
    """What the records of one event change: they are of one shard of one table's stream.

    `shard` is its digest, as checkpoints name it; `last` the greatest sequence number; `first` and
    `newest` when those records were created (epoch seconds, None if they do not say). An hour gets
    deltas by minute, in no order.
    """

    shard: str = ""
    model: str = ""
    first: float | None = None
    newest: float | None = None
    last: int = 0
    hours: Mapping[HourId, Mapping[int, Sequence[Delta]]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)

    def unindexed_hours(self) -> set[HourId]:
        """The hours in which a row that changes is unindexed, before or after the change."""
        return {
            hour
            for hour, minutes in self.hours.items()
            if not all(indexed for deltas in minutes.values() for *_, indexed in deltas)
        }


def fold(event: Any, models: Models, source_tables: Mapping[str, str]) -> Batch:
    """Fold a stream event into deltas by minute; `source_tables` is table name to model name.

    Raises:
        EventError: the event is not one of a DynamoDB stream.
    """
    arn, records = _records(event)
    batch, groups = Batch(), defaultdict[Place, list[Delta]](list)
    if not records:
        return batch
    try:
        model = models.of_table(arn.partition("/stream/")[0].rpartition("/")[2], source_tables)
    except UncountableError as error:
        batch.rejects += [(record, str(error)) for record in records]
        return batch
    for record in records:
        _take(record, model, batch, groups)
    shard = event.get("shardId") or str(records[0].get("eventID") or batch.last)
    # Twelve characters stand for one shard of one stream in every checkpoint.
    batch.shard = blake2s(f"{arn}/{shard}".encode(), digest_size=6).hexdigest()
    batch.model, batch.hours = model.name, _spread(groups, model)
    return batch


def _records(event: Any) -> tuple[str, Sequence[Mapping[str, Any]]]:
    """The stream's ARN, and its records: a tumbling window's last event may have none."""
    given = event if isinstance(event, Mapping) else {}
    records = given.get("Records", [] if given.get("isFinalInvokeForWindow") else None)
    kinds = {*map(type, records)} if isinstance(records, list) else {object}
    if not all(issubclass(kind, Mapping) for kind in kinds):
        raise EventError(
            "the event has no list of Records: this function takes the events of a DynamoDB stream "
            "(see events/stream_aggregator/)"
        )
    named = given.get("eventSourceARN")
    arns = {str(named or record.get("eventSourceARN")) for record in records}
    if len(arns) > 1:
        raise EventError(f"an event has the records of one stream, not of {', '.join(arns)}")
    return "".join(arns), records


def _take(
    record: Mapping[str, Any], model: Model, batch: Batch, groups: dict[Place, list[Delta]]
) -> None:
    """Add what a record's row is now, take away what it was: benchmarks/ measures it."""
    try:
        number, created, old, new = _parts(record)
    except UncountableError as error:
        batch.rejects.append((record, str(error)))
        return
    latest = inf if created is None else created / 60 + DAY
    if not batch.last:
        batch.first = created
    if number > batch.last:  # noqa: PLR1730 - max() takes three times as long
        batch.last = number
    if created is not None and (batch.newest is None or created > batch.newest):
        batch.newest = created
    if new is None and _is_expiry(record):
        return
    before = None if old is None else _before(model, old, latest)
    try:
        after = None if new is None else model.part_of(new, latest)
    except UncountableError as error:
        batch.rejects.append((record, str(error)))
        after = None
    for place, measures, indexed in _added(before, after):
        groups[place].append((number, measures, created, indexed))


def _before(model: Model, image: Any, latest: float) -> Part | None:
    """What a row added; one that is uncountable never did: it went to quarantine when new."""
    try:
        return model.part_of(image, latest)
    except UncountableError:
        return None


def _added(before: Part | None, after: Part | None) -> Sequence[Part]:
    """What a change adds; within a minute and an index status it is the difference."""
    if before is None or after is None:
        taken = () if before is None else (_negative(before),)
        return taken if after is None else (after,)
    if before == after:
        return ()
    if before[::2] == after[::2]:
        return ((after[0], minus(after[1], before[1]), after[2]),)
    return _negative(before), after


def _negative(part: Part) -> Part:
    place, measures, indexed = part
    return place, negative(measures), indexed


def _spread(
    groups: Mapping[Place, list[Delta]], model: Model
) -> dict[HourId, dict[int, Sequence[Delta]]]:
    """Each group's deltas in the hours of all series that its rows count into."""
    hours: dict[HourId, dict[int, Sequence[Delta]]] = {}
    for (minute, who, _), deltas in groups.items():
        start = floor(minute, HOUR)
        for series in model.series(who):
            minutes = hours.setdefault(HourId(series, start), {})
            minutes[minute] = [*minutes[minute], *deltas] if minute in minutes else deltas
    return hours


def _parts(record: Mapping[str, Any]) -> tuple[int, float | None, Any, Any]:
    """A record's sequence number, when it was created, and what its row was before and after.

    Raises:
        UncountableError: the record lacks one of these.
    """
    name, change = record.get("eventName"), record.get("dynamodb")
    if name not in ("INSERT", "MODIFY", "REMOVE"):
        raise UncountableError(f"eventName is {name!r}, not INSERT, MODIFY or REMOVE")
    if not isinstance(change, dict):
        raise UncountableError("not a stream record")
    if (view := change.get("StreamViewType", _VIEW_TYPE)) != _VIEW_TYPE:
        raise UncountableError(
            f"the stream's view type is {view}: counting needs {_VIEW_TYPE}; set it on the stream"
        )
    number, created = change.get("SequenceNumber", ""), change.get("ApproximateCreationDateTime")
    if not str(number).isdecimal() or isinstance(created, str):
        raise UncountableError("the record has no SequenceNumber, or its time is a text")
    old = None if name == "INSERT" else change.get("OldImage") or {}
    new = None if name == "REMOVE" else change.get("NewImage") or {}
    if old == {} or new == {}:
        raise UncountableError(f"an image is missing: the stream's view type must be {_VIEW_TYPE}")
    return int(number), created, old, new


def _is_expiry(record: Mapping[str, Any]) -> bool:
    """Whether DynamoDB's time-to-live removed the row: then its counts stay."""
    identity = record.get("userIdentity")
    return isinstance(identity, Mapping) and identity.get("principalId") == _EXPIRY_PRINCIPAL
