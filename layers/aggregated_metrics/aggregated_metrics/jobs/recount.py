"""Counts source rows again, compares minute by minute, and repairs: the only engine that does.

The hourly check, a range, the deep verify and the backfill are its callers. They differ in how rows
are read, through an index or by a Scan, and in what is asked.

Rows are counted twice, SETTLE_SECONDS apart; the second time only where the first one differed. A
minute is settled if the fingerprints of both passes are equal. It is set under two conditions: it
was written at or before T, which lies between the passes, and it is still the one that was loaded.
docs/architecture.md has the rules, docs/limits.md what they cannot see.
"""

import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import batched
from typing import NamedTuple

from aggregated_metrics.adapters.hour_store import HOURS_PER_LOAD, HourStore
from aggregated_metrics.adapters.observability import logger
from aggregated_metrics.adapters.pending_hours import Entry, OpenCheck, PendingHours
from aggregated_metrics.adapters.retries import map_concurrently
from aggregated_metrics.core import buckets
from aggregated_metrics.core.findings import (
    Counted,
    Findings,
    IndexCounted,
    ScanCounted,
    Verdict,
    differing,
    judge,
)
from aggregated_metrics.core.hour import Hour
from aggregated_metrics.core.measures import plus, zero
from aggregated_metrics.core.metadata import Pass, counted_until
from aggregated_metrics.core.models import Models
from aggregated_metrics.core.series import HourId, Target
from aggregated_metrics.core.totals import MinuteTotal, Totals
from aggregated_metrics.jobs.passes import IndexPass, ListRows, Wanted

SPARE_SECONDS = 30.0
"""Kept at the end, for what must be saved and reported."""
IN_FLUX = "its rows change while they are counted"
FOREIGN = "the sums of its unindexed rows are not known"
UNVERIFIED = "the API cannot give one of its rows"
UNREADABLE = "a stored record could not be read"
REPAIRS_OFF = "repairs are off"
NOT_REACHED = "a reading did not reach it"


@dataclass(slots=True)
class Known:
    """What was known of hours before the first pass: what was read under another token stays."""

    entries: Mapping[HourId, Entry] = field(default_factory=dict)
    checks: Mapping[HourId, OpenCheck] = field(default_factory=dict)
    pending: bool = False
    """Whether what is not settled must be checked again: it keeps an entry and an open check."""


type _Compared = tuple[HourId, bytes, int, int, bool, bool]
"""An hour after the first pass: the fingerprints of its differing minutes, how many minutes it has
and how many are unverified, whether a rollup is wrong, and whether all buckets are complete."""


class _FirstPass(NamedTuple):
    """What a first pass found: the differing minutes of each hour, with their fingerprints.

    An hour without minutes has a rollup that is not their sum.
    """

    wanted: Wanted
    fingerprints: dict[HourId, bytes]
    span: Pass


