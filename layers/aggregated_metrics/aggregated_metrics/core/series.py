"""Which buckets there are: series, hours, composite keys. Pure.

A series is what is counted apart from everything else. Its buckets are named by composite keys,
`recordType[#scopeId]#timeRangeStart#numberOfMinutes`, within its account.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from aggregated_metrics.core import buckets

_CONFUSABLE = re.compile(r"[#%]|\A[0-9](?=[0-9]{3}-[0-9]{2}-[0-9]{2}T[0-9]{2}:)")
"""In an id: the separator, the escape character, and the first digit of what looks like a time."""


class Series(NamedTuple):
    """An account, a record type and maybe a scope: a scorecard, or a score of one.

    A score's key names the score alone. Therefore two series of the same score are equal, whatever
    their scorecards. A breakdown's series without a scope stands for all of its scopes.
    """

    account_id: str
    record_type: str
    scorecard_id: str | None = None
    score_id: str | None = None

    @property
    def scope_id(self) -> str | None:
        """What its keys name beside the record type."""
        return self[3] or self[2]

    def scope_as_json(self) -> dict[str, str]:
        """What names the scope; nothing without one."""
        named = {"scorecardId": self.scorecard_id, "scoreId": self.score_id}
        return {name: value for name, value in named.items() if value is not None}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Series):
            return NotImplemented
        return self[:2] == other[:2] and self.scope_id == other.scope_id

    def __ne__(self, other: object) -> bool:  # a tuple has its own
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
        return f"{key_stem(self.series)}{buckets.hour_prefix(self.start)}"


def key_stem(series: Series) -> str:
    """`recordType#` or `recordType#<score or scorecard>#`, the start of a composite key."""
    scope_id = series.scope_id
    return f"{series.record_type}#{_escaped(scope_id)}#" if scope_id else f"{series.record_type}#"


def composite_key(series: Series, start: int, size: int) -> str:
    """`recordType[#scopeId]#timeRangeStart#numberOfMinutes`."""
    return f"{key_stem(series)}{buckets.iso(start)}#{size}"


def hour_key(hour: HourId) -> str:
    """A text that names an hour among those of all accounts: `2026-11-22T10#items##acct-1`.

    The account comes last: whatever characters it has, no other hour has the same key.
    """
    (account_id, record_type, *_), start = hour
    scope_id = _escaped(hour.series.scope_id or "")
    return f"{buckets.hour_prefix(start)[:-1]}#{record_type}#{scope_id}#{account_id}"


@lru_cache(maxsize=4096)
def _escaped(scope_id: str) -> str:
    """An id in a key: neither a separator nor a time can be read into it."""
    return _CONFUSABLE.sub(lambda found: f"%{ord(found[0]):02X}", scope_id)
