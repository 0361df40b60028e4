"""The hour: the 77 buckets of one series in one clock hour. Pure.

It is the unit of loading, changing and saving. Minutes are changed; rollups are always the sums of
their minutes; what differs from what was loaded is written, each bucket under its own condition.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from aggregated_metrics.core import buckets
from aggregated_metrics.core.changes import Batch, Delta
from aggregated_metrics.core.measures import ZERO, Measures, Sums, minus, plus, total, zero
from aggregated_metrics.core.metadata import NOT_COUNTED, CountedUntil, Metadata, exact_sums
from aggregated_metrics.core.series import HourId, composite_key, key_stem

_MICROSECOND = timedelta(microseconds=1)
_AHEAD = timedelta(minutes=1)
"""A version that lies further ahead of the clock is another writer's."""

type Place = tuple[int, int]
"""A bucket within its hour: its size in minutes, and its first epoch minute."""


@dataclass(slots=True)
class Bucket:
    """One bucket as it is known here.

    Attributes:
        start: epoch minute.
        size: minutes.
        measures: its exact sums, which may be more than its fields can show, or less.
        complete: whether nothing more is expected.
        version: `updatedAt` exactly as loaded or written; None while it is not stored.
        given: the record's metadata as loaded; only a bucket that is changed has to read it.
        dirty: whether it differs from what is stored.
        names: of the measures that are kept in metadata.
        unreadable: stored, but the API could not give it: any write replaces it whole.
    """

    start: int
    size: int
    measures: Measures = ZERO
    complete: bool = False
    version: str | None = None
    given: Any = None
    dirty: bool = False
    parsed: Metadata | None = None
    names: tuple[str, ...] = ()
    unreadable: bool = False

    @property
    def metadata(self) -> Metadata:
        """The record's metadata, checkpoints included; to be changed in place."""
        if self.parsed is None:
            self.parsed = Metadata.parse(self.given, self.names)
        return self.parsed

    @property
    def metadata_text(self) -> str | None:
        """The same as AWSJSON; unchanged where nothing has read it."""
        if self.parsed is None and isinstance(self.given, str | None):
            return self.given
        return self.metadata.as_text()

    @property
    def unindexed(self) -> Measures:
        """The part of the sums that the index leaves out."""
        if self.parsed is None and "unindexed" not in str(self.given):
            return zero(self.names)
        return self.metadata.unindexed

    @property
    def is_foreign(self) -> bool:
        """Whether another writer's sums are in it, of which the unindexed part is not known."""
        return self.version is not None and (self.metadata.foreign or not self.metadata.is_ours)

    @property
    def end(self) -> int:
        """The first epoch minute after it."""
        return self.start + self.size

    def due(self, grace: int) -> int:
        """When it elapses, grace (seconds) included: epoch seconds."""
        return self.end * 60 + grace

    def was_written_by(self, moment: float, now: datetime) -> bool:
        """Whether its version is of a moment (epoch seconds) or before; one ahead is old."""
        written = self._written(now)
        return written is None or written.timestamp() <= moment

    def next_version(self, now: datetime) -> str:
        """Greater than the one loaded, unless that one lies ahead of the clock."""
        written = self._written(now)
        moment = now if written is None else max(now, written + _MICROSECOND)
        return buckets.in_utc(moment, "microseconds")

    def _written(self, now: datetime) -> datetime | None:
        """Its version; None without one, or where it lies ahead of the clock."""
        written = buckets.parse(self.version) if self.version else None
        return None if written is None or written > now + _AHEAD else written


class Write(NamedTuple):
    """One mutation of a bucket: a create if `is_new`, otherwise an update under `condition`."""

    hour: HourId
    bucket: Bucket
    record: dict[str, Any]
    is_new: bool
    condition: dict[str, Any] | None


