"""What a run does between its epochs: harm and losses, and the repairs that set them right."""

import json
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from testbench.fakes.faults import Rates
from tests.truth import corruption, seams
from tests.truth.meddling import Meddler
from tests.truth.row_histories import ACCOUNTS

if TYPE_CHECKING:
    from tests.truth.run import Run

_ROUNDS = 40
_LAST_CHECKS = 60
_QUIET_SECONDS = 60.0
"""Rows that were written before are not new any more to a check's eyes."""
_DAY = timedelta(days=1)
_LOST_MARKS = 7
"""The epoch before which the table of pending hours is lost."""
_RETIRED, _RETIRED_AT = "retiredThings", 29_000_040
"""A record type that nobody counts, and an hour of it (epoch minutes)."""


def prepare(run: "Run") -> None:
    """A mark of a record type that nobody counts any more: it must cost the others nothing."""
    table = run.deployment.table
    item = seams.retired(ACCOUNTS[0], _RETIRED, _RETIRED_AT)
    table.items[item["hour"]["S"]] = item


def disturb(run: "Run", number: int) -> None:
    """What others do between two epochs: nothing is in flight."""
    deployment, now = run.deployment, run.deployment.clock.now()
    if run.plan.repairs == "corruption":
        hours = corruption.corrupt(
            deployment.api, run.draw, now, since=run.plan.start, spared=run.odd
        )
        run.corrupted |= hours
        run.verdict.corrupted += len(hours)
    corruption.write_foreign_metadata(deployment.api, run.draw, now)
    if number == _LOST_MARKS:
        deployment.table.items.clear()
        prepare(run)
        for worker in run.workers:
            worker.begin_again()
        # What waited for its next check waits for somebody who checks the range.
        run.corrupted |= {
            (account, series, f"{start[:14]}00:00Z") for account, series, start in run.judge.healing
        }


def mend(run: "Run", number: int) -> None:
    """Repair what the streams have lost by the end of an epoch."""
    run.deployment.clock.pass_by(_QUIET_SECONDS)
    for event in run.given_up:
        _until_settled(run, seams.repair_lost_batch(event))
        run.lost -= _minutes_of(run, event)
    run.given_up.clear()
    mended = [model for model, trouble in run.troubles.items() if number == trouble.mended > 0]
    if not mended:
        return
    if any(run.troubles[model].misnamed for model in mended):
        refused = {written.record["eventID"] for written in run.refused}
        bodies = run.deployment.queue.bodies
        wanted = [body for body in bodies if json.loads(body)["eventID"] in refused]
        _until_settled(run, seams.repair_quarantine(wanted))
        run.lost -= {minute for written in run.refused for minute in written.minutes}
    if any(run.troubles[model].skipped for model in mended):
        meddler = Meddler(run, number)
        meddler.begin()
        run.deployment.clock.pass_by(_QUIET_SECONDS)
        days = meddler.days
        run.deployment.watched.watch = meddler.watch
        for day in sorted(days):
            _until_settled(run, _ranges(run)[day])
        run.deployment.watched.watch = None
        meddler.end()
        check_ranges(run, but=days)
        run.lost -= {
            minute
            for cursor in run.cursors
            if cursor.shard.model in mended
            for place in cursor.skipped
            for minute in cursor.written[place].minutes
        }


def finish(run: "Run") -> None:
    """Let every pending hour be swept and checked: the clock is past everything."""
    deployment = run.deployment
    deployment.faults.rates = run.plan.rates if not run.repairs else Rates()
    for _ in range(_LAST_CHECKS):
        deployment.clock.pass_by(3 * 3600)
        run.sweep_once()
        if run.repairs:
            run.invoke(*seams.CHECK, run.draw)
        left = _unsettled(run)
        if not left:
            break
    else:
        run.verdict.wrong.append(f"{len(left)} hours are still to be checked, so {left[:3]}")
    if run.repairs:
        run.judge.judge_minutes()
        check_ranges(run)


def _unsettled(run: "Run") -> list[tuple[str, str, int]]:
    """The hours that are over, and still to be swept or checked."""
    now = run.deployment.clock.now().timestamp()
    left = run.deployment.pending(checked=run.repairs)
    return sorted(hour for hour in left if hour[2] * 60 < now)


def check_ranges(run: "Run", but: Collection[tuple[str, str]] = ()) -> None:
    """Have every day that has a row or a bucket checked and repaired, until nothing moves."""
    asked = [call for day, call in sorted(_ranges(run).items()) if day not in but]
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
    for _ in range(_ROUNDS):
        if seams.settle(lambda call: run.invoke(*call, run.draw)[1], call):
            return
        run.deployment.clock.pass_by(_QUIET_SECONDS)
    run.verdict.wrong.append(f"{call[0]} does not come to an end: {str(call[1])[:90]}")


def _minutes_of(run: "Run", event: Mapping[str, Any]) -> set[Any]:
    known = {record["eventID"] for record in event["Records"]}
    return {
        minute
        for cursor in run.cursors
        for written in cursor.written
        if written.record["eventID"] in known
        for minute in written.minutes
    }
