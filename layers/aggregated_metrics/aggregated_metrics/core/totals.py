"""Totals of source rows by series and minute, and their packing for run files. Pure.

However rows are read, through an index or by a Scan, a pass adds them up to `Totals`. Packed
totals are compressed lines in the order of their keys, therefore a reader of hundreds of blocks
merges them without holding one of them whole.
"""

import json
import zlib
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import cache
from hashlib import blake2s
from typing import Any, NamedTuple

from aggregated_metrics.core.buckets import DAY, HOUR, floor
from aggregated_metrics.core.measures import Measures, Sums, plus
from aggregated_metrics.core.series import HourId, Series, Target

_MOST = 2**64
_CHUNK = 8192
"""How much of a block is decompressed at once."""
_WINDOW_BITS = 13


class MinuteTotal(NamedTuple):
    """Totals of the rows of one minute of one series.

    Attributes:
        indexed: of the rows that the index lists within their own hour.
        unindexed: of the others.
        fingerprint: equal in two passes if both read the same rows, each adding the same.
    """

    indexed: Measures
    unindexed: Measures
    fingerprint: int

    def merged(self, other: "MinuteTotal") -> "MinuteTotal":
        """Totals of both."""
        return MinuteTotal(
            plus(self.indexed, other.indexed),
            plus(self.unindexed, other.unindexed),
            (self.fingerprint + other.fingerprint) % _MOST,
        )


def fingerprint(row_id: str, measures: Measures, *, indexed: bool) -> int:
    """A 64-bit hash of a row's id and of what it adds, the same in every process."""
    return _hash(f"{(*measures, indexed)}{row_id}")


def _hash(text: str) -> int:
    digest = blake2s(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest)


@cache
def _zero(number: int) -> Measures:
    return Measures(*[0] * number)


class Totals:
    """Totals by series and minute, of any number of accounts."""

    __slots__ = ("_series", "_size")

    def __init__(self) -> None:
        self._series: dict[Series, dict[int, MinuteTotal]] = {}
        self._size = 0

    def add(
        self,
        row_id: str,
        series: Iterable[Series],
        minute: int,
        sums: Sums,
        *,
        indexed: bool,
        hours: Container[HourId] | None = None,
    ) -> None:
        """Add one row's sums to a minute of some series, of these hours only; None for all."""
        measures, none, start = Measures(*sums), _zero(len(sums)), floor(minute, HOUR)
        mark = fingerprint(row_id, measures, indexed=indexed)
        total = MinuteTotal(measures, none, mark) if indexed else MinuteTotal(none, measures, mark)
        for each in series:
            if hours is None or HourId(each, start) in hours:
                self.put(Target(each, minute), total)

    def put(self, target: Target, total: MinuteTotal) -> None:
        """Add totals to those of a minute."""
        minutes = self._series.setdefault(target.series, {})
        before = minutes.get(target.minute)
        self._size += before is None
        minutes[target.minute] = total if before is None else before.merged(total)

    def at(self, target: Target) -> MinuteTotal | None:
        """Those of one minute; None without rows."""
        return self._series.get(target.series, {}).get(target.minute)

    def hour(self, hour: HourId) -> dict[int, MinuteTotal]:
        """Those of an hour's minutes that have rows."""
        minutes = self._series.get(hour.series, {})
        return {m: minutes[m] for m in range(hour.start, hour.start + HOUR) if m in minutes}

    def pop_hour(self, hour: HourId) -> dict[int, MinuteTotal]:
        """Remove an hour; returns what it had."""
        found, minutes = self.hour(hour), self._series.get(hour.series, {})
        for minute in found:
            del minutes[minute]
        self._size -= len(found)
        if not minutes:
            self._series.pop(hour.series, None)
        return found

    def hours(self) -> set[HourId]:
        """Every hour with a row."""
        return {
            HourId(series, start)
            for series, minutes in self._series.items()
            for start in {floor(minute, HOUR) for minute in minutes}
        }

    def items(self) -> Iterator[tuple[Target, MinuteTotal]]:
        """Every minute with a row, and its totals."""
        for series, minutes in self._series.items():
            for minute, total in minutes.items():
                yield Target(series, minute), total

    def __len__(self) -> int:
        return self._size


class GroupKey(NamedTuple):
    """One line of packed totals: a model's rows of one account in one hour (an epoch minute)."""

    model: str
    account_id: str
    hour: int

    @property
    def day(self) -> tuple[str, str, int]:
        """The model, the account and the UTC day (its first minute)."""
        return self.model, self.account_id, floor(self.hour, DAY)


def partition_of(account_id: str, minute: int, partitions: int) -> int:
    """The partition of an account's UTC day, the same in every process."""
    return _hash(f"{minute // DAY}#{account_id}") % partitions


type _Line = dict[Series, list[Any]]


def pack(totals: Totals, model: str, partitions: int) -> list[bytes]:
    """A compressed block for each partition, empty for one without totals.

    A line has the key, then for each series its names and [minute, fingerprint, indexed, unindexed]
    of each minute; `unindexed` is left out where it is zero.
    """
    lines: dict[GroupKey, _Line] = defaultdict(dict)
    for (series, minute), total in totals.items():
        key = GroupKey(model, series.account_id, floor(minute, HOUR))
        entry = [minute, total.fingerprint, total.indexed]
        entry += [total.unindexed] if any(total.unindexed) else []
        lines[key].setdefault(series, [*series[1:], []])[-1].append(entry)
    blocks: list[list[GroupKey]] = [[] for _ in range(partitions)]
    for key in sorted(lines):
        blocks[partition_of(key.account_id, key.hour, partitions)].append(key)
    return [_block({key: lines[key] for key in keys}) for keys in blocks]


def _block(lines: Mapping[GroupKey, _Line]) -> bytes:
    if not lines:
        return b""
    squeeze = zlib.compressobj(6, wbits=_WINDOW_BITS)
    texts = (b"%b\t%b\n" % (_json(key), _json([*line.values()])) for key, line in lines.items())
    return b"".join(map(squeeze.compress, texts)) + squeeze.flush()


def _json(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def unpack(block: bytes) -> Iterator[tuple[GroupKey, bytes]]:
    """The lines of a block in the order of their keys, one at a time (see `read`)."""
    for line in _lines(block):
        key, _, content = line.partition(b"\t")
        yield GroupKey(*json.loads(key)), content


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


def read(key: GroupKey, content: bytes) -> Iterator[tuple[Target, MinuteTotal]]:
    """The totals of a line."""
    for *names, minutes in json.loads(content):
        series = Series(key.account_id, *names)
        for minute, mark, indexed, *rest in minutes:
            unindexed = Measures(*rest[0]) if rest else _zero(len(indexed))
            yield Target(series, minute), MinuteTotal(Measures(*indexed), unindexed, mark)
