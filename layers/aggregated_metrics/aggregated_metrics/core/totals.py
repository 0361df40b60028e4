"""Totals of source rows by series and minute, and their packing for run files. Pure.

However rows are read, through an index or by a Scan, a pass adds them up to `Totals`. Packed
totals are compressed lines in the order of their keys, therefore a reader of hundreds of blocks
merges them without holding one of them whole.
"""

import json
import zlib
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, KeysView, Mapping
from hashlib import blake2s
from typing import Any, NamedTuple

from aggregated_metrics.core.buckets import DAY, HOUR, floor
from aggregated_metrics.core.measures import Measures, Sums, plus, zero
from aggregated_metrics.core.series import HourId, Series

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


class Totals:
    """Totals by hour and minute, of any number of accounts."""

    def __init__(self) -> None:
        self._hours: dict[HourId, dict[int, MinuteTotal]] = {}
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
        measures, start = Measures(*sums), floor(minute, HOUR)
        none = zero(measures.extra)
        mark = fingerprint(row_id, measures, indexed=indexed)
        total = MinuteTotal(measures, none, mark) if indexed else MinuteTotal(none, measures, mark)
        for each in series:
            hour = HourId(each, start)
            if hours is None or hour in hours:
                self.put(hour, minute, total)

    def put(self, hour: HourId, minute: int, total: MinuteTotal) -> None:
        """Add totals to those of a minute."""
        minutes = self._hours.setdefault(hour, {})
        before = minutes.get(minute)
        self._size += before is None
        minutes[minute] = total if before is None else before.merged(total)

    def hour(self, hour: HourId) -> Mapping[int, MinuteTotal]:
        """Those of an hour's minutes that have rows."""
        return self._hours.get(hour, {})

    def hours(self) -> KeysView[HourId]:
        """Every hour with a row."""
        return self._hours.keys()

    def take(self, hours: Iterable[HourId]) -> "Totals":
        """Remove hours; returns what they had."""
        taken = Totals()
        taken._hours = {hour: self._hours.pop(hour) for hour in hours if hour in self._hours}
        taken._size = sum(map(len, taken._hours.values()))
        self._size -= taken._size
        return taken

    def __len__(self) -> int:
        """How many minutes have rows."""
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


def pack(totals: Totals, model: str, partitions: int) -> list[bytes]:
    """A compressed block for each partition, empty for one without totals.

    A line has the key, then for each series its names and [minute, fingerprint, indexed, unindexed]
    of each minute; `unindexed` is left out where it is zero.
    """
    blocks = [defaultdict[GroupKey, list[Any]](list) for _ in range(partitions)]
    for hour in totals.hours():
        (account_id, *names), start = hour
        minutes = [
            [minute, total.fingerprint, total.indexed, *([total.unindexed] * any(total.unindexed))]
            for minute, total in totals.hour(hour).items()
        ]
        block = blocks[partition_of(account_id, start, partitions)]
        block[GroupKey(model, account_id, start)].append([*names, minutes])
    return [_block(lines) for lines in blocks]


def _block(lines: Mapping[GroupKey, Any]) -> bytes:
    if not lines:
        return b""
    squeeze = zlib.compressobj(6, wbits=_WINDOW_BITS)
    texts = (b"%b\t%b\n" % (_json(key), _json(lines[key])) for key in sorted(lines))
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


def read(key: GroupKey, content: bytes) -> Iterator[tuple[HourId, int, MinuteTotal]]:
    """The totals of a line: hour, minute and what its rows add."""
    for *names, minutes in json.loads(content):
        hour = HourId(Series(key.account_id, *names), key.hour)
        for minute, mark, indexed, *rest in minutes:
            sums = Measures(*indexed)
            unindexed = Measures(*rest[0]) if rest else zero(sums.extra)
            yield hour, minute, MinuteTotal(sums, unindexed, mark)
