"""What a check finds: stored hours compared with the totals of their rows. Pure."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate, batched, compress
from typing import Any, NamedTuple

from pydantic.alias_generators import to_camel

from aggregated_metrics.core import buckets
from aggregated_metrics.core.hour import Bucket, Hour
from aggregated_metrics.core.measures import Measures, plus
from aggregated_metrics.core.series import HourId
from aggregated_metrics.core.totals import MinuteTotal, Totals

LISTED = 200
_LIST_BYTES = 100_000
"""A list of a result, which may have 256 KB, has at most so many items and bytes."""

type Sums = Mapping[str, int]
type Drift = tuple[int, int, Sums, Sums]
"""A bucket whose stored sums are not what was counted: start, size, stored and counted sums.

A rollup that is the sum of its stored minutes is not reported, even if those are wrong.
"""
type Counted = Iterator[tuple[int, MinuteTotal, MinuteTotal]]
"""Minutes to judge, with the totals of both passes; of the first one of an index check only the
fingerprint is known: the sums have been compared already, and differed."""


@dataclass(slots=True)
class Findings:
    """What a check found.

    Attributes:
        hours, minutes: how many were compared (minutes: those with a row or a bucket).
        rows: source rows read by both passes.
        drift: the first of the wrong buckets, equal in two passes; `drift_count` is all of them.
        repaired: how many of them have been repaired.
        in_flux: buckets that changed between or after the passes; left to the next check.
        unverified: minutes beside a row that the API could not give; left alone.
        deferred: hours that only a Scan can settle.
        still_uncountable: records of the quarantine that still cannot be counted.
        not_reached: the first hours or accounts that a reading did not reach; and how many.
        failed: a line for each account and model that could not be checked.
    """

    hours: int = 0
    minutes: int = 0
    rows: int = 0
    drift: list[dict[str, Any]] = field(default_factory=list)
    drift_count: int = 0
    repaired: int = 0
    in_flux: int = 0
    unverified: int = 0
    deferred: set[HourId] = field(default_factory=set)
    still_uncountable: int = 0
    not_reached: list[str] = field(default_factory=list)
    not_reached_count: int = 0
    failed: list[str] = field(default_factory=list)

    def report_drift(self, hour: HourId, drift: Drift) -> None:
        """Add a wrong bucket: where it is and what it counts, nothing of its rows."""
        self.drift_count += 1
        if len(self.drift) < LISTED:
            start, size, stored, counted = drift
            place = {
                "accountId": hour.series.account_id,
                "recordType": hour.series.record_type,
                **hour.series.scope_as_json(),
                "timeRangeStart": buckets.iso(start),
                "numberOfMinutes": size,
            }
            self.drift.append({**place, "stored": stored, "counted": counted})

    def report_not_reached(self, what: str, number: int = 1) -> None:
        """Add hours that a reading did not reach."""
        self.not_reached_count += number
        if len(self.not_reached) < LISTED:
            self.not_reached.append(what)

    def as_result(self) -> dict[str, Any]:
        """An invocation's result: the fields by their names in JSON, lists as far as they fit."""
        found = {to_camel(name): getattr(self, name) for name in self.__slots__}
        lists = {name: each for name, each in found.items() if isinstance(each, list)}
        fitted = {name: fitting(each[:LISTED]) for name, each in lists.items()}
        return found | fitted | {"deferred": len(self.deferred)}


def fitting(items: Sequence[Any]) -> list[Any]:
    """The first items, as far as a result takes them: ids may be long."""
    sizes = accumulate(len(json.dumps(item)) for item in items)
    return list(compress(items, (size <= _LIST_BYTES for size in sizes)))


class Verdict(NamedTuple):
    """An hour against what was counted.

    Attributes:
        wrong: minutes to set, with their totals.
        in_flux: minutes that differ, and are left to the next check.
        deferred: minutes that differ, and of which the unindexed part is not known.
        drift: the wrong buckets for the report: minutes, and rollups that are not their sums.
    """

    wrong: Mapping[int, MinuteTotal]
    in_flux: set[int]
    deferred: set[int]
    drift: Sequence[Drift]


