"""Stream records to deltas. Pure: no I/O, no clock.

A *change* is what one stream record did to one row. Its deltas are what the new image adds and the
old image took with it; they keep the record's sequence number, because each minute decides for
itself, by its ledger, which of them it has already taken in (design: exactly once).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2s
from operator import itemgetter
from typing import Any, NamedTuple

from aggregated_metrics import buckets
from aggregated_metrics.errors import EventError, UncountableError
from aggregated_metrics.measures import Measures, minus
from aggregated_metrics.record_types import MODELS, Contribution, Model, contribution

DAY = 24 * 60
EXPIRY_PRINCIPAL = "dynamodb.amazonaws.com"
VIEW_TYPE = "NEW_AND_OLD_IMAGES"

type Delta = tuple[int, Measures]
"""A sequence number, and measures to add."""


class Target(NamedTuple):
    """One minute of one record type of one account."""

    account_id: str
    record_type: str
    minute: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The deltas of the records of one shard.

    Attributes:
        shard: the shard's digest, as ledgers name it.
        last: the greatest sequence number among the records.
        deltas: per minute, in the records' order.
    """

    shard: str
    last: int
    deltas: Mapping[Target, Sequence[Delta]]


class Reject(NamedTuple):
    """A record for the quarantine.

    `old_counted` tells whether its old image has been taken off the counts all the same: then it
    must not be taken off again when the record is sent once more.
    """

    record: Mapping[str, Any]
    reason: str
    old_counted: bool


@dataclass(slots=True)
class Folded:
    """What an event's records come to."""

    batches: list[Batch] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    newest: float | None = None
    """When the newest record was created: epoch seconds, by the stream."""


def records_of(event: Any) -> Sequence[Mapping[str, Any]]:
    """The records of a stream event; none for the last invocation of a window.

    Raises:
        EventError: the event is not one of a DynamoDB stream.
    """
    if isinstance(event, Mapping):
        records = event.get("Records")
        if isinstance(records, list) and all(isinstance(record, Mapping) for record in records):
            return records
        if records is None and event.get("isFinalInvokeForWindow"):
            return []
    raise EventError(
        "the event has no list of Records: this function takes the events of a DynamoDB stream "
        "(see events/stream_aggregator/)"
    )


def fold(event: Any, source_tables: Mapping[str, str]) -> Folded:
    """Fold a stream event into deltas per shard and minute.

    Args:
        event: what Lambda hands over for a DynamoDB stream.
        source_tables: table name to model name, for tables not named in Amplify's form.

    Raises:
        EventError: the event is not one of a DynamoDB stream.
    """
    folded = Folded()
    by_stream: dict[str, list[Mapping[str, Any]]] = {}
    for record in records_of(event):
        by_stream.setdefault(str(record.get("eventSourceARN")), []).append(record)
    for arn, records in by_stream.items():
        _fold_stream(arn, event.get("shardId"), records, source_tables, folded)
    return folded


