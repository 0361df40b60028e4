"""What source rows come to: sums by minute, and what a check must know beside them. Pure.

However its rows are read, through an index or by a Scan, a reading gives `Sums`. They can be put
away compressed and added up again, so that a reading of any length holds only a part of them.
"""

import json
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2s
from typing import Any, NamedTuple

from aggregated_metrics.core import buckets
from aggregated_metrics.core.listing import IN_RANGE, Where
from aggregated_metrics.core.measures import Measures, plus, zero
from aggregated_metrics.core.record_types import MODELS
from aggregated_metrics.core.series import Series, Target
from aggregated_metrics.core.source_models import Contribution, is_ahead

SKEW = timedelta(seconds=10)
"""How far the clocks of the rows' writers and of this process may be apart."""
_CHUNK = 8192
"""So much is expanded of a block at once, and remembered: a reducer reads hundreds side by side."""
_WINDOW_BITS = 13

type Texts = tuple[str, str]
"""The least and the greatest sort-key text."""


class Since(NamedTuple):
    """A row that was updated in between may be counted at another time by the stream."""

    began: datetime
    now: datetime

    @classmethod
    def of(cls, began: datetime, now: datetime) -> "Since":
        """From when a check began to now, as far as the clocks may be apart."""
        return cls(began - SKEW, now + SKEW)


@dataclass(slots=True)
class Sums:
    """What the rows of one account and model come to.

    Attributes:
        minutes: sums by series and minute.
        unsure: those with a row that was updated since the check began.
        unclear: those with a row of which the stream alone knows whether it counts.
        listed: what an index lists outside of the hour's own range (listing).
        unlisted: how many rows no index lists.
        unread: how many rows of the series of all rows are listed, and the API cannot give them.
        extra: the measures of the model's own.
    """

    minutes: dict[Target, Measures] = field(default_factory=dict)
    unsure: set[Target] = field(default_factory=set)
    unclear: set[Target] = field(default_factory=set)
    listed: dict[Target, Texts] = field(default_factory=dict)
    unlisted: dict[Target, int] = field(default_factory=dict)
    unread: dict[Target, int] = field(default_factory=dict)
    extra: tuple[str, ...] = ()

    def at(self, target: Target) -> Measures:
        """The sums of one minute; zero where no row is."""
        return self.minutes.get(target) or zero(self.extra)

    def add(
        self,
        part: Contribution,
        written: datetime | None,
        since: Since,
        where: Where = IN_RANGE,
    ) -> None:
        """Add what one row comes to.

        Args:
            part: what it adds.
            written: its updatedAt; a time that lies ahead of now was not written by this clock.
            since: from when the check began to now.
            where: under which text it is listed, if not in its hour's own range.
        """
        ahead = is_ahead(part.minute, last_write(written, since.now - SKEW))
        moving = written is not None and since.began <= written <= since.now
        listed, unlisted = where
        for series in part.series:
            place = Target(series, part.minute)
            # Where it is listed is kept of every row: a check that does not find one again would
            # neither count it nor know that it is unclear.
            if listed is not None:
                self._list(place, (listed, listed))
            if unlisted:
                self.unlisted[place] = self.unlisted.get(place, 0) + unlisted
            if ahead:
                self.unclear.add(place)
                continue
            self._sum(place, part.measures)
            if moving:
                self.unsure.add(place)

    def add_unread(self, place: Target) -> None:
        """Add a row of which only the minute is known."""
        self.unread[place] = self.unread.get(place, 0) + 1

    def merge(self, other: "Sums") -> None:
        """Add what other rows of the same account and model come to."""
        for place, measures in other.minutes.items():
            self._sum(place, measures)
        self.unsure |= other.unsure
        self.unclear |= other.unclear
        for place, texts in other.listed.items():
            self._list(place, texts)
        for place, number in other.unlisted.items():
            self.unlisted[place] = self.unlisted.get(place, 0) + number
        for place, number in other.unread.items():
            self.unread[place] = self.unread.get(place, 0) + number

    def clear(self) -> None:
        """Forget everything."""
        for kept in (self.minutes, self.listed, self.unlisted, self.unread):
            kept.clear()
        self.unsure.clear()
        self.unclear.clear()

    def texts(self) -> Iterator[tuple[Target, str]]:
        """Each minute with a text under which a row of it is listed, outside its hour's range."""
        return ((place, text) for place, texts in self.listed.items() for text in texts)

    def places(self) -> set[Target]:
        """Every minute that a row counts into, or may."""
        return {*self.minutes, *self.unclear}

    def _sum(self, place: Target, measures: Measures) -> None:
        before = self.minutes.get(place)
        self.minutes[place] = measures if before is None else plus(before, measures)

    def _list(self, place: Target, texts: Texts) -> None:
        least, greatest = self.listed.get(place, texts)
        self.listed[place] = (min(least, texts[0]), max(greatest, texts[1]))


def last_write(written: datetime | None, now: datetime) -> float:
    """When a row was written at the latest, as far as it can tell: epoch seconds.

    Only the stream knows when that was. The row's updatedAt may be a client's, which may lie ahead
    as well: the write was no later than now.
    """
    at = now if written is None else min(written, now)
    return (at - SKEW).timestamp()


