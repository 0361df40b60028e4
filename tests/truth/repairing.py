"""What a run does between its epochs: harm and losses, and the repairs that set them right."""

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from testbench import oracle
from testbench.fakes.faults import Rates
from tests.truth import corruption, seams
from tests.truth.judging import hour_of
from tests.truth.row_histories import ACCOUNTS

if TYPE_CHECKING:
    from tests.truth.run import Run

_ROUNDS = 40
_LAST_CHECKS = 60
_QUIET_SECONDS = 60.0
"""Rows that were written before are not new any more to a check's eyes."""
_OVER_SECONDS = 130.0
"""After its end: an hour's grace, and what clocks differ by."""
_DAY = timedelta(days=1)
_LOST_MARKS = 7
"""The epoch before which the table of pending hours is lost."""
_RETIRED, _RETIRED_AT = "retiredThings", 29_000_040
"""A record type that is not counted, and an hour of it (epoch minutes)."""


def prepare(run: "Run") -> None:
    """An entry of a record type that is not counted any more: it must not affect the others."""
    table = run.deployment.ports.table
    item = seams.entry(ACCOUNTS[0], _RETIRED, _RETIRED_AT)
    table.items[item["hour"]["S"]] = item


def disturb(run: "Run", number: int) -> None:
    """What others do between two epochs: nothing is in flight."""
    deployment, now = run.deployment, run.deployment.clock.now()
    if run.plan.corrupts:
        hours = corruption.corrupt(
            deployment.api, run.draw, now, since=run.plan.start, spared=run.odd
        )
        run.corrupted |= hours
        run.counts["corrupted"] += len(hours)
    corruption.write_foreign_metadata(deployment.api, run.draw, now)
    if number == _LOST_MARKS:
        run.forgotten = seams.deferred(list(deployment.ports.table.items.values()))
        deployment.ports.table.items.clear()
        prepare(run)
        for worker in run.workers:
            worker.begin_again()
        # What waited for its next check now waits for a check of the range, or of the table.
        waiting = run.judge.healing | run.waiting["check"]
        run.forgotten |= {(a, series, f"{start[:14]}00:00Z") for a, series, start in waiting}
        run.corrupted |= run.forgotten


def repair_troubles(run: "Run", number: int) -> None:
    """Repair what the streams have lost by the end of an epoch."""
    run.deployment.clock.pass_by(_QUIET_SECONDS)
    for event in run.given_up:
        run.deployment.ports.keep_lost_batch(event)
    if run.given_up:
        _until_settled(run, seams.REPAIR_LOST_BATCHES)
    run.given_up.clear()
    ended = [model for model, trouble in run.troubles.items() if number == trouble.ended > 0]
    if any(run.troubles[model].misnamed for model in ended):
        _until_settled(run, seams.REPAIR_QUARANTINE)
        run.waiting["check"] |= {minute for each in run.refused for minute in each.minutes}
    if any(run.troubles[model].skipped for model in ended):
        _repair_skipped(run, ended)
    _end_waiting(run)


def _repair_skipped(run: "Run", ended: Collection[str]) -> None:
    """Repair the epochs that a mapping has skipped."""
    check_ranges(run)
    run.waiting["range"] |= {
        minute
        for cursor in run.cursors
        if cursor.shard.model in ended
        for place in cursor.skipped
        for minute in cursor.written[place].minutes
    }


def _end_waiting(run: "Run") -> None:
    """Demand of what was repaired that it is right from now on, if its hour is over.

    No hour is checked before it is over: of the others that is demanded at the end of an epoch in
    which they are, after the next check, or the next repair of the range.
    """
    now = run.deployment.clock.now().timestamp() - _OVER_SECONDS
    over = {
        kind: {minute for minute in minutes if hour_of(minute)[2] * 60 < now - 3600}
        for kind, minutes in run.waiting.items()
    }
    if late := {kind for kind, minutes in over.items() if minutes & run.late}:
        if "range" in late:
            check_ranges(run)
        _check_pending(run)
    scan_deferred(run)
    for kind, minutes in over.items():
        run.lost -= minutes
        run.waiting[kind] -= minutes
    run.late = {minute for minutes in run.waiting.values() for minute in minutes}


