"""What a bucket's `metadata` keeps for counting, beside what others write there. Pure.

    ledger    [[shard, last, at], …]   how far each shard has been applied; `at` in epoch seconds
    fence     [t1, T, t2, ranges]      of the last repair: epoch milliseconds, and what it read
    listed    [least, greatest]        sort-key texts of rows outside their hour's own range
    unlisted  n                        rows that no index lists
    beyond    {measure: "n"}           what the exact sum is more (or less) than the measure's field
    pruned    {measure: "n"}           in a parent: what those minutes came to that are gone
    …Count    n                        measures of the record type that are no fields of the API

Somebody else's value under one of these names, or metadata that is no object, is kept as `other`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from aggregated_metrics.core.listing import Range
from aggregated_metrics.core.measures import ZERO, Measures, zero

MEMORY_SECONDS = 25 * 3600
"""A stream remembers for 24 hours: after this no shard and no record comes again."""
LEDGER_ENTRIES = 512
_NAMES = frozenset({"ledger", "fence", "listed", "unlisted", "beyond", "pruned"})
RESERVED = _NAMES | {"other"}
"""Names that no measure can have."""


class Fence(NamedTuple):
    """The time of a repair's two readings: what was created up to `at` is in the sum.

    Epoch seconds: `first` is when the first reading began, `last` when the second one ended. `read`
    are the ranges of sort-key text that were read (listing.ranges); None: the whole table, rows
    that no index lists included.
    """

    first: float
    at: float
    last: float
    read: tuple[Range, ...] | None = ()

    @classmethod
    def between(
        cls,
        began: float,
        ended: float,
        began_again: float,
        ended_again: float,
        *,
        read: tuple[Range, ...] | None,
    ) -> Self:
        """The fence of two readings.

        The middle of the gap between them divides what is in the sums from what the stream still
        adds. Half of the gap is the margin for clocks.
        """
        return cls(began, ended + (began_again - ended) / 2, ended_again, read)

    def holds(self, created: float | None, listed: str | None, unlisted: int) -> bool:
        """Whether a change of a row so listed is in the sum: it was there, and it was read."""
        if created is None or created > self.at:
            return False
        if self.read is None:
            return True
        return not unlisted and (listed is None or self.reads(listed))

    def reads(self, text: str) -> bool:
        """Whether a row that is listed under this text was read."""
        return self.read is None or any(
            first <= text and (last is None or text <= last) for first, last in self.read
        )


@dataclass(slots=True)
class Metadata:
    """One bucket's metadata, parsed. `rest` is what others keep there, untouched.

    `names` are the measures that the record type keeps here, and `extra` their sums.
    """

    names: tuple[str, ...] = ()
    extra: tuple[int, ...] = ()
    ledger: dict[str, tuple[int, int]] = field(default_factory=dict)
    fence: Fence | None = None
    listed: tuple[str, str] | None = None
    unlisted: int = 0
    beyond: Measures = ZERO
    pruned: Measures = ZERO
    rest: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: Any, names: tuple[str, ...] = ()) -> Self:
        """From AWSJSON (a text, sometimes encoded twice) or a dictionary; never fails."""
        content = decoded(given)
        none = zero(names)
        made = cls(names, none.extra, beyond=none, pruned=none)
        if content is None:
            return made
        if not isinstance(content, Mapping):
            made.rest = {"other": content}
            return made
        known = _NAMES.union(names)
        made.rest = {name: value for name, value in content.items() if name not in known}
        odd = {
            name: content[name] for name in _NAMES & content.keys() if not made._read(name, content)
        }
        made.extra = tuple(_whole(content.get(name), name, odd) for name in names)
        if odd:
            before = made.rest.get("other")
            made.rest["other"] = {**before, **odd} if isinstance(before, dict) else odd
        return made

    def _read(self, name: str, content: Mapping[str, Any]) -> bool:
        try:
            read = _READERS.get(name)
            value = _sums(content[name], self.names) if read is None else read(content[name])
            setattr(self, name, value)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
            return False
        return True

    def sign(self, shard: str, last: int, at: float) -> None:
        """Write down how far a shard has been applied."""
        self.ledger.pop(shard, None)
        self.ledger[shard] = (last, int(at))

    def list_text(self, text: str) -> None:
        """Widen `listed` so that it holds this sort-key text."""
        least, greatest = self.listed or (text, text)
        self.listed = (min(least, text), max(greatest, text))

    def prune(self, now: float) -> int:
        """Forget what the stream cannot bring again; returns how many younger entries had to go.

        An entry without a time (written by an earlier version) gets one now.
        """
        if self.fence is not None and self.fence.at < now - MEMORY_SECONDS:
            self.fence = None
        kept = {
            shard: (last, at or int(now))
            for shard, (last, at) in self.ledger.items()
            if not at or at >= now - MEMORY_SECONDS
        }
        newest = sorted(kept.items(), key=lambda entry: entry[1][1])[-LEDGER_ENTRIES:]
        self.ledger = dict(newest)
        return len(kept) - len(newest)

    def as_text(self) -> str | None:
        """As AWSJSON; None where there is nothing to keep."""
        content = self.rest | dict(zip(self.names, self.extra, strict=True))
        if self.ledger:
            content["ledger"] = [
                [shard, str(last), at] for shard, (last, at) in self.ledger.items()
            ]
        if self.fence is not None:
            moments = [round(moment * 1000) for moment in self.fence[:3]]
            read = self.fence.read
            content["fence"] = [*moments, None if read is None else [list(part) for part in read]]
        if self.listed is not None:
            content["listed"] = list(self.listed)
        if self.unlisted:
            content["unlisted"] = self.unlisted
        for name, sums in (("beyond", self.beyond), ("pruned", self.pruned)):
            if any(sums):
                content[name] = {key: str(n) for key, n in sums.named(self.names).items() if n}
        return json.dumps(content, separators=(",", ":")) if content else None


def decoded(given: Any) -> Any:
    """AWSJSON as a value; a text that is not JSON is itself."""
    for _ in range(2):
        if not isinstance(given, str):
            break
        try:
            given = json.loads(given)
        except (RecursionError, ValueError):
            break
    return given


def _ledger(value: Any) -> dict[str, tuple[int, int]]:
    entries = {}
    if not isinstance(value, list):
        raise TypeError("a ledger is a list")
    for shard, last, *at in value:
        entries[str(shard)] = (int(last), int(at[0]) if at else 0)
    return entries


def _fence(value: Any) -> Fence:
    first, at, last, *read = value
    ranges = None
    if read != [None]:
        ranges = tuple(
            (str(low), None if high is None else str(high)) for low, high in (read or [()])[0]
        )
    return Fence(int(first) / 1000, int(at) / 1000, int(last) / 1000, ranges)


def _listed(value: Any) -> tuple[str, str]:
    least, greatest = value
    if not (isinstance(least, str) and isinstance(greatest, str)):
        raise TypeError("texts are listed")
    return least, greatest


def _sums(value: Any, extra: Sequence[str]) -> Measures:
    numbers = zero(extra).named(extra)
    if unknown := value.keys() - numbers:
        raise ValueError(f"no measures: {unknown}")
    return Measures(*(numbers | {name: int(n) for name, n in value.items()}).values())


def _whole(value: Any, name: str, odd: dict[str, Any]) -> int:
    """A number that somebody may have written over; anything else is none, and kept as odd."""
    try:
        return 0 if value is None else int(value)
    except (OverflowError, TypeError, ValueError):
        odd[name] = value
        return 0


_READERS: Mapping[str, Any] = {
    "ledger": _ledger,
    "fence": _fence,
    "listed": _listed,
    "unlisted": int,
}
