"""Which buckets there are: series, hours, composite keys. Pure.

A series is what is counted apart from everything else. Its buckets are named by composite keys,
`recordType[#scopeId]#timeRangeStart#numberOfMinutes`, within its account.
"""

from typing import NamedTuple

from aggregated_metrics.core import buckets


class Series(NamedTuple):
    """An account, a record type and maybe a scope: a scorecard, or a score of one.

    A score's key names the score alone, so of such a series the scorecard is told and not compared:
    two that differ in nothing else are one. Without a score and a scorecard the series of a
    breakdown stands for all of its scopes.
    """

    account_id: str
    record_type: str
    scorecard_id: str | None = None
    score_id: str | None = None

    @property
    def scope(self) -> str | None:
        """What its keys name beside the record type."""
        return self[3] or self[2]

    def scope_as_json(self) -> dict[str, str]:
        """What names the scope; nothing without one."""
        named = {"scorecardId": self.scorecard_id, "scoreId": self.score_id}
        return {name: value for name, value in named.items() if value is not None}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Series):
            return NotImplemented
        return self[:2] == other[:2] and self.scope == other.scope

    def __ne__(self, other: object) -> bool:  # a tuple has one of its own
        return not self == other

    def __hash__(self) -> int:
        return hash((self[0], self[1], self[3] or self[2]))


class HourId(NamedTuple):
    """One clock hour of one series; `start` is an epoch minute."""

    series: Series
    start: int

    @property
    def prefix(self) -> str:
        """What the composite keys of all its buckets begin with: `items#2026-11-22T10:`."""
        return f"{key_stem(self.series)}{buckets.iso(self.start)[:14]}"


class BucketId(NamedTuple):
    """One bucket: its hour, its size in minutes, and where it starts (an epoch minute)."""

    hour: HourId
    size: int
    start: int


class Target(NamedTuple):
    """One minute of one series; `minute` is an epoch minute."""

    series: Series
    minute: int

    @property
    def hour(self) -> HourId:
        """The hour that it lies in."""
        return HourId(self.series, buckets.floor(self.minute, buckets.HOUR))


def key_stem(series: Series) -> str:
    """`recordType#` or `recordType#<score or scorecard>#`, the start of a composite key."""
    scope = series.scope
    return f"{series.record_type}#{scope}#" if scope else f"{series.record_type}#"


def composite_key(series: Series, start: int, size: int) -> str:
    """`recordType[#scopeId]#timeRangeStart#numberOfMinutes`."""
    return f"{key_stem(series)}{buckets.iso(start)}#{size}"
