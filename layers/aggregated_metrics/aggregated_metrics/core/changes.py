"""Stream records to deltas. Pure: no I/O, no clock.

A delta is what one record adds to one minute. It keeps the record's sequence number, because each
minute decides for itself, by its checkpoints, which deltas have already been applied.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2s
from itertools import chain
from typing import Any, NamedTuple

from aggregated_metrics.core.buckets import DAY, HOUR, floor, iso
from aggregated_metrics.core.errors import EventError, UncountableError
from aggregated_metrics.core.measures import Measures, minus, negative
from aggregated_metrics.core.models import Model, Models, Part, Who
from aggregated_metrics.core.series import HourId

_EXPIRY_PRINCIPAL = "dynamodb.amazonaws.com"
_IMAGES = {"INSERT": 1, "MODIFY": 2, "REMOVE": 1}
"""How many images the records of an event have."""
VIEW_TYPE = "NEW_AND_OLD_IMAGES"


class Delta(NamedTuple):
    """What one record adds to one minute.

    An update has one delta for each minute and index status that its row leaves or enters: where
    both are the same, the difference.

    Attributes:
        number: the record's sequence number.
        measures: what is added; negative for what is taken away.
        created: when the stream recorded the change, in epoch seconds; None if it does not say.
        indexed: whether the index that checks read lists the row within the row's own hour.
    """

    number: int
    measures: Measures
    created: float | None
    indexed: bool


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

    def minutes(self) -> Iterator[tuple[HourId, int, Sequence[Delta]]]:
        """Every minute that it changes: its hour, when it starts, its deltas."""
        for hour, minutes in self.hours.items():
            for minute, deltas in minutes.items():
                yield hour, minute, deltas


class Reject(NamedTuple):
    """A record for the quarantine, and why it cannot be counted."""

    record: Mapping[str, Any]
    reason: str


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

    def deltas(self) -> int:
        """The number of deltas in all hours."""
        return sum(len(deltas) for batch in self.batches for _, _, deltas in batch.minutes())

    def hours(self) -> set[HourId]:
        """The hours that any of the records changes."""
        return {hour for batch in self.batches for hour in batch.hours}

    def unindexed_hours(self) -> set[HourId]:
        """Those of them in which a row that changes is unindexed, before or after the change."""
        return {
            hour
            for batch in self.batches
            for hour, _, deltas in batch.minutes()
            if not all(delta.indexed for delta in deltas)
        }


def records_of(event: Any) -> Sequence[Mapping[str, Any]]:
    """The records of a stream event; none for the last invocation of a window.

    Raises:
        EventError: the event is not one of a DynamoDB stream.
    """
    if isinstance(event, Mapping):
        records = event.get("Records")
        if isinstance(records, list) and _are_mappings(records):
            return records
        if records is None and event.get("isFinalInvokeForWindow"):
            return []
    raise EventError(
        "the event has no list of Records: this function takes the events of a DynamoDB stream "
        "(see events/stream_aggregator/)"
    )


def _are_mappings(records: list[Any]) -> bool:
    return all(issubclass(kind, Mapping) for kind in {*map(type, records)})


def fold(
    event: Any,
    models: Models,
    source_tables: Mapping[str, str],
    breakdowns: Collection[str] = frozenset(),
) -> Folded:
    """Fold a stream event into deltas per shard and minute.

    Args:
        event: what Lambda hands over for a DynamoDB stream.
        models: what is counted.
        source_tables: table name to model name, for tables not named in Amplify's form.
        breakdowns: the record types by scorecard or score that are switched on.

    Raises:
        EventError: the event is not one of a DynamoDB stream.
    """
    folded = Folded()
    streams: dict[str, _Stream] = {}
    stream = None
    for record in records_of(event):
        arn = record.get("eventSourceARN")
        if stream is None or arn != stream.arn:
            try:
                stream = streams.get(str(arn))
                if stream is None:
                    model = models.of_table(table_of(str(arn)), source_tables).only(breakdowns)
                    stream = _Stream(arn, record.get("eventID"), model)
            except UncountableError as error:
                folded.rejects.append(Reject(record, str(error)))
                continue
            streams[str(arn)] = stream
        stream.take(record, folded)
    for stream in streams.values():
        folded.batches.append(stream.batch(event.get("shardId")))
    return folded


def table_of(arn: str) -> str:
    """The name of the table that a stream belongs to."""
    parts = arn.split("/")
    return parts[1] if len(parts) > 1 else arn


class _Stream:
    """The changes of one stream's records. `take` is the hot path: benchmarks/ measures it."""

    __slots__ = ("arn", "event_id", "first", "groups", "last", "model")

    def __init__(self, arn: Any, event_id: Any, model: Model) -> None:
        self.arn = arn  # as it came: fold compares it with each record's
        self.event_id = event_id
        self.model = model
        self.first: float | None = None
        self.last = 0
        self.groups: defaultdict[tuple[int, Who], list[Delta]] = defaultdict(list)

    def take(self, record: Mapping[str, Any], folded: Folded) -> None:
        """Fold one record: add what its row is now, take away what it was."""
        try:
            number, created, old, new = _parts(record)
        except (UncountableError, AttributeError, TypeError, ValueError) as error:
            reason = str(error) if isinstance(error, UncountableError) else "not a stream record"
            folded.rejects.append(Reject(record, reason))
            return
        if not self.last:
            self.first = created
        if number > self.last:  # noqa: PLR1730 - max() takes three times as long
            self.last = number
        if created is not None and (folded.newest is None or created > folded.newest):
            folded.newest = created
        if new is None and is_expiry(record):
            return
        before = after = None
        if old is not None:
            try:
                before = self._part(old, created)
            except UncountableError:
                pass  # it was never counted: it went to quarantine when it was new
        if new is not None:
            try:
                after = self._part(new, created)
            except UncountableError as error:
                folded.rejects.append(Reject(record, str(error)))
        if before != after:
            self._add(number, created, before, after)

    def _part(self, image: Mapping[str, Any], created: float | None) -> Part | None:
        part = self.model.part_of(image)
        if part is not None and created is not None and (part[0] - DAY) * 60 > created:
            at = iso(part[0])
            raise UncountableError(f"its time {at} is more than a day after the write")
        return part

    def _add(
        self, number: int, created: float | None, before: Part | None, after: Part | None
    ) -> None:
        """Add a change; one within a minute and an index status is one delta, the difference."""
        if before is not None and after is not None:
            if before[:2] == after[:2] and before[3] == after[3]:
                after = (*after[:2], minus(after[2], before[2]), after[3])
                before = None
        if before is not None:
            minute, who, measures, indexed = before
            self.groups[minute, who].append(Delta(number, negative(measures), created, indexed))
        if after is not None:
            minute, who, measures, indexed = after
            delta = tuple.__new__(Delta, (number, measures, created, indexed))
            self.groups[minute, who].append(delta)

    def batch(self, shard_id: str | None) -> Batch:
        """Its changes, under the shard's name; without one it is a shard of its own."""
        shard = shard_digest(str(self.arn), shard_id or str(self.event_id or self.last))
        return Batch(shard, self.model.name, self.last, self.first, self._by_hour())

    def _by_hour(self) -> dict[HourId, dict[int, Sequence[Delta]]]:
        """Spread each group over the hours of the series that its rows count into."""
        found: dict[HourId, dict[int, list[list[Delta]]]] = {}
        for (minute, who), deltas in self.groups.items():
            start = floor(minute, HOUR)
            for series in self.model.series(who):
                minutes = found.setdefault(HourId(series, start), {})
                minutes.setdefault(minute, []).append(deltas)
        return {
            hour: {
                minute: parts[0] if len(parts) == 1 else [*chain(*parts)]
                for minute, parts in minutes.items()
            }
            for hour, minutes in found.items()
        }


