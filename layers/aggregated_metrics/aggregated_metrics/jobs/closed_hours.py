"""The check of the closed hours: every hour that was written is compared once it is closed.

A closed hour keeps its mark while it is wrong or moving, or could not be checked: it waits behind
the others and is looked at again. What no run can check by itself is set aside. What the rows do
not decide is told once: a later run would read no more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from aggregated_metrics.adapters.observability import logger
from aggregated_metrics.adapters.pending_hours import Mark, PendingHours
from aggregated_metrics.adapters.source_rows import Counted
from aggregated_metrics.core import buckets, listing
from aggregated_metrics.core.buckets import DAY
from aggregated_metrics.core.errors import OutOfTimeError, TooManyRowsError
from aggregated_metrics.core.findings import Findings, Reading
from aggregated_metrics.core.groups import groups
from aggregated_metrics.core.record_types import model_of
from aggregated_metrics.jobs.checker import Checker
from aggregated_metrics.jobs.range_check import SPARE_SECONDS

_NO_TIME = (
    "its rows were not read in the time that was left: if that comes again, set CheckRowsLimit "
    "lower, or check it from the command line"
)

type Marks = list[Mark]
"""Of the hours of one account, model and day: one reading of the source counts them all."""


@dataclass(slots=True)
class Closed:
    """What a check of the closed hours came to.

    Attributes:
        findings: of all groups that were checked; its `failed` names the others.
        waiting: hours that still wait.
        set_aside: hours that no run can check by itself, because they list too many rows.
        oldest: seconds since the longest waiting hour was closed.
    """

    findings: Findings = field(default_factory=Findings)
    waiting: int = 0
    set_aside: int = 0
    oldest: float = 0.0


@dataclass(slots=True)
class ClosedHours:
    """One check of the closed hours; every port is an argument.

    `rows_limit` is how many rows a group may list. `done` is what it has come to by now: whoever is
    interrupted finds there what has been repaired.
    """

    checker: Checker
    pending: PendingHours
    time_left: Callable[[], float]
    clock: Callable[[], datetime]
    rows_limit: int | None = None
    done: Closed = field(default_factory=Closed)
    _waiting: list[Marks] = field(default_factory=list)
    _divided: set[tuple[str, str]] = field(default_factory=set)
    _reserved: float = 0.0
    _is_over: bool = False

    def check(self, *, repair: bool) -> Closed:
        """Check the closed hours while there is time, those that waited longest first.

        First looks go on until the rest of the time is needed for the second ones; then one wait
        serves all. A group that fails waits behind the others next time.

        Raises:
            PendingHoursError: the table of pending hours did not answer.
        """
        marks = self.pending.closed()
        now = self.clock().timestamp()
        self.done.waiting = len(marks)
        self.done.oldest = max((now - mark.closed for mark in marks if mark.closed), default=0.0)
        self._waiting = _by_account_model_and_day(marks)
        while self._waiting and not self._is_over and self.time_left() >= self._needed():
            readings = self._first_looks()
            self.checker.wait([reading for _, reading in readings])
            for marks, reading in readings:
                found = self._confirm(reading, repair=repair)
                self.done.findings.add(found)
                if found.failed:
                    self._postpone(marks)
                else:
                    self._settle(marks, found)
        # What took all the time in parts does not keep the others waiting next time as well.
        for marks in self._waiting:
            if _whose(marks) in self._divided:
                self._postpone(marks)
        return self.done

    def _needed(self) -> float:
        """Seconds for one more first look, the wait, and the second ones."""
        return 2 * SPARE_SECONDS + self.checker.settle + self._reserved

    def _first_looks(self) -> list[tuple[Marks, Reading]]:
        readings: list[tuple[Marks, Reading]] = []
        while self._waiting and not self._is_over and self.time_left() >= self._needed():
            marks = self._waiting.pop(0)
            before = self.time_left()
            reading = self._look(marks)
            if reading is not None:
                self._reserved += (before - self.time_left()) if reading.wrong else 0.0
                readings.append((marks, reading))
        self._reserved = 0.0
        return readings

    def _keep_time(self, _: Counted) -> None:
        """Stop a first look that would use up the time for the second looks at what is wrong."""
        if self._reserved and self.time_left() < self._needed():
            raise OutOfTimeError(_NO_TIME)

    def _confirm(self, reading: Reading, *, repair: bool) -> Findings:
        try:
            return self.checker.confirm(reading, repair=repair)
        except OutOfTimeError:
            found = Findings(failed=[reading.group.failure(OutOfTimeError(_NO_TIME))])
            found.add(reading.found)
            return found

    def _look(self, marks: Marks) -> Reading | None:
        """The first look at a group; one with too many rows is divided."""
        try:
            (group,) = groups([mark.hour for mark in marks])
        except KeyError as error:
            self._set_aside(marks, error)  # a record type that nobody counts any more
            return None
        try:
            return self.checker.look(group, self.rows_limit, self._keep_time)
        except TooManyRowsError as error:
            self._divide(marks, error)
        except OutOfTimeError:
            if self._reserved:  # it is among the first next time, with all of the time
                self._waiting.insert(0, marks)
                self._is_over = True
            else:
                self.done.findings.failed.append(group.failure(OutOfTimeError(_NO_TIME)))
                self._postpone(marks)
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
            self.done.findings.failed.append(group.failure(error))
            self._postpone(marks)
        return None

    def _divide(self, marks: Marks, error: TooManyRowsError) -> None:
        """Have the halves of a group looked at instead; a single hour is set aside."""
        parts = _halves(marks)
        if len(parts) > 1:
            self._waiting[:0] = parts
            self._divided.add(_whose(marks))
        else:
            self._set_aside(marks, error)
        if error.since is not None:
            self._rule_out(_whose(marks), error.since, error)

    def _rule_out(self, whose: tuple[str, str], since: str, error: TooManyRowsError) -> None:
        """Set aside all hours from which on an index by updatedAt lists too many rows as well.

        It is read from an hour to its end. So of that account and model the latest come first now:
        the first of them that lists too many rules out all that are left, without reading them.
        """
        kept: list[Marks] = []
        for marks in filter(lambda each: _whose(each) == whose, self._waiting):
            early = [mark for mark in marks if _listed_from(mark) <= since]
            if early:
                self._set_aside(early, error)
            kept.append([mark for mark in marks if mark not in early])
        latest_first = iter(sorted(filter(None, kept), key=lambda each: -each[0].hour.start))
        places = (
            next(latest_first, []) if _whose(each) == whose else each for each in self._waiting
        )
        self._waiting = [marks for marks in places if marks]

    def _settle(self, marks: Marks, found: Findings) -> None:
        """Forget the hours that are right or undecided; the others are looked at again."""
        unsettled = {drift.hour for drift in (*found.drift, *found.moving)}
        for mark in marks:
            self.done.waiting -= 1
            if mark.hour not in unsettled:
                self.pending.remove(mark)
            else:
                self.pending.postpone(mark)

    def _postpone(self, marks: Marks) -> None:
        """A group that failed waits behind the others, so that it does not keep them waiting."""
        for mark in marks:
            self.pending.postpone(mark)

    def _set_aside(self, marks: Marks, error: Exception) -> None:
        """No later run could do more."""
        self.done.set_aside += len(marks)
        self.done.waiting -= len(marks)
        logger.warning("hours are set aside", extra={"group": _names(marks), "reason": str(error)})
        for mark in marks:
            self.pending.set_aside(mark)


def _names(marks: Marks) -> str:
    series, start = marks[0].hour
    return f"{series.account_id} {series.record_type} {buckets.iso(start)[:10]}"


def _whose(marks: Marks) -> tuple[str, str]:
    """Their account and model."""
    series = marks[0].hour.series
    return series.account_id, _model_name(series.record_type)


def _listed_from(mark: Mark) -> str:
    """The text from which on an index by updatedAt lists an hour's rows, and all later ones."""
    ((first, _),) = listing.ranges(listing.UPDATED, [mark.hour.start], [])
    return first


def _halves(marks: Marks) -> list[Marks]:
    """The marks of the earlier and of the later hours; only one part if it is one hour."""
    starts = sorted({mark.hour.start for mark in marks})
    middle = starts[len(starts) // 2]
    parts = [
        [mark for mark in marks if (mark.hour.start < middle) is early] for early in (True, False)
    ]
    return [part for part in parts if part]


def _by_account_model_and_day(marks: Sequence[Mark]) -> list[Marks]:
    """The groups in the order in which their longest waiting hours were given."""
    groups: dict[tuple[int, str, str], Marks] = {}
    for mark in marks:
        key = (mark.hour.start // DAY, *_whose([mark]))
        groups.setdefault(key, []).append(mark)
    return list(groups.values())


def _model_name(record_type: str) -> str:
    try:
        return model_of(record_type).name
    except KeyError:
        return record_type  # a group of its own: nobody counts it any more
