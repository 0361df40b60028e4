"""Stream records to deltas. Pure: no I/O, no clock.

A delta is what one record adds to one minute. It keeps the record's sequence number, because each
minute decides for itself, by its checkpoints, which deltas have already been applied.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2s
from itertools import chain
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


@dataclass(frozen=True, slots=True)
class Batch:
    """The deltas of the records of one shard.

    Attributes:
        shard: the shard's digest, as checkpoints name it.
        model: the name of the model whose rows changed.
        last: the greatest sequence number among the records.
        first: when the first record was created, in epoch seconds; None if it does not say.
        hours: what each hour gets: minute to deltas, in no order.
    """

    shard: str
    model: str
    last: int
    first: float | None
    hours: Mapping[HourId, Mapping[int, Sequence[Delta]]]


type Reject = tuple[Mapping[str, Any], str]
"""A record for the quarantine, and why it cannot be counted."""


@dataclass(slots=True)
class Folded:
    """What an event's records change.

    Attributes:
        batches: the changes, by shard.
        rejects: records that cannot be counted.
        newest: when the newest record was created, in epoch seconds.
    """

    batches: list[Batch] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    newest: float | None = None

    def hours(self) -> set[HourId]:
        """The hours that any of the records changes."""
        return {hour for batch in self.batches for hour in batch.hours}

    def unindexed_hours(self) -> set[HourId]:
        """Those of them in which a row that changes is unindexed, before or after the change."""
        return {
            hour
            for batch in self.batches
            for hour, minutes in batch.hours.items()
            if not all(indexed for deltas in minutes.values() for *_, indexed in deltas)
        }


def fold(event: Any, models: Models, source_tables: Mapping[str, str]) -> Folded:
    """Fold a stream event into deltas per shard and minute.

    Args:
        event: what Lambda hands over for a DynamoDB stream.
        models: what is counted, with the breakdowns that are switched on.
        source_tables: table name to model name, for tables not named in Amplify's form.

    Raises:
        EventError: the event is not one of a DynamoDB stream.
    """
    folded = Folded()
    for arn, group in _by_stream(event).items():
        table = arn.partition("/stream/")[0].rpartition("/")[2]
        try:
            stream = _Stream(models.of_table(table, source_tables))
        except UncountableError as error:
            folded.rejects += [(record, str(error)) for record in group]
            continue
        for record in group:
            stream.take(record, folded)
        shard = event.get("shardId") or str(group[0].get("eventID") or stream.last)
        # Twelve characters stand for one shard of one stream in every checkpoint.
        digest = blake2s(f"{arn}/{shard}".encode(), digest_size=6).hexdigest()
        folded.batches.append(stream.batch(digest))
    return folded


def _by_stream(event: Any) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """The records by their stream's ARN, which the event of a tumbling window names itself.

    Its last invocation may have none.

    Raises:
        EventError: the event is not one of a DynamoDB stream.
    """
    given = event if isinstance(event, Mapping) else {}
    records = given.get("Records", [] if given.get("isFinalInvokeForWindow") else None)
    kinds = {*map(type, records)} if isinstance(records, list) else {type(records)}
    if not all(issubclass(kind, Mapping) for kind in kinds):
        raise EventError(
            "the event has no list of Records: this function takes the events of a DynamoDB stream "
            "(see events/stream_aggregator/)"
        )
    if records and (arn := given.get("eventSourceARN")):
        return {str(arn): records}
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault(str(record.get("eventSourceARN")), []).append(record)
    return groups


class _Stream:
    """The changes of one stream's records. `take` is the hot path: benchmarks/ measures it."""

    __slots__ = ("first", "groups", "last", "model")

    def __init__(self, model: Model) -> None:
        self.model = model
        self.first: float | None = None
        self.last = 0
        self.groups: defaultdict[Place, list[Delta]] = defaultdict(list)

    def take(self, record: Mapping[str, Any], folded: Folded) -> None:
        """Fold one record: add what its row is now, take away what it was."""
        try:
            number, created, old, new = _parts(record)
            latest = inf if created is None else created / 60 + DAY
        except (AttributeError, KeyError, TypeError, ValueError):
            folded.rejects.append((record, _reason(record)))
            return
        if not self.last:
            self.first = created
        if number > self.last:  # noqa: PLR1730 - max() takes three times as long
            self.last = number
        if created is not None and (folded.newest is None or created > folded.newest):
            folded.newest = created
        if new is None and _is_expiry(record):
            return
        before = None if old is None else self._before(old, latest)
        try:
            after = None if new is None else self.model.part_of(new, latest)
        except UncountableError as error:
            folded.rejects.append((record, str(error)))
            after = None
        if before is not None:
            after = self._replace(number, created, before, after)
        if after is not None:
            place, measures, indexed = after
            self.groups[place].append((number, measures, created, indexed))

    def _before(self, image: Any, latest: float) -> Part | None:
        """What a row added; one that is uncountable never did: it went to quarantine when new."""
        try:
            return self.model.part_of(image, latest)
        except UncountableError:
            return None

    def _replace(
        self, number: int, created: float | None, before: Part, after: Part | None
    ) -> Part | None:
        """What a row adds now; within a minute and an index status it is the difference."""
        place, measures, indexed = before
        if before == after:
            return None
        if after is not None and after[0] == place and after[2] == indexed:
            return place, minus(after[1], measures), indexed
        self.groups[place].append((number, negative(measures), created, indexed))
        return after

    def batch(self, shard: str) -> Batch:
        """Its changes, each group spread over the hours of the series that its rows count into."""
        found: dict[HourId, dict[int, list[list[Delta]]]] = {}
        for (minute, who, _), deltas in self.groups.items():
            start = floor(minute, HOUR)
            for series in self.model.series(who):
                minutes = found.setdefault(HourId(series, start), {})
                minutes.setdefault(minute, []).append(deltas)
        hours = {
            hour: {
                minute: parts[0] if len(parts) == 1 else [*chain(*parts)]
                for minute, parts in minutes.items()
            }
            for hour, minutes in found.items()
        }
        return Batch(shard, self.model.name, self.last, self.first, hours)