def by_index(marks: Mapping[HourId, Sequence[int]], second: Totals, hour: Hour) -> Counted:
    """What two passes through an index counted of an hour: the minutes that differed in the first.

    `marks` are their minutes and fingerprints by turns.
    """
    none, rows = MinuteTotal(hour.zero, hour.zero, 0), second.hour(hour.id)
    for minute, mark in batched(marks[hour.id], 2, strict=True):
        yield minute, none._replace(fingerprint=mark), rows.get(minute, none)


def by_scan(first: Totals, second: Totals, hour: Hour) -> Counted:
    """What two Scans counted of an hour: every minute with a row or a bucket."""
    none = MinuteTotal(hour.zero, hour.zero, 0)
    one, other = first.hour(hour.id), second.hour(hour.id)
    for minute in sorted({b.start for b in hour if b.size == 1} | one.keys() | other.keys()):
        yield minute, one.get(minute, none), other.get(minute, none)


def judge(
    hour: Hour,
    counted: Counted,
    now: datetime,
    passes: tuple[float, float],
    *,
    scan: bool,
    expired: bool = False,
) -> Verdict:
    """Compare a stored hour with what two passes counted.

    `passes` are when the first one began, and T (epoch seconds): a minute that was written after T
    is left to the next check. `scan` says that every row was read, not only those that the index
    lists. Of an hour whose rows have `expired` nothing is lowered.
    """
    began, until = passes
    wrong: dict[int, MinuteTotal] = {}
    in_flux, deferred, drift = set[int](), set[int](), list[Drift]()
    set_to: dict[int, Measures] = {}
    for minute, first, second in counted:
        bucket = hour.get_or_new(minute)
        is_settled = is_same(first, second)
        # A minute that a Scan finds right at first is right: the stream brings what came since. Not
        # if it has brought something already: equal sums may be a late row instead of a lost one.
        is_known = is_settled or (scan and bucket.was_written_by(began, now))
        rows = second if is_settled else first
        if is_known and not differs(bucket, rows, scan=scan, expired=expired):
            continue
        if not scan and (bucket.is_foreign or _is_negative(bucket)):
            deferred.add(minute)
        elif is_settled and bucket.was_written_by(until, now):
            wrong[minute], set_to[minute] = second, _sums(bucket, second, scan=scan)
            drift.append(_drift(bucket, set_to[minute]))
        else:
            in_flux.add(minute)
            if scan and not first.unindexed == second.unindexed == bucket.unindexed:
                deferred.add(minute)
    drift += [_drift(bucket, sums) for bucket, sums in hour.wrong_rollups(set_to)]
    return Verdict(wrong, in_flux, deferred, drift)


def is_same(first: MinuteTotal, second: MinuteTotal) -> bool:
    """Whether both passes read the same rows of a minute, each adding the same."""
    return first.fingerprint == second.fingerprint


def differing(hour: Hour, totals: Totals, *, expired: bool = False) -> dict[int, int]:
    """The minutes that differ after one pass through an index, each with its fingerprint."""
    return {
        minute: rows.fingerprint
        for minute, rows, _ in by_scan(totals, totals, hour)
        if differs(hour.get_or_new(minute), rows, scan=False, expired=expired)
    }


def differs(bucket: Bucket, found: MinuteTotal, *, scan: bool, expired: bool) -> bool:
    """Whether a minute is not what was counted."""
    if bucket.unreadable or (not scan and _is_negative(bucket)):
        return True
    wanted = _sums(bucket, found, scan=scan)
    if expired and any(a < b for a, b in zip(wanted, bucket.measures.clamped, strict=True)):
        return False
    if bucket.measures != wanted:
        return True
    return scan and (
        bucket.unindexed != found.unindexed
        or ("foreign" in str(bucket.given) and bucket.metadata.foreign)
    )


def _is_negative(bucket: Bucket) -> bool:
    """Whether it lacks an unindexed row that was removed: an index check would trust too little."""
    return bucket.unindexed.count < 0


def _sums(bucket: Bucket, found: MinuteTotal, *, scan: bool) -> Measures:
    """What a minute should hold."""
    return plus(found.indexed, found.unindexed if scan else bucket.unindexed)


def _drift(bucket: Bucket, counted: Measures) -> Drift:
    names = bucket.names
    return bucket.start, bucket.size, bucket.measures.named(names), counted.named(names)
