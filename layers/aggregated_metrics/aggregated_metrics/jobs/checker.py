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
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.adapters.pending_hours import PendingHours
from aggregated_metrics.adapters.source_rows import Counted, SourceRows
from aggregated_metrics.core import buckets, listing
from aggregated_metrics.core.errors import TooManyRowsError
from aggregated_metrics.core.hours import Bucket, Hour, HourId, Series
from aggregated_metrics.core.listing import Listed, Range
from aggregated_metrics.core.measures import Measures, clamped, shown, total, zero
from aggregated_metrics.core.metadata import Fence
from aggregated_metrics.core.models import Model
from aggregated_metrics.core.record_types import extra_of, model_of
from aggregated_metrics.core.row_sums import Sums
from aggregated_metrics.core.series import Target

type Place = tuple[HourId, int, int]
"""An hour, a bucket's size and its start."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One bucket whose stored measures are not what they should be.

    `expected` is what the source rows come to. A parent that is the sum of its stored minutes is
    not reported, even if those are wrong: it follows them.
    """

    hour: HourId
    start: int
    size: int
    stored: Measures
    expected: Measures
    version: str | None

    @property
    def place(self) -> Place:
        """Which bucket."""
        return self.hour, self.size, self.start

    def as_json(self) -> dict[str, Any]:
        """For an invocation's result."""
        series = self.hour.series
        return {
            "accountId": series.account_id,
            "recordType": series.record_type,
            **scope_of(series),
            "timeRangeStart": buckets.iso(self.start),
            "numberOfMinutes": self.size,
            "stored": self.stored.named(extra_of(series.record_type)),
            "counted": self.expected.named(extra_of(series.record_type)),
        }


@dataclass(slots=True)
class Findings:
    """What a check found.

    Attributes:
        hours, minutes: how many were compared (minutes: those with a row or a bucket).
        rows, pages: source rows read by both looks, and requests for them.
        drift: wrong buckets, seen alike by two looks.
        moving: buckets that changed between or after the looks; left alone.
        repaired: those of the drift that have been set right.
        completed: buckets that had elapsed and were not complete; they are now.
        unreadable: rows that the API could not give.
        forgotten: repaired buckets that are only counted, because a long range has too many.
    """

    hours: int = 0
    minutes: int = 0
    rows: int = 0
    pages: int = 0
    drift: list[Drift] = field(default_factory=list)
    moving: list[Drift] = field(default_factory=list)
    repaired: list[Drift] = field(default_factory=list)
    completed: int = 0
    unreadable: int = 0
    forgotten: int = 0

    @property
    def drifted(self) -> int:
        """How many buckets were wrong."""
        return len(self.drift) + self.forgotten

    @property
    def set_right(self) -> int:
        """How many of them have been repaired."""
        return len(self.repaired) + self.forgotten

    def forget_repaired(self, most: int = 10_000) -> None:
        """Only count the repaired buckets beyond so many."""
        kept = self.repaired[:most]
        self.forgotten += len(self.repaired) - len(kept)
        gone = {drift.place for drift in self.repaired[most:]}
        if gone:
            self.repaired = kept
            self.drift = [drift for drift in self.drift if drift.place not in gone]

    def add(self, other: "Findings") -> None:
        """Take in what a check of other hours found."""
        self.hours += other.hours
        self.minutes += other.minutes
        self.rows += other.rows
        self.pages += other.pages
        self.drift += other.drift
        self.moving += other.moving
        self.repaired += other.repaired
        self.completed += other.completed
        self.unreadable += other.unreadable
        self.forgotten += other.forgotten


class Group(NamedTuple):
    """Hours of one account and model: one reading of the source counts them all.

    An hour of a breakdown that names no scope stands for that hour of all its scopes. `model` has
    just those breakdowns that the hours belong to.

    `listed` are rows that the caller knows of; what the stream has brought the minutes know.
    """

    model: Model
    account_id: str
    hours: tuple[HourId, ...]
    listed: frozenset[Listed] = frozenset()


