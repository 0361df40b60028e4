"""Loading and saving hours through the API, exactly once.

One query loads many hours, one mutation saves many buckets, each under its own condition. Where a
condition fails somebody else was first: those hours are loaded again, changed again, saved again.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache, partial
from itertools import count
from typing import Any

from aggregated_metrics.adapters.appsync import Client, body_of
from aggregated_metrics.adapters.patience import Patience
from aggregated_metrics.core.buckets import HOUR, floor, iso, minute_of
from aggregated_metrics.core.errors import (
    ConditionFailedError,
    GraphQLError,
    ThrottledError,
)
from aggregated_metrics.core.hours import Bucket, Hour, HourId, Tally, Write
from aggregated_metrics.core.series import Series, key_stem

HOURS_PER_LOAD = 40
"""One account's batch with its breakdowns by twenty scores; AppSync reads aliases side by side."""
BUCKETS_PER_SAVE = 50
"""AppSync writes aliases one after the other, some 10 ms each; with Lambda resolvers 50 ms."""
BYTES_PER_SAVE = 500_000
"""Half of what AppSync takes: metadata with full ledgers is large."""
SCOPES_PER_PAGE = 1000
GROUPS_AT_ONCE = 8
PARENT_TRIES = 3

LOADED = (
    "compositeKey count cost decisionCount externalAiApiCount cachedAiApiCount errorCount "
    "metadata complete createdAt updatedAt"
)
FIELDS = (
    "accountId compositeKey scorecardId scoreId recordType timeRangeStart timeRangeEnd "
    "numberOfMinutes count cost decisionCount externalAiApiCount cachedAiApiCount errorCount "
    "metadata complete createdAt updatedAt"
)
"""Subscribers get only what a mutation selects, so a mutation selects everything."""


@dataclass(slots=True)
class Outcome:
    """What changing some hours came to.

    Attributes:
        hours: each hour as it was last seen or written.
        written: buckets written.
        conflicts: conditions that failed because somebody else was first.
        retries: rounds of load and save beyond the first.
        parents_left: hours with a parent that is left to the sweeper.
        tally: clamps and overflows among what was written.
    """

    hours: dict[HourId, Hour] = field(default_factory=dict)
    written: int = 0
    conflicts: int = 0
    retries: int = 0
    parents_left: set[HourId] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)

    def add(self, other: "Outcome") -> None:
        """Take in the outcome of other hours."""
        self.hours |= other.hours
        self.written += other.written
        self.conflicts += other.conflicts
        self.retries += other.retries
        self.parents_left |= other.parents_left
        self.tally.add(other.tally)


_SCOPES = (
    "query FindScopes($account: String!, $token: String, "
    "$range: ModelAggregatedMetricsByAccountRecordTypeCompositeKeyConditionInput) "
    "{ page: listAggregatedMetricsByAccountIdAndRecordTypeAndTimeRangeStart(accountId: $account, "
    f"recordTypeTimeRangeStart: $range, limit: {SCOPES_PER_PAGE}, nextToken: $token) "
    "{ items { scorecardId scoreId timeRangeStart } nextToken } }"
)

type Edit = Callable[[Hour], Tally | None]
"""Changes an hour in place. It may be called again on a newer state of the same hour."""


