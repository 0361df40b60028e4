"""One pass over the rows of an account and model through an index, handed on hour by hour.

Rows come newest first. When no more rows of an hour can come, it is handed on and forgotten: what
is held does not grow with the range. By updatedAt a row can move up while it is read, past what has
been read; so before hours are handed on, a *tail* reads what was updated meanwhile. A row counts as
it was first seen in the pass.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from aggregated_metrics.adapters.source_rows import (
    UPDATED,
    Page,
    hours_condition,
    prefix,
    runs_of,
)
from aggregated_metrics.core.buckets import HOUR, floor
from aggregated_metrics.core.errors import UncountableError
from aggregated_metrics.core.models import Model
from aggregated_metrics.core.series import HourId, Target
from aggregated_metrics.core.totals import Totals

PART_HOURS = 300
PART_MINUTES = 20_000
"""So many hours, or minutes with rows, are handed on together."""
MOST_MINUTES = 100_000
"""So many minutes with rows are held at most; a reading that needs more stops."""
TAIL_SECONDS = 10.0
"""So long a tail may go on after the reading's time: rows may be updated faster than it reads."""
_OVERLAP = timedelta(seconds=10)
"""How far clocks and the index may be behind one another."""

type ListRows = Callable[..., Iterator[Page]]
"""Lists an account's rows: source_rows.index_pages of one API."""
type StoredHours = Callable[["Wanted", int, int], Collection[HourId]]
"""The stored hours of breakdowns that start in a range of epoch minutes."""


@dataclass(frozen=True)
class Wanted:
    """The hours of one account and model that are to be checked.

    Attributes:
        hours: by their start (epoch minute).
        breakdowns: record types of which every series is wanted, whichever are stored or counted.
    """

    model: Model
    account_id: str
    hours: Mapping[int, Collection[HourId]]
    breakdowns: Collection[str] = ()

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.account_id}: {self.model.name}"

    def __contains__(self, hour: object) -> bool:
        return (
            isinstance(hour, HourId)
            and hour.start in self.hours
            and (hour.series.record_type in self.breakdowns or hour in self.hours[hour.start])
        )

    def only(self, hours: Collection[HourId]) -> "Wanted":
        """Just these hours."""
        by_start: dict[int, set[HourId]] = {}
        for hour in hours:
            by_start.setdefault(hour.start, set()).add(hour)
        return Wanted(self.model, self.account_id, by_start)