def _fold_stream(
    arn: str,
    shard_id: str | None,
    records: list[Mapping[str, Any]],
    source_tables: Mapping[str, str],
    folded: Folded,
) -> None:
    try:
        model = model_of_stream(arn, source_tables)
    except UncountableError as error:
        folded.rejects.extend(Reject(record, str(error), old_counted=False) for record in records)
        return
    groups: dict[tuple[str, str | None, int], list[Delta]] = {}
    last = 0
    for record in records:
        try:
            number, created, event_name, old, new = _parts(record)
            last = max(last, number)
            if created is not None:
                folded.newest = max(created, folded.newest or created)
        except (UncountableError, AttributeError, TypeError, ValueError) as error:
            reason = str(error) if isinstance(error, UncountableError) else "not a stream record"
            folded.rejects.append(Reject(record, reason, old_counted=False))
            continue
        latest = None if created is None else int(created // 60) + DAY
        before = _old_contribution(model, old, latest)
        after = None
        if event_name != "REMOVE":
            try:
                after = _contribution(model, new, latest)
            except UncountableError as error:
                folded.rejects.append(Reject(record, str(error), old_counted=before is not None))
        elif _is_expiry(record):
            continue  # what happened still happened
        _add(groups, number, before, after)
    if groups:
        name = shard_id or str(records[0].get("eventID") or last)
        folded.batches.append(Batch(shard_digest(arn, name), last, _by_target(model, groups)))


def model_of_stream(arn: str, source_tables: Mapping[str, str]) -> Model:
    """The model whose table a stream belongs to.

    Raises:
        UncountableError: none; the message names the setting that cures it.
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


def _parts(record: Mapping[str, Any]) -> tuple[int, float | None, str, Any, Any]:
    change = record.get("dynamodb") or {}
    if change.get("StreamViewType", VIEW_TYPE) != VIEW_TYPE:
        raise UncountableError(
            f"the stream's view type is {change['StreamViewType']}: "
            f"counting needs {VIEW_TYPE}; set it on the table's stream"
        )
    event_name = record.get("eventName")
    old, new = change.get("OldImage"), change.get("NewImage")
    if "SequenceNumber" not in change:
        raise UncountableError("the record has no SequenceNumber")
    if event_name not in {"INSERT", "MODIFY", "REMOVE"}:
        raise UncountableError(f"eventName is {event_name!r}, not INSERT, MODIFY or REMOVE")
    if (event_name != "INSERT" and old is None) or (event_name != "REMOVE" and new is None):
        raise UncountableError(f"an image is missing: the stream's view type must be {VIEW_TYPE}")
    created = change.get("ApproximateCreationDateTime")
    return (
        int(change["SequenceNumber"]),
        None if created is None else float(created),
        event_name,
        old if event_name != "INSERT" else None,
        new,
    )


def _old_contribution(model: Model, image: Any, latest: int | None) -> Contribution | None:
    if image is None:
        return None
    try:
        return _contribution(model, image, latest)
    except UncountableError:
        return None  # it was never counted: it went to quarantine when it was new


def _contribution(model: Model, image: Mapping[str, Any], latest: int | None) -> Contribution:
    try:
        fields = {name: _plain(image[name]) for name in model.attributes if name in image}
    except (AttributeError, TypeError, ValueError) as error:
        raise UncountableError("the image is not DynamoDB JSON") from error
    counted = contribution(model, fields)
    if latest is not None and counted.minute > latest:
        raise UncountableError(
            f"createdAt {buckets.iso(counted.minute)} is more than a day after the write"
        )
    return counted


def _plain(value: Mapping[str, Any]) -> Any:
    """A DynamoDB attribute value as a plain one; numbers stay text, for Decimal to read."""
    ((kind, content),) = value.items()
    if kind == "M":
        return {name: _plain(inner) for name, inner in content.items()}
    return None if kind == "NULL" else content


def _is_expiry(record: Mapping[str, Any]) -> bool:
    identity = record.get("userIdentity") or {}
    return bool(identity.get("principalId") == EXPIRY_PRINCIPAL)


def _add(
    groups: dict[tuple[str, str | None, int], list[Delta]],
    number: int,
    before: Contribution | None,
    after: Contribution | None,
) -> None:
    """Add a change to its groups; one that changes nothing counted touches none."""
    if before == after:
        return
    if before is not None and after is not None and before[:3] == after[:3]:
        key = (after.account_id, after.split, after.minute)
        groups.setdefault(key, []).append((number, minus(after.measures, before.measures)))
        return
    if before is not None:
        key = (before.account_id, before.split, before.minute)
        groups.setdefault(key, []).append((number, minus(Measures(), before.measures)))
    if after is not None:
        key = (after.account_id, after.split, after.minute)
        groups.setdefault(key, []).append((number, after.measures))


def _by_target(
    model: Model, groups: Mapping[tuple[str, str | None, int], list[Delta]]
) -> dict[Target, list[Delta]]:
    """Spread each group over the record types that its rows count into, in the records' order."""
    targets: dict[Target, list[Delta]] = {}
    for (account_id, split, minute), deltas in groups.items():
        for record_type in model.record_types(split):
            target = Target(account_id, record_type, minute)
            merged = target in targets
            targets.setdefault(target, []).extend(deltas)
            if merged:
                targets[target].sort(key=itemgetter(0))
    return targets


def touched(batches: Iterable[Batch]) -> set[Target]:
    """Every minute that any of the batches changes."""
    return {target for batch in batches for target in batch.deltas}
