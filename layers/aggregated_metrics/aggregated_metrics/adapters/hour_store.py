"""Loading and saving hours through the API, exactly once.

One query loads many hours, one mutation saves many buckets, each under its own condition. Where a
condition fails another writer was first: those hours are loaded again, changed again, saved again.
A stored bucket that the API cannot give costs its own hour only.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import batched, count
from typing import Any

from aggregated_metrics.adapters.appsync import Client, fitting
from aggregated_metrics.adapters.hour_documents import (
    LOADED,
    Span,
    find_document,
    load_document,
    save_document,
)
from aggregated_metrics.adapters.observability import Report, logger
from aggregated_metrics.adapters.retries import Retries, map_concurrently, read_page
from aggregated_metrics.core.buckets import DAY, HOUR, floor, minute_of
from aggregated_metrics.core.errors import ConditionFailedError, GraphQLError, ThrottledError
from aggregated_metrics.core.hour import Bucket, Hour, Write
from aggregated_metrics.core.models import BUILT_IN, Models
from aggregated_metrics.core.series import HourId, Series, composite_key

HOURS_PER_LOAD = 40
"""One account's batch with its breakdowns by twenty scores; AppSync reads aliases side by side."""
BUCKETS_PER_SAVE = 50
"""AppSync writes aliases one after the other, some 10 ms each; with Lambda resolvers 50 ms."""
BYTES_PER_SAVE = 500_000
"""Half of what AppSync takes: metadata with full checkpoints is large."""
ROLLUP_TRIES = 3

type Edit = Callable[[Hour], None]
type BeforeSave = Callable[[Sequence[Hour]], None]


@dataclass(slots=True)
class Outcome:
    """What changing some hours did.

    `hours` counts those that were loaded and changed to the end, `written` the writes that went
    through, `conflicts` the conditions that failed, `retries` the rounds beyond the first.
    `left_out` has the key of a stored minute that the API could not give: nothing of its hour is
    written.
    """

    hours: int = 0
    written: int = 0
    conflicts: int = 0
    retries: int = 0
    rollups_left: set[HourId] = field(default_factory=set)
    left_out: dict[HourId, str] = field(default_factory=dict)
    evicted: int = 0

    def add(self, other: "Outcome") -> None:
        """Add the outcome of other hours: numbers are added, the rest is united."""
        for name in self.__slots__:
            mine, more = getattr(self, name), getattr(other, name)
            setattr(self, name, mine + more if isinstance(mine, int) else mine | more)

    def as_report(self) -> Report:
        """For the invocation's line and its metrics."""
        return {
            "written": self.written,
            "conflicts": self.conflicts,
            "retries": self.retries,
            "unreadableRecords": len(self.left_out),
            "rollupsLeft": len(self.rollups_left),
            "checkpointsEvicted": self.evicted,
        }


