"""Setting hours right by two looks that have both been taken already.

For readings that are too long to be held: each look was put away as sums, and they are compared
part by part. A minute is sure as it is in checker.py, with one thing shown otherwise: nobody held
the stored buckets since before the first look, so a version written up to the fence shows that a
minute holds nothing from after it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from aggregated_metrics.adapters.concurrency import GROUPS_AT_ONCE
from aggregated_metrics.adapters.hour_reader import HOURS_PER_LOAD
from aggregated_metrics.adapters.hour_store import Outcome
from aggregated_metrics.core import buckets
from aggregated_metrics.core.findings import Drift, Findings
from aggregated_metrics.core.groups import Group
from aggregated_metrics.core.hours import Bucket, Hour, HourId
from aggregated_metrics.core.metadata import Fence
from aggregated_metrics.core.row_sums import Sums
from aggregated_metrics.core.series import BucketId, Target
from aggregated_metrics.jobs.checker import Checker

_HOURS_AT_ONCE = GROUPS_AT_ONCE * HOURS_PER_LOAD


class Looks(NamedTuple):
    """Two looks at hours of one account and model, and the fence between them.

    `unplaced` is of how many rows not even the time could be read: then nothing is lowered.
    `doubtful` are the minutes of which a row is in no index.
    """

    group: Group
    first: Sums
    second: Sums
    fence: Fence
    unplaced: int = 0
    doubtful: Collection[int] = ()

    def is_sure(self, place: Target) -> bool:
        """Whether both looks found the same there, of rows that nobody has updated since."""
        return (
            self.first.at(place) == self.second.at(place)
            and place not in self.first.unsure
            and place not in self.second.unsure
        )


def settle(checker: Checker, looks: Sequence[Looks], found: Findings, *, repair: bool) -> None:
    """Compare hours with the second look, and with `repair` set right what is sure.

    Args:
        checker: compares, and has the ports.
        looks: at the hours.
        found: takes what it comes to, also where it then fails.
        repair: whether to set right what is wrong.

    Raises:
        ApiError: the API refused, or did not answer.
        ContentionError: the time ran out; what was repaired is valid.
    """
    by_hour = {hour: each for each in looks for hour in each.group.hours}
    hours = [*by_hour]
    for first in range(0, len(hours), _HOURS_AT_ONCE):
        part = hours[first : first + _HOURS_AT_ONCE]
        settling = _Settling(checker, by_hour)
        try:
            settling.run(part, repair=repair)
        finally:
            found.add(settling.found)


@dataclass(slots=True)
class _Settling:
    """What is found out about some hours while they are loaded and changed."""

    checker: Checker
    by_hour: Mapping[HourId, Looks]
    minutes: dict[HourId, int] = field(default_factory=dict)
    late: dict[HourId, int] = field(default_factory=dict)
    sure: dict[BucketId, Drift] = field(default_factory=dict)
    moving: dict[BucketId, Drift] = field(default_factory=dict)
    found: Findings = field(default_factory=Findings)

    def run(self, ids: Sequence[HourId], *, repair: bool) -> None:
        self.found.hours = len(ids)
        try:
            if repair:
                self._repair(ids)
            else:
                for hour in self.checker.store.load(ids):
                    self._judge(hour)
        finally:
            self.found.minutes = sum(self.minutes.values())
            self.found.drift = [*self.sure.values()]
            self.found.moving = [*self.moving.values()]
        if repair and self.moving:
            self.checker.pending.mark({drift.hour: None for drift in self.moving.values()})

    def _repair(self, ids: Sequence[HourId]) -> None:
        checker, found, outcome = self.checker, self.found, Outcome()
        try:
            checker.store.update(ids, self._set_right, before_save=checker.mark, outcome=outcome)
        except Exception:
            # Half of it may be set: that is reported, and the rest drifts on.
            found.repaired = [self.sure[each] for each in self.sure if each in outcome.saved]
            raise
        finally:
            found.written = outcome.written
        for bucket in [bucket for bucket in self.sure if bucket.size > 1]:
            if bucket.hour in outcome.parents_left:
                self.moving[bucket] = self.sure.pop(bucket)
        found.repaired = [*self.sure.values()]
        found.completed = sum(self.late.values())

    def _judge(self, hour: Hour) -> list[Drift]:
        """What is wrong and sure; called again where somebody else has changed the hour."""
        looks = self.by_hour[hour.id]
        self.minutes[hour.id], wrong, is_decided = self.checker.compare(
            hour,
            looks.group.model,
            looks.second,
            looks.doubtful,
            unplaced=looks.unplaced,
            whole=looks.fence.read is None,
        )
        self.found.undecided.discard(hour.id)
        if not is_decided:
            self.found.undecided.add(hour.id)
        sure = []
        open_minutes = {
            drift.start
            for drift in wrong
            if drift.size == 1 and not _is_settled(hour, drift.start, looks)
        }
        for drift in wrong:
            if open_minutes.isdisjoint(range(drift.start, drift.start + drift.size)):
                self.moving.pop(drift.bucket, None)
                self.sure[drift.bucket] = drift
                sure.append(drift)
            else:
                self.sure.pop(drift.bucket, None)
                self.moving[drift.bucket] = drift
        self._find_changed(hour, looks)
        return sure

    def _find_changed(self, hour: Hour, looks: Looks) -> None:
        """What only the first look found wrong changes too: its delta is still to come."""
        for minute in buckets.starts(hour.id.start, 1):
            place = Target(hour.id.series, minute)
            before, after = looks.first.at(place), looks.second.at(place)
            if before == after:
                continue
            bucket = hour.get_or_new(minute)
            if after == bucket.measures:
                drift = Drift(hour.id, minute, 1, bucket.measures, before, bucket.version)
                self.moving.setdefault(drift.bucket, drift)

    def _set_right(self, hour: Hour) -> None:
        looks, checker = self.by_hour[hour.id], self.checker
        for drift in self._judge(hour):
            if drift.size == 1:
                place = Target(hour.id.series, drift.start)
                texts = looks.second.listed.get(place, ())
                hour.set_minute(drift.start, drift.expected, looks.fence, texts)
        if looks.fence.read is None:
            self._keep_listing(hour, looks)
        late = checker.late([hour])
        if late:
            self.late |= late
            hour.close(checker.clock(), checker.grace)

    def _keep_listing(self, hour: Hour, looks: Looks) -> None:
        """A later check reads through an index: tell it what that does not list where it looks."""
        for minute in buckets.starts(hour.id.start, 1):
            place = Target(hour.id.series, minute)
            listed = looks.second.listed.get(place, ())
            unlisted = looks.second.unlisted.get(place, 0)
            holds = hour.get_or_new(minute).measures == looks.second.at(place)
            is_clear = place not in looks.second.unclear
            if holds and is_clear and _is_settled(hour, minute, looks):
                hour.set_listing(minute, listed, unlisted, looks.fence)
            else:
                for text in (*listed, *([None] if unlisted else ())):
                    hour.learn(minute, text)


def _is_settled(hour: Hour, minute: int, looks: Looks) -> bool:
    """Whether a minute is sure, and its stored version holds nothing from after the fence.

    Nor a row that the stream brought while the looks were taken, and that is listed elsewhere.
    """
    place, bucket = Target(hour.id.series, minute), hour.get(minute)
    if not looks.is_sure(place):
        return False
    known = bucket.metadata.listed if bucket is not None else None
    return _is_before(bucket, looks.fence) and all(map(looks.fence.reads, known or ()))


def _is_before(bucket: Bucket | None, fence: Fence) -> bool:
    if bucket is None or bucket.version is None:
        return True
    try:
        return buckets.parse(bucket.version).timestamp() <= fence.at
    except ValueError:
        return False