def _check_pending(run: "Run") -> None:
    """Sweep and check until no hour that is over is left."""
    for _ in range(_ROUNDS):
        run.invoke(*seams.SWEEP, run.draw)
        run.invoke(*seams.CHECK, run.draw)
        now = run.deployment.clock.now().timestamp() - _OVER_SECONDS
        if all(hour[2] * 60 > now - 3600 for hour in run.deployment.pending(checked=True)):
            return
        run.deployment.clock.pass_by(_QUIET_SECONDS)


def scan_deferred(run: "Run") -> None:
    """Scan the tables of which an hour is deferred, as its alarm asks an operator to."""
    hours = seams.deferred(list(run.deployment.ports.table.items.values()))
    if models := {oracle.model_of(series) for _, series, _ in hours}:
        run.scan(models)


def finish(run: "Run") -> None:
    """Let every pending hour be swept and checked: the clock is past everything."""
    deployment = run.deployment
    if run.plan.repairs:
        deployment.faults.rates = Rates()
    _settle_everything(run)
    if run.plan.repairs:
        scan_deferred(run)
        run.lost -= run.waiting["check"]
        run.judge.judge_minutes()
        check_ranges(run)
        _settle_everything(run)
        scan_deferred(run)


def _settle_everything(run: "Run") -> None:
    """Sweep and check until nothing is left to be swept or checked."""
    for _ in range(_LAST_CHECKS):
        run.deployment.clock.pass_by(3 * 3600)
        run.invoke(*seams.SWEEP, run.draw)
        if run.plan.repairs:
            run.invoke(*seams.CHECK, run.draw)
        left = _unsettled(run)
        if not left:
            return
    run.wrong.append(f"{len(left)} hours are still to be checked, so {left[:3]}")


def _unsettled(run: "Run") -> list[tuple[str, str, int]]:
    """The hours that are over, and still to be swept or checked."""
    now = run.deployment.clock.now().timestamp()
    left = run.deployment.pending(checked=run.plan.repairs)
    return sorted(hour for hour in left if hour[2] * 60 < now)


def check_ranges(run: "Run") -> None:
    """Have every day that has a row or a bucket checked and repaired, until nothing moves."""
    asked = [call for _, call in sorted(_ranges(run).items())]
    with ThreadPoolExecutor(run.plan.workers) as pool:
        for _ in pool.map(partial(_until_settled, run), asked):
            pass


def _ranges(run: "Run") -> dict[tuple[str, str], seams.Call]:
    """The calls for every account and date of which there is anything."""
    days: dict[tuple[str, str], set[str]] = {}
    stored = (key[:3] for key in run.deployment.stored())
    for account, series, start in (*run.tables.moments, *stored):
        days.setdefault((account, start[:10]), set()).add(series.partition("#")[0])
    return {
        (account, day): seams.repair_range(
            account,
            record_types,
            f"{day}T00:00:00Z",
            f"{datetime.fromisoformat(day).date() + _DAY}T00:00:00Z",
        )
        for (account, day), record_types in days.items()
    }


def _until_settled(run: "Run", call: seams.Call) -> None:
    """Repeat a call until it leaves nothing; what a dead one received is hidden from the next."""
    is_hidden = False
    for _ in range(_ROUNDS):
        _, result = run.invoke(*call, run.draw)
        if result is not None and not is_hidden and seams.is_settled(result):
            return
        is_hidden = result is None
        run.deployment.clock.pass_by(_QUIET_SECONDS)
    run.wrong.append(f"{call[0]} does not end: {str(call[1])[:90]}")
