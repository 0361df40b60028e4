"""Compares what is stored with what must be, and says in sentences what is not exact."""

import json
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from testbench import oracle
from tests.truth import seams
from tests.truth.deployment import sums_of
from tests.truth.row_histories import moment_of
from tests.truth.source_tables import Minute, zero

if TYPE_CHECKING:
    from tests.truth.deliveries import Cursor
    from tests.truth.run import Run

_MARGIN = 5.0
"""Seconds before and after a check in which a change may be one of its time."""


class Judge:
    """Judges one run.

    `healing` are minutes that may be wrong until the next check of their hours, because no check
    can know better: rows were born and gone within it.
    """

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._checks: list[tuple[float, float]] = []
        self.healing: set[Minute] = set()

    def checked(self, first: float, last: float, result: Any, hidden: AbstractSet[Minute]) -> None:
        """Take note of a check; what it has repaired must be what the tables held.

        In minutes that are `hidden`, lost or forgotten it sets what it can see, no more.
        """
        self._checks.append((first - _MARGIN, last + _MARGIN))
        run, tables = self._run, self._run.tables
        run.counts["repaired"] += seams.repaired_number(result)
        for minute, size, sums in seams.repaired(result):
            odd = oracle.model_of(minute[1]) in run.odd
            if size > 1 or odd or minute in run.lost | hidden or is_in(minute, run.forgotten):
                continue
            if not tables.has_held(minute, sums, first - _MARGIN, last + _MARGIN):
                run.wrong.append(f"repaired to what was never right: {minute}: {sums}")

    def judge_at_once(self, outstanding: AbstractSet[Minute]) -> None:
        """Judge every minute whose streams have caught up: nothing is in flight."""
        run = self._run
        stored = run.deployment.stored()
        marked = run.deployment.pending(checked=True)
        for minute in sorted(self._wrong_minutes(stored)):
            if minute in outstanding or minute in run.lost or is_in(minute, run.corrupted):
                continue
            if minute in self.healing:
                continue
            excused = any(run.tables.born_and_gone(minute, *check) for check in self._checks)
            if excused and hour_of(minute) in marked:
                self.healing.add(minute)
                run.counts["healed"] += 1
            else:
                self._say(minute, stored, "at once")

    def judge_complete(self) -> None:
        """Demand that no minute is complete of whose time a record is still to be applied."""
        stored = self._run.deployment.stored()
        for written in (each for cursor in self._run.cursors for each in cursor.waiting()):
            created = written.record["dynamodb"]["ApproximateCreationDateTime"]
            for minute in sorted(written.minutes):
                bucket = stored.get((*minute, 1))
                if bucket and bucket["complete"] and created < _seconds(bucket["timeRangeEnd"]):
                    self._say(minute, stored, "complete before its stream was applied")

    def judge_minutes(self) -> None:
        """Judge what only the functions have written, when every pending hour is checked."""
        stored = self._run.deployment.stored()
        for minute in sorted(self._wrong_minutes(stored)):
            if minute in self._run.lost or is_in(minute, self._run.corrupted):
                continue
            self._say(minute, stored, "after the next check")

    def judge_everything(self) -> None:
        """Judge every bucket of every size, and that what has elapsed is complete."""
        run, wrong = self._run, self._run.wrong
        stored, expected = run.deployment.stored(), self._expected()
        now = run.deployment.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        wrong += [
            f"{key} has elapsed and is not complete"
            for key, bucket in stored.items()
            if not bucket["complete"] and bucket["timeRangeEnd"] < now
        ]
        for key in sorted(expected.keys() | stored.keys()):
            found, none = sums_of(stored.get(key)), zero(key[1])
            if expected.get(key, none) != (found or none):
                wrong.append(f"{key}: {found} stored, {expected.get(key)} expected")
        run.counts["buckets"] = len(expected)

    def judge_quarantine(self, cursors: Iterable["Cursor"], refused: AbstractSet[str]) -> None:
        """Judge that exactly what could not be counted is in quarantine."""
        may: set[str] = set(refused)
        must: set[str] = set(refused)
        for cursor in cursors:
            for number, written in enumerate(cursor.written):
                if not written.countable:
                    may.add(written.record["eventID"])
                    if number not in cursor.skipped:
                        must.add(written.record["eventID"])
        bodies = self._run.deployment.ports.queue.bodies
        kept = {json.loads(body)["record"]["eventID"] for body in bodies}
        self._run.counts["quarantined"] = len(kept)
        if not must <= kept <= may:
            line = f"quarantine: {len(kept - may)} too many, {len(must - kept)} missing"
            self._run.wrong.append(line)

    def judge_requests(self) -> None:
        """Judge that the API was asked nothing invalid."""
        invalid = [
            exchange.operations
            for exchange in self._run.deployment.server.log
            if exchange.status == 400
            or (
                None in exchange.error_types
                and any("AggregatedMetrics" in name for name in exchange.operations)
            )
        ]
        if invalid:
            line = f"{len(invalid)} requests were invalid, the first: {invalid[0]}"
            self._run.wrong.append(line)

    def _wrong_minutes(self, stored: Mapping[oracle.Key, Mapping[str, Any]]) -> set[Minute]:
        tables = self._run.tables
        minutes = {key[:3] for key in stored if key[3] == 1} | tables.moments.keys()
        return {
            minute
            for minute in minutes
            if tables.must_be(minute) != (sums_of(stored.get((*minute, 1))) or zero(minute[1]))
        }

    def _expected(self) -> dict[oracle.Key, tuple[int, ...]]:
        tables = self._run.tables
        there = ((model, row) for model, row in tables.counted() if moment_of(model, row))
        return oracle.buckets_of(there, breakdowns=True)

    def _say(
        self, minute: Minute, stored: Mapping[oracle.Key, Mapping[str, Any]], when: str
    ) -> None:
        found = sums_of(stored.get((*minute, 1)))
        must = self._run.tables.must_be(minute)
        self._run.wrong.append(f"{minute} is not right {when}: {found} stored, {must} expected")


def is_in(minute: Minute, hours: AbstractSet[Minute]) -> bool:
    """Whether a minute lies in one of the hours."""
    account, series, start = minute
    return (account, series, f"{start[:14]}00:00Z") in hours


def hour_of(minute: Minute) -> tuple[str, str, int]:
    """Account, series, and the hour's first epoch minute."""
    account, series, start = minute
    return account, series, int(_seconds(start)) // 3600 * 60


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()