def _parts(record: Mapping[str, Any]) -> tuple[int, float | None, Any, Any]:
    """A record's sequence number, when it was created, and what its row was before and after.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: `_reason` says why.
    """
    change, name = record["dynamodb"], record["eventName"]
    if change.get("StreamViewType", _VIEW_TYPE) != _VIEW_TYPE:
        raise ValueError
    number, created = int(change["SequenceNumber"]), change.get("ApproximateCreationDateTime")
    if name == "INSERT" and (new := change["NewImage"]):
        return number, created, None, new
    if name == "MODIFY" and (old := change["OldImage"]) and (new := change["NewImage"]):
        return number, created, old, new
    if name == "REMOVE" and (old := change["OldImage"]):
        return number, created, old, None
    raise ValueError


def _reason(record: Mapping[str, Any]) -> str:
    """Why a record cannot be read."""
    name, change = record.get("eventName"), record.get("dynamodb")
    if name not in {"INSERT", "MODIFY", "REMOVE"}:
        return f"eventName is {name!r}, not INSERT, MODIFY or REMOVE"
    if not isinstance(change, Mapping):
        return "not a stream record"
    if (view := change.get("StreamViewType", _VIEW_TYPE)) != _VIEW_TYPE:
        return (
            f"the stream's view type is {view}: counting needs {_VIEW_TYPE}; set it on the stream"
        )
    if not str(change.get("SequenceNumber")).isdecimal():
        return "the record has no SequenceNumber"
    return f"an image is missing or wrong: the stream's view type must be {_VIEW_TYPE}"


def _is_expiry(record: Mapping[str, Any]) -> bool:
    """Whether DynamoDB's time-to-live removed the row: then its counts stay."""
    identity = record.get("userIdentity")
    return isinstance(identity, Mapping) and identity.get("principalId") == _EXPIRY_PRINCIPAL