@dataclass
class IndexPass:
    """One pass.

    Attributes:
        rows, pages: how many were read.
        unverified: epoch minutes with a row that the API could not give.
        is_blind: whether not even the time of one is known: nothing further down may be lowered.
        is_over_limit: whether a limit, not the time, stopped it.
        not_reached: the hours that it did not reach.
    """

    source: ListRows
    wanted: Wanted
    clock: Callable[[], datetime]
    rows_limit: int
    seconds: float
    rows: int = 0
    pages: int = 0
    unverified: set[int] = field(default_factory=set)
    is_blind: bool = False
    is_over_limit: bool = False
    not_reached: list[HourId] = field(default_factory=list)
    _totals: Totals = field(default_factory=Totals)
    _seen: set[int] = field(default_factory=set)
    _away: timedelta = timedelta()
    _left: list[int] = field(init=False)
    _tail_from: datetime = field(init=False)

    def __post_init__(self) -> None:
        self._left = sorted(self.wanted.hours)  # the next to be handed on is the last one
        self._tail_from = self._began = self.clock()

    @property
    def is_slow(self) -> bool:
        """Whether reading alone took all the time, without what was done with its parts."""
        alone = self.clock() - self._began - self._away
        return self.pages > 0 and alone.total_seconds() >= self.seconds

    def parts(self, stored: StoredHours) -> Iterator[tuple[Sequence[HourId], Totals]]:
        """Hours of which all rows are read, newest first, and totals that hold theirs.

        Args:
            stored: finds the hours of the wanted breakdowns that have a bucket and may have no row.

        Raises:
            ApiError: the API refused, or did not answer.
        """
        for part in self._parts(stored):
            handed_on = self.clock()
            yield part
            self._away += self.clock() - handed_on

    def _parts(self, stored: StoredHours) -> Iterator[tuple[Sequence[HourId], Totals]]:
        for bound in self._bounds():
            stopped = self._must_stop()
            passed = [start for start in self._left if prefix(start) > bound]
            if passed and (stopped or self._is_enough(passed)) and self._read_tail():
                yield self._hand_on(passed, stored)
            if stopped or self._holds_too_much():
                break
        else:
            # Nothing more can come: in parts all the same, and not once the time is short.
            while self._left and not self._must_stop():
                passed = self._left[-PART_HOURS:]
                while len(passed) > 1 and self._number(passed) > PART_HOURS:
                    passed = passed[len(passed) // 2 :]
                if self._read_tail():
                    yield self._hand_on(passed, stored)
        self.not_reached = [h for start in self._left for h in self.wanted.hours[start]]

    def _bounds(self) -> Iterator[str]:
        """Read pages; after each, the sort-key text above which every row has been read."""
        model, account_id, starts = self.wanted.model, self.wanted.account_id, self._left
        if model.listing is None or not starts:
            return  # there is nothing to read: hours are handed on without totals
        if self._must_stop():
            yield "~"  # nothing has been read, therefore no hour may be handed on
            return
        if model.listing.by == UPDATED:
            condition = {"ge": prefix(starts[0])}
            for page in self.source(model, account_id, condition):
                yield self._add(page) or "~"
            return
        for first, last in runs_of(starts):
            for page in self.source(model, account_id, hours_condition(first, last)):
                yield self._add(page) or "~"
            yield prefix(first)[:-1]

    def _hand_on(
        self, passed: Sequence[int], stored: StoredHours
    ) -> tuple[Sequence[HourId], Totals]:
        """Take hours out of what is held."""
        starts = frozenset(passed)
        hours = {hour for start in passed for hour in self.wanted.hours[start]}
        if self.wanted.breakdowns:
            hours |= {hour for hour in self._totals.hours() if hour.start in starts}
            found = stored(self.wanted, min(passed), max(passed) + HOUR)
            hours |= {hour for hour in found if hour.start in starts}
        part = Totals()
        for hour in hours:
            for minute, total in self._totals.pop_hour(hour).items():
                part.put(Target(hour.series, minute), total)
        self._left = [start for start in self._left if start not in starts]
        return sorted(hours, key=_order), part

    def _read_tail(self) -> bool:
        """Read what was updated meanwhile; whether all of it is read. No hour is right before."""
        model, account_id = self.wanted.model, self.wanted.account_id
        if model.listing is None or model.listing.by != UPDATED:
            return True
        since = (self._tail_from - _OVERLAP).isoformat(timespec="seconds")[:19]
        self._tail_from = self.clock()
        is_late = False
        for page in self.source(model, account_id, {"ge": since}, newest_first=False):
            if is_late:
                return False
            self._add(page)
            is_late = self._elapsed() >= self.seconds + TAIL_SECONDS
        return True

    def _add(self, page: Page) -> str:
        """Add a page's rows; return its last sort-key text."""
        model, left = self.wanted.model, frozenset(self._left)
        rows, last, unverified, is_blind = page
        self.rows += len(rows)
        self.pages += 1
        self.unverified.update(unverified)
        self.is_blind |= is_blind
        for row in rows:
            row_id = model.row_id(row)
            if hash(row_id) in self._seen:
                continue
            try:
                found = model.part_of_row(row)
            except UncountableError:
                continue  # the stream has put it into quarantine
            if found is None:
                continue
            (minute, who, _), sums, indexed = found
            if indexed and floor(minute, HOUR) in left:
                self._seen.add(hash(row_id))
                series = model.series(who)
                self._totals.add(row_id, series, minute, sums, indexed=True, hours=self.wanted)
        return last

    def _must_stop(self) -> bool:
        if self.rows >= self.rows_limit:
            self.is_over_limit = True
        return self.is_over_limit or self._elapsed() >= self.seconds

    def _elapsed(self) -> float:
        return (self.clock() - self._began).total_seconds()

    def _holds_too_much(self) -> bool:
        if len(self._totals) >= MOST_MINUTES:
            self.is_over_limit = True
        return self.is_over_limit

    def _is_enough(self, passed: Sequence[int]) -> bool:
        return len(self._totals) >= PART_MINUTES or self._number(passed) >= PART_HOURS

    def _number(self, starts: Sequence[int]) -> int:
        return sum(max(1, len(self.wanted.hours[start])) for start in starts)


def _order(hour: HourId) -> tuple[int, str, str, str]:
    series = hour.series
    return -hour.start, series.record_type, series.scorecard_id or "", series.score_id or ""
