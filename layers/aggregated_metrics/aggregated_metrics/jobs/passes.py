"""One pass over the rows of an account and model through an index, handed on hour by hour.

Rows come newest first. When no more rows of an hour can come, it is handed on and forgotten: what
is held does not grow with the range. By updatedAt a row can move up while it is read, past what has
been read; so before hours are handed on, a *tail* reads what was updated meanwhile. A row counts as
it was first seen in the pass.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from aggregated_metrics.adapters import source_rows
from aggregated_metrics.adapters.source_rows import UPDATED, Page
from aggregated_metrics.core.buckets import HOUR, floor, hour_prefix
from aggregated_metrics.core.errors import UncountableError
from aggregated_metrics.core.models import Model
from aggregated_metrics.core.series import HourId, hour_key
from aggregated_metrics.core.totals import Totals

PART_HOURS = 300
PART_MINUTES = 20_000
"""About so many hours, or minutes with rows, are handed on together."""
MOST_MINUTES = 100_000
"""A pass keeps at most so many minutes with rows; a reading that needs more stops."""
TAIL_SECONDS = 10.0
"""So long a tail may go on after the reading's time: rows may be updated faster than it reads."""
_OVERLAP = timedelta(seconds=10)
"""How far clocks and the index may be behind one another."""

type ListRows = Callable[..., Iterator[Page]]
"""Lists an account's rows: source_rows.index_pages of one API."""
type StoredHours = Callable[[Iterable[tuple[str, str, int, int]]], Iterable[HourId]]
"""The stored hours of accounts' breakdowns that start in a range of epoch minutes."""
type Part = tuple[Sequence[HourId], Totals]
"""Hours of which all rows are read, and totals that hold theirs."""


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

    def only(self, hours: Iterable[HourId]) -> "Wanted":
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
    _totals: Totals = field(default_factory=Totals)
    _seen: set[int] = field(default_factory=set)
    _away: timedelta = timedelta()

    def __post_init__(self) -> None:
        self._left = sorted(self.wanted.hours)  # the next to be handed on is the last one
        self._tail_from = self._began = self.clock()

    @property
    def not_reached(self) -> list[HourId]:
        """The hours that it did not reach."""
        return [hour for start in self._left for hour in self.wanted.hours[start]]

    @property
    def is_slow(self) -> bool:
        """Whether reading alone took all the time, without what was done with its parts."""
        return self.pages > 0 and self._elapsed() - self._away.total_seconds() >= self.seconds

    def parts(self, stored: StoredHours) -> Iterator[Part]:
        """Hours of which all rows are read, newest first.

        `stored` finds the hours of the wanted breakdowns that have a bucket and may have no row.

        Raises:
            ApiError: the API refused, or did not answer.
        """
        for bound in self._bounds():
            is_last = self._must_stop() or not bound
            while (starts := self._passed(bound, is_last=is_last)) and self._read_tail():
                part, handed_on = self._hand_on(starts, stored), self.clock()
                yield part
                self._away += self.clock() - handed_on
                if self._must_stop():
                    return
            if self._must_stop():
                return

    def _bounds(self) -> Iterator[str]:
        """Read pages; after each, the text of the index above which every row has been read."""
        model, account_id, starts = self.wanted.model, self.wanted.account_id, self._left
        if not starts or self._must_stop():
            return
        conditions = [source_rows.hours_condition(*run) for run in source_rows.runs_of(starts)]
        if model.listing and model.listing.by == UPDATED:
            conditions = [{"ge": hour_prefix(starts[0])}]
        for condition in conditions if model.listing else ():
            for page in self.source(model, account_id, condition):
                yield self._add(page) or "~"
        yield ""

    def _passed(self, bound: str, *, is_last: bool) -> list[int]:
        """The next hours above a bound, newest first; none if they are few and more may come."""
        passed: list[int] = []
        number = 0
        for start in reversed(self._left):
            if number >= PART_HOURS or hour_prefix(start) <= bound:
                break
            passed.append(start)
            number += max(1, len(self.wanted.hours[start]))
        is_enough = number >= PART_HOURS or len(self._totals) >= PART_MINUTES
        return passed if is_enough or is_last else []

    def _hand_on(self, starts: Sequence[int], stored: StoredHours) -> Part:
        """Take hours, the newest that are left, out of the pass."""
        hours = {hour for start in starts for hour in self.wanted.hours[start]}
        counted = self._totals.hours() if self.wanted.breakdowns else ()
        hours.update(hour for hour in counted if hour.start >= starts[-1])
        account_id, first, end = self.wanted.account_id, starts[-1], starts[0] + HOUR
        found = stored((account_id, name, first, end) for name in self.wanted.breakdowns)
        hours.update(hour for hour in found if hour in self.wanted)
        self._left = self._left[: -len(starts)]
        return sorted(hours, key=hour_key), self._totals.take(hours)

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
        self.is_over_limit |= self.rows >= self.rows_limit or len(self._totals) >= MOST_MINUTES
        return self.is_over_limit or self._elapsed() >= self.seconds

    def _elapsed(self) -> float:
        return (self.clock() - self._began).total_seconds()
