"""The hour: the 77 buckets of one series in one clock hour. Pure.

It is the unit of loading, changing and saving. Minutes are changed; parents are always the sums of
their minutes; what differs from what was loaded is written, each bucket under its own condition.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from aggregated_metrics.core import buckets
from aggregated_metrics.core.changes import Batch, Delta
from aggregated_metrics.core.measures import (
    Measures,
    clamped,
    minus,
    plus,
    shown,
    total,
    zero,
)
from aggregated_metrics.core.metadata import MEMORY_SECONDS, Fence
from aggregated_metrics.core.record_types import extra_of
from aggregated_metrics.core.series import BucketId, HourId, Series, composite_key, key_stem
from aggregated_metrics.core.stored_bucket import Bucket, bucket_of

__all__ = ["Bucket", "Hour", "HourId", "Series", "Tally", "Write", "composite_key", "key_stem"]

_PRUNED = "pruned"


class Write(NamedTuple):
    """One mutation of a bucket: create when `condition` is None, else update under it."""

    hour: HourId
    bucket: Bucket
    record: dict[str, Any]
    condition: dict[str, Any] | None

    @property
    def bucket_id(self) -> BucketId:
        """Which bucket it writes."""
        return BucketId(self.hour, self.bucket.size, self.bucket.start)


@dataclass(slots=True)
class Tally:
    """What happened to the numbers on their way into buckets."""

    clamped: int = 0
    overflowed: int = 0
    ledger_dropped: int = 0

    def add(self, other: "Tally") -> None:
        """Add what happened to other numbers."""
        self.clamped += other.clamped
        self.overflowed += other.overflowed
        self.ledger_dropped += other.ledger_dropped


class Hour:
    """The buckets of one hour, loaded, to be changed and saved."""

    def __init__(self, hour_id: HourId, rows: Sequence[Mapping[str, Any]] = ()) -> None:
        """Read the rows of the API under this hour's prefix; rows with other keys are ignored.

        Rows need `compositeKey`, the measures, `complete`, `metadata` and `updatedAt`.
        """
        self.id = hour_id
        self._names = extra_of(hour_id.series.record_type)
        self.zero = zero(self._names)
        self._buckets: dict[tuple[int, int], Bucket] = {}
        self._restored: set[tuple[int, int]] = set()
        keys = _keys(hour_id)
        for row in rows:
            place = keys.get(row["compositeKey"])
            if place is not None:
                size, start = place
                self._buckets[place] = bucket_of(start, size, row, self._names)

    def __iter__(self) -> Iterator[Bucket]:
        """Every bucket, minutes before parents."""
        return (self._buckets[place] for place in sorted(self._buckets))

    def get(self, start: int, size: int = 1) -> Bucket | None:
        """The bucket that starts at `start`, if there is one."""
        return self._buckets.get((size, start))

    def get_or_new(self, start: int, size: int = 1) -> Bucket:
        """The same, or an empty one that is not stored."""
        return self._buckets.get((size, start)) or Bucket(start, size, self.zero, names=self._names)

    def overlay(self, known: Bucket) -> None:
        """Put a bucket that was seen before in place of one that is older: a stale read."""
        place = (known.size, known.start)
        loaded = self._buckets.get(place)
        if loaded is None or loaded.version is None or loaded.written < known.written:
            self._buckets[place] = replace(known, parsed=deepcopy(known.parsed))

    def apply_batches(self, batches: Iterable[Batch], now: datetime) -> Tally:
        """Apply what batches bring to this hour."""
        tally = Tally()
        for batch in batches:
            for minute, deltas in batch.hours.get(self.id, {}).items():
                tally.add(self.apply(minute, batch.shard, batch.last, deltas, now))
        return tally

    def apply(
        self, minute: int, shard: str, last: int, deltas: Sequence[Delta], now: datetime
    ) -> Tally:
        """Apply those deltas that neither the minute's ledger nor its fence holds already.

        A batch that nets to zero here changes the ledger all the same, unless each of its records
        does: a shorter delivery of it may still be on its way (docs/decisions/0007).
        """
        bucket = self.get_or_new(minute)
        known = bucket.metadata
        taken = known.ledger.get(shard, (-1, 0))[0]
        # 1. What this shard has brought before is in the sums, whatever else is: it was written in
        #    one record with the ledger that says so, so no crash divides them.
        fresh = [delta for delta in deltas if delta.number > taken]
        # 2. What was there when a repair counted the rows is in the sums, whoever brings it: the
        #    fence too was written with them.
        counted = [delta for delta in fresh if not _is_fenced(delta, known.fence)]
        if len(counted) == len(fresh) and not _matters(fresh):
            return Tally()
        wanted = plus(bucket.measures, total((delta.measures for delta in counted), self.zero))
        tally = Tally(clamped=int(min(wanted) < 0))
        # 3. Where the rows are listed is kept even of those that the fence holds: widening what a
        #    check reads is always right.
        for delta in fresh:
            if delta.listed is not None:
                known.list_text(delta.listed)
        for delta in counted:
            # Never below none: a row whose first record was lost must not hide another one.
            known.unlisted = max(0, known.unlisted + delta.unlisted)
        # 4. The ledger is signed up to the batch's end, in the record that holds the sums. Nothing
        #    is stored before all four are done: a crash leaves the minute as it was.
        known.sign(shard, max(last, taken), now.timestamp())
        self._change(bucket, wanted)
        return tally

    def set_minute(
        self, minute: int, measures: Measures, fence: Fence, listed: Iterable[str] = ()
    ) -> None:
        """Make a minute hold exactly these measures; its ledger stays as it is.

        Deltas of what was written up to `fence.at` are in them, and are not applied any more. Its
        parents are its minutes' sums again, even where minutes had been pruned: whoever sets some
        of those sets all that the rows vouch for.
        """
        bucket = self.get_or_new(minute)
        if bucket.measures != measures:
            bucket.metadata.fence = fence
            for text in listed:
                bucket.metadata.list_text(text)
            self._change(bucket, measures)
            self._restored |= {(size, buckets.floor(minute, size)) for size in buckets.PARENT_SIZES}

    def set_listing(self, minute: int, listed: Iterable[str], unlisted: int, fence: Fence) -> None:
        """Keep where an index lists a stored minute's rows: beyond its hour, or not at all.

        The minute holds the rows' sums of that time. So what the stream still brings from before is
        fenced off, or it would change the number of rows that no index lists once more.
        """
        for text in listed:
            self.learn(minute, text)
        bucket = self._buckets.get((1, minute))
        if bucket is not None and bucket.metadata.unlisted != unlisted:
            bucket.metadata.unlisted = unlisted
            bucket.metadata.fence = fence
            bucket.dirty = True

    def learn(self, minute: int, text: str | None) -> bool:
        """Keep of a stored minute that it has a row so listed; gives whether that is new.

        It changes no count, only how far a check of the minute reads (None: what it may lower).
        """
        bucket = self._buckets.get((1, minute))
        if bucket is None:
            return False
        known = bucket.metadata
        before = known.listed, known.unlisted
        if text is None:
            known.unlisted = max(1, known.unlisted)
        else:
            known.list_text(text)
        is_new = before != (known.listed, known.unlisted)
        bucket.dirty |= is_new
        return is_new

    def roll_up(self, now: datetime) -> None:
        """Make every parent the sum of its minutes, and of those that somebody has pruned."""
        sums: dict[tuple[int, int], list[Measures]] = {
            place: [] for place in self._buckets if place[0] != 1
        }
        for (size, minute), bucket in self._buckets.items():
            if size == 1:
                for parent in buckets.PARENT_SIZES:
                    place = (parent, buckets.floor(minute, parent))
                    sums.setdefault(place, []).append(clamped(bucket.measures))
        pruned = self.pruned(now)
        for place, parts in sums.items():
            size, start = place
            bucket = self.get_or_new(start, size)
            gone = pruned.get(place, self.zero)
            if any(gone) or _PRUNED in str(bucket.given):
                bucket.metadata.pruned = gone
            wanted = total(parts, gone)
            if bucket.version is None or shown(bucket.measures) != shown(wanted):
                self._change(bucket, wanted)

    def pruned(self, now: datetime) -> dict[tuple[int, int], Measures]:
        """What parents (size, start) hold of minutes that somebody has removed.

        A minute that was refused while its parent was written comes again while the stream
        remembers it. So a parent that is older than that, and than all of its minutes, has lost
        some to a clean-up: what it holds is kept, and its minutes come on top.
        """
        found: dict[tuple[int, int], Measures] = {}
        inner = 0
        for size in buckets.PARENT_SIZES:
            for start in buckets.starts(self.id.start, size):
                gone = self._gone(size, start, now)
                if not any(gone) and found and inner:
                    parts = range(start, start + size, inner)
                    inside = (found.get((inner, part), self.zero) for part in parts)
                    gone = total(inside, self.zero)
                if any(gone):
                    found[size, start] = gone
            inner = size
        return found

    def _gone(self, size: int, start: int, now: datetime) -> Measures:
        parent = self._buckets.get((size, start))
        if parent is None or parent.version is None or (size, start) in self._restored:
            return self.zero
        if _PRUNED in str(parent.given):
            return parent.metadata.pruned
        if not parent.is_forgotten(now):
            return self.zero
        followed = parent.written + timedelta(seconds=MEMORY_SECONDS)
        minutes = (self._buckets.get((1, minute)) for minute in range(start, start + size))
        is_whole = any(minute is not None and minute.is_older(followed) for minute in minutes)
        return self.zero if is_whole else parent.measures

    def close(self, now: datetime, grace: int) -> None:
        """Mark every bucket complete that has elapsed."""
        for bucket in self._buckets.values():
            if not bucket.complete and bucket.elapsed(now, grace):
                bucket.complete = bucket.dirty = True

    def due(self, grace: int) -> int | None:
        """When the next of its incomplete buckets elapses (epoch seconds); None: all complete."""
        return min(
            (bucket.due(grace) for bucket in self._buckets.values() if not bucket.complete),
            default=None,
        )

    def writes(self, now: datetime, grace: int) -> tuple[list[Write], Tally]:
        """The mutations that store what has changed, minutes before parents.

        Each carries a new version that is greater than the one it replaces; a bucket that has
        elapsed is written complete.
        """
        tally = Tally()
        writes = []
        for bucket in self:
            if bucket.dirty:
                tally.overflowed += clamped(bucket.measures) != shown(bucket.measures)
                if bucket.parsed is not None:
                    tally.ledger_dropped += bucket.parsed.prune(now.timestamp())
                writes.append(self._write(bucket, now, grace))
        return writes, tally

    def _change(self, bucket: Bucket, measures: Measures) -> None:
        bucket.measures = measures
        bucket.dirty = True
        self._buckets[bucket.size, bucket.start] = bucket

    def _write(self, bucket: Bucket, now: datetime, grace: int) -> Write:
        series = self.id.series
        stored = shown(bucket.measures)
        if bucket.size == 1 and (bucket.parsed is not None or stored != bucket.measures):
            bucket.metadata.beyond = minus(bucket.measures, stored)
        if bucket.names:
            bucket.metadata.extra = stored.extra
        complete = bucket.complete = bucket.complete or bucket.elapsed(now, grace)
        version = bucket.next_version(now)
        record: dict[str, Any] = {
            "accountId": series.account_id,
            "compositeKey": composite_key(series, bucket.start, bucket.size),
            **stored._asdict(),
            "complete": complete,
            "updatedAt": version,
        }
        metadata = bucket.metadata_text
        if metadata is not None:
            record["metadata"] = metadata
        if bucket.version is None:
            record |= {
                "recordType": series.record_type,
                "timeRangeStart": buckets.iso(bucket.start),
                "timeRangeEnd": buckets.iso(bucket.end),
                "numberOfMinutes": bucket.size,
                "createdAt": version,
            }
            record |= {
                name: value
                for name, value in (
                    ("scorecardId", series.scorecard_id),
                    ("scoreId", series.score_id),
                )
                if value
            }
            condition = None
        else:
            condition = {"updatedAt": {"eq": bucket.version}}
        written = replace(
            bucket, complete=complete, version=version, dirty=False, parsed=deepcopy(bucket.parsed)
        )
        written.created = bucket.created or (version if bucket.version is None else None)
        return Write(self.id, written, record, condition)


def _is_fenced(delta: Delta, fence: Fence | None) -> bool:
    """Whether a repair has counted what this delta brings."""
    return fence is not None and fence.holds(delta.created, delta.listed, delta.unlisted)


def _matters(deltas: Sequence[Delta]) -> bool:
    """Whether any delivery of these deltas, however short, would change a sum."""
    if any(delta.listed is not None or delta.unlisted for delta in deltas):
        return True
    sums: Measures | None = None
    # A record that moves its row between splits has its two deltas in different places.
    for _, records in groupby(sorted(deltas, key=itemgetter(0)), key=itemgetter(0)):
        for delta in records:
            sums = delta.measures if sums is None else plus(sums, delta.measures)
        if sums is not None and any(sums):
            return True
    return False


def _keys(hour_id: HourId) -> dict[str, tuple[int, int]]:
    stem = key_stem(hour_id.series)
    return {
        f"{stem}{buckets.iso(start)}#{size}": (size, start)
        for size in buckets.SIZES
        for start in buckets.starts(hour_id.start, size)
    }
