"""The hours that have been touched and are not yet closed and checked: a small DynamoDB table.

stream_aggregator marks an hour *before* it writes the hour's buckets, so that after any crash the
sweeper knows where to look. A mark has `due`, when the sweeper should come, and `until`, when the
invocation that marked it has certainly ended: before that the hour is never called closed, because
its buckets may still be on their way.
"""

import math
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import PendingHoursError
from aggregated_metrics.core.hours import HourId, Series

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

LEASE_SECONDS = 90
"""Longer than any invocation that marks hours (template.yaml: Timeout) and any stale read."""
_INDEX = "byDue"
_MARKS_PER_REQUEST = 25
_TRIES = 6
_REMEMBERED = 20_000

type State = Literal["pending", "closed", "aside"]
"""To be swept; to be checked; to be checked only by somebody who asks (too large for a run)."""


class Mark(NamedTuple):
    """One touched hour; times are epoch seconds, `token` names this very marking.

    `closed` is when it was closed; 0 before. `due` of one that is set aside is since when it is: a
    former version left there when it had been closed or looked at last.
    """

    hour: HourId
    due: int
    until: int
    token: str
    closed: int = 0


class PendingHours:
    """The table of pending hours.

    Args:
        client: boto3's DynamoDB client.
        table: the table's name.
        clock: the time now, aware.
        grace: seconds after its end at which a bucket is complete.
        remembered: what this process has put, hour to due; pass one dictionary for its whole life.
        sleep: how to wait between tries.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        *,
        clock: Callable[[], datetime],
        grace: int,
        remembered: dict[HourId, int] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._table = table
        self._clock = clock
        self._grace = grace
        self._remembered = {} if remembered is None else remembered
        self._sleep = sleep

    def mark(self, hours: Mapping[HourId, int | None]) -> int:
        """Mark hours as touched; return how many marks were put.

        Args:
            hours: hour to when its next bucket elapses (epoch seconds); None when all have.

        An hour that this process has marked already is skipped, if that mark is no later, is still
        ahead, and the hour cannot be closed before this invocation has ended.

        Raises:
            PendingHoursError: the table did not take a mark.
        """
        # 1. Until this invocation has certainly ended nobody may close the hours: its writes come
        #    after this, and may be on their way when it is long dead.
        now = self._clock().timestamp()
        until = math.ceil(now) + LEASE_SECONDS
        wanted = {hour: until if due is None else due for hour, due in hours.items()}
        # 2. A mark that this process knows to be still ahead says the same: no request.
        news = {
            hour: due
            for hour, due in wanted.items()
            if not self._is_marked(hour, due, now=now, until=until)
        }
        # 3. Put them, each with a token of its own: whoever visits the hour now does not move the
        #    new mark on. Dead in between: some hours are marked in which nothing will be written.
        items = [_item(hour, due, until, "pending") for hour, due in news.items()]
        for first in range(0, len(items), _MARKS_PER_REQUEST):
            self._put(items[first : first + _MARKS_PER_REQUEST])
        # 4. Remembered only when they are there. Dead before: they are put again. The other way
        #    round a mark that failed would be taken for there, and its hour be written unmarked.
        if len(self._remembered) > _REMEMBERED:
            self._remembered.clear()
        self._remembered.update(news)
        return len(news)

    def due(self, limit: int) -> list[Mark]:
        """At most `limit` hours that are due, the longest due first."""
        return self._query("pending", int(self._clock().timestamp()), limit)

    def closed(self, limit: int | None = None) -> list[Mark]:
        """The hours that are closed and wait to be checked, those that waited longest first."""
        return self._query("closed", int(self._clock().timestamp()), limit)

    def aside(self) -> list[Mark]:
        """The hours that are kept for a check of whole tables."""
        return self._query("aside", int(self._clock().timestamp()), None)

    def find(self, hour: HourId) -> tuple[State, Mark] | None:
        """An hour's mark and what it waits for, if it has one."""
        try:
            answer = self._client.get_item(
                TableName=self._table, Key={"hour": {"S": _key(hour)}}, ConsistentRead=True
            )
        except (BotoCoreError, ClientError) as error:
            raise PendingHoursError(_remedy(self._table, error)) from error
        item = answer.get("Item")
        if item is None:
            return None
        states: dict[str, State] = {"closed": "closed", "aside": "aside"}
        return states.get(item["state"]["S"], "pending"), _mark(item)

    def reschedule(self, mark: Mark, due: int | None) -> State | None:
        """Move a visited hour on: due again at `due`, or closed when that is None.

        It is closed neither before `until` nor before it is over: a process that has marked it
        does not mark it again while it lies ahead, and may yet write its first bucket.

        Returns the state that it is in now; None if nothing was changed, because the hour has
        been marked again meanwhile.
        """
        # 1. Incomplete: due when its next bucket elapses. Complete: closed, but not before nobody
        #    can be about to write it.
        now = self._clock().timestamp()
        state: State = "pending"
        if due is None:
            due = max(mark.until, self._over(mark.hour))
            if now >= due:
                state, due = "closed", int(now)
        # 2. Moved only if it is still this very mark. Dead before: the hour is due as it was, and
        #    its next visit finds nothing to write.
        return state if self._move(mark, state, due, closed=int(now)) else None

    def postpone(self, mark: Mark) -> bool:
        """Let a closed hour that could not be checked wait behind the others."""
        return self._move(mark, "closed", int(self._clock().timestamp()), closed=mark.closed)

    def set_aside(self, mark: Mark) -> bool:
        """Keep a closed hour for somebody who asks for it: no run by itself can check it."""
        return self._move(mark, "aside", int(self._clock().timestamp()), closed=mark.closed)

    def _move(self, mark: Mark, state: State, due: int, *, closed: int) -> bool:
        return self._conditionally(
            mark,
            self._client.update_item,
            UpdateExpression="SET #state = :state, #due = :due, #closed = :closed",
            ExpressionAttributeNames={
                "#state": "state",
                "#due": "due",
                "#closed": "closed",
                "#token": "token",
            },
            ExpressionAttributeValues={
                ":state": {"S": state},
                ":due": {"N": str(due)},
                ":closed": {"N": str(closed)},
                ":token": {"S": mark.token},
            },
        )

    def remove(self, mark: Mark) -> bool:
        """Forget an hour that has been checked, unless it has been marked again meanwhile."""
        return self._conditionally(
            mark,
            self._client.delete_item,
            ExpressionAttributeNames={"#token": "token"},
            ExpressionAttributeValues={":token": {"S": mark.token}},
        )

    def _is_marked(self, hour: HourId, due: int, *, now: float, until: int) -> bool:
        marked = self._remembered.get(hour)
        return marked is not None and now < marked <= due and until < self._over(hour)

    def _over(self, hour: HourId) -> int:
        """When the hour and its grace are over: epoch seconds."""
        return (hour.start + buckets.HOUR) * 60 + self._grace

    def _put(self, items: list[dict[str, Any]]) -> None:
        requests: Any = {self._table: [{"PutRequest": {"Item": item}} for item in items]}
        try:
            for attempt in range(_TRIES):
                if attempt:
                    self._sleep(0.05 * 2**attempt)
                requests = self._client.batch_write_item(RequestItems=requests)["UnprocessedItems"]
                if not requests:
                    return
        except (BotoCoreError, ClientError) as error:
            raise PendingHoursError(_remedy(self._table, error)) from error
        raise PendingHoursError(_remedy(self._table, "it is throttled"))

    def _query(self, state: State, before: int, limit: int | None) -> list[Mark]:
        try:
            return list(islice(self._pages(state, before), limit))
        except (BotoCoreError, ClientError) as error:
            raise PendingHoursError(_remedy(self._table, error)) from error

    def _pages(self, state: State, before: int) -> Iterator[Mark]:
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            IndexName=_INDEX,
            KeyConditionExpression="#state = :state AND #due <= :before",
            ExpressionAttributeNames={"#state": "state", "#due": "due"},
            ExpressionAttributeValues={":state": {"S": state}, ":before": {"N": str(before)}},
        )
        for page in pages:
            yield from map(_mark, page["Items"])

    def _conditionally(self, mark: Mark, request: Callable[..., Any], **arguments: Any) -> bool:
        try:
            request(
                TableName=self._table,
                Key={"hour": {"S": _key(mark.hour)}},
                ConditionExpression="#token = :token",
                **arguments,
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        except (BotoCoreError, ClientError) as error:
            raise PendingHoursError(_remedy(self._table, error)) from error
        return True


def _remedy(table: str, why: object) -> str:
    return f"the table {table} did not answer ({why}); check PENDING_HOURS_TABLE and the role"


def _key(hour: HourId) -> str:
    return f"{hour.series.account_id}#{hour.prefix}"


def _item(hour: HourId, due: int, until: int, state: State) -> dict[str, Any]:
    item = {
        "hour": {"S": _key(hour)},
        "recordType": {"S": hour.series.record_type},
        "accountId": {"S": hour.series.account_id},
        "scorecardId": {"S": hour.series.scorecard_id},
        "scoreId": {"S": hour.series.score_id},
        "start": {"N": str(hour.start)},
        "state": {"S": state},
        "due": {"N": str(due)},
        "until": {"N": str(until)},
        "token": {"S": uuid.uuid4().hex},
    }
    return {name: value for name, value in item.items() if value != {"S": None}}


def _mark(item: Mapping[str, Any]) -> Mark:
    text = {name: value.get("S") for name, value in item.items()}
    series = Series(
        str(text["accountId"]),
        str(text["recordType"]),
        text.get("scorecardId"),
        text.get("scoreId"),
    )
    return Mark(
        HourId(series, int(item["start"]["N"])),
        int(item["due"]["N"]),
        int(item["until"]["N"]),
        str(text["token"]),
        int(item.get("closed", {}).get("N", 0)),
    )
