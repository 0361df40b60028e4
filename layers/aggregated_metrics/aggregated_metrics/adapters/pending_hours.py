"""What is known of hours that are not settled: a small DynamoDB table with three kinds of items.

- An **entry**: an hour was touched. It is put *before* the hour's buckets are written, so after any
  crash it is known which hours to visit. `due` is when the sweeper should come, `over` from when on
  the reconciler may check, `until` when the invocation that touched the hour has certainly ended.
- An **open check**: what a check could not settle; *deferred* if only a Scan can.
- A **note**: a batch is late, so its model's stream is applied only so far.

Every put of an entry or an open check gives it a new token: what was read under another token is
neither moved nor deleted.
"""

import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import batched, chain
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from aggregated_metrics.adapters.observability import logger
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import ServiceError
from aggregated_metrics.core.models import Models
from aggregated_metrics.core.series import HourId, Series, hour_key

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LEASE_SECONDS = 90
"""Longer than any stream batch or sweep (template.yaml: Timeout) and any stale read."""
HOLD_SECONDS = 600
"""How long a late batch, or a mapping that was modified, keeps buckets from completing."""
_PUTS_PER_REQUEST = 25
_TRIES = 6
_REMEMBERED = 20_000
_ABSENT = {"ConditionExpression": "attribute_not_exists(accountId)"}


class Entry(NamedTuple):
    """One touched hour; times are epoch seconds, `token` names this very touch.

    `due` is None when every bucket of the hour is complete.
    """

    hour: HourId
    due: int | None
    over: int
    until: int
    token: str


class OpenCheck(NamedTuple):
    """What a check could not settle: since when, why, and whether only a Scan can.

    `at` is when a check last said so; all times are epoch seconds.
    """

    hour: HourId
    since: int
    deferred: bool
    reason: str
    at: int
    token: str


type Note = tuple[str, float]
"""The model of a late batch, and when its first record was created: epoch seconds."""
type _Plain = Mapping[str, Any]
"""An item's attributes without DynamoDB's types."""


