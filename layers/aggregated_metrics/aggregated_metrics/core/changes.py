"""Stream records to deltas. Pure: no I/O, no clock.

A *change* is what one stream record did to one row. Its deltas are what the new image adds and the
old image took with it; they keep the record's sequence number, because each minute decides for
itself, by its ledger, which of them have already been applied.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2s
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from aggregated_metrics.core.buckets import HOUR, floor
from aggregated_metrics.core.errors import EventError, UncountableError
from aggregated_metrics.core.images import Part, count_alike, part_of
from aggregated_metrics.core.listing import Listed
from aggregated_metrics.core.measures import Measures, minus, negative
from aggregated_metrics.core.record_types import MODELS
from aggregated_metrics.core.series import HourId
from aggregated_metrics.core.source_models import Model, Place

_EXPIRY_PRINCIPAL = "dynamodb.amazonaws.com"
VIEW_TYPE = "NEW_AND_OLD_IMAGES"


class Delta(NamedTuple):
    """What one record adds to one minute.

    `number` is its sequence number; `created` when the stream recorded it, in epoch seconds. Where
    an index does not list its row within the hour's own range: `listed` is the text that it is
    listed under, and `unlisted` how many rows more (or fewer) no index lists.
    """

    number: int
    measures: Measures
    created: float | None = None
    listed: str | None = None
    unlisted: int = 0


type _Groups = defaultdict[Place, list[Delta]]


@dataclass(frozen=True, slots=True)
class Batch:
    """The deltas of the records of one shard.

    Attributes:
        shard: the shard's digest, as ledgers name it.
        last: the greatest sequence number among the records.
        hours: what each hour gets: minute to deltas, in the records' order.
    """

    shard: str
    last: int
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
    """What an event's records come to."""

    batches: list[Batch] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    newest: float | None = None
    """When the newest record was created: epoch seconds, by the stream."""

    def deltas(self) -> int:
        """How many deltas there are in all hours."""
        return sum(len(deltas) for batch in self.batches for _, _, deltas in batch.minutes())

    def hours(self) -> set[HourId]:
        """The hours that any of the records changes."""
        return {hour for batch in self.batches for hour in batch.hours}

    def listed(self) -> dict[HourId, set[Listed]]:
        """Where records have rows listed that their hours' own ranges do not hold, or nowhere."""
        found: dict[HourId, set[Listed]] = {}
        for batch in self.batches:
            for hour, minute, deltas in batch.minutes():
                texts: set[Listed] = {(minute, delta.listed) for delta in deltas if delta.listed}
                if sum(delta.unlisted for delta in deltas) > 0:
                    texts.add((minute, None))
                if texts:
                    found.setdefault(hour, set()).update(texts)
        return found


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
    event: Any, source_tables: Mapping[str, str], breakdowns: Collection[str] = frozenset()
) -> Folded:
    """Fold a stream event into deltas per shard and minute.

    Args:
        event: what Lambda hands over for a DynamoDB stream.
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
                    model = model_of_stream(str(arn), source_tables).only(breakdowns)
                    stream = _Stream(arn, record, model)
            except UncountableError as error:
                folded.rejects.append(Reject(record, str(error)))
                continue
            streams[str(arn)] = stream
        stream.take(record, folded)
    for stream in streams.values():
        if stream.groups:
            folded.batches.append(stream.batch(event.get("shardId")))
    return folded


class _Stream:
    """What the records of one stream come to. `take` is the hot path: benchmarks/ measures it."""

    __slots__ = ("arn", "first", "groups", "last", "model")

    def __init__(self, arn: Any, first: Mapping[str, Any], model: Model) -> None:
        self.arn = arn  # as it came: fold compares it with each record's
        self.model = model
        self.first = first
        self.last = 0
        self.groups: _Groups = defaultdict(list)

    def take(self, record: Mapping[str, Any], folded: Folded) -> None:
        """Fold one record: add what its row is now, take away what it was."""
        model = self.model
        try:
            number, created, old, new = _parts(record)
        except (UncountableError, AttributeError, TypeError, ValueError) as error:
            reason = str(error) if isinstance(error, UncountableError) else "not a stream record"
            folded.rejects.append(Reject(record, reason))
            return
        if number > self.last:  # noqa: PLR1730 - max() takes three times as long
            self.last = number
        if created is not None and (folded.newest is None or created > folded.newest):
            folded.newest = created
        before = after = None
        if old is not None:
            before = _part_before(model, old, created)
            if new is None and is_expiry(record):
                return
            if before is not None and count_alike(model, old, new, before):
                return
        if new is not None:
            try:
                after = part_of(model, new, created)
            except UncountableError as error:
                folded.rejects.append(Reject(record, str(error)))
        _add(self.groups, number, created, before, after)

    def batch(self, shard_id: str | None) -> Batch:
        """Its deltas, under the shard's name; without one it is a shard of its own."""
        name = shard_id or str(self.first.get("eventID") or self.last)
        hours = _by_hour(self.model, self.groups)
        return Batch(shard_digest(str(self.arn), name), self.last, hours)


