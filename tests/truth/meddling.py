"""Rows that are written at the worst moments of a check: as it reads, waits, and before it saves.

A check is noticed by what it asks the API for.
"""

import itertools
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING

from testbench import oracle
from testbench.fakes.endpoint import Answer
from testbench.fakes.signatures import Request
from tests.truth import seams
from tests.truth.deployment import sums_of
from tests.truth.row_histories import Change, new_row
from tests.truth.shards import Shard, meddled
from tests.truth.source_tables import Minute, Written

if TYPE_CHECKING:
    from tests.truth.run import Run

_SERIES = ("items", "scoreResults", "tasks", "evaluations", "feedbackItems", "reviews")
_MODELS = {series: oracle.model_of(series) for series in _SERIES}
_DAYS, _MINUTES = 6, 4
"""In so many minutes of so many accounts' days it writes."""
_FIRST_SHARD = 900
_EARLIER, _LATER = timedelta(seconds=4), timedelta(seconds=17)
"""After a page was read: on both sides of the middle of the wait for the second look."""
_OK, _PATIENCE = 200, 10.0
_SECOND = 2
"""A check loads an hour before its rows are read, and again with the second look."""


class Act(Enum):
    """What happens in the minutes of one day: one thing, once in each of them.

    A check in which anything moves is repeated, and what it has set wrongly is right after that.
    """

    NEW = auto()
    """A row is written after the last page was read."""
    EXCHANGE = auto()
    """A row goes while the check waits, and another one that counts alike comes."""
    DELIVERY = auto()
    """A row is written, and counted by its stream, before the check saves."""