@dataclass(frozen=True, slots=True)
class Reading:
    """What the first look at a group found; holds only the hours with something wrong.

    Attributes:
        group: what was looked at.
        found: the numbers so far.
        wrong: the buckets that differ.
        unsure: those of which no reading can be sure.
        ranges: where the rows are listed.
        began, ended: when its rows were read.
        late: how many buckets of an hour have elapsed and are not complete.
        doubtful: minutes of which a row is in no index: of whatever scope it is.
    """

    group: Group
    found: Findings
    wrong: Mapping[Place, Drift]
    unsure: Collection[Place]
    ranges: Sequence[Range]
    began: datetime
    ended: datetime
    late: Mapping[HourId, int]
    doubtful: Collection[int] = ()


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

    def check(self, ids: Collection[HourId], *, repair: bool) -> Findings:
        """Compare hours with the source rows, and with `repair` set right what is wrong.

        Raises:
            ApiError: the API refused, or did not answer.
            ContentionError: the time ran out; what was repaired is valid.
        """
        findings = Findings()
        readings = [self.look(group) for group in groups(ids)]
        self.wait(readings)
        for reading in readings:
            findings.add(self.confirm(reading, repair=repair))
        return findings

    def look(self, group: Group, rows_limit: int | None = None) -> Reading:
        """The first look at a group: what differs.

        Raises:
            TooManyRowsError: it lists more than `rows_limit` rows.
        """
        # 1. The buckets come first: what is stored later than this is not set, and their metadata
        #    tells where rows are listed that an hour's own range does not hold.
        named, every = divided(group)
        stored = self.store.load([*named, *self.stored_scopes(group, every, set(named))])
        whole = self._load(whole_hours(group, every).difference(named))
        starts = {hour.start for hour in group.hours}
        ranges = ranges_of(group.model, [*stored, *whole], group.listed, starts)
        doubtful = doubtful_of([*stored, *whole], group.model)
        # 2. Then the rows.
        began = self.clock()
        counted = self._count(group, group.hours, ranges, began, rows_limit)
        # 3. Scopes that nobody had stored: a bucket that is there now was written meanwhile.
        ids = {hour.id for hour in stored}
        new = self._load(_unknown(counted, every) - ids)
        hasty = {(hour.id, bucket.size, bucket.start) for hour in new for bucket in hour}
        stored += new
        found = Findings(hours=len(stored), unreadable=counted.unreadable)
        found.rows, found.pages = counted.rows, counted.pages
        wrong: dict[Place, Drift] = {}
        for hour in stored:
            compared, differing = self.compare(
                hour, group.model, counted, doubtful, unreadable=counted.unreadable
            )
            found.minutes += compared
            wrong |= {drift.place: drift for drift in differing}
        return Reading(
            group,
            found,
            wrong,
            _places(counted.unsure) | hasty,
            ranges,
            began,
            self.clock(),
            self.late(stored),
            doubtful,
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
        """The second look, at the hours that differ.

        With `repair` it sets right what is sure, and completes what has elapsed and was left.
        """
        if reading.wrong:
            self._confirm(reading, repair=repair)
        if repair and reading.late:
            reading.found.completed = self.complete(reading.late)
        return reading.found

    def _confirm(self, reading: Reading, *, repair: bool) -> None:
        found, group = reading.found, reading.group
        hours = {drift.hour for drift in reading.wrong.values()}
        # 1. The rows again, as far as the first time, and only then the buckets: a version that is
        #    still the same has taken in nothing since before the first reading.
        began = self.clock()
        counted = self._count(group, hours, reading.ranges, reading.began)
        ended = self.clock()
        found.rows += counted.rows
        found.pages += counted.pages
        again: dict[Place, Drift] = {}
        for hour in self.store.load(sorted(hours, key=lambda hour: hour.start)):
            _, differing = self.compare(
                hour, group.model, counted, reading.doubtful, unreadable=counted.unreadable
            )
            again |= {drift.place: drift for drift in differing}
        # 2. Sure is what both found alike, of rows that nobody has updated since.
        unsure = {*reading.unsure, *_places(counted.unsure)}
        for place, drift in reading.wrong.items():
            sure = again.get(place) == drift and place not in unsure
            (found.drift if sure else found.moving).append(drift)
        # 3. The middle of the gap divides what is in the sums from what the stream still adds.
        middle = reading.ended + (began - reading.ended) / 2
        fence = Fence(
            reading.began.timestamp(), middle.timestamp(), ended.timestamp(), tuple(reading.ranges)
        )
        if repair and found.drift:
            self._repair(found, fence, counted.listed)
        if repair and found.moving:
            self.pending.mark({drift.hour: None for drift in found.moving})

    def _count(
        self,
        group: Group,
        hours: Collection[HourId],
        ranges: Sequence[Range],
        since: datetime,
        rows_limit: int | None = None,
    ) -> Counted:
        def on_page(counted: Counted) -> None:
            if rows_limit is not None and counted.rows > rows_limit:
                raise TooManyRowsError(
                    f"it lists more than {rows_limit} rows (CHECK_ROWS_LIMIT): check it from the "
                    "command line"
                )
            self.on_page(counted)

        starts = {hour.start for hour in hours}
        return self.source.count(group.model, group.account_id, starts, ranges, since, on_page)

    def compare(
        self,
        hour: Hour,
        model: Model,
        counted: Sums,
        doubtful: Collection[int] = (),
        *,
        unreadable: int = 0,
        whole: bool = False,
    ) -> tuple[int, list[Drift]]:
        """How many minutes there are to compare, and the buckets that are wrong.

        Args:
            hour: as it is stored.
            model: whose rows its series counts.
            counted: what the rows come to.
            doubtful: minutes of which a row is in no index: of whatever scope it is.
            unreadable: how many could not be read.
            whole: whether the whole table was read, rows that no index lists included.
        """
        rows = partial(_rows, counted, hour.id)
        expired = self._is_expired(hour.id, model)
        gone = self._without_rows(hour, rows)
        stored: dict[int, Measures] = {}
        expected: dict[int, Measures] = {}
        wrong: list[Drift] = []
        for minute in buckets.starts(hour.id.start, 1):
            bucket = hour.get(minute)
            counted_here = rows(minute)
            if bucket is None and not any(counted_here):
                continue
            bucket = bucket or hour.get_or_new(minute)
            stored[minute] = expected[minute] = bucket.measures
            # What is set must be all that was written up to the fence, so a minute is left alone
            # where the rows do not tell that.
            known = (
                (whole or _is_listed(hour.id, bucket, model, doubtful))
                and Target(hour.id.series, minute) not in counted.unclear
                and not (unreadable and _is_less(counted_here, bucket.measures))
                and not (expired and any(bucket.measures))
                and not _covers(gone, minute)
            )
            if known and bucket.measures != counted_here:
                expected[minute] = counted_here
                wrong.append(_drift(hour.id, bucket, counted_here))
        for size in buckets.PARENT_SIZES:
            for start in buckets.starts(hour.id.start, size):
                parent = hour.get_or_new(start, size)
                right = _sum(expected, parent)
                if (size, start) in gone or shown(parent.measures) == right:
                    continue
                if shown(parent.measures) != _sum(stored, parent):
                    wrong.append(_drift(hour.id, parent, right))
        return len(stored), wrong

    def _without_rows(self, hour: Hour, rows: Callable[[int], Measures]) -> set[tuple[int, int]]:
        """The parents (size, start) that are all that is left.

        Somebody has pruned minutes of theirs, and the rows no longer come to what they hold. Where
        the rows do, the minutes are set again.
        """
        kept = hour.pruned(self.clock())
        there = {
            (size, start): total(map(rows, range(start, start + size)), hour.zero)
            for size, start in kept
        }
        return {place for place, sums in kept.items() if _is_less(there[place], sums)}

    def _is_expired(self, hour: HourId, model: Model) -> bool:
        lifetime = self.lifetimes.get(model.name)
        return lifetime is not None and buckets.to_datetime(hour.start) < self.clock() - lifetime

    def late(self, stored: Sequence[Hour]) -> dict[HourId, int]:
        """How many buckets of each hour have elapsed and are not complete."""
        now = self.clock()
        late = {
            hour.id: sum(not bucket.complete and bucket.elapsed(now, self.grace) for bucket in hour)
            for hour in stored
        }
        return {hour: number for hour, number in late.items() if number}

    def complete(self, late: Mapping[HourId, int]) -> int:
        """Complete what has elapsed and nobody is going to sweep; gives back how many buckets."""
        self.store.update(late, lambda hour: hour.close(self.clock(), self.grace))
        return sum(late.values())

    def _repair(
        self, findings: Findings, fence: Fence, listed: Mapping[Target, tuple[str, str]]
    ) -> None:
        wanted: dict[HourId, list[Drift]] = {}
        for drift in findings.drift:
            wanted.setdefault(drift.hour, []).append(drift)
        moved: set[Place] = set()

        def set_right(hour: Hour) -> None:
            for drift in wanted[hour.id]:
                bucket = hour.get_or_new(drift.start, drift.size)
                if drift.size == 1 and bucket.measures != drift.expected:
                    if bucket.version == drift.version:
                        texts = listed.get(Target(hour.id.series, drift.start), ())
                        hour.set_minute(drift.start, drift.expected, fence, texts)
                    else:
                        moved.add(drift.place)

        outcome = self.store.update(wanted, set_right, before_save=self.mark)
        tried, findings.drift = findings.drift, []
        for each in tried:
            left = each.size > 1 and each.hour in outcome.parents_left
            if each.place in moved or left:
                findings.moving.append(each)
            else:
                findings.drift.append(each)
                findings.repaired.append(each)

    def mark(self, hours: Sequence[Hour]) -> None:
        """Mark hours that are about to be written."""
        self.pending.mark({hour.id: hour.due(self.grace) for hour in hours})


def scope_of(series: Series) -> dict[str, str]:
    """What names the scope of a series; nothing if it has none."""
    named = (("scorecardId", series.scorecard_id), ("scoreId", series.score_id))
    return {name: value for name, value in named if value is not None}


def divided(group: Group) -> tuple[list[HourId], dict[str, list[int]]]:
    """The hours that name their series; the breakdowns' starts of which all scopes are meant."""
    named: list[HourId] = []
    every: dict[str, list[int]] = {}
    for hour in group.hours:
        series = hour.series
        if series.record_type in group.model.scopes and series.scope is None:
            every.setdefault(series.record_type, []).append(hour.start)
        else:
            named.append(hour)
    return named, every


def whole_hours(group: Group, every: Mapping[str, Sequence[int]]) -> set[HourId]:
    """The hours of all rows of which scopes are looked for: they know where these are listed."""
    series = Series(group.account_id, group.model.record_type)
    return {HourId(series, start) for starts in every.values() for start in starts}


def doubtful_of(hours: Sequence[Hour], model: Model) -> set[int]:
    """The minutes of which a row is in no index: no scope is known to be right either."""
    return {
        bucket.start
        for hour in hours
        if hour.id.series.record_type == model.record_type
        for bucket in hour
        if bucket.size == 1 and bucket.metadata.unlisted > 0
    }


def _unknown(counted: Counted, every: Mapping[str, Sequence[int]]) -> set[HourId]:
    """The hours of all those scopes that rows count into."""
    starts = {record_type: frozenset(hours) for record_type, hours in every.items()}
    return {
        target.hour
        for target in counted.minutes
        if target.hour.start in starts.get(target.series.record_type, ())
    }


def _is_listed(hour: HourId, bucket: Bucket, model: Model, doubtful: Collection[int]) -> bool:
    """Whether an index lists all rows of a minute."""
    return (
        model.listing is not None
        and bucket.metadata.unlisted <= 0
        and not (hour.series.scope and bucket.start in doubtful)
    )


def _rows(counted: Sums, hour: HourId, minute: int) -> Measures:
    return counted.at(Target(hour.series, minute))


def _places(targets: Iterable[Target]) -> set[Place]:
    return {(target.hour, 1, target.minute) for target in targets}


def _drift(hour: HourId, bucket: Bucket, expected: Measures) -> Drift:
    return Drift(hour, bucket.start, bucket.size, bucket.measures, expected, bucket.version)


def _is_less(few: Measures, many: Measures) -> bool:
    """Whether any measure is less than the other."""
    return any(a < b for a, b in zip(few, many, strict=True))


def _covers(places: Collection[tuple[int, int]], minute: int) -> bool:
    return any(start <= minute < start + size for size, start in places)


def _sum(minutes: Mapping[int, Measures], parent: Bucket) -> Measures:
    here = (minute for minute in range(parent.start, parent.end) if minute in minutes)
    return shown(total((clamped(minutes[minute]) for minute in here), zero(parent.names)))


def listed_of(stored: Iterable[Hour]) -> list[tuple[str, str]]:
    """The least and greatest texts that the minutes of loaded hours keep of rows elsewhere."""
    known = (bucket.metadata.listed for hour in stored for bucket in hour if bucket.size == 1)
    return [texts for texts in known if texts]


def ranges_of(
    model: Model,
    stored: Sequence[Hour],
    listed: Collection[Listed] = (),
    starts: Collection[int] = (),
) -> list[Range]:
    """Where the rows of loaded hours are listed: their own ranges, and what their minutes say.

    `starts` are those of hours whose scopes are not known yet.
    """
    if model.listing is None:
        return []
    texts = listed_of(stored) + [(text, text) for _, text in listed]
    return listing.ranges(model.listing[1], {*starts, *(hour.id.start for hour in stored)}, texts)


def groups(
    ids: Iterable[HourId], listed: Mapping[HourId, Collection[Listed]] = MappingProxyType({})
) -> list[Group]:
    """By model and account.

    Raises:
        KeyError: no model counts into an hour's record type.
    """
    found: dict[tuple[str, str], tuple[Model, list[HourId]]] = {}
    for hour in ids:
        model = model_of(hour.series.record_type)
        key = (hour.series.account_id, model.name)
        found.setdefault(key, (model, []))[1].append(hour)
    return [
        Group(
            model.only({hour.series.record_type for hour in hours}),
            account,
            tuple(hours),
            frozenset(each for hour in hours for each in listed.get(hour, ())),
        )
        for (account, _), (model, hours) in found.items()
    ]
