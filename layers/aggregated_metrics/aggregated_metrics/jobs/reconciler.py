"""What reconciler does with its event.

    {"repair"?}                                                              the pending hours
    {"range": {"accountId", "start", "end", "recordTypes"?, "repair"?}}   an account's whole hours
    {"quarantine": {"repair"?}}              the hours of the records in quarantine
    {"failedBatches": {"repair"?}}           the hours of the batches that aged out

The schedule asks for the first, the state machine for the others. The next run of any kind puts
entries for the hours of a batch that aged out.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from itertools import islice
from typing import Any

from aggregated_metrics.adapters.observability import Report
from aggregated_metrics.adapters.pending_hours import Entry
from aggregated_metrics.adapters.queues import Message, failed_batch, record_of, send_rejects
from aggregated_metrics.adapters.retries import map_concurrently
from aggregated_metrics.core import buckets
from aggregated_metrics.core.changes import Batch, fold
from aggregated_metrics.core.errors import EventError, RunError
from aggregated_metrics.core.findings import Findings
from aggregated_metrics.core.series import HourId, Series
from aggregated_metrics.jobs.passes import Wanted
from aggregated_metrics.jobs.recount import NOT_REACHED, REPAIRS_OFF, Check, Recount, alone
from aggregated_metrics.wiring import Process, TimeLeft

MOST_ENTRIES = 100_000
"""One run reads at most so many pending hours; the next run continues."""
MOST_MESSAGES = 1_000
RANGE_ROWS = 1_000_000
LOST = "a batch with it was lost"
REDRIVEN = "a record of it was in quarantine"
_DAY_SECONDS = 86_400
_LOGGED = 10
_SPARE_SECONDS = 120.0
_SHAPES = "see events/reconciler/ for the events that this function takes"
_RANGE = ("accountId", "start", "end", "recordTypes", "repair")
_RECORDS = ("quarantine", "failedBatches")


class Reconciler:
    """Carries out the reconciler's events."""

    def __init__(self, process: Process, time_left: TimeLeft) -> None:
        self._process = process
        self._models = process.settings.models
        self._now, self._time_left = process.now, time_left
        self._recount = Recount(process, time_left)
        self._pending = self._recount.pending
        self._quarantine = process.queue("QUARANTINE_QUEUE_URL")

    def run(self, event: Any, report: Report) -> dict[str, Any]:
        """Do what the event asks for; gives the result, and fills the report whatever happens.

        Raises:
            EventError: the event is none of the shapes above.
            RunError: some accounts and models, or lost batches, could not be checked; the others
                were.
            AggregatedMetricsError: something could not be done; what was repaired is valid.
        """
        kind, asked, repair = _asked(event)
        check = Check(repair, self._process.settings.CHECK_ROWS_LIMIT)
        try:
            match kind:
                case "range":
                    self._range(asked, check)
                case "quarantine":
                    self._redrive(check, report)
                case "failedBatches":
                    hours = self._expect_failed_batches(check.findings, report)
                    self._check(self._entries(hours, check.findings), check)
                case _:
                    self._expect_failed_batches(check.findings, report)
                    self._check(self._pending.over(), check)
        finally:
            report.update(_numbers(check.findings, kind))
            if kind == "hourly":
                report.update(self._open_checks())
        if failed := check.findings.failed:
            raise RunError(
                f"{len(failed)} accounts and models, or lost batches, could not be checked, the "
                f"others were: {'; '.join(failed[:_LOGGED])}"
            )
        return check.findings.as_result()

    def _check(self, found: Iterable[Entry], check: Check) -> None:
        """Check the hours of these entries, all of which are over."""
        is_counted = partial(self._pending.is_counted, models=self._models)
        entries = filter(is_counted, list(islice(found, MOST_ENTRIES)))
        check.entries = {entry.hour: entry for entry in entries}
        check.checks = {each.hour: each for each in filter(is_counted, self._pending.open_checks())}
        known, yesterday = check.checks.values(), self._now() - _DAY_SECONDS
        first = {each.hour for each in known if each.reason == NOT_REACHED}
        off = [each for each in known if each.reason == REPAIRS_OFF and each.at > yesterday]
        waiting = set() if check.repair else {each.hour for each in off}
        todo = [hour for hour in check.entries if hour not in waiting]
        todo.sort(key=lambda hour: hour not in first)
        self._recount.check(self._wanted(todo), check)

    def _entries(self, hours: Collection[HourId], findings: Findings) -> Iterator[Entry]:
        """The entries of these hours; an hour that is not over is only named."""
        now = self._now()
        for entry, _ in map_concurrently(self._pending.find, sorted(hours, key=str)):
            if entry is not None and entry.over <= now:
                yield entry
            elif entry is not None:
                findings.report_not_reached(f"{entry.hour.prefix} is not over")

    def _wanted(self, hours: Iterable[HourId]) -> list[Wanted]:
        """The hours by account and model, in the order of their first ones."""
        groups: dict[tuple[str, str], list[HourId]] = {}
        for hour in hours:
            if model := self._models.of(hour.series.record_type):
                groups.setdefault((hour.series.account_id, model.name), []).append(hour)
        return [
            Wanted(self._models[name], account_id, {}).only(group)
            for (account_id, name), group in groups.items()
        ]

    def _open_checks(self) -> Report:
        """What no check could settle, for the alarms; deferred hours by the models to backfill."""
        oldest = now = self._now()
        deferred = Counter[str]()
        for check in self._pending.open_checks():
            if check.deferred:
                model = self._models.of(check.hour.series.record_type)
                deferred[model.name if model else ""] += 1
            else:
                oldest = min(oldest, check.since)
        return {
            "deferred": deferred.total(),
            "deferredModels": [{"model": name, "hours": n} for name, n in deferred.items()],
            "oldestOpenCheckSeconds": round(now - oldest, 1),
        }

    def _range(self, asked: Mapping[str, Any], check: Check) -> None:
        account_id, starts = _hours(
            asked, until=self._now() - self._process.settings.complete_after
        )
        check.rows_limit = RANGE_ROWS
        wanted = []
        for model, names in self._by_model(asked).items():
            by_breakdown = [name for name in names if name in self._models.breakdowns]
            series = [Series(account_id, name) for name in names if name not in by_breakdown]
            hours = {start: [HourId(each, start) for each in series] for start in starts}
            wanted.append(Wanted(self._models[model], account_id, hours, by_breakdown))
        self._recount.check(wanted, check)
        check.findings.not_reached = [
            f"{name}: count its whole table: aggregated-metrics backfill --models "
            f"{name.rpartition(' ')[2]}"
            for name in check.findings.not_reached
        ]

    def _by_model(self, asked: Mapping[str, Any]) -> dict[str, list[str]]:
        """The record types of a range, by model; without any all that an index lists."""
        given = asked.get("recordTypes") or [
            name for model in self._models if model.listing for name in model.counts_into
        ]
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise EventError(f"recordTypes is {given!r}, not a list such as ['items', 'tasks']")
        found: dict[str, list[str]] = {}
        for name in dict.fromkeys(given):
            model = self._models.of(str(name))
            if model is None:
                known = ", ".join((*self._models.record_types, *self._models.breakdowns))
                raise EventError(f"nothing counts the record type {name!r}: use {known}")
            if model.listing is None:
                raise EventError(
                    f"{name} has no index by account and time: only a Scan checks it "
                    f"(aggregated-metrics backfill --models {model.name})"
                )
            found.setdefault(model.name, []).append(name)
        return found

    def _expect_failed_batches(self, found: Findings, report: Report) -> set[HourId]:
        """Give the hours of lost batches entries; their uncountable records go to quarantine.

        A batch that cannot be read keeps its note for the next run.
        """
        queue = self._process.queue("FAILED_BATCHES_QUEUE_URL")
        hours: set[HourId] = set()
        number = uncountable = 0
        with alone("failed batches", found):
            while self._time_left() > _SPARE_SECONDS and (notes := queue.receive(1)):
                with alone("a failed batch", found):
                    event = failed_batch(self._process.aws("s3"), notes[0][0])
                    batch = self._expect(event, LOST)
                    hours |= batch.hours.keys()
                    now, kept = self._process.clock(), self._models.attributes
                    uncountable += send_rejects(self._quarantine, batch.rejects, now, kept)
                    queue.delete(notes)
                    number += 1
        report |= {"failedBatches": number, "quarantined": uncountable}
        return hours

    def _redrive(self, check: Check, report: Report) -> None:
        """Give the hours of quarantined records entries, and check them; uncountable ones stay."""
        messages = self._quarantine.receive(MOST_MESSAGES)
        hours: set[HourId] = set()
        countable: list[Message] = []
        for message in messages:
            if (record := record_of(message[0])) is not None:
                batch = self._expect({"Records": [record]}, REDRIVEN)
                hours |= batch.hours.keys()
                countable += [] if batch.rejects else [message]
        done = countable if check.repair else []
        self._quarantine.delete(done)
        self._quarantine.release([each for each in messages if each not in done])
        check.findings.still_uncountable = len(messages) - len(countable)
        report["redriven"] = len(done)
        self._check(self._entries(hours, check.findings), check)

    def _expect(self, event: Any, reason: str) -> Batch:
        """Have the hours of records checked: by a Scan, where no index lists a row."""
        batch = fold(event, self._models, self._process.settings.SOURCE_TABLES)
        unindexed = batch.unindexed_hours()

        def expect(hour: HourId) -> None:
            deferred = hour in unindexed or not self._models.lists(hour.series.record_type)
            self._pending.expect(hour, reason, deferred=deferred)

        list(map_concurrently(expect, sorted(batch.hours, key=str)))
        return batch


