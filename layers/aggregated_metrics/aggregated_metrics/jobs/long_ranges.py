"""A range of many days of a model whose index sorts by updatedAt.

Its rows may be listed anywhere from the range's start to the end of the index. So one reading
serves all days: what it finds is put away, compressed, in parts of at most MOST_DAYS, and the parts
are compared with the buckets one after the other. Each look lists each row once.
"""

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from aggregated_metrics.adapters.source_rows import Counted
from aggregated_metrics.core import buckets, listing
from aggregated_metrics.core.findings import Findings
from aggregated_metrics.core.groups import (
    Group,
    divided,
    doubtful_of,
    listed_of,
    news_of,
    whole_hours,
)
from aggregated_metrics.core.hours import Hour, HourId
from aggregated_metrics.core.listing import UPDATED
from aggregated_metrics.core.listing import Range as TextRange
from aggregated_metrics.core.metadata import Fence
from aggregated_metrics.core.ranges import Range
from aggregated_metrics.core.record_types import model_of
from aggregated_metrics.core.row_sums import Packed, Sums
from aggregated_metrics.jobs.checker import Checker
from aggregated_metrics.jobs.two_looks import Looks, settle

HELD = 150_000
"""So many minutes' sums are held at most before they are put away."""
_HOURS_AT_ONCE = 480


@dataclass(frozen=True, slots=True)
class _Look:
    """One reading: its sums by window, when it was made, and of how many rows it knows no time."""

    sums: Packed
    began: datetime
    ended: datetime
    unplaced: int


class LongRange:
    """One account's range of one model, to be checked by two readings.

    Args:
        checker: compares, waits and repairs.
        asked: the range; its record types belong to one model.
        found: takes what the check has come to by now; where it fails, what has been repaired.
    """

    def __init__(self, checker: Checker, asked: Range, found: Findings) -> None:
        self._checker = checker
        self._account_id = asked.account_id
        self._model = model_of(asked.record_types[0]).only(asked.record_types)
        self._windows = list(asked.windows())[::-1]
        self._starts = [window.start for window in self._windows]
        self._groups = [
            Group(self._model, asked.account_id, tuple(window.hours())) for window in self._windows
        ]
        self._stored: list[set[HourId]] = [set() for _ in self._groups]
        self._doubtful: set[int] = set()
        self._found = found
        self._unreadable = 0

    def check(self, *, repair: bool) -> None:
        """Compare its hours with the source rows, and with `repair` set right what is wrong.

        Raises:
            ApiError: the API refused, or did not answer.
            ContentionError: the time ran out; what was repaired is valid.
            OutOfTimeError: there was no time for a look; nothing is repaired.
        """
        ranges = self._ranges()
        first = self._look(ranges)
        wrong = [i for i in range(len(self._windows)) if self._differs(i, first, repair=repair)]
        if wrong:
            self._checker.wait_since(first.ended)
            second = self._look(ranges, first.began)
            self._settle(wrong, first, second, ranges, repair=repair)

    def _ranges(self) -> list[TextRange]:
        """As far as the rows are listed: the buckets tell, so they are loaded first."""
        texts: list[tuple[str, str]] = []
        for number, group in enumerate(self._groups):
            named, every = divided(group)
            scoped = self._checker.stored_scopes(group, every, named)
            self._stored[number] = {*named, *scoped}
            for ids in _parts(self._stored[number] | whole_hours(group, every)):
                hours = self._checker.store.load(ids)
                self._doubtful |= doubtful_of(hours, self._model)
                texts += listed_of(hours)
        return listing.ranges(UPDATED, self._starts, texts)

    def _look(self, ranges: list[TextRange], since: datetime | None = None) -> _Look:
        checker, packed = self._checker, self._packed()
        began = checker.clock()

        def on_page(counted: Counted) -> None:
            checker.on_page(counted)
            if len(counted.minutes) >= HELD:
                packed.take(counted)

        hours = range(self._windows[0].start, self._windows[-1].end, buckets.HOUR)
        counted = checker.source.count(
            self._model, self._account_id, hours, ranges, since or began, on_page
        )
        packed.take(counted)
        self._found.rows += counted.rows
        self._found.pages += counted.pages
        # Of two looks those of the one that could read the fewest.
        more = max(0, counted.unreadable - self._unreadable)
        self._unreadable += more
        self._found.unreadable += more
        return _Look(packed, began, checker.clock(), counted.unplaced)

    def _packed(self) -> Packed:
        return Packed(self._account_id, self._model.name, self._part_of)

    def _part_of(self, minute: int) -> int:
        return bisect_right(self._starts, minute) - 1

    def _differs(self, number: int, look: _Look, *, repair: bool) -> bool:
        """Whether a window differs from the first look; what is right there is done with."""
        sums = look.sums.part(number)
        late: dict[HourId, int] = {}
        found = Findings()
        wrong = False
        for hours in _parts(self._hours(number, sums)):
            stored = self._checker.store.load(hours)
            for hour in stored:
                wrong |= self._compare(hour, sums, look, found)
            late |= self._checker.late(stored)
            # What has no record left to tell it: a later check of the hour looks no further.
            if repair and (news := news_of(stored, sums.texts())):
                self._found.written += self._checker.teach(news)
        if wrong:
            return True
        if repair and late:
            found.completed = found.written = self._checker.complete(late)
        self._found.add(found)
        return False

    def _compare(self, hour: Hour, sums: Sums, look: _Look, found: Findings) -> bool:
        compared = self._checker.compare(
            hour, self._model, sums, self._doubtful, unplaced=look.unplaced
        )
        found.hours += 1
        found.minutes += compared.minutes
        if not compared.is_decided:
            found.undecided.add(hour.id)
        return bool(compared.wrong)

    def _settle(
        self,
        wrong: list[int],
        first: _Look,
        second: _Look,
        ranges: list[TextRange],
        *,
        repair: bool,
    ) -> None:
        moments = (first.began, first.ended, second.began, second.ended)
        fence = Fence.between(*(moment.timestamp() for moment in moments), read=tuple(ranges))
        for number in wrong:
            unplaced = max(first.unplaced, second.unplaced)
            sums = first.sums.part(number), second.sums.part(number)
            for hours in _parts(self._hours(number, *sums)):
                group = self._groups[number]._replace(hours=tuple(hours))
                looks = Looks(group, *sums, fence, unplaced, self._doubtful)
                settle(self._checker, [looks], self._found, repair=repair)
                self._found.shorten()

    def _hours(self, number: int, *looks: Sums) -> list[HourId]:
        """A window's hours; of breakdowns those of all scopes that are stored or have rows."""
        scoped = {target.hour for sums in looks for target in sums.places() if target.series.scope}
        return sorted(self._stored[number] | scoped)


def _parts(ids: Collection[HourId]) -> list[list[HourId]]:
    hours = sorted(ids)
    return [hours[i : i + _HOURS_AT_ONCE] for i in range(0, len(hours), _HOURS_AT_ONCE)]