def shard_digest(arn: str, name: str) -> str:
    """Twelve characters that stand for one shard of one stream in every checkpoint."""
    return blake2s(f"{arn}/{name}".encode(), digest_size=6).hexdigest()


def _parts(record: Mapping[str, Any]) -> tuple[int, float | None, Any, Any]:
    """A record's sequence number, when it was created, and what its row was before and after."""
    change = record.get("dynamodb") or {}
    if change.get("StreamViewType", VIEW_TYPE) != VIEW_TYPE:
        raise UncountableError(
            f"the stream's view type is {change['StreamViewType']}: "
            f"counting needs {VIEW_TYPE}; set it on the table's stream"
        )
    if "SequenceNumber" not in change:
        raise UncountableError("the record has no SequenceNumber")
    number, created = int(change["SequenceNumber"]), change.get("ApproximateCreationDateTime")
    if created is not None:
        created = float(created)
    name = record.get("eventName")
    old = None if name == "INSERT" else change.get("OldImage")
    new = None if name == "REMOVE" else change.get("NewImage")
    if name not in _IMAGES:
        raise UncountableError(f"eventName is {name!r}, not INSERT, MODIFY or REMOVE")
    if (old is not None) + (new is not None) != _IMAGES[name]:
        raise UncountableError(f"an image is missing: the stream's view type must be {VIEW_TYPE}")
    return number, created, old, new


def is_expiry(record: Mapping[str, Any]) -> bool:
    """Whether DynamoDB's time-to-live removed the row: then its counts stay."""
    identity = record.get("userIdentity")
    return isinstance(identity, Mapping) and identity.get("principalId") == _EXPIRY_PRINCIPAL
