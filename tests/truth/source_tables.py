"""The source tables: what they hold, what their streams record of it, and what must be counted."""

import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from testbench import oracle, streams
from testbench.fakes.appsync import FakeAppSync
from tests.truth.deployment import SharedClock
from tests.truth.row_histories import Change, moment_of

type Row = Mapping[str, Any]
type Minute = tuple[str, str, str]
"""Account, series (oracle.Key), start."""
type Sums = tuple[int, ...]

_EARLY_HOURS = 20
_SEEN = ("api", "offset")
"""Stamps that tell when a row was written."""
_UTC_MILLISECONDS = "%Y-%m-%dT%H:%M:%S.%f"


class Written(NamedTuple):
    """One change as it was carried out.

    `countable` tells whether its new image can be counted; `elsewhere` whether an image of it is
    not listed in its hour's own range, which is not known before its record has come.
    """

    record: streams.Record
    minutes: frozenset[Minute]
    countable: bool
    elsewhere: bool


class Moment(NamedTuple):
    """What a minute had to be from some time on, and which row made it so.

    `fresh` tells whether that row is still there, with an updatedAt of that time.
    """

    at: float
    sums: Sums
    row_id: str
    fresh: bool


class SourceTables:
    """All source tables of an API.

    Args:
        api: holds the rows.
        clock: the time of their writes.
        skew: seconds by which the clocks that set updatedAt differ from the stream's, at most.
    """

    def __init__(self, api: FakeAppSync, clock: SharedClock, skew: float) -> None:
        self._api, self._clock, self._skew = api, clock, skew
        self._lock = threading.Lock()
        self.rows: dict[str, Row] = {}
        self._models: dict[str, str] = {}
        self._expired: list[tuple[str, Row]] = []
        self.moments: dict[Minute, list[Moment]] = defaultdict(list)

    def write(self, model: str, change: Change, stream: streams.Stream) -> Written:
        """Carry out a change: the table has it, and its stream a record of it."""
        with self._lock, self._clock.slow():
            now = self._clock.now()
            identity = (change.new or change.old or {})["id"]
            old = self.rows.get(identity)
            new = None if change.new is None else self._stamped(model, change, identity, now)
            if new is None:
                self._api.remove(model, identity)
                del self.rows[identity]
                if change.expired and old is not None:
                    self._expired.append((model, old))
                remove = stream.expire if change.expired else stream.remove
                record = remove(old or {}, created=now)
            else:
                self._api.put(model, {name: v for name, v in new.items() if v is not None})
                self.rows[identity] = new
                self._models[identity] = model
                if old is None:
                    record = stream.insert(new, created=now)
                else:
                    record = stream.modify(old, new, created=now)
            counted = [] if new is None and change.expired else [(old, -1)]
            seen = change.stamp in _SEEN
            moved = self._count(model, [*counted, (new, 1)], now, identity, seen=seen)
        gone = new is None or bool(new.get("_deleted"))
        countable = gone or moment_of(model, new) is not None
        elsewhere = any(row is not None and _is_elsewhere(model, row) for row in (old, new))
        return Written(record, moved, countable, elsewhere)

    def _stamped(self, model: str, change: Change, identity: str, now: datetime) -> Row:
        row = dict(change.new or {})
        moment = now + timedelta(seconds=self._skew * (hash_of(identity) - 0.5) * 2)
        match change.stamp:
            case "none":
                return row
            case "early":
                created = oracle.when(model, row) or now
                hours = 1 + hash_of(identity) * (_EARLY_HOURS - 1)
                moment = created.astimezone(UTC) - timedelta(hours=hours)
            case "offset":
                zone = "+05:30" if hash_of(identity) < 0.5 else "-11:00"
                moment += timedelta(hours=5.5 if zone == "+05:30" else -11)
                return row | {"updatedAt": moment.strftime(_UTC_MILLISECONDS)[:-3] + zone}
        return row | {"updatedAt": moment.strftime(_UTC_MILLISECONDS)[:-3] + "Z"}

    def _count(
        self,
        model: str,
        images: Iterable[tuple[Row | None, int]],
        now: datetime,
        identity: str,
        *,
        seen: bool,
    ) -> frozenset[Minute]:
        """Count what images add and take; gives the minutes that they have to do with."""
        changed: dict[Minute, Sums] = {}
        there: set[Minute] = set()
        for row, sign in images:
            if row is None or moment_of(model, row) is None:
                continue
            for minute, sums in minutes_of(model, row).items():
                before = changed.get(minute, self.must_be(minute))
                changed[minute] = tuple(a + sign * b for a, b in zip(before, sums, strict=True))
                if sign > 0:
                    there.add(minute)
        for minute, sums in changed.items():
            moment = Moment(now.timestamp(), sums, identity, seen and minute in there)
            self.moments[minute].append(moment)
        return frozenset(changed)

    def counted(self) -> list[tuple[str, Row]]:
        """Model and row of all that are there, or were when they expired."""
        there = [(self._models[identity], row) for identity, row in self.rows.items()]
        return there + self._expired

    def must_be(self, minute: Minute) -> Sums:
        """What a minute must hold once its streams have caught up."""
        moments = self.moments.get(minute)
        return moments[-1].sums if moments else zero(minute[1])

    def has_held(self, minute: Minute, sums: Sums, first: float, last: float) -> bool:
        """Whether a minute had to be so at some time from `first` to `last`."""
        held = zero(minute[1])
        for moment in self.moments.get(minute, ()):
            if moment.at > last:
                break
            if moment.at >= first and held == sums:
                return True
            held = moment.sums
        return held == sums

    def born_and_gone(self, minute: Minute, first: float, last: float) -> bool:
        """Whether rows came and went, or the like, and left nothing that two looks could see."""
        seen = [m for m in self.moments.get(minute, ()) if first <= m.at <= last]
        rows = {moment.row_id: moment.fresh for moment in seen}
        return len(seen) > 1 and not any(rows.values())


def _is_elsewhere(model: str, row: Row) -> bool:
    moment = moment_of(model, row)
    hour = "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%dT%H:")
    if model == "Item":
        return not str(row.get("createdAt")).startswith(hour)
    return str(row.get("updatedAt", "")) < hour


def zero(series: str) -> Sums:
    """The sums of a series' minute in which there is nothing."""
    return (0,) * len(oracle.measures_of(series))


def minutes_of(model: str, row: Row) -> dict[Minute, Sums]:
    """What a row adds, by minute."""
    return {
        (account, series, start): sums
        for (account, series, start, size), sums in oracle.buckets_of(
            [(model, row)], breakdowns=True
        ).items()
        if size == 1
    }


def hash_of(text: str) -> float:
    """A number from 0 to 1 that stands for a text, the same in every run."""
    return int(text.encode().hex(), 16) * 2654435761 % 1000 / 1000