class Hour:
    """The buckets of one hour, loaded, to be changed and saved.

    Args:
        hour_id: which hour.
        rows: the API's rows under its prefix; rows with other keys are ignored. They need
            `compositeKey`, the measures, `complete`, `metadata` and `updatedAt`.
        names: the record type's extra measures.
        unreadable: the keys of stored buckets that the API could not give.

    Attributes:
        evicted: how many checkpoints had to go although the stream may bring their shard again.
    """

    evicted = 0

    def __init__(
        self,
        hour_id: HourId,
        rows: Sequence[Mapping[str, Any]] = (),
        names: tuple[str, ...] = (),
        unreadable: Iterable[str] = (),
    ) -> None:
        self.id = hour_id
        self._names = names
        self.zero = zero(names)
        self._buckets: dict[Place, Bucket] = {}
        keys = places_of(hour_id)
        for row in rows:
            if place := keys.get(row["compositeKey"]):
                self._buckets[place] = _bucket_of(*place, row, names)
        for key in unreadable:
            if place := keys.get(key):
                size, start = place
                self._buckets[place] = Bucket(
                    start, size, self.zero, names=names, unreadable=True, dirty=size > 1
                )

    def __iter__(self) -> Iterator[Bucket]:
        """Every bucket, minutes before rollups."""
        return (self._buckets[place] for place in sorted(self._buckets))

    @property
    def has_unreadable_minutes(self) -> bool:
        """Whether a minute is stored that the API could not give."""
        return any(bucket.unreadable and bucket.size == 1 for bucket in self._buckets.values())

    def get(self, start: int, size: int = 1) -> Bucket | None:
        """The bucket that starts at `start`, if it is stored."""
        return self._buckets.get((size, start))

    def get_or_new(self, start: int, size: int = 1) -> Bucket:
        """The same, or an empty one: complete if it lies under a complete rollup."""
        if bucket := self.get(start, size):
            return bucket
        complete = self._lies_under_complete(start, size)
        return Bucket(start, size, self.zero, complete, names=self._names)

    def _lies_under_complete(self, start: int, size: int) -> bool:
        rollups = (self.get(buckets.floor(start, s), s) for s in buckets.ROLLUP_SIZES if s > size)
        return any(rollup is not None and rollup.complete for rollup in rollups)

    def overlay(self, known: Bucket) -> None:
        """Put a bucket that this invocation has written in place of an older one: a stale read."""
        place = (known.size, known.start)
        before, version = self._buckets.get(place), known.version
        loaded = before.version if before else None
        if loaded is None or (version and buckets.parse(loaded) < buckets.parse(version)):
            self._buckets[place] = replace(known, parsed=deepcopy(known.parsed))

    def apply_batch(self, batch: Batch, now: datetime) -> None:
        """Apply what a batch brings to this hour; nothing where a minute cannot be read."""
        if self.has_unreadable_minutes:
            return
        for minute, deltas in batch.hours.get(self.id, {}).items():
            self.apply(minute, batch.shard, batch.last, deltas, now)

    def apply(
        self, minute: int, shard: str, last: int, deltas: Sequence[Delta], now: datetime
    ) -> None:
        """Apply those deltas that neither a checkpoint nor a repair has counted already.

        A batch that nets to zero here moves the checkpoint all the same, unless each of its records
        does: a shorter delivery of it may still be on its way (docs/decisions/0007).
        """
        bucket = self.get_or_new(minute)
        known = bucket.metadata
        applied = known.checkpoints.get(shard, (-1, 0))[0]
        # 1. What this shard has brought before is in the sums: they were written in one record with
        #    the checkpoint that says so, so no crash divides them.
        fresh = [delta for delta in deltas if delta[0] > applied]
        if not _matters(fresh):
            return
        # 2. What was there when a repair counted the rows is in the sums, whichever shard brings
        #    it: countedUntil too was written with them.
        until = known.counted_until
        counted = fresh
        if until != NOT_COUNTED:
            counted = [each for each in fresh if not until.holds(each[2], indexed=each[3])]
        known.foreign |= bucket.is_foreign
        unindexed = [delta[1] for delta in counted if not delta[3]]
        if unindexed:
            known.unindexed = total(unindexed, known.unindexed)
        # 3. The checkpoint moves to the batch's end, in the record that holds the sums. Nothing is
        #    stored before all three are done: a crash leaves the minute as it was.
        self.evicted += known.checkpoint(shard, max(last, applied), now.timestamp())
        self._change(bucket, total((delta[1] for delta in counted), bucket.measures))

    def set_minute(
        self, minute: int, indexed: Measures, unindexed: Measures | None, until: float
    ) -> None:
        """Make a minute hold what was counted until T (epoch seconds); its checkpoints stay.

        Args:
            minute: epoch minute.
            indexed: the sums of the rows that the index lists within their hour.
            unindexed: the sums of the others; None if they were not read, and stay.
            until: T. What was created until then is in the sums, and is not applied any more.
        """
        bucket = self.get_or_new(minute)
        known = bucket.metadata
        if unindexed is None:
            known.counted_until = known.counted_until._replace(indexed=until)
        else:
            known.unindexed = unindexed
            known.counted_until = CountedUntil(until, until)
            known.foreign = False
        self._change(bucket, plus(indexed, known.unindexed))

    def roll_up(self) -> None:
        """Make every rollup the sum of its minutes."""
        for (size, start), wanted in self._sums().items():
            bucket = self.get_or_new(start, size)
            if bucket.version is None or bucket.measures.shown != wanted.shown:
                self._change(bucket, wanted)

    def wrong_rollups(
        self, counted: Mapping[int, Measures] | None = None
    ) -> list[tuple[Bucket, Measures]]:
        """The rollups that are not the sums of their minutes, and the sums.

        Args:
            counted: what some minutes should be. A rollup that is the sum of these, or of those
                that are stored, is not wrong by itself.
        """
        stored = self._sums()
        found = []
        for place, wanted in (self._sums(counted) if counted else stored).items():
            bucket = self.get_or_new(place[1], place[0])
            right = wanted.shown, stored.get(place, self.zero).shown
            if bucket.measures.shown not in right:
                found.append((bucket, wanted))
        return found

    def _sums(self, counted: Mapping[int, Measures] | None = None) -> dict[Place, Measures]:
        """The sums of its minutes, some of which are not as they are stored."""
        minutes = {
            start: bucket.measures for (size, start), bucket in self._buckets.items() if size == 1
        }
        minutes |= counted or {}
        parts: dict[Place, list[Measures]] = {place: [] for place in self._buckets if place[0] > 1}
        for minute, measures in minutes.items():
            for rollup in buckets.ROLLUP_SIZES:
                place = (rollup, buckets.floor(minute, rollup))
                parts.setdefault(place, []).append(measures.clamped)
        return {place: total(each, self.zero) for place, each in parts.items()}

    def close(self, until: float, grace: int) -> None:
        """Mark every bucket complete whose end and grace lie before `until` (epoch seconds)."""
        for bucket in self._buckets.values():
            is_known = bucket.dirty or not bucket.unreadable
            if is_known and not bucket.complete and bucket.due(grace) <= until:
                bucket.complete = bucket.dirty = True

    def due(self, grace: int) -> int | None:
        """When the next of its incomplete buckets elapses (epoch seconds); None: all complete."""
        return min(
            (bucket.due(grace) for bucket in self._buckets.values() if not bucket.complete),
            default=None,
        )

    def writes(self, now: datetime) -> list[Write]:
        """The mutations that store what has changed, minutes before rollups.

        Each carries a new version, greater than the one that it replaces.
        """
        return [self._write(bucket, now) for bucket in self if bucket.dirty]

    def _change(self, bucket: Bucket, measures: Measures) -> None:
        bucket.measures = measures
        bucket.dirty = True
        self._buckets[bucket.size, bucket.start] = bucket

    def _write(self, bucket: Bucket, now: datetime) -> Write:
        stored = bucket.measures.shown
        if bucket.size == 1 and (bucket.parsed is not None or stored != bucket.measures):
            bucket.metadata.beyond = minus(bucket.measures, stored)
        if bucket.names:
            bucket.metadata.extra = stored.extra
        version, is_whole = bucket.next_version(now), bucket.version is None
        written = replace(
            bucket, version=version, dirty=False, unreadable=False, parsed=deepcopy(bucket.parsed)
        )
        return Write(
            self.id,
            written,
            self._record(written, stored, is_whole=is_whole),
            is_whole and not bucket.unreadable,
            None if is_whole else {"updatedAt": {"eq": bucket.version}},
        )

    def _record(self, bucket: Bucket, stored: Measures, *, is_whole: bool) -> dict[str, Any]:
        series, metadata = self.id.series, bucket.metadata_text
        identity = {
            "recordType": series.record_type,
            "timeRangeStart": buckets.iso(bucket.start),
            "timeRangeEnd": buckets.iso(bucket.end),
            "numberOfMinutes": bucket.size,
            "createdAt": bucket.version,
            **series.scope_as_json(),
        }
        return {
            "accountId": series.account_id,
            "compositeKey": composite_key(series, bucket.start, bucket.size),
            **stored._asdict(),
            "complete": bucket.complete,
            "updatedAt": bucket.version,
            **({} if metadata is None else {"metadata": metadata}),
            **(identity if is_whole else {}),
        }