@dataclass(slots=True)
class PendingHours:
    """The table of pending hours. Every method raises ServiceError if it does not answer.

    `grace` is how many seconds after its end a bucket may be complete, `lease` how many the
    caller's invocation may still take, `remembered` what this process has put (hour to due): pass
    one dictionary for its whole life.
    """

    client: "DynamoDBClient"
    table: str
    clock: Callable[[], datetime]
    grace: int
    lease: Callable[[], float] = lambda: LEASE_SECONDS
    remembered: dict[HourId, int] = field(default_factory=dict)
    sleep: Callable[[float], None] = time.sleep

    def touch(self, hours: Mapping[HourId, int | None]) -> int:
        """Put entries before the hours are written; return how many.

        `hours` is hour to when its next bucket elapses (epoch seconds), None when all have. One
        that this process has put already is skipped, if that entry is no later, is still ahead, and
        this invocation certainly ends before the hour is over.
        """
        # 1. Until this invocation has certainly ended no check may forget the hours: its writes
        #    come after this, and may be on their way when it is long dead. A complete hour is due
        #    then, too: its rollups may be behind.
        now, until = self._now(), self._until()
        wanted = ((hour, until if due is None else due) for hour, due in hours.items())
        news = {hour: due for hour, due in wanted if not self._is_known(hour, due, now, until)}
        # 2. Put them. Dead in between: some hours have an entry in which nothing will be written.
        self._put([self._entry_item(hour, due, until) for hour, due in news.items()])
        # 3. Remembered only when they are there: an entry that failed is put again.
        if len(self.remembered) > _REMEMBERED:
            self.remembered.clear()
        self.remembered.update(news)
        return len(news)

    def claim(self, hour: HourId, known: Entry | None) -> Entry | None:
        """Put a repair's entry before it writes an hour, in place of the one that it has read.

        Returns the entry, which the repair may delete when the hour has come out right; None if
        another invocation may still write the hour: its entry stays, or is put again.
        """
        until = self._until()
        item = self._entry_item(hour, until, until)
        condition = _ABSENT if known is None else _under(known.token)
        if known is None or known.until <= self._now():
            put = {"TableName": self.table, "Item": _typed(item), **condition}
            if self._ask(self.client.put_item, **put) is not None:
                return _entry(item)
        self._put([item | {"until": max(until, known.until if known else 0)}])
        return None

    def due(self) -> Iterator[Entry]:
        """The entries that are due, the longest due first."""
        return self._query("entry", "due", _entry)

    def over(self) -> Iterator[Entry]:
        """The entries whose hours are over, the longest over first."""
        return self._query("entry", "over", _entry)

    def find(self, hour: HourId) -> tuple[Entry | None, OpenCheck | None]:
        """An hour's entry and its open check, where it has them."""
        key = hour_key(hour)
        return self._get(key, _entry), self._get(f"check#{key}", _open_check)

    def reschedule(self, entry: Entry, due: int | None) -> bool:
        """Say when the sweeper should visit an hour again; never, when every bucket is complete.

        Returns whether that is so now: not if the hour has been touched meanwhile.
        """
        update = _under(entry.token)
        update["ExpressionAttributeNames"]["#due"] = "due"
        update["UpdateExpression"] = "REMOVE #due" if due is None else "SET #due = :due"
        if due is not None:
            update["ExpressionAttributeValues"] |= _typed({":due": due})
        update |= self._at(hour_key(entry.hour))
        return self._ask(self.client.update_item, **update) is not None

    def delete(self, item: Entry | OpenCheck) -> bool:
        """Forget an entry or an open check, unless it has been put again meanwhile."""
        key = hour_key(item.hour)
        if isinstance(item, Entry):
            self.remembered.pop(item.hour, None)
        else:
            key = f"check#{key}"
        delete = self._at(key) | _under(item.token)
        return self._ask(self.client.delete_item, **delete) is not None

    def is_counted(self, item: Entry | OpenCheck, models: Models) -> bool:
        """Whether an hour's record type is counted any more; an item of another one is deleted."""
        is_counted = models.of(item.hour.series.record_type) is not None
        if not is_counted and self.delete(item):
            logger.warning(
                "a pending hour of a record type that is not counted",
                extra={"hour": str(item.hour)},
            )
        return is_counted

    def open_check(self, hour: HourId, reason: str, *, deferred: bool = False) -> None:
        """Say that a check could not settle an hour; one that is deferred stays so."""
        now = int(self._now())
        put = _identity("check", hour) | {"at": now, "reason": reason}
        first: dict[str, Any] = {"since": now, "over": now}
        (put if deferred else first)["deferred"] = deferred
        self._upsert(f"check#{hour_key(hour)}", put, first)

    def expect(self, hour: HourId, reason: str, *, deferred: bool = False) -> None:
        """Have an hour checked: an entry, and an open check that says why."""
        now = int(self._now())
        put = _identity("entry", hour) | {"over": self._over(hour)}
        self._upsert(hour_key(hour), put, {"due": now, "until": now})
        self.open_check(hour, reason, deferred=deferred)

    def open_checks(self) -> Iterator[OpenCheck]:
        """Every open check, the oldest first."""
        return self._query("check", "over", _open_check)

    def put_note(self, model: str, shard: str, first: float) -> None:
        """Note that a shard of a model's stream is applied only up to a time (epoch seconds)."""
        key, now = f"note#{model}#{shard}", int(self._now())
        self._put([{"hour": key, "kind": "note", "over": now, "model": model, "first": first}])

    def notes(self, hold_seconds: int = HOLD_SECONDS) -> list[Note]:
        """The notes that were put within the last seconds."""
        return list(self._query("note", "over", _note, since=int(self._now()) - hold_seconds))

    def _now(self) -> float:
        return self.clock().timestamp()

    def _until(self) -> int:
        return math.ceil(self._now() + self.lease())

    def _is_known(self, hour: HourId, due: int, now: float, until: int) -> bool:
        put = self.remembered.get(hour)
        return put is not None and now < put <= due and until < self._over(hour)

    def _over(self, hour: HourId) -> int:
        """When the hour and its grace are over: epoch seconds."""
        return (hour.start + buckets.HOUR) * 60 + self.grace

    def _entry_item(self, hour: HourId, due: int, until: int) -> dict[str, Any]:
        key = {"hour": hour_key(hour), "token": uuid.uuid4().hex}
        times = {"due": due, "over": self._over(hour), "until": until}
        return _identity("entry", hour) | key | times

    def _put(self, items: Sequence[_Plain]) -> None:
        for part in batched(items, _PUTS_PER_REQUEST, strict=False):
            requests = {self.table: [{"PutRequest": {"Item": _typed(item)}} for item in part]}
            for attempt in range(_TRIES):
                if attempt:
                    self.sleep(0.05 * 2**attempt)
                answer = self._ask(self.client.batch_write_item, RequestItems=requests)
                requests = answer["UnprocessedItems"]
                if not requests:
                    break
            else:
                raise ServiceError(_remedy(self.table, "it is throttled"))

    def _upsert(self, key: str, put: _Plain, first: _Plain) -> None:
        """Set attributes, some of them only if they are not there, and a new token."""
        put = {**put, "token": uuid.uuid4().hex}
        sets = [f"#{name} = :{name}" for name in put]
        sets += [f"#{name} = if_not_exists(#{name}, :{name})" for name in first]
        both = {**put, **first}
        self._ask(
            self.client.update_item,
            **self._at(key),
            UpdateExpression=f"SET {', '.join(sets)}",
            ExpressionAttributeNames={f"#{name}": name for name in both},
            ExpressionAttributeValues=_typed({f":{name}": both[name] for name in both}),
        )

    def _get[Item](self, key: str, read: Callable[[_Plain], Item]) -> Item | None:
        answer = self._ask(self.client.get_item, **self._at(key), ConsistentRead=True)
        return read(_plain(answer["Item"])) if "Item" in answer else None

    def _query[Item](
        self, kind: str, by: str, read: Callable[[_Plain], Item], since: int = 0
    ) -> Iterator[Item]:
        """The items of a kind whose `by` has passed, the longest ago first."""
        values = {":kind": kind, ":since": since, ":now": int(self._now())}
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            IndexName=f"by{by.title()}",
            KeyConditionExpression="#kind = :kind AND #by BETWEEN :since AND :now",
            ExpressionAttributeNames={"#kind": "kind", "#by": by},
            ExpressionAttributeValues=_typed(values),
        )
        with self._answering():
            for item in chain.from_iterable(page["Items"] for page in pages):
                try:
                    yield read(_plain(item))
                except (KeyError, TypeError, ValueError):
                    logger.warning("an item of the pending hours is not understood", extra=item)

    def _at(self, key: str) -> dict[str, Any]:
        return {"TableName": self.table, "Key": {"hour": {"S": key}}}

    def _ask(self, operation: Callable[..., Any], **arguments: Any) -> Any:
        """Carry out a request; None where its condition does not hold."""
        with self._answering():
            try:
                return operation(**arguments)
            except self.client.exceptions.ConditionalCheckFailedException:
                return None

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except (BotoCoreError, ClientError) as error:
            raise ServiceError(_remedy(self.table, error)) from error


