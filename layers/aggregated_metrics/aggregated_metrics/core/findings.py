"""What a check finds: buckets that drift, and numbers. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from aggregated_metrics.core import buckets
from aggregated_metrics.core.groups import Group
from aggregated_metrics.core.listing import Listed, Range
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.record_types import extra_of
from aggregated_metrics.core.series import BucketId, HourId


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
    def bucket(self) -> BucketId:
        """Which bucket."""
        return BucketId(self.hour, self.size, self.start)

    def as_json(self) -> dict[str, Any]:
        """For an invocation's result."""
        series = self.hour.series
        return {
            "accountId": series.account_id,
            "recordType": series.record_type,
            **series.scope_as_json(),
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
        written: buckets written, parents included.
        unreadable: rows that the API could not give.
        undecided: hours with a minute that differs, of which the rows do not tell what is right.
        left_out: wrong buckets that are only counted, because a long range has too many.
        left_out_repaired: those of them that have been set right.
        failed: a line for each group that could not be checked, or not to the end.
    """

    hours: int = 0
    minutes: int = 0
    rows: int = 0
    pages: int = 0
    drift: list[Drift] = field(default_factory=list)
    moving: list[Drift] = field(default_factory=list)
    repaired: list[Drift] = field(default_factory=list)
    completed: int = 0
    written: int = 0
    unreadable: int = 0
    undecided: set[HourId] = field(default_factory=set)
    left_out: int = 0
    left_out_repaired: int = 0
    failed: list[str] = field(default_factory=list)

    @property
    def drifted(self) -> int:
        """How many buckets were wrong."""
        return len(self.drift) + self.left_out

    @property
    def set_right(self) -> int:
        """How many of them have been repaired."""
        return len(self.repaired) + self.left_out_repaired

    def undecided_as_json(self, most: int | None = None) -> list[dict[str, Any]]:
        """The first of the undecided hours, or all, for results and lines."""
        return [
            {
                "accountId": hour.series.account_id,
                "recordType": hour.series.record_type,
                **hour.series.scope_as_json(),
                "hour": buckets.iso(hour.start),
            }
            for hour in sorted(self.undecided)[:most]
        ]

    def set_right_only(self) -> "Findings":
        """What was set right: of a check that failed half way and is to be made again."""
        return Findings(
            drift=[*self.repaired],
            repaired=[*self.repaired],
            completed=self.completed,
            written=self.written,
        )

    def shorten(self, most: int = 10_000) -> None:
        """Only count the wrong buckets beyond so many: of the repaired, and of the others."""
        listed = {drift.bucket for drift in self.repaired[:most]}
        extra = {drift.bucket for drift in self.repaired[most:]}
        known = listed | extra
        others = (drift.bucket for drift in self.drift if drift.bucket not in known)
        gone = extra | set(islice(others, most, None))
        if gone:
            self.left_out += len(gone)
            self.left_out_repaired += len(extra)
            self.repaired = self.repaired[:most]
            self.drift = [drift for drift in self.drift if drift.bucket not in gone]

    def add(self, other: "Findings") -> None:
        """Add what a check of other hours found."""
        self.hours += other.hours
        self.minutes += other.minutes
        self.rows += other.rows
        self.pages += other.pages
        self.drift += other.drift
        self.moving += other.moving
        self.repaired += other.repaired
        self.completed += other.completed
        self.written += other.written
        self.unreadable += other.unreadable
        self.undecided |= other.undecided
        self.left_out += other.left_out
        self.left_out_repaired += other.left_out_repaired
        self.failed += other.failed


@dataclass(frozen=True, slots=True)
class Reading:
    """What the first look at a group found; holds only the hours with something wrong.

    Attributes:
        group: what was looked at.
        found: its numbers.
        wrong: the buckets that differ.
        unsure: those of which no reading can be sure.
        ranges: where the rows are listed.
        began, ended: when its rows were read.
        late: how many buckets of an hour have elapsed and are not complete.
        doubtful: minutes of which a row is in no index: of whatever scope it is.
        news: where rows are listed, of which the stored minutes do not know.
    """

    group: Group
    found: Findings
    wrong: Mapping[BucketId, Drift]
    unsure: Collection[BucketId]
    ranges: Sequence[Range]
    began: datetime
    ended: datetime
    late: Mapping[HourId, int]
    doubtful: Collection[int] = ()
    news: Mapping[HourId, Collection[Listed]] = field(default_factory=dict)
