"""The hour: the 77 buckets of one series in one clock hour. Pure.

It is the unit of loading, changing and saving. Minutes are changed; parents are always the sums of
their minutes; what differs from what was loaded is written, each bucket under its own condition.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from aggregated_metrics.core import buckets
from aggregated_metrics.core.measures import ZERO, Measures, clamped, plus, saturated, total

LEDGER_ENTRIES = 64
_MICROSECOND = timedelta(microseconds=1)


class Series(NamedTuple):
    """What is counted apart from everything else: account, record type and maybe a scope."""

    account_id: str
    record_type: str
    scorecard_id: str | None = None
    score_id: str | None = None


class HourId(NamedTuple):
    """One clock hour of one series; `start` is an epoch minute."""

    series: Series
    start: int

    @property
    def prefix(self) -> str:
        """What the composite keys of all its buckets begin with: `items#2026-11-22T10:`."""
        return f"{key_stem(self.series)}{buckets.iso(self.start)[:14]}"


def key_stem(series: Series) -> str:
    """`recordType#` or `recordType#<score or scorecard>#`, the start of a composite key."""
    scope = series.score_id or series.scorecard_id
    return f"{series.record_type}#{scope}#" if scope else f"{series.record_type}#"


def composite_key(series: Series, start: int, size: int) -> str:
    """`recordType[#scopeId]#timeRangeStart#numberOfMinutes`."""
    return f"{key_stem(series)}{buckets.iso(start)}#{size}"


@dataclass(slots=True)
class Bucket:
    """One bucket as it is known here.

    Attributes:
        start: epoch minute.
        size: minutes.
        measures: its sums.
        complete: whether nothing more is expected.
        version: `updatedAt` exactly as loaded or written; None while it is not stored.
        metadata: the record's metadata, ledger included: as loaded, a text that only a bucket that
            is changed has to read, or a dictionary.
        dirty: whether it differs from what is stored.
    """

    start: int
    size: int
    measures: Measures = ZERO
    complete: bool = False
    version: str | None = None
    metadata: Any = None
    dirty: bool = False

    @property
    def end(self) -> int:
        """The first epoch minute after it."""
        return self.start + self.size

    @property
    def ledger(self) -> list[tuple[str, int]]:
        """How far each shard has been taken in: digest and last number, newest entry last."""
        entries = parse_metadata(self.metadata).get("ledger", ())
        return [(shard, int(last)) for shard, last in entries]

    def elapsed(self, now: datetime, grace: int) -> bool:
        """Whether its range and `grace` seconds more are over."""
        return self.due(grace) <= now.timestamp()

    def due(self, grace: int) -> int:
        """When it elapses, grace included: epoch seconds."""
        return self.end * 60 + grace


class Write(NamedTuple):
    """One mutation of a bucket: create when `condition` is None, else update under it."""

    hour: HourId
    bucket: Bucket
    record: dict[str, Any]
    condition: dict[str, Any] | None


@dataclass(slots=True)
class Tally:
    """What happened to the numbers on their way into buckets."""

    clamped: int = 0
    overflowed: int = 0


class Hour:
    """The buckets of one hour, loaded, to be changed and saved."""

    def __init__(self, hour_id: HourId, rows: Sequence[Mapping[str, Any]] = ()) -> None:
        """Take in the rows of the API under this hour's prefix; rows with other keys are ignored.

        Rows need `compositeKey`, the measures, `complete`, `metadata` and `updatedAt`.
        """
        self.id = hour_id
        self._buckets: dict[tuple[int, int], Bucket] = {}
        keys = _keys(hour_id)
        for row in rows:
            place = keys.get(row["compositeKey"])
            if place is not None:
                self._buckets[place] = _bucket(place, row)

    def __iter__(self) -> Iterator[Bucket]:
        """Every bucket, minutes before parents."""
        return (self._buckets[place] for place in sorted(self._buckets))

    def get(self, start: int, size: int = 1) -> Bucket | None:
        """The bucket that starts at `start`, if there is one."""
        return self._buckets.get((size, start))

    def overlay(self, known: Bucket) -> None:
        """Put a bucket that was seen before in place of one that is older: a stale read."""
        place = (known.size, known.start)
        loaded = self._buckets.get(place)
        if loaded is None or loaded.version is None or _moment(loaded) < _moment(known):
            self._buckets[place] = replace(known)

    def take_in(
        self, minute: int, shard: str, last: int, deltas: Sequence[tuple[int, Measures]]
    ) -> Tally:
        """Add those deltas that the minute's ledger says it has not taken in yet.

        A batch that nets to zero here changes the ledger all the same, unless each of its records
        does: a shorter delivery of it may still be on its way (docs/decisions/0007).
        """
        bucket = self._buckets.get((1, minute)) or Bucket(minute, 1)
        ledger = bucket.ledger
        taken = dict(ledger).get(shard, -1)
        fresh = [delta for delta in deltas if delta[0] > taken]
        if not _matters(fresh):
            return Tally()
        wanted = plus(bucket.measures, total(measures for _, measures in fresh))
        tally = Tally(clamped=int(min(wanted) < 0))
        entries = [entry for entry in ledger if entry[0] != shard]
        entries = [*entries, (shard, max(last, taken))][-LEDGER_ENTRIES:]
        self._change(bucket, clamped(wanted))
        bucket.metadata = {
            **parse_metadata(bucket.metadata),
            "ledger": [[name, str(number)] for name, number in entries],
        }
        return tally

    def set_minute(self, minute: int, measures: Measures) -> None:
        """Make a minute hold exactly these measures; its ledger stays as it is."""
        bucket = self._buckets.get((1, minute)) or Bucket(minute, 1)
        if bucket.measures != saturated(measures):
            self._change(bucket, measures)

    def roll_up(self) -> None:
        """Make every parent the sum of its minutes."""
        sums: dict[tuple[int, int], list[Measures]] = {
            place: [] for place in self._buckets if place[0] != 1
        }
        for (size, minute), bucket in self._buckets.items():
            if size == 1:
                for parent in buckets.PARENT_SIZES:
                    place = (parent, buckets.floor(minute, parent))
                    sums.setdefault(place, []).append(bucket.measures)
        for (size, start), parts in sums.items():
            parent_bucket = self._buckets.get((size, start)) or Bucket(start, size)
            wanted = total(parts)
            if parent_bucket.version is None or parent_bucket.measures != saturated(wanted):
                self._change(parent_bucket, wanted)

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
                tally.overflowed += bucket.measures != saturated(bucket.measures)
                writes.append(self._write(bucket, now, grace))
        return writes, tally

    def _change(self, bucket: Bucket, measures: Measures) -> None:
        bucket.measures = measures
        bucket.dirty = True
        self._buckets[bucket.size, bucket.start] = bucket

    def _write(self, bucket: Bucket, now: datetime, grace: int) -> Write:
        series = self.id.series
        stored = saturated(bucket.measures)
        complete = bucket.complete = bucket.complete or bucket.elapsed(now, grace)
        version = _format(
            now if bucket.version is None else max(now, _moment(bucket) + _MICROSECOND)
        )
        record: dict[str, Any] = {
            "accountId": series.account_id,
            "compositeKey": composite_key(series, bucket.start, bucket.size),
            **stored._asdict(),
            "complete": complete,
            "updatedAt": version,
        }
        if metadata := parse_metadata(bucket.metadata):
            record["metadata"] = json.dumps(metadata, separators=(",", ":"))
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
        written = Bucket(bucket.start, bucket.size, stored, complete, version, bucket.metadata)
        return Write(self.id, written, record, condition)


def _matters(deltas: Sequence[tuple[int, Measures]]) -> bool:
    """Whether any delivery of these deltas, however short, would change a sum."""
    sums = ZERO
    # A record that moves its row between splits has its two deltas in different places.
    for _, records in groupby(sorted(deltas, key=itemgetter(0)), key=itemgetter(0)):
        sums = plus(sums, total(measures for _, measures in records))
        if sums != ZERO:
            return True
    return False


def _keys(hour_id: HourId) -> dict[str, tuple[int, int]]:
    stem = key_stem(hour_id.series)
    return {
        f"{stem}{buckets.iso(start)}#{size}": (size, start)
        for size in buckets.SIZES
        for start in buckets.starts(hour_id.start, size)
    }


def _bucket(place: tuple[int, int], row: Mapping[str, Any]) -> Bucket:
    size, start = place
    return Bucket(
        start,
        size,
        Measures(*[row.get(name) or 0 for name in Measures._fields]),
        bool(row["complete"]),
        row["updatedAt"],
        row.get("metadata"),
    )


def parse_metadata(text: Any) -> dict[str, Any]:
    """A record's metadata as a dictionary: AWSJSON comes as a text, sometimes encoded twice."""
    for _ in range(2):
        if isinstance(text, str):
            text = json.loads(text)
    return text if isinstance(text, dict) else {}


def _moment(bucket: Bucket) -> datetime:
    return buckets.parse(bucket.version or "")


def _format(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
