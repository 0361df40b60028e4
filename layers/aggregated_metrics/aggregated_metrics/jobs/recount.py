"""Counts source rows again, compares minute by minute, and repairs: the only engine that does.

The hourly check, a range, the deep verify and the backfill are its callers. They differ in how rows
are read, through an index or by a Scan, and in what is asked.

Rows are counted twice, SETTLE_SECONDS apart; the second time only where the first one differed. A
minute is settled if the fingerprints of both passes are equal. It is set under two conditions: it
was written at or before T, which lies between the passes, and it is still the one that was loaded.
docs/architecture.md has the rules, docs/limits.md what they cannot see.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property, partial
from itertools import batched, chain

from aggregated_metrics.adapters import source_rows
from aggregated_metrics.adapters.consumers import NEVER, AsOf, load_as_of
from aggregated_metrics.adapters.hour_store import HOURS_PER_LOAD
from aggregated_metrics.adapters.observability import logger
from aggregated_metrics.adapters.pending_hours import Entry, OpenCheck
from aggregated_metrics.adapters.retries import map_concurrently
from aggregated_metrics.core import buckets, findings
from aggregated_metrics.core.findings import Counted, Findings, Verdict
from aggregated_metrics.core.hour import Hour
from aggregated_metrics.core.metadata import Pass, counted_until
from aggregated_metrics.core.series import HourId
from aggregated_metrics.core.totals import Totals
from aggregated_metrics.jobs.passes import IndexPass, ListRows, Part, Wanted
from aggregated_metrics.wiring import Process, TimeLeft

SPARE_SECONDS = 30.0
"""Kept at the end, for what must be saved and reported."""
IN_FLUX = "its rows change while they are counted"
UNINDEXED = "the sums of its unindexed rows are not known"
UNVERIFIED = "the API cannot give one of its rows"
UNREADABLE = "a stored record could not be read"
REPAIRS_OFF = "repairs are off"
NOT_REACHED = "a reading did not reach it"

type Marks = array[int]
"""An hour's minutes that differed in the first pass, each followed by its fingerprint: all that is
held between the passes. Of an hour without any only a rollup is wrong."""


@dataclass(slots=True)
class Check:
    """What a check is asked, and what it finds.

    Attributes:
        repair: whether drifting minutes are set. Otherwise a range changes nothing at all.
        rows_limit: how many rows one reading may take.
        entries, checks: of the hours before the first pass: what has another token since, stays.
        findings: are added to, whatever happens after.
    """

    repair: bool
    rows_limit: int = 0
    entries: Mapping[HourId, Entry] = field(default_factory=dict)
    checks: Mapping[HourId, OpenCheck] = field(default_factory=dict)
    findings: Findings = field(default_factory=Findings)


class Recount:
    """Compares hours with their rows, and repairs them."""

    def __init__(self, process: Process, time_left: TimeLeft) -> None:
        self.store = process.store(time_left)
        self.pending = process.pending(time_left)
        self.settings = process.settings
        self.clock, self.sleep, self.now = process.clock, process.sleep, process.now
        self.time_left = time_left
        self._pages: ListRows = partial(source_rows.index_pages, self.store.execute)

    @cached_property
    def _as_of(self) -> AsOf:
        return load_as_of(self.store)

    def check(self, wanted: Sequence[Wanted], check: Check) -> None:
        """Check hours through the API's indexes, by account and model in the order of reading.

        Each account and model fails alone.
        """
        found: list[tuple[Wanted, dict[HourId, Marks], Pass]] = []
        reserved = SPARE_SECONDS + self.settings.SETTLE_SECONDS
        for each in wanted:
            with alone(each.name, check.findings):
                began = self.now()
                # As much again is reserved for the second pass.
                seconds = (self.time_left() - reserved) / 2
                reading = IndexPass(self._pages, each, self.clock, check.rows_limit, seconds)
                marks = self._first_pass(reading, check, is_first=each is wanted[0])
                if marks:
                    found.append((each, marks, Pass(began, self.now())))
                    reserved += self.now() - began
        if found:
            self.sleep(max(0.0, found[-1][-1].ended + self.settings.SETTLE_SECONDS - self.now()))
        for each, marks, first in found:
            with alone(each.name, check.findings):
                self._second_pass(each, marks, first, check)

    def _first_pass(
        self, reading: IndexPass, check: Check, *, is_first: bool
    ) -> dict[HourId, Marks]:
        """Read an account's rows, compare each hour once, and be done with those that are right."""
        found: dict[HourId, Marks] = {}
        began = self.now()
        for hours, totals in self._parts(reading, check, is_first=is_first):
            compare = partial(self._compare, reading, totals, began, check)
            for differing in map_concurrently(compare, _groups(hours)):
                found |= differing
        return found

    def _compare(
        self,
        reading: IndexPass,
        totals: Totals,
        began: float,
        check: Check,
        hours: Sequence[HourId],
    ) -> dict[HourId, Marks]:
        """Load hours, and be done with those that are right; returns the others."""
        found: dict[HourId, Marks] = {}
        right: list[HourId] = []
        unknown: dict[HourId, int] = {}
        for hour in self.store.load(hours):
            marks, unverified = self._differing(reading, totals, hour)
            minutes = len(totals.hour(hour.id).keys() | {b.start for b in hour if b.size == 1})
            check.findings.hours += 1
            check.findings.minutes += minutes
            check.findings.unverified += unverified
            if unverified:
                self._defer(hour.id, UNVERIFIED, check)
            if marks or hour.wrong_rollups() or any(bucket.unreadable for bucket in hour):
                found[hour.id] = marks
            elif hour.due(self.settings.complete_after) is None:
                right.append(hour.id)
            elif check.repair and hour.id not in check.entries:
                unknown[hour.id] = int(began)  # the sweeper is to come
        self._forget(right, began, check)
        self.pending.touch(unknown)
        return found

    def _differing(self, reading: IndexPass, totals: Totals, hour: Hour) -> tuple[Marks, int]:
        """An hour's minutes that differ, and how many more are left alone as unverified."""
        minutes: dict[int, int] = {}
        if reading.wanted.model.listing:  # otherwise only a Scan counts rows
            minutes = findings.differing(hour, totals, expired=self._is_expired(hour.id))
        left = minutes.keys() & reading.unverified
        if reading.is_blind:  # nothing is lowered
            left |= minutes.keys() - findings.differing(hour, totals, expired=True).keys()
        pairs = (pair for pair in minutes.items() if pair[0] not in left)
        return array("Q", chain.from_iterable(pairs)), len(left)

    def _second_pass(
        self, wanted: Wanted, marks: Mapping[HourId, Marks], first: Pass, check: Check
    ) -> None:
        """Count the differing minutes again, and settle those of which both passes are equal."""
        began = self.now()
        until = counted_until(first, Pass(began, began))
        again = wanted.only(hour for hour, minutes in marks.items() if minutes)
        seconds = self.time_left() - SPARE_SECONDS
        reading = IndexPass(self._pages, again, self.clock, check.rows_limit, seconds)
        rollups = [hour for hour, minutes in marks.items() if not minutes]  # they need no rows
        parts = self._parts(reading, check, is_first=False)
        for hours, totals in chain([(rollups, Totals())], parts):
            counted = partial(findings.by_index, marks, totals)
            self._settle(hours, _Work(check, counted, first.began, until, scan=False))

    def _parts(self, reading: IndexPass, check: Check, *, is_first: bool) -> Iterator[Part]:
        """A reading's parts; reports what it read, and what it did not reach."""
        try:
            yield from reading.parts(self.store.stored_hours)
        finally:
            check.findings.rows += reading.rows
        if left := reading.not_reached:
            check.findings.report_not_reached(reading.wanted.name, len(left))
        # Only a Scan reaches them if a limit stopped the reading, or if it alone took all of a
        # run's time. Those of a reading that did not begin are read in their turn.
        deferred = reading.is_over_limit or (is_first and reading.is_slow)
        if check.entries and (deferred or reading.pages):
            list(map_concurrently(partial(self._leave, check, deferred=deferred), left))

    def _leave(self, check: Check, hour: HourId, *, deferred: bool) -> None:
        """Open a check of an hour that was not reached; without time its entry stands alone."""
        if self.time_left() < SPARE_SECONDS:
            return
        if deferred:
            self._defer(hour, NOT_REACHED, check)
            self.pending.delete(check.entries[hour])
        else:
            self.pending.open_check(hour, NOT_REACHED)

    def settle(
        self,
        hours: Sequence[HourId],
        totals: tuple[Totals, Totals],
        passes: tuple[Pass, Pass],
        check: Check,
    ) -> None:
        """Compare hours of one account and model with what two Scans counted, and repair them.

        Open checks of hours that come out right are deleted, deferred or not.
        """
        check.findings.hours += len(hours)
        counted, until = partial(findings.by_scan, *totals), counted_until(*passes)
        self._settle(hours, _Work(check, counted, passes[0].began, until, scan=True))

    def _settle(self, hours: Sequence[HourId], work: "_Work") -> None:
        if work.check.repair:
            self.store.update(
                hours,
                partial(self._edit, work),
                before_save=partial(self._claim, work),
                done=partial(self._finish, work),
            )
        else:
            for hour in chain.from_iterable(map_concurrently(self.store.load, _groups(hours))):
                self._judge(work, hour)
                self._finish(work, hour)

    def _judge(self, work: "_Work", hour: Hour) -> Verdict:
        counted, now, expired = work.counted(hour), self.clock(), self._is_expired(hour.id)
        times = work.began, work.until
        verdict = findings.judge(hour, counted, now, times, scan=work.scan, expired=expired)
        work.verdicts[hour.id] = verdict
        return verdict

    def _edit(self, work: "_Work", hour: Hour) -> None:
        """Set what is settled; complete what has elapsed, where something is written anyway."""
        verdict = self._judge(work, hour)
        for minute, rows in verdict.wrong.items():
            unindexed = rows.unindexed if work.scan else None
            hour.set_minute(minute, rows.indexed, unindexed, work.until)
        if verdict.drift:
            hour.roll_up()
            until = self._as_of.get(hour.id.series.record_type, NEVER)
            hour.close(until, self.settings.complete_after)

    def _claim(self, work: "_Work", hours: Sequence[Hour]) -> None:
        """Put the entries before the hours are written, like every writer."""
        for hour in hours:
            if hour.has_unreadable_minutes and not work.scan:
                self._defer(hour.id, UNREADABLE, work.check)
        new = [hour.id for hour in hours if hour.id not in work.claims]
        claims = map_concurrently(
            lambda hour: self.pending.claim(hour, work.check.entries.get(hour)), new
        )
        work.claims.update(zip(new, claims, strict=True))

    def _finish(self, work: "_Work", hour: Hour) -> None:
        """Report an hour of which nothing more is written, and say what is left to do of it."""
        check, verdict = work.check, work.verdicts.pop(hour.id)
        is_left_out = any(bucket.unreadable and not bucket.dirty for bucket in hour)
        is_repaired, in_flux = check.repair and not is_left_out, len(verdict.in_flux)
        for drift in verdict.drift:
            check.findings.report_drift(hour.id, drift)
            check.findings.repaired += is_repaired
        check.findings.in_flux += in_flux
        is_listed = self.settings.models.lists(hour.id.series.record_type)
        if verdict.deferred or (verdict.in_flux and not is_listed):
            self._defer(hour.id, UNINDEXED, check)
        if verdict.in_flux:
            self._keep(hour.id, IN_FLUX, check)
        elif verdict.drift and not check.repair:
            self._keep(hour.id, REPAIRS_OFF, check)
        elif is_left_out:
            self._keep(hour.id, UNREADABLE, check)
        elif hour.due(self.settings.complete_after) is None:
            claimed = work.claims.pop(hour.id, None)
            self._forget([hour.id], work.began, check, claimed, scan=work.scan)

    def _keep(self, hour: HourId, reason: str, check: Check) -> None:
        """Leave an hour to the next check."""
        if check.repair or check.entries:
            keep = self.pending.open_check if hour in check.entries else self.pending.expect
            keep(hour, reason)

    def _defer(self, hour: HourId, reason: str, check: Check) -> None:
        """Leave an hour to a Scan."""
        check.findings.deferred.add(hour)
        if check.repair or check.entries:
            self.pending.open_check(hour, reason, deferred=True)

    def _forget(
        self,
        hours: Iterable[HourId],
        began: float,
        check: Check,
        claimed: Entry | None = None,
        *,
        scan: bool = False,
    ) -> None:
        """Delete what is known of hours that are right and complete, under the tokens read before.

        Not while the invocation that touched an hour may still write it. Without time it stands.
        """
        entries = [check.entries[hour] for hour in hours if hour in check.entries]
        entries = [claimed] if claimed else [each for each in entries if each.until <= began]
        checks = [check.checks[hour] for hour in hours if hour in check.checks]
        ended: list[Entry | OpenCheck] = [*entries]
        ended += [each for each in checks if scan or not each.deferred]
        delete = self.pending.delete
        list(map_concurrently(lambda item: self.time_left() < SPARE_SECONDS or delete(item), ended))

    def _is_expired(self, hour: HourId) -> bool:
        """Whether rows of its age are gone by themselves: what happened still happened."""
        model = self.settings.models.of(hour.series.record_type)
        days = self.settings.SOURCE_LIFETIME_DAYS.get(model.name) if model else None
        ended = buckets.to_datetime(hour.start)
        return days is not None and ended < self.clock() - timedelta(days=days)


@dataclass(slots=True)
class _Work:
    """What settling some hours needs, and what it leaves for when they are saved."""

    check: Check
    counted: Callable[[Hour], Counted]
    began: float
    until: float
    scan: bool
    verdicts: dict[HourId, Verdict] = field(default_factory=dict)
    claims: dict[HourId, Entry | None] = field(default_factory=dict)


@contextmanager
def alone(name: str, found: Findings) -> Iterator[None]:
    """Whatever goes wrong with one account and model, or one lost batch, the others go on."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - it is reported, and the invocation fails in the end
        logger.warning("a check failed", exc_info=True)
        found.failed.append(f"{name}: {error}")


def _groups(hours: Sequence[HourId]) -> list[tuple[HourId, ...]]:
    """Hours as one query loads them."""
    return list(batched(hours, HOURS_PER_LOAD, strict=False))