def _asked(event: Any) -> tuple[str, Mapping[str, Any], bool]:
    """What an event asks for, its fields, and whether drift is to be repaired."""
    kind, asked = "hourly", event
    if isinstance(event, Mapping) and len(event) == 1 and {"range", *_RECORDS}.issuperset(event):
        ((kind, asked),) = event.items()
    if not isinstance(asked, Mapping):
        raise EventError(f"{kind} is {asked!r}, not a JSON object: {_SHAPES}")
    names = _RANGE if kind == "range" else ("repair",)
    if unknown := [name for name in asked if name not in names]:
        allowed = ", ".join(names)
        raise EventError(f"{kind} has the unknown name {unknown[0]!r}: use {allowed}; {_SHAPES}")
    repair = asked.get("repair", kind in _RECORDS)
    if not isinstance(repair, bool):
        raise EventError(f"repair is {repair!r}, not true or false")
    return kind, asked, repair


def _hours(asked: Mapping[str, Any], until: float) -> tuple[str, range]:
    """The account and the hours of a range, widened to whole hours; those not over are left out."""
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
    found = findings.as_result()
    report: Report = {name: each for name, each in found.items() if isinstance(each, int)}
    report |= {"drift": findings.drift[:_LOGGED], "failedGroups": len(findings.failed)}
    return report | {"check": kind}