@dataclass(frozen=True, slots=True)
class Recount:
    """Compares hours with their rows, and repairs them.

    Attributes:
        grace: seconds after its end at which a bucket may be complete.
        settle_seconds: between the passes.
        complete_until: of a record type, until when its stream is applied (epoch seconds).
        lifetimes: model to how many days its rows live.
        rows_limit: how many rows one reading may take.
    """

    store: HourStore
    pages: ListRows
    pending: PendingHours
    models: Models
    clock: Callable[[], datetime]
    sleep: Callable[[float], None]
    time_left: Callable[[], float]
    grace: int
    settle_seconds: float
    complete_until: Callable[[str], float]
    lifetimes: Mapping[str, float]
    rows_limit: int

    # Through an index -----------------------------------------------------------------------------

    def check(
        self, wanted: Sequence[Wanted], known: Known, findings: Findings, *, repair: bool
    ) -> None:
        """Check hours through the API's indexes; each account and model fails alone.

        Args:
            wanted: accounts and models with their hours, in the order of reading.
            known: entries and open checks as they were before.
            findings: are added to, whatever happens after.
            repair: whether drifting minutes are set.
        """
        found: list[_FirstPass] = []
        reserved = 0.0
        for each in wanted:
            with _alone(each, findings):
                began = self._now()
                end = SPARE_SECONDS + reserved + (self.settle_seconds if found else 0)
                first = self._first_pass(each, known, findings, end, is_first=each is wanted[0])
                if first.fingerprints:
                    found.append(first)
                    reserved += self._now() - began
        if not found:
            return
        self.sleep(max(0.0, found[-1].span.ended + self.settle_seconds - self._now()))
        for first in found:
            with _alone(first.wanted, findings):
                self._second_pass(first, known, findings, repair=repair)

    def _first_pass(
        self, wanted: Wanted, known: Known, findings: Findings, end: float, *, is_first: bool
    ) -> _FirstPass:
        """Read an account's rows, compare each hour once, and be done with those that are right."""
        began = self._now()
        left = self.time_left() - end
        seconds = (left - self.settle_seconds) / 2  # as much again is reserved for the second pass
        reading = IndexPass(self.pages, wanted, self.clock, self.rows_limit, seconds)
        first = _FirstPass(wanted, {}, Pass(began, began))
        try:
            for hours, totals in reading.parts(self._breakdown_hours):
                work = partial(self._compare, totals=totals, reading=reading)
                groups = list(batched(hours, HOURS_PER_LOAD, strict=False))
                for part in map_concurrently(work, groups):
                    self._sort(part, first, known, findings)
        finally:
            findings.rows += reading.rows
            findings.pages += reading.pages
        self._report_not_reached(reading, known, findings, is_first=is_first)
        return first._replace(span=Pass(began, self._now()))

    def _compare(
        self, hours: Sequence[HourId], totals: Totals, reading: IndexPass
    ) -> list[_Compared]:
        """Load some hours, and compare them with the totals of one pass."""
        return [self._compare_one(hour, totals, reading) for hour in self.store.load(hours)]

    def _compare_one(self, hour: Hour, totals: Totals, reading: IndexPass) -> _Compared:
        none, minutes = self._zero(hour.id), {}
        if reading.wanted.model.listing:  # otherwise only a Scan counts rows
            minutes = dict(differing(hour, totals, none, expired=self._is_expired(hour.id)))
        unverified = {m for m in minutes if m in reading.unverified}
        if reading.is_blind:
            unverified |= {m for m in minutes if _is_lower(hour, m, totals, none)}
        number = len(totals.hour(hour.id).keys() | {b.start for b in hour if b.size == 1})
        has_wrong_rollup = bool(hour.wrong_rollups()) or any(bucket.unreadable for bucket in hour)
        fingerprints, is_complete = _pack(minutes, unverified), hour.due(self.grace) is None
        return hour.id, fingerprints, number, len(unverified), has_wrong_rollup, is_complete

    def _sort(
        self, part: Sequence[_Compared], first: _FirstPass, known: Known, findings: Findings
    ) -> None:
        """Be done with the hours that are right; keep the others for the second pass."""
        right: list[HourId] = []
        forgotten: list[HourId] = []
        for hour, fingerprints, minutes, unverified, has_wrong_rollup, is_complete in part:
            findings.hours += 1
            findings.minutes += minutes
            findings.unverified += unverified
            if unverified:
                findings.deferred += 1
                self._defer(hour, UNVERIFIED, known)
            if fingerprints or has_wrong_rollup:
                first.fingerprints[hour] = fingerprints
            elif is_complete:
                right.append(hour)
            elif known.pending and hour not in known.entries:
                forgotten.append(hour)
        began = first.span.began
        self._forget(right, began, known)
        # Right, and not complete, and no entry says so: the sweeper is to come.
        self.pending.touch(dict.fromkeys(forgotten, int(began)))

    def _second_pass(
        self, first: _FirstPass, known: Known, findings: Findings, *, repair: bool
    ) -> None:
        """Count the differing minutes again, and settle those of which both passes are equal."""
        began = self._now()
        again = first.wanted.only([hour for hour, found in first.fingerprints.items() if found])
        seconds = self.time_left() - SPARE_SECONDS
        reading = IndexPass(self.pages, again, self.clock, self.rows_limit, seconds)
        until = counted_until(first.span, Pass(began, began))
        try:
            for hours, totals in self._parts_again(reading, first):
                fingerprints = {hour: _unpacked(hour, first.fingerprints[hour]) for hour in hours}
                counted = IndexCounted(fingerprints, totals, self._zero(hours[0]))
                work = _Work(counted, until, known, findings, began, repair=repair)
                self._settle(hours, work)
        finally:
            findings.rows += reading.rows
            findings.pages += reading.pages
        self._report_not_reached(reading, known, findings, is_first=False)

    def _parts_again(
        self, reading: IndexPass, first: _FirstPass
    ) -> Iterator[tuple[Sequence[HourId], Totals]]:
        """The parts of a second pass; hours of which only a rollup is wrong need no rows."""
        rollups = [hour for hour, minutes in first.fingerprints.items() if not minutes]
        if rollups:
            yield rollups, Totals()
        if len(rollups) < len(first.fingerprints):
            yield from reading.parts(lambda *_: ())

    def _breakdown_hours(self, wanted: Wanted, first: int, last: int) -> Collection[HourId]:
        """The stored hours of all of a model's breakdowns that start in `[first, last)`."""
        return self.store.stored_hours(
            (wanted.account_id, name, first, last) for name in wanted.breakdowns
        )

    # By Scan --------------------------------------------------------------------------------------

    def settle(
        self,
        hours: Sequence[HourId],
        first: Totals,
        second: Totals,
        passes: tuple[Pass, Pass],
        checks: Mapping[HourId, OpenCheck],
        findings: Findings,
        *,
        repair: bool,
    ) -> None:
        """Compare hours of one account and model with two passes by Scan, and repair them.

        Args:
            hours: those to judge.
            first: what the first pass counted.
            second: what the second one did.
            passes: when.
            checks: open checks as they were before the first pass: of an hour that comes out right
                they are deleted, deferred or not.
            findings: are added to, whatever happens after.
            repair: whether drifting minutes are set.
        """
        findings.hours += len(hours)
        counted = ScanCounted(first, second, self._zero(hours[0]), passes[0].began)
        known = Known(checks=checks, pending=repair)
        until = counted_until(*passes)
        self._settle(hours, _Work(counted, until, known, findings, passes[0].began, repair=repair))

    # Both -----------------------------------------------------------------------------------------

    def _settle(self, hours: Sequence[HourId], work: "_Work") -> None:
        if work.repair:
            outcome = self.store.update(
                hours,
                partial(self._edit, work),
                before_save=partial(self._claim, work),
                done=partial(self._finish, work),
            )
            for hour in outcome.left_out:
                self._keep(hour, UNREADABLE, work.known)
        else:
            parts = list(batched(hours, HOURS_PER_LOAD, strict=False))
            for loaded in map_concurrently(self.store.load, parts):
                for each in loaded:
                    work.verdicts[each.id] = self._judge(each, work)
                    self._finish(work, each)

    def _judge(self, hour: Hour, work: "_Work") -> Verdict:
        expired = self._is_expired(hour.id)
        return judge(hour, work.counted, work.until, self.clock(), expired=expired)

    def _edit(self, work: "_Work", hour: Hour) -> None:
        """Set what is settled; complete what has elapsed, where something is written anyway."""
        verdict = work.verdicts[hour.id] = self._judge(hour, work)
        if (
            any(bucket.unreadable and bucket.start in verdict.wrong for bucket in hour)
            and not work.counted.scan
        ):
            work.unreadable.add(hour.id)
        for minute, found in verdict.wrong.items():
            unindexed = found.unindexed if work.counted.scan else None
            hour.set_minute(minute, found.indexed, unindexed, work.until)
        if verdict.drift:
            until = self.complete_until(hour.id.series.record_type)
            hour.roll_up()
            work.completed[hour.id] = hour.close(until, self.grace)

    def _claim(self, work: "_Work", hours: Sequence[Hour]) -> None:
        """Put the entries before the hours are written, like every writer."""
        new = [hour.id for hour in hours if hour.id not in work.claims]
        claims = map_concurrently(
            lambda hour: self.pending.claim(hour, work.known.entries.get(hour)), new
        )
        work.claims.update(zip(new, claims, strict=True))

    def _finish(self, work: "_Work", hour: Hour) -> None:
        """Report an hour of which nothing more is written, and say what is left to do of it."""
        verdict, findings = work.verdicts.pop(hour.id), work.findings
        for drift in verdict.drift:
            findings.report_drift(drift)
        is_saved = work.repair and all(bucket.dirty for bucket in hour if bucket.unreadable)
        findings.repaired += len(verdict.drift) if is_saved else 0
        findings.completed += work.completed.pop(hour.id, 0)
        findings.in_flux += len(verdict.in_flux)
        is_left = verdict.in_flux and not self.models.lists(hour.id.series.record_type)
        if verdict.foreign or hour.id in work.unreadable or verdict.unindexed_in_flux or is_left:
            findings.deferred += 1
            self._defer(hour.id, FOREIGN if verdict.foreign else IN_FLUX, work.known)
        if verdict.in_flux:
            self._keep(hour.id, IN_FLUX, work.known)
        elif verdict.drift and not work.repair:
            self._keep(hour.id, REPAIRS_OFF, work.known)
        elif hour.due(self.grace) is None:
            claimed = work.claims.pop(hour.id, None)
            self._forget([hour.id], work.began, work.known, claimed, scan=work.counted.scan)

    def _keep(self, hour: HourId, reason: str, known: Known) -> None:
        """Leave an hour to the next check."""
        if known.pending:
            keep = self.pending.open_check if hour in known.entries else self.pending.expect
            keep(hour, reason)

    def _defer(self, hour: HourId, reason: str, known: Known) -> None:
        """Leave an hour to a Scan."""
        if known.pending:
            self.pending.open_check(hour, reason, deferred=True)

    def _forget(
        self,
        hours: Sequence[HourId],
        began: float,
        known: Known,
        claimed: Entry | None = None,
        *,
        scan: bool = False,
    ) -> None:
        """Delete what is known of hours that are right and complete, under the tokens read before.

        Not while the invocation that touched an hour may still write it.
        """
        entries = [known.entries[hour] for hour in hours if hour in known.entries]
        ended = [claimed] if claimed else [entry for entry in entries if entry.until <= began]
        checks = [known.checks[hour] for hour in hours if hour in known.checks]
        for _ in map_concurrently(self._delete_in_time, ended):
            pass
        for check in checks:
            if (scan or not check.deferred) and self.time_left() >= SPARE_SECONDS:
                self.pending.delete(check)

    def _delete_in_time(self, entry: Entry) -> None:
        """Delete an entry. Without time it stands, and its hour is checked again."""
        if self.time_left() >= SPARE_SECONDS:
            self.pending.delete(entry)

    def _report_not_reached(
        self, reading: IndexPass, known: Known, findings: Findings, *, is_first: bool
    ) -> None:
        """Name the hours that a reading did not reach.

        Only a Scan reaches them if a limit stopped the reading, or if it alone took all of a run's
        time; where deletes took it the next check goes on.
        """
        left = reading.not_reached
        if not left:
            return
        findings.report_not_reached(reading.wanted.name, len(left))
        if not known.entries:
            return  # a range: what it does not reach is only named
        deferred = reading.is_over_limit or (is_first and reading.is_slow)
        if not (deferred or reading.pages):
            return  # not begun: its entries stand, and are read in their turn

        def leave(hour: HourId) -> None:
            if self.time_left() < SPARE_SECONDS:
                return  # its entry stands
            self.pending.open_check(hour, NOT_REACHED, deferred=deferred)
            if deferred and hour in known.entries:
                self.pending.delete(known.entries[hour])

        for _ in map_concurrently(leave, left):
            pass
        findings.deferred += len(left) if deferred else 0

    def _is_expired(self, hour: HourId) -> bool:
        """Whether rows of its age are gone by themselves: what happened still happened."""
        model = self.models.of(hour.series.record_type)
        days = self.lifetimes.get(model.name) if model else None
        ended = buckets.to_datetime(hour.start)
        return days is not None and ended < self.clock() - timedelta(days=days)

    def _zero(self, hour: HourId) -> MinuteTotal:
        none = zero(self.models.extra_measures(hour.series.record_type))
        return MinuteTotal(none, none, 0)

    def _now(self) -> float:
        return self.clock().timestamp()