def _bucket_of(size: int, start: int, row: Mapping[str, Any], names: tuple[str, ...]) -> Bucket:
    """A bucket as the API gives it.

    Raises:
        KeyError, TypeError: the row is not a bucket: a field is missing, or of another type.
    """
    return Bucket(
        start,
        size,
        exact_sums(row, names),
        complete=bool(row["complete"]),
        version=row["updatedAt"],
        given=row.get("metadata"),
        names=names,
    )


def places_of(hour_id: HourId) -> dict[str, Place]:
    """The composite keys of an hour's 77 buckets, and each one's place."""
    stem = key_stem(hour_id.series)
    return {
        f"{stem}{buckets.iso(start)}#{size}": (size, start)
        for size in buckets.SIZES
        for start in range(hour_id.start, hour_id.start + buckets.HOUR, size)
    }


def _matters(deltas: Sequence[Delta]) -> bool:
    """Whether any delivery of these deltas, however short, would change a sum."""
    if not deltas:
        return False
    if any(deltas[0][1]) and (len(deltas) == 1 or deltas[1][0] != deltas[0][0]):
        return True  # the first record's only one: nearly always
    # A record that moves its row between splits has two deltas here, which add up to nothing.
    sums: dict[tuple[int, bool], Sums] = {}
    for number, measures, _, indexed in deltas:
        before = sums.get((number, indexed))
        sums[number, indexed] = measures if before is None else plus(before, measures)
    return any(map(any, sums.values()))
