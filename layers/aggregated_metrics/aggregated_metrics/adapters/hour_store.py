"""Loading and saving hours through the API, exactly once.

One query loads many hours, one mutation saves many buckets, each under its own condition. Where a
condition fails somebody else was first: those hours are loaded again, changed again, saved again.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import batched, count

from aggregated_metrics.adapters.appsync import Client
from aggregated_metrics.adapters.concurrency import map_concurrently
from aggregated_metrics.adapters.hour_documents import save_document
from aggregated_metrics.adapters.hour_reader import HOURS_PER_LOAD, HourReader
from aggregated_metrics.adapters.retries import Retries
from aggregated_metrics.core.errors import ConditionFailedError, GraphQLError, ThrottledError
from aggregated_metrics.core.hours import Bucket, Hour, HourId, Tally, Write
from aggregated_metrics.core.series import BucketId

BUCKETS_PER_SAVE = 50
"""AppSync writes aliases one after the other, some 10 ms each; with Lambda resolvers 50 ms."""
BYTES_PER_SAVE = 500_000
"""Half of what AppSync takes: metadata with full ledgers is large."""
PARENT_TRIES = 3

type Edit = Callable[[Hour], Tally | None]
"""Changes an hour in place. It may be called again on a newer state of the same hour."""
type BeforeSave = Callable[[Sequence[Hour]], None]
"""Is given the changed hours that are about to be written."""


@dataclass(slots=True)
class Outcome:
    """What changing some hours came to.

    Attributes:
        hours: each hour as it was last seen or written.
        saved: the buckets that were written.
        conflicts: conditions that failed because somebody else was first.
        retries: rounds of load and save beyond the first.
        parents_left: hours with a parent that is left to the sweeper.
        tally: clamps and overflows among what was written.
    """

    hours: dict[HourId, Hour] = field(default_factory=dict)
    saved: set[BucketId] = field(default_factory=set)
    conflicts: int = 0
    retries: int = 0
    parents_left: set[HourId] = field(default_factory=set)
    tally: Tally = field(default_factory=Tally)

    @property
    def written(self) -> int:
        """How many buckets were written."""
        return len(self.saved)

    def add(self, other: "Outcome") -> None:
        """Add the outcome of other hours."""
        self.hours |= other.hours
        self.saved |= other.saved
        self.conflicts += other.conflicts
        self.retries += other.retries
        self.parents_left |= other.parents_left
        self.tally.add(other.tally)


class HourStore(HourReader):
    """The hours of the API, to be read and changed.

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
        super().__init__(client, Retries(time_left, sleep, jitter), request_bytes)
        self._clock = clock
        self._grace = grace

    def update(
        self,
        ids: Iterable[HourId],
        edit: Edit,
        before_save: BeforeSave = lambda _: None,
        outcome: Outcome | None = None,
    ) -> Outcome:
        """Load hours, change them, save what differs; again where somebody else was first.

        Hours are handled in groups that one query can load; groups run side by side.

        Args:
            ids: the hours.
            edit: what to do to each.
            before_save: called with the changed hours that are about to be written.
            outcome: takes what it comes to, also where it then fails; a new one otherwise.

        Raises:
            ContentionError: the time ran out first.
            ApiError: the API refused, or did not answer in time.
        """
        outcome = Outcome() if outcome is None else outcome
        groups = batched(sorted(set(ids), key=_order), HOURS_PER_LOAD, strict=False)
        parts = [(group, Outcome()) for group in groups]
        work = partial(self._update_group, edit=edit, before_save=before_save)
        try:
            for _ in map_concurrently(work, parts):
                pass
        finally:
            for _, part in parts:
                outcome.add(part)
        return outcome

    def _update_group(
        self, group: tuple[Sequence[HourId], Outcome], edit: Edit, before_save: BeforeSave
    ) -> None:
        todo, outcome = group
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
                # 2. Change the minutes, and only then sum up the parents. After some tries these
                #    are left to the sweeper: they are where all writers meet.
                outcome.tally.add(edit(hour) or Tally())
                hour.roll_up(self._clock())
                outcome.hours[hour.id] = hour
                changed, tally = hour.writes(self._clock(), self._grace)
                outcome.tally.add(tally)
                kept = [write for write in changed if write.bucket.size == 1]
                if attempt >= PARENT_TRIES and len(kept) < len(changed):
                    outcome.parents_left.add(hour.id)
                    changed = kept
                writes += changed
            if not writes:
                return
            # 3. The mark comes before the write. Dead after it: the sweeper visits an hour in which
            #    nothing is due. The other way round nobody would come to an hour half written.
            ids_changed = {write.hour for write in writes}
            before_save([hour for hour in hours if hour.id in ids_changed])
            # 4. Minutes before parents, each under its own condition. Dead between two requests:
            #    the minutes that are written have signed for the batch, so its redelivery adds only
            #    to the others, and sums up the parents; if it never comes the sweeper does.
            failed: list[Write] = []
            for write, is_saved in self._save(writes):
                if is_saved:
                    written.setdefault(write.hour, []).append(write.bucket)
                    outcome.saved.add(write.bucket_id)
                else:
                    failed.append(write)
            outcome.conflicts += len(failed)
            if not failed:
                return
            # 5. Somebody else was first there: again, with those hours alone.
            todo = list(dict.fromkeys(write.hour for write in failed))

    def _save(self, writes: Sequence[Write]) -> Iterator[tuple[Write, bool]]:
        """Send the writes, minutes before parents; each with whether it went through."""
        ordered = sorted(writes, key=lambda write: (write.bucket.size > 1, bool(write.condition)))
        for part in self._saves(ordered):
            self._retries.stop_in_time("some buckets are not written")
            lost = self._send(part)
            for i, write in enumerate(part):
                yield write, f"b{i}" not in lost

    def _saves(self, writes: Sequence[Write]) -> Iterator[Sequence[Write]]:
        """Writes that one request can carry: by number, by their metadata, and by a firewall."""
        for part in _by_metadata(writes):
            yield from self.parts(part, BUCKETS_PER_SAVE, save_document)

    def _send(self, part: Sequence[Write]) -> frozenset[str]:
        """Send one mutation; return the aliases that did not go through."""
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