@dataclass
class HourStore:
    """The hours of the API. Every method raises ApiError if it refuses, or does not answer in time.

    The client's `request_bytes`, if it has that, is obeyed. `models` say which measures a record
    type keeps in metadata, `time_left` how many seconds the caller still has.
    """

    client: Client
    clock: Callable[[], datetime]
    models: Models = BUILT_IN
    time_left: Callable[[], float] = lambda: 60.0
    sleep: Callable[[float], None] = time.sleep

    def __post_init__(self) -> None:
        self._request_bytes = getattr(self.client, "request_bytes", 0)
        self._retries = Retries(self.time_left, self.sleep)

    def load(self, ids: Sequence[HourId]) -> list[Hour]:
        """The hours, in the order asked for; an hour without buckets is empty."""
        hours: list[Hour] = []
        for part in fitting(ids, HOURS_PER_LOAD, load_document, self._request_bytes):
            data = self._given(*load_document(part))
            hours += [self._hour(hour_id, data.get(f"h{i}")) for i, hour_id in enumerate(part)]
        return hours

    def update(
        self,
        ids: Iterable[HourId],
        edit: Edit,
        *,
        before_save: BeforeSave = lambda _: None,
        done: Edit = lambda _: None,
    ) -> Outcome:
        """Load hours, change them, save what differs; again where another writer was first.

        Hours are handled in groups that one query can load; groups run side by side, and no hour
        is kept longer than its group. `edit` is called again on a newer state of the same hour,
        `before_save` with the changed hours that are about to be written, `done` with each hour
        once, when nothing more of it is written.

        Raises:
            ContentionError: the time ran out first.
        """
        # An account's hours side by side, so that its batch needs one group.
        ordered = sorted(set(ids), key=lambda each: (each.series.account_id, each.prefix))
        groups = list(batched(ordered, HOURS_PER_LOAD, strict=False))
        work = partial(self._update_group, edit=edit, before_save=before_save, done=done)
        outcome = Outcome()
        for part in map_concurrently(work, groups):
            outcome.add(part)
        return outcome

    def _update_group(
        self, todo: Sequence[HourId], edit: Edit, before_save: BeforeSave, done: Edit
    ) -> Outcome:
        outcome = Outcome()
        written: dict[HourId, list[Bucket]] = {}
        for attempt in count():
            if attempt:
                outcome.retries += 1
                self._retries.wait(attempt, f"{len(todo)} hours are still written by others")
            # 1. Load. What this invocation has itself written lies on top: a stale read that hid it
            #    would have it added twice. Dead here: nothing has happened.
            hours = self.load(todo)
            writes: list[Write] = []
            for hour in hours:
                for bucket in written.get(hour.id, ()):
                    hour.overlay(bucket)
                writes += self._change(hour, edit, outcome, with_rollups=attempt < ROLLUP_TRIES)
            # 2. The entry comes before the write. Dead after it: the sweeper visits an hour in
            #    which nothing is due. The other way round an hour half written would have no visit.
            changed = {write.hour for write in writes}
            if changed:
                before_save([hour for hour in hours if hour.id in changed])
            # 3. Minutes before rollups, each under its own condition. Dead between two requests:
            #    the minutes that are written have their checkpoint, so a redelivery adds only to
            #    the others, and sums up the rollups; if it never comes the sweeper does.
            failed: set[HourId] = set()
            for write, is_saved in self._save(writes):
                if is_saved:
                    written.setdefault(write.hour, []).append(write.bucket)
                    outcome.written += 1
                else:
                    outcome.conflicts += 1
                    failed.add(write.hour)
            settled = [hour for hour in hours if hour.id not in failed]
            outcome.hours += len(settled)
            for hour in settled:
                done(hour)
            # 4. Another writer was first: again, with those hours alone.
            todo = [hour_id for hour_id in todo if hour_id in failed]
            if not todo:
                break
        return outcome

    def _change(
        self, hour: Hour, edit: Edit, outcome: Outcome, *, with_rollups: bool
    ) -> list[Write]:
        """The writes that an edit makes.

        Minutes are changed, and only then summed up. After some tries rollups are left to the
        sweeper: they are where all writers meet.
        """
        edit(hour)
        outcome.evicted += hour.evicted
        if unreadable := [bucket for bucket in hour if bucket.unreadable]:
            key = composite_key(hour.id.series, unreadable[0].start, unreadable[0].size)
            logger.error("a stored record cannot be read", extra={"key": key})
            if not all(bucket.dirty for bucket in unreadable):
                outcome.left_out[hour.id] = key
                return []  # a minute's sums are not known: only a check may set them
        hour.roll_up()
        writes = hour.writes(self.clock())
        if with_rollups:
            return writes
        minutes = [write for write in writes if write.bucket.size == 1]
        if len(minutes) < len(writes):
            outcome.rollups_left.add(hour.id)
        return minutes

    def _save(self, writes: Sequence[Write]) -> Iterator[tuple[Write, bool]]:
        """Send the writes, minutes before rollups; each with whether it went through."""
        ordered = sorted(writes, key=lambda write: (write.bucket.size > 1, not write.is_new))
        # Measuring requests is only worth its time where one may be too large.
        is_large = sum(len(write.record.get("metadata", "")) for write in writes) > BYTES_PER_SAVE
        most = self._request_bytes or (BYTES_PER_SAVE if is_large else 0)
        for part in fitting(ordered, BUCKETS_PER_SAVE, save_document, most):
            self._retries.stop_in_time("some buckets are not written")
            lost = self._send(part)
            for i, write in enumerate(part):
                yield write, f"b{i}" not in lost

    def _send(self, part: Sequence[Write]) -> frozenset[str]:
        """Send one mutation; return the aliases that did not go through."""
        document, variables = save_document(part)
        try:
            data = self.client.execute(document, variables)
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

    def stored_hours(self, spans: Iterable[tuple[str, str, int, int]]) -> set[HourId]:
        """The hours that have a 60-minute bucket; of a breakdown those of all scopes.

        It reads an index, which may be a moment behind, day by day. Where a page is not all of a
        day only what begins with an hour is read: four buckets of a series, not 77. A span is
        account, record type and epoch minutes: `[first, end)`.
        """
        left: list[Span] = [
            (account_id, name, max(first, day), min(end, day + DAY), None)
            for account_id, name, first, end in spans
            for day in range(floor(first, DAY), end, DAY)
        ]
        found: set[HourId] = set()
        while left:
            parts = list(fitting(left, HOURS_PER_LOAD, find_document, self._request_bytes))
            left = []
            for hours, more in map_concurrently(self._find, parts):
                found |= hours
                left += more
        return found

    def _find(self, spans: Sequence[Span]) -> tuple[set[HourId], list[Span]]:
        """The hours on a page of each span, and what is still to be read."""
        try:
            data = self.execute(*find_document(spans))
        except GraphQLError as error:  # of a record that cannot be given, the others can
            data = error.data
            if not data or None in data.values():
                raise
        found: set[HourId] = set()
        left: list[Span] = []
        for i, (account_id, name, first, end, _) in enumerate(spans):
            page = data[f"s{i}"]
            for row in filter(None, page["items"]):
                is_plain = name in self.models.record_types
                ids = () if is_plain else (row["scorecardId"], row["scoreId"])
                series = Series(account_id, name, *ids)
                if is_plain or series.scope_id:
                    found.add(HourId(series, floor(minute_of(row["timeRangeStart"]), HOUR)))
            if token := page.get("nextToken"):
                starts = range(first, end, HOUR) if end - first > HOUR else ()
                left += [(account_id, name, start, start + 1, None) for start in starts] or [
                    (account_id, name, first, end, token)
                ]
        return found, left

    def execute(self, document: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Carry out a query; where it is throttled, again after a while."""
        request = partial(self.client.execute, document, variables)
        return self._retries.call_with_backoff(request, "a query is not answered")

    def _given(self, document: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The data of a query, also where some records are missing from it: null, with an error."""
        try:
            return self.execute(document, variables)
        except GraphQLError as error:
            if not error.failed or not error.data:
                raise
            return error.data | dict.fromkeys(error.failed & set(error.data), None)

    def _hour(self, hour_id: HourId, page: Mapping[str, Any] | None) -> Hour:
        """An hour of its page; read once more, alone, where the page has not all of it."""
        names = self.models.extra_measures(hour_id.series.record_type)
        if page is not None and not page.get("nextToken") and None not in page["items"]:
            return Hour(hour_id, page["items"], names)
        rows = [row for row in self._rows(hour_id) if row]
        readable = {row["compositeKey"] for row in rows}
        keys = [row["compositeKey"] for row in self._rows(hour_id, "compositeKey") if row]
        return Hour(hour_id, rows, names, [key for key in keys if key not in readable])

    def _rows(self, hour_id: HourId, selected: str = LOADED) -> list[Any]:
        """Every row under an hour's prefix; null for one that is not given whole."""
        rows: list[Any] = []
        token: str | None = None
        while True:
            document = load_document([hour_id], token, selected)
            page, _, token = read_page(self.execute, document, "h0")
            rows += page
            if not token:
                return rows