def _remedy(table: str, why: object) -> str:
    return f"the table {table} did not answer ({why}); check PENDING_HOURS_TABLE and the role"


def _under(token: str) -> dict[str, Any]:
    """The condition that an item is still the one that was read."""
    return {
        "ConditionExpression": "#token = :token",
        "ExpressionAttributeNames": {"#token": "token"},
        "ExpressionAttributeValues": {":token": {"S": token}},
    }


def _typed(plain: _Plain) -> dict[str, Any]:
    """Attributes as DynamoDB takes them: numbers as texts."""
    kinds = {str: "S", bool: "BOOL"}
    return {
        name: {kinds[type(value)]: value} if type(value) in kinds else {"N": str(value)}
        for name, value in plain.items()
    }


def _plain(item: Mapping[str, Any]) -> _Plain:
    return {name: value for name, typed in item.items() for value in typed.values()}


def _identity(kind: str, hour: HourId) -> dict[str, Any]:
    """What an item says of its hour."""
    (account_id, record_type, *_), start = hour
    named = {"kind": kind, "accountId": account_id, "recordType": record_type, "start": start}
    return {**named, **hour.series.scope_as_json()}


def _hour(item: _Plain) -> HourId:
    ids = (item.get("scorecardId"), item.get("scoreId"))
    return HourId(Series(item["accountId"], item["recordType"], *ids), int(item["start"]))


def _entry(item: _Plain) -> Entry:
    due = None if "due" not in item else int(item["due"])
    return Entry(_hour(item), due, int(item["over"]), int(item["until"]), item["token"])


def _open_check(item: _Plain) -> OpenCheck:
    since, at = int(item["since"]), int(item["at"])
    return OpenCheck(_hour(item), since, item["deferred"], item["reason"], at, item["token"])


def _note(item: _Plain) -> Note:
    return item["model"], float(item["first"])