def model_of_stream(arn: str, source_tables: Mapping[str, str]) -> Model:
    """The model whose table a stream belongs to.

    Raises:
        UncountableError: none; the message names the setting that is its remedy.
    """
    parts = arn.split("/")
    table = parts[1] if len(parts) > 1 else arn
    model = MODELS.get(source_tables.get(table) or table.partition("-")[0])
    if model is None:
        raise UncountableError(
            f"no model is known for table {table!r}: name it in SOURCE_TABLES, "
            f'for example {{"{table}": "Item"}}'
        )
    return model


def shard_digest(arn: str, name: str) -> str:
    """Twelve characters that stand for one shard of one stream in every ledger."""
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
    match record.get("eventName"):
        case "INSERT":
            old, new = None, change.get("NewImage")
            whole = new is not None
        case "MODIFY":
            old, new = change.get("OldImage"), change.get("NewImage")
            whole = old is not None and new is not None
        case "REMOVE":
            old, new = change.get("OldImage"), None
            whole = old is not None
        case name:
            raise UncountableError(f"eventName is {name!r}, not INSERT, MODIFY or REMOVE")
    if not whole:
        raise UncountableError(f"an image is missing: the stream's view type must be {VIEW_TYPE}")
    return number, created, old, new


def _part_before(model: Model, image: Any, created: float | None) -> Part | None:
    try:
        return part_of(model, image, created)
    except UncountableError:
        return None  # it was never counted: it went to quarantine when it was new


def is_expiry(record: Mapping[str, Any]) -> bool:
    """Whether DynamoDB's time-to-live has removed the row: what happened still happened."""
    identity = record.get("userIdentity")
    return isinstance(identity, Mapping) and identity.get("principalId") == _EXPIRY_PRINCIPAL


def _add(
    groups: _Groups, number: int, created: float | None, before: Part | None, after: Part | None
) -> None:
    """Add a change to its groups; one that changes nothing counted touches none.

    Images that are listed alike make one delta. Those listed apart make one each: a repair may have
    read the row where it is now and not where it was, so its fence judges each image by itself.
    """
    if before == after:
        return
    if before is not None and after is not None and before[::2] == after[::2]:
        listed, unlisted = after[2]
        if not unlisted:
            groups[after[0]].append(Delta(number, minus(after[1], before[1]), created, listed))
            return
    if before is not None:
        groups[before[0]].append(
            Delta(number, negative(before[1]), created, before[2][0], -before[2][1])
        )
    if after is not None:
        groups[after[0]].append(tuple.__new__(Delta, (number, after[1], created, *after[2])))


def _by_hour(model: Model, groups: _Groups) -> dict[HourId, dict[int, list[Delta]]]:
    """Spread each group over the hours of the series that its rows count into."""
    found: dict[HourId, dict[int, list[list[Delta]]]] = {}
    for (account_id, minute, split, scope), deltas in groups.items():
        start = floor(minute, HOUR)
        for series in model.series(account_id, split, scope):
            minutes = found.setdefault(HourId(series, start), {})
            minutes.setdefault(minute, []).append(deltas)
    return {
        hour: {minute: _merged(parts) for minute, parts in minutes.items()}
        for hour, minutes in found.items()
    }


def _merged(parts: list[list[Delta]]) -> list[Delta]:
    return parts[0] if len(parts) == 1 else sorted(chain(*parts), key=itemgetter(0))
