"""An API and a table of pending hours of any size, whose answers are made when they are asked for.

Nothing is stored but what the functions write, so the memory of a process is the functions' own.
"""

import json
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any, Protocol

from testbench import local
from testbench.fakes.aws import MemoryQueue
from testbench.fakes.dynamodb import MemoryTable
from testbench.fakes.endpoint import Answer
from testbench.fakes.signatures import Request
from tests.truth import seams

ACCOUNT = "9c1b7c3a-52a5-4a0e-9c55-6d1f0f0a7e11"
MODEL = "ScoreResult"
_SIZES = (1, 5, 15, 60)
_A_CARD = 20
"""Scores of a scorecard."""
_PAGE = 1000
DAY = datetime(2026, 11, 22, tzinfo=UTC)


class Hour(Protocol):
    """What an hour of a series has counted."""

    def counts(self, series: str, hour: datetime) -> Mapping[int, int]:
        """The counts of its minutes (0 to 59) that have any."""


@dataclass(frozen=True)
class Dense:
    """Hours with nine rows in every minute."""

    def counts(self, series: str, hour: datetime) -> Mapping[int, int]:  # noqa: ARG002 - all alike
        return dict.fromkeys(range(60), 9)


@dataclass(frozen=True)
class Results:
    """Score results of one account at regular times, of its scores in turn.

    Attributes:
        first: when the first one was created.
        hours: so many they are spread over.
        an_hour: rows of one hour.
        scores: of so many scores.
    """

    first: datetime
    hours: int
    an_hour: int
    scores: int = 1

    @property
    def number(self) -> int:
        return self.hours * self.an_hour

    def counts(self, series: str, hour: datetime) -> Mapping[int, int]:
        base = int((hour - self.first) / timedelta(hours=1)) * self.an_hour
        if not 0 <= base < self.number:
            return {}
        return _spread(self.an_hour, self.scores, base % self.scores, series.partition("#")[2])

    def text(self, number: int) -> str:
        """When a row was created, and updated."""
        whole, part = divmod(number, self.an_hour)
        at = self.first + timedelta(hours=whole, milliseconds=3_600_000 * part // self.an_hour)
        return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"

    def row(self, number: int) -> dict[str, Any]:
        score, text = number % self.scores, self.text(number)
        return {
            "id": f"{number * 2_654_435_761 % 2**32:08x}-7d3a-4c11-9f60-{number:012x}",
            "accountId": ACCOUNT,
            "createdAt": text,
            "updatedAt": text,
            "type": "prediction",
            "value": "Yes",
            "code": "200",
            "scorecardId": f"card-{score // _A_CARD}",
            "scoreId": f"score-{score}",
        }

    @cached_property
    def series(self) -> list[tuple[str, dict[str, str]]]:
        """Record type and ids of every series that these rows count into."""
        scores = [self.row(n) for n in range(self.scores)]
        cards = {row["scorecardId"]: None for row in scores}
        return [
            *((name, {}) for name in ("scoreResults", "predictionScoreResults")),
            *(("scoreResultsByScorecard", {"scorecardId": card}) for card in cards),
            *(
                ("scoreResultsByScore", {name: row[name] for name in ("scorecardId", "scoreId")})
                for row in scores
            ),
        ]

    @cached_property
    def keys(self) -> list[str]:
        """Their series as keys name them, in the order of keys."""
        named = ((name, ids.get("scoreId") or ids.get("scorecardId")) for name, ids in self.series)
        return sorted(f"{name}#{scope}" if scope else name for name, scope in named)


@lru_cache(maxsize=4096)
def _spread(an_hour: int, scores: int, first: int, scope: str) -> dict[int, int]:
    counts: dict[int, int] = {}
    kind, _, number = scope.partition("-")
    for place in range(an_hour):
        score = (first + place) % scores
        if scope and int(number) != (score if kind == "score" else score // _A_CARD):
            continue
        minute = 60 * place // an_hour
        counts[minute] = counts.get(minute, 0) + 1
    return counts


@dataclass
class Api:
    """The API: buckets that hold what `hour` counts, and rows.

    Attributes:
        wrong: the key of a bucket that holds one too many.
        checkpoints: shards that have written to each minute.
        loaded: keys of the hours that were loaded.
        saved: what was written: key to count.
        read: rows that were given.
        requests: requests that were answered.
        seconds: CPU time that the answers took.
    """

    hour: Hour
    rows: Results | None = None
    wrong: str = ""
    checkpoints: int = 4
    loaded: set[str] = field(default_factory=set)
    saved: dict[str, int] = field(default_factory=dict)
    read: int = 0
    requests: int = 0
    seconds: float = 0.0

    @cached_property
    def session(self) -> local.Session:
        """What the functions post to."""
        return local.Session(self._answer)

    def _answer(self, request: Request) -> Answer:
        began = time.thread_time()
        self.requests += 1
        data = {asked.alias: self._field(asked) for asked in seams.asked(request.body)}
        body = json.dumps({"data": data}, separators=(",", ":")).encode()
        self.seconds += time.thread_time() - began
        return Answer(200, body)

    def _field(self, asked: seams.Asked) -> Any:
        if asked.hour is not None:
            return self._hours(asked, asked.hour[1])
        if asked.name.startswith(f"list{MODEL}By"):
            return self._page(asked)
        if asked.name == "listAggregatedMetricsByAccountIdAndRecordTypeAndTimeRangeStart":
            return self._scopes(asked)
        if "input" in asked.arguments:
            made: dict[str, Any] = asked.arguments["input"]
            self.saved[made["compositeKey"]] = made["count"]
            return {name: made.get(name) for name in asked.selected}
        return {"items": [], "nextToken": None}

    def _hours(self, asked: seams.Asked, prefix: str) -> dict[str, Any]:
        """The buckets of an hour."""
        series, _, at = prefix.rpartition("#")
        self.loaded.add(prefix)
        made = self._buckets(series, at)
        items = [{name: bucket[name] for name in asked.selected} for bucket in made]
        return {"items": items, "nextToken": None}

    def _buckets(self, series: str, at: str) -> Iterator[dict[str, Any]]:
        """The stored buckets of an hour: minutes with their checkpoints, and their sums."""
        hour = datetime.fromisoformat(f"{at}00Z")
        counts = self.hour.counts(series, hour)
        for size in _SIZES:
            for first in sorted({minute - minute % size for minute in counts}):
                count = sum(counts.get(minute, 0) for minute in range(first, first + size))
                start = f"{at}{first:02}:00Z"
                key = f"{series}#{start}#{size}"
                yield {
                    "compositeKey": key,
                    "timeRangeStart": start,
                    "numberOfMinutes": size,
                    "count": count + (key == self.wrong),
                    "cost": 0,
                    "decisionCount": count,
                    "externalAiApiCount": 0,
                    "cachedAiApiCount": 0,
                    "errorCount": 0,
                    "metadata": _metadata(self.checkpoints) if size == 1 else None,
                    "complete": True,
                    "createdAt": f"{at}{first:02}:10.123456Z",
                    "updatedAt": f"{at}{first:02}:59.{first:02}3456Z",
                    **_ids(series),
                }

    def _page(self, asked: seams.Asked) -> dict[str, Any]:
        rows = self.rows
        assert rows is not None
        numbers = _matching(rows, asked.condition)
        if asked.arguments.get("sortDirection") == "DESC":
            numbers = numbers[::-1]
        first = int(asked.arguments.get("nextToken") or 0)
        page = numbers[first : first + asked.arguments.get("limit", 100)]
        self.read += len(page)
        made = map(rows.row, page)
        items = [{name: row.get(name) for name in asked.selected} for row in made]
        end = first + len(page)
        return {"items": items, "nextToken": str(end) if end < len(numbers) else None}

    def _scopes(self, asked: seams.Asked) -> dict[str, Any]:
        """A breakdown's buckets, an hour a page."""
        assert self.rows is not None
        low, high = asked.condition["between"]
        first = datetime.fromisoformat(low["timeRangeStart"]).replace(minute=0)
        hour = first + timedelta(hours=int(asked.arguments.get("nextToken") or 0))
        last = datetime.fromisoformat(high["timeRangeStart"])
        items = [
            {name: bucket.get(name) for name in asked.selected}
            for series in self.rows.keys
            if series.partition("#")[0] == low["recordType"]
            for bucket in self._buckets(series, f"{hour:%Y-%m-%dT%H:}")
        ]
        following = hour + timedelta(hours=1)
        more = None if following > last else str(int((following - first).total_seconds()) // 3600)
        return {"items": items, "nextToken": more}


def _matching(rows: Results, condition: Mapping[str, Any]) -> range:
    """The rows whose time a condition on an index allows: `ge` or `between`."""
    every, (low, *high) = range(rows.number), condition.get("between") or [condition["ge"]]
    last = bisect_right(every, high[0], key=rows.text) if high else rows.number
    return every[bisect_left(every, low, key=rows.text) : last]


@lru_cache(maxsize=8)
def _metadata(shards: int) -> str:
    return json.dumps(seams.checkpoints(shards), separators=(",", ":"))


def _ids(series: str) -> dict[str, str]:
    _, _, scope = series.partition("#")
    if scope.startswith("card-"):
        return {"scorecardId": scope}
    if scope:
        return {"scoreId": scope, "scorecardId": f"card-{int(scope.split('-')[1]) // _A_CARD}"}
    return {}


class Entries:
    """The pending-hours table: these hours wait for their check, until they are deleted.

    Args:
        hours: each as the arguments of seams.entry.
    """

    exceptions = MemoryTable.exceptions

    def __init__(self, hours: Sequence[tuple[str, dict[str, str], datetime]] = ()) -> None:
        self._hours = hours
        self.deleted: set[str] = set()

    def get_paginator(self, _: str) -> "Entries":
        return self

    def paginate(self, **asked: Any) -> Iterator[dict[str, Any]]:
        is_entry = asked["ExpressionAttributeValues"][":kind"] == {"S": "entry"}
        hours = self._hours if is_entry else ()
        for first in range(0, max(1, len(hours)), _PAGE):
            yield {"Items": self._items(first) if is_entry else []}

    def delete_item(self, *, Key: Mapping[str, Any], **_: Any) -> None:
        self.deleted.add(Key["hour"]["S"])

    def update_item(self, **_: Any) -> None:
        """It is forgotten."""

    put_item = update_item

    def batch_write_item(self, **_: Any) -> dict[str, Any]:
        return {"UnprocessedItems": {}}

    def _items(self, first: int) -> list[dict[str, Any]]:
        made = (
            seams.entry(ACCOUNT, record_type, int(hour.timestamp()) // 60, **ids)
            for record_type, ids, hour in self._hours[first : first + _PAGE]
        )
        return [item for item in made if item["hour"]["S"] not in self.deleted]


def engine(api: Api, entries: Entries, now: datetime, **settings: str) -> seams.Engine:
    """A process of the functions that talks to these; time passes only where it waits."""
    waited = [0.0]
    return seams.Engine(
        local.ENVIRONMENT | settings,
        clock=lambda: now + timedelta(seconds=sum(waited)),
        sleep=waited.append,
        session=api.session,
        aws={"dynamodb": entries, "sqs": MemoryQueue()}.__getitem__,
    )


def context(seconds: float = 900.0) -> seams.Context:
    """An invocation with so much time, which does not run."""
    return seams.Context(lambda: seconds, report={})
