"""DynamoDB stream records and events, as Lambda delivers them."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

type Attributes = Mapping[str, Any]
type Record = dict[str, Any]
type Event = dict[str, Any]

# Real sequence numbers have 21 digits and more, and more as time goes on. The default ones soon
# get their 22nd: code that compares them as strings fails.
FIRST_SEQUENCE_NUMBER = 999_999_999_999_999_999_995
SHARD_ID = "shardId-00000001795000000000-a1b2c3d4"
CREATED = datetime(2026, 11, 22, 10, 5, 31, tzinfo=UTC)

_EXPIRY = {"type": "Service", "principalId": "dynamodb.amazonaws.com"}


def table_arn(table: str) -> str:
    """An ARN for a table, by its name."""
    return f"arn:aws:dynamodb:us-east-1:123456789012:table/{table}"


def stream_arn(model: str) -> str:
    """The ARN of the stream of a model's table, in Amplify's form of names."""
    return f"{table_arn(f'{model}-abcdefghij-NONE')}/stream/2026-11-01T00:00:00.000"


def attribute_value(value: Any) -> dict[str, Any]:
    """A plain value in DynamoDB's JSON."""
    if value is None:
        return {"NULL": True}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, (int, float, Decimal)):
        return {"N": format(Decimal(str(value)), "f")}
    if isinstance(value, str):
        return {"S": value}
    if isinstance(value, Mapping):
        return {"M": image(value)}
    return {"L": [attribute_value(item) for item in value]}


def image(row: Attributes) -> dict[str, Any]:
    """A plain row in DynamoDB's JSON. AWSJSON attributes are given as what they hold: Maps."""
    return {name: attribute_value(value) for name, value in row.items()}


class Stream:
    """One shard of a model's stream: makes records whose sequence numbers grow.

    Args:
        model: the model, or a whole ARN.
        first: the first sequence number; shards of one test need ranges of their own only if
            their records share event ids.
        view: the stream's view type.
    """

    def __init__(
        self, model: str, *, first: int = FIRST_SEQUENCE_NUMBER, view: str = "NEW_AND_OLD_IMAGES"
    ) -> None:
        self.arn = model if model.startswith("arn:") else stream_arn(model)
        self._next = first
        self._view = view

    def insert(self, new: Attributes, *, created: datetime = CREATED) -> Record:
        return self._record("INSERT", None, new, created)

    def modify(self, old: Attributes, new: Attributes, *, created: datetime = CREATED) -> Record:
        return self._record("MODIFY", old, new, created)

    def remove(self, old: Attributes, *, created: datetime = CREATED) -> Record:
        return self._record("REMOVE", old, None, created)

    def expire(self, old: Attributes, *, created: datetime = CREATED) -> Record:
        return self.remove(old, created=created) | {"userIdentity": _EXPIRY}

    def _record(
        self, name: str, old: Attributes | None, new: Attributes | None, created: datetime
    ) -> Record:
        number = self._next
        # Numbers of a shard are not consecutive: other shards take theirs from the same range.
        self._next += 7
        row = new if new is not None else old or {}
        change: Record = {
            "ApproximateCreationDateTime": float(int(created.timestamp())),
            "Keys": image({"id": row["id"]} if "id" in row else {}),
            "SequenceNumber": str(number),
            "StreamViewType": self._view,
        }
        if new is not None and self._view in ("NEW_IMAGE", "NEW_AND_OLD_IMAGES"):
            change["NewImage"] = image(new)
        if old is not None and self._view in ("OLD_IMAGE", "NEW_AND_OLD_IMAGES"):
            change["OldImage"] = image(old)
        change["SizeBytes"] = len(json.dumps(change))
        return {
            "eventID": hashlib.md5(f"{self.arn}/{number}".encode()).hexdigest(),
            "eventName": name,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1",
            "dynamodb": change,
            "eventSourceARN": self.arn,
        }


def event(*records: Record) -> Event:
    """An event of a mapping without a tumbling window: it does not name its shard."""
    return {"Records": list(records)}


def window_event(
    *records: Record, arn: str | None = None, shard_id: str = SHARD_ID, final: bool = False
) -> Event:
    """An event of a mapping with a tumbling window: only these name their shard.

    A final invocation usually has no records; `arn` then says whose it is.
    """
    return {
        "Records": list(records),
        "shardId": shard_id,
        "eventSourceARN": arn or (records[0]["eventSourceARN"] if records else stream_arn("Item")),
        "window": {"start": "2026-11-22T10:00:00Z", "end": "2026-11-22T10:15:00Z"},
        "state": {},
        "isFinalInvokeForWindow": final,
        "isWindowTerminatedEarly": False,
    }