class HourStore:
    """The hours of the API.

    Args:
        client: carries out GraphQL documents.
        clock: the time now, aware.
        grace: seconds after its end at which a bucket is complete.
        time_left: seconds that the caller still has.
        request_bytes: how large a request may be (a firewall's limit); 0 for any size. A single
            bucket is never split.
        sleep, jitter: how to wait between tries; a test passes its own.
    """

    def __init__(
        self,
        client: Client,
        *,
        clock: Callable[[], datetime],
        grace: int,
        time_left: Callable[[], float] = lambda: 60.0,
        request_bytes: int = 0,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._clock = clock
        self._grace = grace
        self._request_bytes = request_bytes
        self._patience = Patience(time_left, sleep, jitter)

    def load(self, ids: Sequence[HourId]) -> list[Hour]:
        """The hours, in the order asked for; an hour without buckets is empty.

        Raises:
            ApiError: the API refused, or did not answer in time.
        """
        hours: list[Hour] = []
        for part in self._parts(ids, HOURS_PER_LOAD, load_document):
            data = self.query(*load_document(part))
            hours += [self._hour(hour_id, data[f"h{i}"]) for i, hour_id in enumerate(part)]
        return hours

    def find_scopes(self, account_id: str, record_type: str, hours: Sequence[int]) -> set[HourId]:
        """The stored hours of a breakdown, of every scope, among those that start then.

        They come from an index, which may be a moment behind.

        Raises:
            ApiError: the API refused, or did not answer in time.
        """
        wanted = frozenset(hours)
        bounds = [min(wanted), max(wanted) + HOUR - 1]
        between = [{"recordType": record_type, "timeRangeStart": iso(bound)} for bound in bounds]
        variables: dict[str, Any] = {"account": account_id, "range": {"between": between}}
        found: set[HourId] = set()
        while True:
            page = self.query(_SCOPES, variables)["page"]
            for row in page["items"]:
                series = Series(account_id, record_type, row["scorecardId"], row["scoreId"])
                start = floor(minute_of(row["timeRangeStart"]), HOUR)
                if series.scope and start in wanted:
                    found.add(HourId(series, start))
            if not page["nextToken"]:
                return found
            variables["token"] = page["nextToken"]

    def counted_hours(self, days: Sequence[tuple[Series, int]]) -> list[HourId]:
        """The hours of whole UTC days (a series and a first minute) with a stored count.

        Raises:
            ApiError: the API refused, or did not answer in time.
        """
        parts = list(self._parts(days, HOURS_PER_LOAD, day_document))
        return [hour for part in map_concurrently(self._counted_hours, parts) for hour in part]

    def _counted_hours(self, days: Sequence[tuple[Series, int]]) -> list[HourId]:
        found: list[HourId] = []
        tokens: dict[int, str | None] = dict.fromkeys(range(len(days)))
        while tokens:
            asked = [days[i] for i in tokens]
            data = self.query(*day_document(asked, [*tokens.values()]))
            left = {}
            for alias, i in enumerate(tokens):
                page = data[f"d{alias}"]
                found += [
                    HourId(days[i][0], minute_of(row["timeRangeStart"]))
                    for row in page["items"]
                    if row["count"]
                ]
                if page.get("nextToken"):
                    left[i] = page["nextToken"]
            tokens = left
        return found

    def update(
        self,
        ids: Iterable[HourId],
        edit: Edit,
        before_save: Callable[[Sequence[Hour]], None] = lambda _: None,
    ) -> Outcome:
        """Load hours, change them, save what differs; again where somebody else was first.

        Hours are handled in groups that one query can load; groups run side by side.

        Args:
            ids: the hours.
            edit: what to do to each.
            before_save: called with the changed hours that are about to be written.

        Raises:
            ContentionError: the time ran out first.
            ApiError: the API refused, or did not answer in time.
        """
        ordered = sorted(set(ids), key=_order)
        groups = [
            ordered[first : first + HOURS_PER_LOAD]
            for first in range(0, len(ordered), HOURS_PER_LOAD)
        ]
        outcome = Outcome()
        work = partial(self._update_group, edit=edit, before_save=before_save)
        for part in map_concurrently(work, groups):
            outcome.add(part)
        return outcome

    def _update_group(
        self,
        ids: Sequence[HourId],
        edit: Edit,
        before_save: Callable[[Sequence[Hour]], None],
    ) -> Outcome:
        outcome = Outcome()
        known: dict[tuple[HourId, int, int], Bucket] = {}
        todo = list(ids)
        for attempt in count():
            if attempt:
                outcome.retries += 1
                self._patience.wait(attempt, f"{len(todo)} hours are still written by others")
            hours = self.load(todo)
            writes: list[Write] = []
            for hour in hours:
                _overlay(hour, known)
                outcome.tally.add(edit(hour) or Tally())
                hour.roll_up(self._clock())
                outcome.hours[hour.id] = hour
                writes += self._writes(hour, outcome, with_parents=attempt < PARENT_TRIES)
            if not writes:
                return outcome
            changed = {write.hour for write in writes}
            before_save([hour for hour in hours if hour.id in changed])
            failed = self._save(writes, known)
            outcome.written += len(writes) - len(failed)
            outcome.conflicts += len(failed)
            if not failed:
                return outcome
            todo = list(dict.fromkeys(write.hour for write in failed))
        return outcome

    def _writes(self, hour: Hour, outcome: Outcome, *, with_parents: bool) -> list[Write]:
        writes, tally = hour.writes(self._clock(), self._grace)
        outcome.tally.add(tally)
        if with_parents:
            return writes
        minutes = [write for write in writes if write.bucket.size == 1]
        if len(minutes) < len(writes):
            outcome.parents_left.add(hour.id)
        return minutes

    def _save(
        self, writes: Sequence[Write], known: dict[tuple[HourId, int, int], Bucket]
    ) -> list[Write]:
        """Send the writes, minutes before parents; give back those that did not go through."""
        failed: list[Write] = []
        ordered = sorted(writes, key=lambda write: (write.bucket.size > 1, bool(write.condition)))
        for part in self._saves(ordered):
            self._patience.stop_in_time("some buckets are not written")
            lost = self._send(part)
            for i, write in enumerate(part):
                if f"b{i}" in lost:
                    failed.append(write)
                else:
                    known[write.hour, write.bucket.size, write.bucket.start] = write.bucket
        return failed

    def _saves(self, writes: Sequence[Write]) -> Iterator[Sequence[Write]]:
        """Writes that one request can carry: by number, by their metadata, and by a firewall."""
        for part in _by_metadata(writes):
            yield from self._parts(part, BUCKETS_PER_SAVE, save_document)

    def _parts[Part](
        self,
        whole: Sequence[Part],
        most: int,
        document: Callable[[Sequence[Part]], tuple[str, dict[str, Any]]],
    ) -> Iterator[Sequence[Part]]:
        """At most so many at a time, and no more than fit into a request, in their order."""
        for first in range(0, len(whole), most):
            part = whole[first : first + most]
            if (
                self._request_bytes
                and len(part) > 1
                and len(body_of(*document(part))) > self._request_bytes
            ):
                yield from self._parts(part, (len(part) + 1) // 2, document)
            else:
                yield part

    def _send(self, part: Sequence[Write]) -> frozenset[str]:
        """Send one mutation; give back the aliases that did not go through."""
        document, variables = save_document(part)
        try:
            data = self._client.execute(document, variables)
        except (ConditionFailedError, ThrottledError) as error:
            return error.failed or frozenset(f"b{i}" for i in range(len(part)))
        if absent := [f"b{i}" for i in range(len(part)) if data.get(f"b{i}") is None]:
            raise GraphQLError(
                f"the API answered null for {len(absent)} writes and named no error: it is not "
                "known whether they were carried out",
                operation="SaveHours",
                errors=(),
                data=data,
            )
        return frozenset()

    def query(self, document: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Carry out a query; where it is throttled, again after a while.

        Raises:
            ContentionError: it is throttled until the time is over.
            ApiError: the API refused, or did not answer in time.
        """
        request = partial(self._client.execute, document, variables)
        return self._patience.until_taken(request, "an hour is not loaded")

    def _hour(self, hour_id: HourId, page: Mapping[str, Any]) -> Hour:
        rows = list(page["items"])
        while page.get("nextToken"):  # rows that are not ours share the prefix
            token = page["nextToken"]
            document, variables = load_document([hour_id])
            variables["t0"] = token
            page = self.query(document, variables)["h0"]
            rows += page["items"]
        return Hour(hour_id, rows)


def map_concurrently[Given, Made](
    work: Callable[[Given], Made], given: Sequence[Given]
) -> Iterator[Made]:
    """`work` on each, at most GROUPS_AT_ONCE at a time; a single one needs no thread."""
    if len(given) < 2:  # noqa: PLR2004 - one or none
        yield from map(work, given)
        return
    with ThreadPoolExecutor(min(GROUPS_AT_ONCE, len(given))) as pool:
        yield from pool.map(work, given)


def _by_metadata(writes: Sequence[Write]) -> Iterator[list[Write]]:
    """Writes whose metadata fit into one request."""
    part: list[Write] = []
    size = 0
    for write in writes:
        length = len(write.record.get("metadata", ""))
        if len(part) == BUCKETS_PER_SAVE or (part and size + length > BYTES_PER_SAVE):
            yield part
            part, size = [], 0
        part.append(write)
        size += length
    if part:
        yield part


def _order(hour_id: HourId) -> tuple[str, ...]:
    """An account's hours side by side, so that its batch needs one group."""
    account_id, record_type, scorecard_id, score_id = hour_id.series
    return account_id, record_type, scorecard_id or "", score_id or "", hour_id.prefix


def _overlay(hour: Hour, known: Mapping[tuple[HourId, int, int], Bucket]) -> None:
    """A stale read must not hide what this invocation has itself written."""
    for (hour_id, _, _), bucket in known.items():
        if hour_id == hour.id:
            hour.overlay(bucket)


def load_document(ids: Sequence[HourId]) -> tuple[str, dict[str, Any]]:
    """The query that loads these hours (an alias `h<i>` each), and its variables."""
    variables: dict[str, Any] = {}
    for i, hour_id in enumerate(ids):
        variables[f"a{i}"] = hour_id.series.account_id
        variables[f"k{i}"] = {"beginsWith": hour_id.prefix}
    return _load_text(len(ids)), variables


def day_document(
    days: Sequence[tuple[Series, int]], tokens: Sequence[str | None] = ()
) -> tuple[str, dict[str, Any]]:
    """The query that lists the 60-minute buckets of whole days (an alias `d<i>` each)."""
    variables: dict[str, Any] = {"f": {"numberOfMinutes": {"eq": HOUR}}}
    given = zip(days, tokens or [None] * len(days), strict=True)
    for i, ((series, first), token) in enumerate(given):
        variables[f"a{i}"] = series.account_id
        variables[f"k{i}"] = {"beginsWith": f"{key_stem(series)}{iso(first)[:11]}"}
        if token:
            variables[f"t{i}"] = token
    return _day_text(len(days)), variables


def save_document(writes: Sequence[Write]) -> tuple[str, dict[str, Any]]:
    """The mutation that carries out these writes in order (alias `b<i>`), and its variables."""
    variables: dict[str, Any] = {}
    for i, write in enumerate(writes):
        variables[f"i{i}"] = write.record
        if write.condition is not None:
            variables[f"c{i}"] = write.condition
    return _save_text(tuple(write.condition is None for write in writes)), variables


@lru_cache(maxsize=64)
def _load_text(hours: int) -> str:
    declared = ", ".join(
        f"$a{i}: String, $k{i}: ModelStringKeyConditionInput, $t{i}: String" for i in range(hours)
    )
    aliases = "\n".join(
        f"h{i}: listAggregatedMetrics(accountId: $a{i}, compositeKey: $k{i}, limit: 100, "
        f"nextToken: $t{i}) {{ items {{ {LOADED} }} nextToken }}"
        for i in range(hours)
    )
    return f"query LoadHours({declared}) {{\n{aliases}\n}}"


@lru_cache(maxsize=64)
def _day_text(days: int) -> str:
    declared = ", ".join(
        f"$a{i}: String, $k{i}: ModelStringKeyConditionInput, $t{i}: String" for i in range(days)
    )
    aliases = "\n".join(
        f"d{i}: listAggregatedMetrics(accountId: $a{i}, compositeKey: $k{i}, filter: $f, "
        f"limit: 1000, nextToken: $t{i}) {{ items {{ timeRangeStart count }} nextToken }}"
        for i in range(days)
    )
    return f"query FindHours({declared}, $f: ModelAggregatedMetricsFilterInput) {{\n{aliases}\n}}"


@lru_cache(maxsize=256)
def _save_text(creates: tuple[bool, ...]) -> str:
    declared = []
    aliases = []
    for i, create in enumerate(creates):
        if create:
            declared.append(f"$i{i}: CreateAggregatedMetricsInput!")
            aliases.append(f"b{i}: createAggregatedMetrics(input: $i{i}) {{ ...bucket }}")
        else:
            declared.append(
                f"$i{i}: UpdateAggregatedMetricsInput!, $c{i}: ModelAggregatedMetricsConditionInput"
            )
            aliases.append(
                f"b{i}: updateAggregatedMetrics(input: $i{i}, condition: $c{i}) {{ ...bucket }}"
            )
    return (
        f"mutation SaveHours({', '.join(declared)}) {{\n" + "\n".join(aliases) + "\n}\n"
        f"fragment bucket on AggregatedMetrics {{ {FIELDS} }}"
    )
