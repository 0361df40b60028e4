"""What reconciler does with its event.

    {"repair"?}                                                              the pending hours
    {"range": {"accountId", "start", "end", "recordTypes"?, "repair"?}}   an account's whole hours
    {"quarantine": {"repair"?}}              the hours of the records in quarantine
    {"failedBatches": {"repair"?}}           the hours of the batches that aged out

The schedule asks for the first, the state machine for the others. A batch that aged out is taken up
by whichever comes next: its hours get entries, and are checked like any other.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from aggregated_metrics.adapters.observability import Report, logger
from aggregated_metrics.adapters.pending_hours import Entry, PendingHours
from aggregated_metrics.adapters.queues import Message, Queue, record_of, send_rejects
from aggregated_metrics.adapters.retries import map_concurrently
from aggregated_metrics.core import buckets
from aggregated_metrics.core.changes import Batch, fold
from aggregated_metrics.core.errors import AggregatedMetricsError, EventError, RunError
from aggregated_metrics.core.findings import Findings
from aggregated_metrics.core.models import Models
from aggregated_metrics.core.series import HourId, Series
from aggregated_metrics.jobs.passes import Wanted
from aggregated_metrics.jobs.recount import NOT_REACHED, REPAIRS_OFF, Known, Recount

MOST_ENTRIES = 100_000
"""So many pending hours are held at most in one run; the next run goes on."""
MOST_MESSAGES = 1_000
RANGE_ROWS = 1_000_000
LOST = "a batch with it was lost"
REDRIVEN = "a record of it was in quarantine"
_DAY_SECONDS = 86_400
_LOGGED = 10
_SPARE_SECONDS = 120.0
_SHAPES = "see events/reconciler/ for the events that this function takes"
_RANGE = ("accountId", "start", "end", "recordTypes", "repair")


@dataclass(frozen=True, slots=True)
class Reconciler:
    """Carries out the reconciler's events.

    Attributes:
        recount: makes the engine, with a limit of rows for each reading.
        models: those that are counted, with the breakdowns that are switched on.
        failed_batch: reads the event of a failed batch, by its note.
        grace: seconds after its end at which a bucket may be complete.
    """

    recount: Callable[[int], Recount]
    pending: PendingHours
    quarantine: Queue
    failed_batches: Queue
    failed_batch: Callable[[str], Any]
    models: Models
    source_tables: Mapping[str, str]
    clock: Callable[[], datetime]
    time_left: Callable[[], float]
    grace: int
    rows_limit: int

    def run(self, event: Any, report: Report) -> dict[str, Any]:
        """Do what the event asks for; gives the result, and fills the report whatever happens.

        Raises:
            EventError: the event is none of the shapes above.
            RunError: some accounts and models could not be checked; the others were.
            AggregatedMetricsError: something could not be done; what was repaired is valid.
        """
        kind, asked = _asked(event)
        findings = Findings()
        try:
            match kind:
                case "range":
                    self._range(asked, findings)
                case "quarantine":
                    self._redrive(asked, findings, report)
                case "failedBatches":
                    hours = self._take_up_failed_batches(report)
                    self._check(hours, findings, repair=_repair(asked, otherwise=True))
                case _:
                    self._pending(asked, findings, report)
        finally:
            report.update(_numbers(findings, kind))
        if findings.failed:
            raise RunError(
                f"{len(findings.failed)} accounts and models could not be checked, the others "
                f"were: {'; '.join(findings.failed[:_LOGGED])}"
            )
        return findings.as_result()

    # The pending hours ----------------------------------------------------------------------------

    def _pending(self, asked: Mapping[str, Any], findings: Findings, report: Report) -> None:
        repair = _repair(asked, otherwise=False)
        try:
            try:
                self._take_up_failed_batches(report)
            finally:  # whatever is wrong with the queue, the hours are checked
                self._check(None, findings, repair=repair)
        finally:
            report.update(self._open_checks())

    def _check(self, only: Collection[HourId] | None, findings: Findings, *, repair: bool) -> None:
        """Check the hours that have an entry and are over; `only` those."""
        found = self.pending.over() if only is None else self._entries(only, findings)
        listed = list(islice(found, MOST_ENTRIES))
        entries = {
            entry.hour: entry for entry in listed if self.pending.is_counted(entry, self.models)
        }
        checks = {
            check.hour: check
            for check in self.pending.open_checks()
            if self.pending.is_counted(check, self.models)
        }
        now = self.clock().timestamp()
        waiting = {
            hour
            for hour, check in checks.items()
            if not repair and check.reason == REPAIRS_OFF and check.at > now - _DAY_SECONDS
        }
        first = {hour for hour, check in checks.items() if check.reason == NOT_REACHED}
        todo = [hour for hour in entries if hour not in waiting]
        known = Known(entries, checks, pending=True)
        wanted = self._wanted(sorted(todo, key=lambda hour: hour not in first))
        self.recount(self.rows_limit).check(wanted, known, findings, repair=repair)

    def _entries(self, hours: Collection[HourId], findings: Findings) -> Iterator[Entry]:
        """The entries of these hours; an hour that is not over is only named."""
        now = self.clock().timestamp()
        for entry, _ in map_concurrently(self.pending.find, sorted(hours, key=str)):
            if entry is not None and entry.over <= now:
                yield entry
            elif entry is not None:
                findings.report_not_reached(f"{entry.hour.prefix} is not over")

    def _wanted(self, hours: Iterable[HourId]) -> list[Wanted]:
        """The hours by account and model, in the order of their first ones."""
        groups: dict[tuple[str, str], dict[int, set[HourId]]] = {}
        for hour in hours:
            model = self.models.of(hour.series.record_type)
            if model is not None:  # otherwise the sweeper deletes it
                group = groups.setdefault((hour.series.account_id, model.name), {})
                group.setdefault(hour.start, set()).add(hour)
        return [
            Wanted(self.models[name], account_id, by_start)
            for (account_id, name), by_start in groups.items()
        ]

    def _open_checks(self) -> Report:
        """What no check could settle: how many hours, and for how long (for the alarms).

        Deferred ones are named by the models that a backfill has to count.
        """
        oldest = now = self.clock().timestamp()
        deferred = Counter[str]()
        for check in self.pending.open_checks():
            if check.deferred:
                model = self.models.of(check.hour.series.record_type)
                deferred[model.name if model else ""] += 1
            else:
                oldest = min(oldest, check.since)
        return {
            "deferred": deferred.total(),
            "deferredModels": [{"model": name, "hours": n} for name, n in deferred.items()],
            "oldestOpenCheckSeconds": round(now - oldest, 1),
        }

    # Ranges ---------------------------------------------------------------------------------------

    def _range(self, asked: Mapping[str, Any], findings: Findings) -> None:
        if unknown := [name for name in asked if name not in _RANGE]:
            raise EventError(f"range has the unknown name {unknown[0]!r}: use {', '.join(_RANGE)}")
        repair = _repair(asked, otherwise=False)
        account_id, hours = _hours(asked, until=self.clock().timestamp() - self.grace)
        wanted = [
            self._range_of(account_id, hours, names) for names in self._by_model(asked).values()
        ]
        known = Known(pending=repair)
        self.recount(RANGE_ROWS).check(wanted, known, findings, repair=repair)
        findings.not_reached = [
            f"{name}: count its whole table: aggregated-metrics backfill --models "
            f"{name.rpartition(' ')[2]}"
            for name in findings.not_reached
        ]

    def _range_of(self, account_id: str, hours: Sequence[int], names: Sequence[str]) -> Wanted:
        whole = [name for name in names if name not in self.models.breakdowns]
        model = self.models.of(names[0])
        if model is None:
            raise EventError(f"{names[0]} is not counted")
        by_start = {
            start: [HourId(Series(account_id, name), start) for name in whole] for start in hours
        }
        breakdowns = tuple(name for name in names if name not in whole)
        return Wanted(model, account_id, by_start, breakdowns)

    def _by_model(self, asked: Mapping[str, Any]) -> dict[str, list[str]]:
        """The record types of a range, by model; without any all that an index lists."""
        given = asked.get("recordTypes") or [
            name for model in self.models if model.listing for name in model.counts_into
        ]
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise EventError(f"recordTypes is {given!r}, not a list such as ['items', 'tasks']")
        found: dict[str, list[str]] = {}
        for name in dict.fromkeys(given):
            model = self.models.of(str(name))
            if model is None:
                known = ", ".join((*self.models.record_types, *self.models.breakdowns))
                raise EventError(f"nothing counts the record type {name!r}: use {known}")
            if model.listing is None:
                raise EventError(
                    f"{name} has no index by account and time: only a Scan checks it "
                    f"(aggregated-metrics backfill --models {model.name})"
                )
            found.setdefault(model.name, []).append(name)
        return found

    # Records that were not counted ----------------------------------------------------------------

    def _take_up_failed_batches(self, report: Report) -> set[HourId]:
        """Give the hours of lost batches entries; their uncountable records go to quarantine.

        A batch that cannot be read keeps its note, and the others go on.

        Raises:
            AggregatedMetricsError: the first failure, when all batches have been tried.
        """
        hours: set[HourId] = set()
        errors: list[AggregatedMetricsError] = []
        number = uncountable = 0
        while self.time_left() > _SPARE_SECONDS:
            notes = self.failed_batches.receive(1)
            if not notes:
                break
            try:
                batch = self._fold(self.failed_batch(notes[0][0]))
                hours |= self._expect(batch, LOST)
                now, kept = self.clock(), self.models.attributes
                uncountable += send_rejects(self.quarantine, batch.rejects, now, kept)
                self.failed_batches.delete(notes)
                number += 1
            except AggregatedMetricsError as error:
                logger.warning("a lost batch is not taken up", extra={"reason": str(error)})
                errors.append(error)
        report |= {"failedBatches": number, "quarantined": uncountable}
        report["failedBatchErrors"] = len(errors)
        if errors:
            raise errors[0]
        return hours

    def _redrive(self, asked: Mapping[str, Any], findings: Findings, report: Report) -> None:
        """Give the hours of quarantined records entries, and check them.

        A record that still cannot be counted stays in quarantine.
        """
        repair = _repair(asked, otherwise=True)
        messages = self.quarantine.receive(MOST_MESSAGES)
        hours: set[HourId] = set()
        countable: list[Message] = []
        for message in messages:
            if (record := record_of(message[0])) is not None:
                batch = self._fold({"Records": [record]})
                hours |= self._expect(batch, REDRIVEN)
                if not batch.rejects:
                    countable.append(message)
        done = countable if repair else []
        self.quarantine.delete(done)
        self.quarantine.release([each for each in messages if each not in done])
        findings.still_uncountable = len(messages) - len(countable)
        report |= {"redriven": len(done), "stillUncountable": findings.still_uncountable}
        self._check(hours, findings, repair=repair)

    def _fold(self, event: Any) -> Batch:
        return fold(event, self.models, self.source_tables)

    def _expect(self, batch: Batch, reason: str) -> set[HourId]:
        """Have the hours of records checked: by a Scan, where no index lists a row."""
        unindexed = batch.unindexed_hours()

        def expect(hour: HourId) -> None:
            deferred = hour in unindexed or not self.models.lists(hour.series.record_type)
            self.pending.expect(hour, reason, deferred=deferred)

        for _ in map_concurrently(expect, sorted(batch.hours, key=str)):
            pass
        return set(batch.hours)


def _asked(event: Any) -> tuple[str, Mapping[str, Any]]:
    """What an event asks for, and its fields.

    Raises:
        EventError: nothing that this function does.
    """
    if isinstance(event, Mapping):
        if set(event) <= {"repair"}:
            return "hourly", event
        ((kind, asked),) = [*event.items()][:1]
        if len(event) == 1 and kind in {"range", "quarantine", "failedBatches"}:
            if not isinstance(asked, Mapping):
                raise EventError(f"{kind} is {asked!r}, not a JSON object: {_SHAPES}")
            if kind != "range" and (unknown := sorted(set(asked) - {"repair"})):
                raise EventError(f"{kind} has the unknown name {unknown[0]!r}: use repair")
            return kind, asked
    raise EventError(f"the event is none that this function takes: {_SHAPES}")


def _repair(asked: Mapping[str, Any], *, otherwise: bool) -> bool:
    """Whether drift is to be repaired; `otherwise` where it does not say.

    Raises:
        EventError: it says neither true nor false.
    """
    repair = asked.get("repair", otherwise)
    if not isinstance(repair, bool):
        raise EventError(f"repair is {repair!r}, not true or false")
    return repair


def _hours(asked: Mapping[str, Any], until: float) -> tuple[str, range]:
    """The account and the hours of a range, widened to whole hours; those not over are left out.

    Raises:
        EventError: a field is missing or wrong.
    """
    try:
        account_id = asked["accountId"]
        start, end = (buckets.parse(asked[name]) for name in ("start", "end"))
    except (KeyError, TypeError, ValueError) as error:
        raise EventError(
            f"accountId, start and end (such as 2026-11-22T10:00:00Z) are needed ({error})"
        ) from error
    if not isinstance(account_id, str) or not account_id:
        raise EventError(f"accountId is {account_id!r}, not an account's id")
    if end <= start:
        raise EventError("end must be later than start")
    first = buckets.floor(buckets.to_minute(start), buckets.HOUR)
    last = -((buckets.EPOCH - end) // timedelta(hours=1)) * buckets.HOUR
    over = buckets.floor(int(until // 60), buckets.HOUR)
    return account_id, range(first, min(last, over), buckets.HOUR)


def _numbers(findings: Findings, kind: str) -> Report:
    report: Report = {
        "check": kind,
        "hours": findings.hours,
        "minutes": findings.minutes,
        "rows": findings.rows,
        "pages": findings.pages,
        "drift": findings.drift_count,
        "repaired": findings.repaired,
        "inFlux": findings.in_flux,
        "unverified": findings.unverified,
        "completed": findings.completed,
        "notReached": findings.not_reached_count,
        "failedGroups": len(findings.failed),
    }
    if findings.drift:
        report["drifted"] = [drift.as_json() for drift in findings.drift[:_LOGGED]]
    return report
