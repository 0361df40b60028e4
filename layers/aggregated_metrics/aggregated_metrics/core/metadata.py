"""What a bucket keeps in its metadata beside what other writers keep there. Pure.

    checkpoints   [[shard, "last", at], …]: how far each shard of the stream has been applied
    countedUntil  [indexed, both]: until when a repair has counted the rows: seconds, -1 for never
    unindexed     {measure: "n"}: the part of the sums that the index which checks read leaves out
    foreign       true: applied on top of sums that another writer stored
    beyond        {measure: "n"}: what the fields, 32-bit Ints from zero on, cannot hold of the sums
    <measure>     n: the sums of a record type's extra measures, each under its own name

A minute has all of them, a rollup only its extra measures. Metadata that cannot be read, because
another writer has changed it, stays as it is, under `other`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

from aggregated_metrics.core.measures import Measures, plus, zero

MEMORY_SECONDS = 25 * 3600
"""A stream remembers for 24 hours: after this no shard and no record comes again."""
MOST_CHECKPOINTS = 512
_NAMES = frozenset({"checkpoints", "countedUntil", "unindexed", "foreign", "beyond"})
RESERVED = _NAMES | {"other"}
"""Names that no measure can have, and that no other writer may write over."""
NEVER = -1.0
"""Before every change of a stream."""


class Pass(NamedTuple):
    """When the rows were read once: epoch seconds."""

    began: float
    ended: float


class CountedUntil(NamedTuple):
    """Until when repairs have counted a minute's rows: epoch seconds, NEVER before the first.

    `indexed` is for the rows that an index lists within their hour, `both` (of a Scan) for all.
    """

    indexed: float = NEVER
    both: float = NEVER

    def holds(self, created: float | None, *, indexed: bool) -> bool:
        """Whether a repair has counted what a stream record of that time changed."""
        until = max(self) if indexed else self.both
        return created is not None and created <= until


NOT_COUNTED = CountedUntil()


def counted_until(first: Pass, second: Pass) -> float:
    """T, until which two passes have counted: the middle of the gap between them.

    Half of the gap is the margin for clocks, and for the whole seconds of a record's creation time.
    """
    return first.ended + (second.began - first.ended) / 2


@dataclass(slots=True)
class Metadata:
    """One bucket's metadata, parsed.

    Attributes:
        names, extra: the record type's extra measures, and their sums.
        checkpoints: shard to the last sequence number applied, and when (epoch seconds).
        rest: what other writers keep there.
    """

    names: tuple[str, ...]
    extra: tuple[int, ...]
    unindexed: Measures
    beyond: Measures
    checkpoints: dict[str, tuple[int, int]] = field(default_factory=dict)
    counted_until: CountedUntil = NOT_COUNTED
    foreign: bool = False
    rest: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: Any, names: tuple[str, ...] = ()) -> Self:
        """From AWSJSON (a text, sometimes encoded twice) or a mapping; never fails."""
        content = decoded(given)
        try:
            return cls._of({} if content is None else content, names)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
            none = zero(names)
            return cls(names, none.extra, none, none, rest={"other": content})

    @classmethod
    def _of(cls, content: Mapping[str, Any], names: tuple[str, ...]) -> Self:
        return cls(
            names,
            tuple(int(content.get(name) or 0) for name in names),
            _sums(content.get("unindexed", {}), names),
            _sums(content.get("beyond", {}), names),
            {str(s): (int(last), int(at)) for s, last, at in content.get("checkpoints", ())},
            CountedUntil(*map(float, content.get("countedUntil", ()))),
            bool(content.get("foreign")),
            {name: each for name, each in content.items() if name not in _NAMES.union(names)},
        )

    @property
    def is_ours(self) -> bool:
        """Whether a stream or a repair has written the sums; otherwise another writer has."""
        return bool(self.checkpoints) or self.counted_until != NOT_COUNTED

    def checkpoint(self, shard: str, last: int, at: float) -> int:
        """Keep how far a shard has been applied; drop what the stream cannot bring again.

        Returns how many checkpoints had to go although the stream may bring their shard again.
        """
        oldest = at - MEMORY_SECONDS
        self.checkpoints.pop(shard, None)
        kept = {name: each for name, each in self.checkpoints.items() if each[1] >= oldest}
        kept[shard] = (last, int(at))
        newest = sorted(kept.items(), key=lambda entry: entry[1][1])[-MOST_CHECKPOINTS:]
        self.checkpoints = dict(newest)
        self.counted_until = CountedUntil(
            *(NEVER if until < oldest else until for until in self.counted_until)
        )
        return len(kept) - len(newest)

    def as_text(self) -> str | None:
        """As AWSJSON; None where there is nothing to keep."""
        content = self.rest | dict(zip(self.names, self.extra, strict=True))
        if self.checkpoints:
            content["checkpoints"] = [
                [shard, str(last), at] for shard, (last, at) in self.checkpoints.items()
            ]
        if self.counted_until != NOT_COUNTED:
            content["countedUntil"] = self.counted_until
        if self.foreign:
            content["foreign"] = True
        for name, sums in (("unindexed", self.unindexed), ("beyond", self.beyond)):
            if any(sums):
                content[name] = {key: str(n) for key, n in sums.named(self.names).items() if n}
        return json.dumps(content, separators=(",", ":")) if content else None


def exact_sums(row: Mapping[str, Any], names: tuple[str, ...]) -> Measures:
    """The sums of a bucket as the API gives it, with what its fields cannot show.

    `names` are the record type's extra measures.
    """
    given = row.get("metadata")
    fields = Measures(*(row.get(name) or 0 for name in Measures._fields))
    if not names and "beyond" not in str(given):
        return fields
    known = Metadata.parse(given, names)
    return plus(Measures(*fields, *known.extra), known.beyond)


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


def _sums(value: Any, extra: Sequence[str]) -> Measures:
    numbers = zero(extra).named(extra)
    if unknown := value.keys() - numbers:
        raise ValueError(f"no measures: {unknown}")
    return Measures(*(numbers | {name: int(n) for name, n in value.items()}).values())