def written(value: Any) -> datetime | None:
    """An updatedAt as an instant; None if it is none."""
    try:
        return buckets.parse(value)
    except (TypeError, ValueError):
        return None


class GroupKey(NamedTuple):
    """What is reduced together: an account's rows of one model in one UTC day."""

    day: int
    account_id: str
    model: str


def partition_of(account_id: str, day: int, of: int) -> int:
    """Which of `of` partitions an account's day belongs to; alike in every process."""
    digest = blake2s(f"{day}#{account_id}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % of


type Groups = dict[GroupKey, Sums]


class PackedGroup(NamedTuple):
    """A group that is not read yet: a minute's sums take ten times as much memory as their text."""

    key: GroupKey
    content: bytes

    def sums(self) -> Sums:
        """What it holds."""
        return _from_json(self.key, json.loads(self.content))


def pack(groups: Groups) -> bytes:
    """Groups as a compressed block: a line each, in the order of their keys."""
    squeeze = zlib.compressobj(6, wbits=_WINDOW_BITS)
    lines = (b"%b\t%b\n" % (_json(key), _json(_as_json(groups[key]))) for key in sorted(groups))
    return b"".join(map(squeeze.compress, lines)) + squeeze.flush()


def _json(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def unpack(block: bytes) -> Iterator[PackedGroup]:
    """The groups of a block, in the order of their keys, one at a time."""
    for line in _lines(block):
        key, _, content = line.partition(b"\t")
        yield PackedGroup(GroupKey(*json.loads(key)), content)


def _lines(block: bytes) -> Iterator[bytes]:
    """A block's lines without holding it whole."""
    expand, rest, given = zlib.decompressobj(wbits=_WINDOW_BITS), b"", block
    while given:
        rest += expand.decompress(given, _CHUNK)
        given = expand.unconsumed_tail
        *whole, rest = rest.split(b"\n")
        yield from whole
    *whole, _ = (rest + expand.flush()).split(b"\n")
    yield from whole


def _as_json(sums: Sums) -> dict[str, Any]:
    content = {
        "minutes": [[*_named(place), *measures] for place, measures in sums.minutes.items()],
        "unsure": [_named(place) for place in sums.unsure],
        "unclear": [_named(place) for place in sums.unclear],
        "listed": [[*_named(place), *texts] for place, texts in sums.listed.items()],
        "unlisted": [[*_named(place), number] for place, number in sums.unlisted.items()],
        "unread": [[*_named(place), number] for place, number in sums.unread.items()],
    }
    return {name: value for name, value in content.items() if value}


def _named(place: Target) -> list[Any]:
    """A minute of a series whose account is known."""
    return [*place.series[1:], place.minute]


def _from_json(key: GroupKey, content: dict[str, Any]) -> Sums:
    def read(name: str) -> Iterator[tuple[Target, list[Any]]]:
        for record_type, scorecard, score, minute, *rest in content.get(name, ()):
            yield Target(Series(key.account_id, record_type, scorecard, score), minute), rest

    return Sums(
        {place: Measures(*rest) for place, rest in read("minutes")},
        {place for place, _ in read("unsure")},
        {place for place, _ in read("unclear")},
        {place: (least, most) for place, (least, most) in read("listed")},
        {place: number for place, (number,) in read("unlisted")},
        {place: number for place, (number,) in read("unread")},
        MODELS[key.model].extra,
    )


class Packed:
    """Sums of one account and model over a long range, put away compressed in parts.

    Args:
        account_id: whose account.
        model: the model's name.
        part_of: which part a minute belongs to.
    """

    def __init__(self, account_id: str, model: str, part_of: Callable[[int], int]) -> None:
        self._key = GroupKey(0, account_id, model)
        self._part_of = part_of
        self._blocks: dict[int, list[bytes]] = {}

    def take(self, sums: Sums) -> None:
        """Put sums away, and clear them."""
        for number, part in _split(sums, self._part_of).items():
            self._blocks.setdefault(number, []).append(pack({self._key: part}))
        sums.clear()

    def part(self, number: int) -> Sums:
        """One part, whole."""
        whole = Sums(extra=MODELS[self._key.model].extra)
        for block in self._blocks.get(number, ()):
            for packed in unpack(block):
                whole.merge(packed.sums())
        return whole


def _split(sums: Sums, part_of: Callable[[int], int]) -> dict[int, Sums]:
    parts: dict[int, Sums] = defaultdict(Sums)
    for place, measures in sums.minutes.items():
        parts[part_of(place.minute)].minutes[place] = measures
    for place in sums.unsure:
        parts[part_of(place.minute)].unsure.add(place)
    for place in sums.unclear:
        parts[part_of(place.minute)].unclear.add(place)
    for place, texts in sums.listed.items():
        parts[part_of(place.minute)].listed[place] = texts
    for place, number in sums.unlisted.items():
        parts[part_of(place.minute)].unlisted[place] = number
    for place, number in sums.unread.items():
        parts[part_of(place.minute)].unread[place] = number
    return parts