class Meddler:
    """Writes rows while `watch` sees the requests to the API; `end` delivers what waits.

    All of these rows are in minutes whose counts a repair is about to set.
    """

    def __init__(self, run: "Run", epoch: int) -> None:
        self._run, self._epoch = run, epoch
        self._draw = random.Random(f"meddle/{run.plan.seed}/{epoch}")
        self._one_at_a_time = threading.Lock()
        self._done: set[Minute] = set()
        self._loads: Counter[Minute] = Counter()
        self._numbers = itertools.count()
        self._acts: dict[tuple[str, str], Act] = {}
        self._waits: list[threading.Thread] = []
        self._prompt: dict[str, Source] = {}
        self._late: dict[str, Source] = {}
        self._standing: dict[Minute, Change] = {}

    def begin(self) -> None:
        """Have a row in some minutes that are lost: it is counted as every other."""
        days: dict[tuple[str, str], list[Minute]] = {}
        stored = self._run.deployment.stored()
        for minute in sorted(self._run.lost):
            is_wrong = self._run.tables.must_be(minute) != sums_of(stored.get((*minute, 1)))
            if minute[1] in _MODELS and is_wrong:  # an hourly check has repaired the others
                days.setdefault(_day_of(minute), []).append(minute)
        chosen = self._draw.sample(sorted(days), min(_DAYS, len(days)))
        self._acts = dict(zip(chosen, self._run.acts, strict=False))
        for minute in (minute for day in chosen for minute in self._few(days[day])):
            model = _MODELS[minute[1]]
            if model not in self._late:
                troubles = self._run.troubles
                number = _FIRST_SHARD + 2 * self._epoch
                self._prompt[model] = Source(self._run, meddled(model, troubles, number))
                self._late[model] = Source(self._run, meddled(model, troubles, number + 1))
            self._standing[minute] = self._row_in(minute)
            self._write(self._late[model], self._standing[minute])
        self.end()

    @property
    def days(self) -> set[tuple[str, str]]:
        """Account and date of the minutes in which it writes."""
        return {*self._acts}

    def watch(self, request: Request, answer: Answer) -> None:
        """Learn of an answer that is about to be given."""
        if answer.status != _OK or answer.error_types:
            return
        asked = seams.asked(request.body)
        read = [minute for minute in sorted(self._standing) if _is_read(asked, answer, minute)]
        loaded = self._loaded_again({question.hour for question in asked})
        if (read or loaded) and self._one_at_a_time.acquire(blocking=False):
            try:
                self._when_rows_are_read(read)
                self._before_a_save(loaded)
            finally:
                self._one_at_a_time.release()

    def end(self) -> None:
        """Deliver what waits."""
        for thread in self._waits:
            thread.join()
        self._waits.clear()
        for source in (*self._prompt.values(), *self._late.values()):
            source.deliver()

    def _when_rows_are_read(self, here: list[Minute]) -> None:
        for minute in self._some(here, Act.NEW):
            self._write(self._late[_MODELS[minute[1]]], self._row_in(minute))
        for minute in self._some(here, Act.EXCHANGE):
            thread = threading.Thread(target=self._exchange, args=(minute,), daemon=True)
            self._waits.append(thread)
            thread.start()

    def _some(self, here: list[Minute], act: Act) -> list[Minute]:
        """The minutes in which this happens now."""
        its = [
            minute
            for minute in here
            if self._acts[_day_of(minute)] is act and minute not in self._done
        ]
        self._done.update(its)
        return its

    def _few(self, minutes: list[Minute]) -> list[Minute]:
        return self._draw.sample(minutes, min(_MINUTES, len(minutes)))

    def _exchange(self, minute: Minute) -> None:
        """While a check waits a row goes, and another one that counts alike comes."""
        source, began = self._late[_MODELS[minute[1]]], self._run.deployment.clock.now()
        there = self._standing.pop(minute, None)
        if there is None:
            return
        self._wait_until(began + _EARLIER)
        self._write(source, Change(there.at, there.new, None))
        self._wait_until(began + _LATER)
        another = self._row_in(minute)
        self._write(source, another)
        self._standing[minute] = another

    def _write(self, source: "Source", change: Change) -> None:
        self._run.cancelled_out |= source.write(change).minutes

    def _wait_until(self, moment: datetime) -> None:
        end = time.monotonic() + _PATIENCE
        while self._run.deployment.clock.now() < moment and time.monotonic() < end:
            time.sleep(0.005)

    def _loaded_again(self, loaded: set[tuple[str, str] | None]) -> list[Minute]:
        """The minutes of the hours that have been loaded before."""
        here = [
            minute
            for minute in sorted(self._standing)
            if (minute[0], f"{minute[1]}#{minute[2][:14]}") in loaded
        ]
        self._loads.update(here)
        return [minute for minute in here if self._loads[minute] >= _SECOND]

    def _before_a_save(self, here: list[Minute]) -> None:
        for minute in self._some(here, Act.DELIVERY):
            source = self._prompt[_MODELS[minute[1]]]
            self._write(source, self._row_in(minute))
            source.deliver()

    def _row_in(self, minute: Minute) -> Change:
        """A new row that counts into a minute; all of one minute count alike."""
        account, series, start = minute
        identity = f"meddled-{self._epoch}-{next(self._numbers)}"
        row = new_row(_MODELS[series], identity, account, start)
        return Change(self._run.deployment.clock.now(), None, row)


def _is_read(asked: Iterable[seams.Asked], answer: Answer, minute: Minute) -> bool:
    """Whether the rows of a minute have just been read: it is the last page."""
    account, series, start = minute
    return any(
        question.reads(_MODELS[series], account)
        and question.includes(start)
        and json.loads(answer.body)["data"][question.alias]["nextToken"] is None
        for question in asked
    )


def _day_of(minute: Minute) -> tuple[str, str]:
    account, _, start = minute
    return account, start[:10]


class Source:
    """A shard whose records come on demand."""

    def __init__(self, run: "Run", shard: Shard) -> None:
        self._run, self._shard = run, shard
        self._lock = threading.Lock()
        self._waiting: list[Written] = []

    def write(self, change: Change) -> Written:
        """Carry out a change; its record waits."""
        with self._lock:
            written = self._run.tables.write(self._shard.model, change, self._shard.stream)
            self._waiting.append(written)
            return written

    def deliver(self) -> None:
        """Deliver what waits."""
        with self._lock:
            if not self._waiting:
                return
            records = [written.record for written in self._waiting]
            self._run.surely(seams.aggregate(records, self._shard.name(0)))
            self._waiting.clear()