@dataclass(slots=True)
class _Work:
    """What settling some hours needs, and what it leaves for when they are saved."""

    counted: Counted
    until: float
    known: Known
    findings: Findings
    began: float
    repair: bool
    verdicts: dict[HourId, Verdict] = field(default_factory=dict)
    claims: dict[HourId, Entry | None] = field(default_factory=dict)
    completed: dict[HourId, int] = field(default_factory=dict)
    unreadable: set[HourId] = field(default_factory=set)


@contextmanager
def _alone(wanted: Wanted, findings: Findings) -> Iterator[None]:
    """Whatever goes wrong with one account and model, the others go on."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - it is reported, and the invocation fails in the end
        logger.warning("a check failed", exc_info=True)
        findings.failed.append(f"{wanted.name}: {error}")


_MINUTE = struct.Struct("<BQ")


def _pack(minutes: Mapping[int, int], but: Collection[int]) -> bytes:
    """The fingerprints of an hour's minutes: what is held between the passes, nine bytes each."""
    return b"".join(
        _MINUTE.pack(minute % buckets.HOUR, found)
        for minute, found in minutes.items()
        if minute not in but
    )


def _unpacked(hour: HourId, packed: bytes) -> dict[int, int]:
    return {hour.start + minute: found for minute, found in _MINUTE.iter_unpack(packed)}


def _is_lower(hour: Hour, minute: int, totals: Totals, none: MinuteTotal) -> bool:
    """Whether a minute would be lowered."""
    bucket = hour.get_or_new(minute)
    found = totals.at(Target(hour.id.series, minute)) or none
    wanted = plus(found.indexed, bucket.unindexed)
    return any(a < b for a, b in zip(wanted, bucket.measures, strict=True))
