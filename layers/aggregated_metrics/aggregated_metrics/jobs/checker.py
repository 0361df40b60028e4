"""Verify and repair: count the source rows again, compare every minute, set right what is wrong.

What differs is read twice, at least SETTLE_SECONDS apart. A minute is *sure* if both readings found
the same sums and no row that counts into it was updated since the first one began. Then its sums
hold all that was created up to the middle of the gap between them, and nothing from after. It is
set to them if its stored version is still the one that was loaded before the first reading, and
that middle is written beside it as its *fence*: from then on the aggregator skips what was created
up to it. So a repair need not know how far the stream is behind, or whether anybody reads it.
Anything else is *moving*: it is left alone, and its hour is looked at again.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType

from aggregated_metrics.adapters.hour_store import HourStore, Outcome
from aggregated_metrics.adapters.pending_hours import PendingHours
from aggregated_metrics.adapters.source_rows import Counted, SourceRows
from aggregated_metrics.core import comparing
from aggregated_metrics.core.comparing import Comparison
from aggregated_metrics.core.errors import OutOfTimeError, TooManyRowsError
from aggregated_metrics.core.findings import Drift, Findings, Reading
from aggregated_metrics.core.groups import (
    Group,
    divided,
    doubtful_of,
    groups,
    news_of,
    ranges_of,
    uncounted_of,
    whole_hours,
)
from aggregated_metrics.core.hours import Hour, HourId
from aggregated_metrics.core.listing import Listed, Range
from aggregated_metrics.core.metadata import Fence
from aggregated_metrics.core.row_sums import Sums
from aggregated_metrics.core.series import BucketId, Target
from aggregated_metrics.core.source_models import Model


@dataclass(frozen=True, slots=True)
class Checker:
    """Checks hours against the source rows; every port is an argument.

    `lifetimes` is how long the rows of a model live (model name to timedelta); an hour older than
    that is never lowered, because its rows have expired and what happened still happened.
    """

    store: HourStore
    source: SourceRows
    pending: PendingHours
    clock: Callable[[], datetime]
    grace: int
    settle: int
    sleep: Callable[[float], None]
    lifetimes: dict[str, timedelta] = field(default_factory=dict)
    on_page: Callable[[Counted], None] = lambda _: None

    def check(
        self,
        ids: Collection[HourId],
        *,
        repair: bool,
        listed: Mapping[HourId, Collection[Listed]] = MappingProxyType({}),
        findings: Findings | None = None,
    ) -> Findings:
        """Compare hours with the source rows, and with `repair` set right what is wrong.

        Each group (account and model) fails alone: the others are checked.

        Args:
            ids: the hours.
            repair: whether to set right what is wrong.
            listed: rows of the hours that the caller knows to be listed elsewhere.
            findings: takes what it comes to, also where it then ends half way; given back.

        Raises:
            OutOfTimeError: `on_page` says that there is no time; some groups may be done.
            KeyError: no model counts into an hour's record type.
        """
        findings = Findings() if findings is None else findings
        readings, failed = [], []
        for group in groups(ids, listed):
            try:
                readings.append(self.look(group))
            except OutOfTimeError:
                raise  # the caller says where to go on
            except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
                failed.append(group.failure(error))
        findings.failed += failed
        self.wait(readings)
        for reading in readings:
            findings.add(self.confirm(reading, repair=repair))
        return findings

    def look(
        self,
        group: Group,
        rows_limit: int | None = None,
        on_page: Callable[[Counted], None] = lambda _: None,
    ) -> Reading:
        """The first look at a group: what differs.

        `on_page` is called after each page as the Checker's own, which stops by raising too.

        Raises:
            OutOfTimeError: either says that there is no time.
            TooManyRowsError: it lists more than `rows_limit` rows.
        """
        # 1. The buckets come first: what is stored later than this is not set, and their metadata
        #    tells where rows are listed that an hour's own range does not hold.
        named, every = divided(group)
        stored = self.store.load([*named, *self.stored_scopes(group, every, set(named))])
        whole = self._load(whole_hours(group, every).difference(named))
        starts = {hour.start for hour in group.hours}
        news = news_of([*stored, *whole], ((place, None) for place in group.nowhere))
        ranges = ranges_of(group.model, [*stored, *whole], group.listed, starts)
        doubtful = doubtful_of([*stored, *whole], group.model)
        # 2. Then the rows.
        began = self.clock()
        counted = self._count(group, group.hours, ranges, began, rows_limit, on_page)
        # 3. Scopes that nobody had stored: a bucket that is there now was written meanwhile.
        ids = {hour.id for hour in stored}
        new = self._load(_unknown(counted, every) - ids)
        hasty = {BucketId(hour.id, bucket.size, bucket.start) for hour in new for bucket in hour}
        stored += new
        for hour_id, places in news_of(stored, counted.texts()).items():
            news.setdefault(hour_id, []).extend(places)
        found = Findings(hours=len(stored), unreadable=counted.unreadable)
        found.rows, found.pages = counted.rows, counted.pages
        found.undecided = uncounted_of(stored, group.nowhere)
        wrong: dict[BucketId, Drift] = {}
        for hour in stored:
            compared = self.compare(hour, group.model, counted, doubtful, unplaced=counted.unplaced)
            found.minutes += compared.minutes
            wrong |= {drift.bucket: drift for drift in compared.wrong}
            if not compared.is_decided:
                found.undecided.add(hour.id)
        return Reading(
            group,
            found,
            wrong,
            _buckets_of(counted.unsure) | hasty,
            ranges,
            began,
            self.clock(),
            self.late(stored),
            doubtful,
            news,
        )

    def _load(self, ids: Collection[HourId]) -> list[Hour]:
        return self.store.load(sorted(ids)) if ids else []

    def stored_scopes(
        self, group: Group, every: Mapping[str, Sequence[int]], named: Collection[HourId]
    ) -> list[HourId]:
        """The stored hours of those breakdowns of which all scopes are meant."""
        found: set[HourId] = set()
        for record_type, starts in every.items():
            found |= self.store.scoped_hours(group.account_id, record_type, starts)
        return sorted(found.difference(named))

    def wait(self, readings: Sequence[Reading]) -> None:
        """Let SETTLE_SECONDS pass since the last reading that found something: once for all."""
        ends = [reading.ended for reading in readings if reading.wrong]
        if ends:
            self.wait_since(max(ends))

    def wait_since(self, ended: datetime) -> None:
        """Let SETTLE_SECONDS pass since a first look ended."""
        passed = (self.clock() - ended).total_seconds()
        self.sleep(max(0.0, self.settle - passed))

    def confirm(self, reading: Reading, *, repair: bool) -> Findings:
        """The second look, at the hours that differ; with `repair` sets right what is sure.

        What could not be done is in `failed`, beside what was done by then.

        Raises:
            OutOfTimeError: there was no time for the second look; nothing of it is repaired.
        """
        found = Findings()
        found.add(reading.found)
        try:
            if reading.wrong:
                # 1. The rows again, as far as the first time, and only then the buckets: a version
                #    that is still the same has had nothing applied since before the first reading.
                again = self._look_again(reading)
                found.rows += again.counted.rows
                found.pages += again.counted.pages
                # 2. Sure is what both found alike, of rows that nobody has updated since.
                unsure = {*reading.unsure, *_buckets_of(again.counted.unsure)}
                for bucket, drift in reading.wrong.items():
                    sure = again.wrong.get(bucket) == drift and bucket not in unsure
                    (found.drift if sure else found.moving).append(drift)
                # 3. Set that right. Dead in between: each minute is as it was, or right and fenced,
                #    and its hour is marked, so it is swept, closed and checked again.
                if repair and found.drift:
                    self._set_right(found, again)
                # 4. What moves is only marked now, when all of it is known. Dead before: a closed
                #    hour keeps its mark until its caller has these findings.
                if repair and found.moving:
                    self.pending.mark({drift.hour: None for drift in found.moving})
            # 5. Of a count that is right a minute may not know yet where its rows are listed: the
            #    record that tells it was lost. The next check would take them for absent.
            if repair and reading.news:
                found.written += self.teach(reading.news)
            # 6. Last what has elapsed and nobody is going to sweep: no count depends on it.
            if repair and reading.late:
                found.completed = self.complete(reading.late)
                found.written += found.completed
        except OutOfTimeError:
            raise  # less at once may do
        except Exception as error:  # noqa: BLE001 - whatever it is, the other groups go on
            found.failed.append(reading.group.failure(error))
        return found

    def _look_again(self, reading: Reading) -> "_SecondLook":
        group = reading.group
        hours = {drift.hour for drift in reading.wrong.values()}
        began = self.clock()
        counted = self._count(group, hours, reading.ranges, reading.began)
        ended = self.clock()
        wrong: dict[BucketId, Drift] = {}
        for hour in self.store.load(sorted(hours, key=lambda hour: hour.start)):
            compared = self.compare(
                hour, group.model, counted, reading.doubtful, unplaced=counted.unplaced
            )
            wrong |= {drift.bucket: drift for drift in compared.wrong}
        moments = (reading.began, reading.ended, began, ended)
        read = tuple(reading.ranges)
        fence = Fence.between(*(moment.timestamp() for moment in moments), read=read)
        return _SecondLook(counted, wrong, fence)

    def _set_right(self, found: Findings, again: "_SecondLook") -> None:
        """Set what is sure; what somebody else has changed meanwhile is moving instead."""
        wanted: dict[HourId, list[Drift]] = {}
        for drift in found.drift:
            wanted.setdefault(drift.hour, []).append(drift)
        moved: set[BucketId] = set()

        def edit(hour: Hour) -> None:
            for drift in wanted[hour.id]:
                bucket = hour.get_or_new(drift.start, drift.size)
                if drift.size == 1 and bucket.measures != drift.expected:
                    if bucket.version == drift.version:
                        texts = again.counted.listed.get(Target(hour.id.series, drift.start), ())
                        hour.set_minute(drift.start, drift.expected, again.fence, texts)
                    else:
                        moved.add(drift.bucket)

        outcome = Outcome()
        try:
            self.store.update(wanted, edit, before_save=self.mark, outcome=outcome)
        except Exception:
            # Half of it may be set: that is reported, and the rest drifts on.
            found.repaired = [drift for drift in found.drift if drift.bucket in outcome.saved]
            raise
        finally:
            found.written = outcome.written
        right: list[Drift] = []
        for drift in found.drift:
            is_left = drift.size > 1 and drift.hour in outcome.parents_left
            (found.moving if is_left or drift.bucket in moved else right).append(drift)
        found.drift, found.repaired = right, [*right]

    def teach(self, news: Mapping[HourId, Collection[Listed]]) -> int:
        """Have stored minutes keep where their rows are listed; returns how many did not know."""

        def edit(hour: Hour) -> None:
            for minute, text in news[hour.id]:
                hour.learn(minute, text)

        return self.store.update(news, edit, before_save=self.mark).written

    def _count(
        self,
        group: Group,
        hours: Collection[HourId],
        ranges: Sequence[Range],
        since: datetime,
        rows_limit: int | None = None,
        on_page: Callable[[Counted], None] = lambda _: None,
    ) -> Counted:
        def each_page(counted: Counted) -> None:
            if rows_limit is not None and counted.rows > rows_limit:
                raise TooManyRowsError(
                    f"it lists more than {rows_limit} rows (CHECK_ROWS_LIMIT): check it from the "
                    "command line",
                    since=next((first for first, last in ranges if last is None), None),
                )
            self.on_page(counted)
            on_page(counted)

        starts = {hour.start for hour in hours}
        return self.source.count(group.model, group.account_id, starts, ranges, since, each_page)

    def compare(
        self,
        hour: Hour,
        model: Model,
        counted: Sums,
        doubtful: Collection[int] = (),
        *,
        unplaced: int = 0,
        whole: bool = False,
    ) -> Comparison:
        """An hour against what its rows come to, now: see core/comparing.py."""
        return comparing.compare(
            hour,
            model,
            counted,
            now=self.clock(),
            lifetime=self.lifetimes.get(model.name),
            doubtful=doubtful,
            unplaced=unplaced,
            whole=whole,
        )

    def late(self, stored: Sequence[Hour]) -> dict[HourId, int]:
        """How many buckets of each hour have elapsed and are not complete."""
        now = self.clock()
        late = {
            hour.id: sum(not bucket.complete and bucket.elapsed(now, self.grace) for bucket in hour)
            for hour in stored
        }
        return {hour: number for hour, number in late.items() if number}

    def complete(self, late: Mapping[HourId, int]) -> int:
        """Complete what has elapsed and nobody is going to sweep; returns how many buckets."""
        self.store.update(late, lambda hour: hour.close(self.clock(), self.grace))
        return sum(late.values())

    def mark(self, hours: Sequence[Hour]) -> None:
        """Mark hours that are about to be written."""
        self.pending.mark({hour.id: hour.due(self.grace) for hour in hours})


@dataclass(frozen=True, slots=True)
class _SecondLook:
    """What it counted and found wrong, and the fence between the looks."""

    counted: Counted
    wrong: Mapping[BucketId, Drift]
    fence: Fence


def _unknown(counted: Counted, every: Mapping[str, Sequence[int]]) -> set[HourId]:
    """The hours of all those scopes that rows count into."""
    starts = {record_type: frozenset(hours) for record_type, hours in every.items()}
    return {
        target.hour
        for target in counted.minutes
        if target.hour.start in starts.get(target.series.record_type, ())
    }


def _buckets_of(targets: Iterable[Target]) -> set[BucketId]:
    return {BucketId(target.hour, 1, target.minute) for target in targets}
