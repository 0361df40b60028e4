"""DynamoDB as a resolver sees it: rows by key, and secondary indexes kept in order."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from testbench.fakes.models import Index, Model

type Key = tuple[str, ...]
type Attributes = dict[str, Any]
type Staleness = Callable[["Row"], bool]

# Sorts behind every character: what begins with p lies in [p, p + LAST).
LAST = "\U0010ffff"


class Row:
    """One version of a row. Never changed once stored, so it can be read without a lock."""

    __slots__ = ("attributes", "previous", "rendered", "written")

    def __init__(self, attributes: Attributes, written: float, previous: "Row | None") -> None:
        self.attributes = attributes
        self.written = written
        self.previous = previous
        # The row as JSON by selection: rows are read far more often than they are written.
        self.rendered: dict[int, str] = {}


class Range(NamedTuple):
    """Sort keys in [low, high), compared as raw strings, as DynamoDB does."""

    low: str = ""
    high: str = LAST


class Page(NamedTuple):
    """One page: rows, and the position to go on from if there may be more."""

    rows: list[Row]
    next: Key | None


class Table:
    """The rows of one model. The caller holds the lock."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.rows: dict[Key, Row] = {}
        hash_key, *sort = model.key
        self.primary = Index("primary key", hash_key, tuple(sort), sort[0] if sort else None)
        self._indexes = (self.primary, *model.indexes.values())
        # Per index and hash value the sorted (sort value, primary key) of its rows.
        self._partitions: dict[str, dict[str, list[tuple[str, Key]]]] = {
            index.name: {} for index in self._indexes
        }
        self._order: list[Key] = []

    def write(self, key: Key, attributes: Attributes, written: float) -> Row:
        old = self.rows.get(key)
        row = Row(attributes, written, old)
        if old is None:
            insort(self._order, key)
        else:
            # A stale read goes back by one write; longer chains would only hold memory.
            old.previous = None
        self.rows[key] = row
        self._move(key, old.attributes if old else None, attributes)
        return row

    def remove(self, key: Key) -> Row:
        row = self.rows.pop(key)
        del self._order[bisect_left(self._order, key)]
        self._move(key, row.attributes, None)
        return row

    def _move(self, key: Key, old: Attributes | None, new: Attributes | None) -> None:
        if old and new and all(old.get(name) == new.get(name) for name in self.model.key_fields):
            return
        for index in self._indexes:
            before = _position(index, old) if old is not None else None
            after = _position(index, new) if new is not None else None
            if before == after:
                continue
            partitions = self._partitions[index.name]
            if before is not None:
                entries = partitions[before[0]]
                del entries[bisect_left(entries, (before[1], key))]
            if after is not None:
                insort(partitions.setdefault(after[0], []), (after[1], key))

    def query(
        self,
        index: Index,
        hash_value: str,
        span: Range,
        *,
        limit: int,
        after: Key | None,
        descending: bool,
        stale: Staleness | None,
    ) -> Page:
        entries = self._partitions[index.name].get(hash_value, [])
        start, end = bisect_left(entries, (span.low,)), bisect_left(entries, (span.high,))
        if after is not None:
            place = (after[0], after[1:])
            if descending:
                end = min(end, bisect_left(entries, place))
            else:
                start = max(start, bisect_right(entries, place))
        if descending:
            found = entries[max(start, end - limit) : end][::-1]
        else:
            found = entries[start : min(end, start + limit)]
        last = (found[-1][0], *found[-1][1]) if len(found) == limit else None
        rows = self.rows
        page = [rows[key] for _, key in found]
        return Page(page if stale is None else _aged(page, index, stale), last)

    def scan(self, *, limit: int, after: Key | None, stale: Staleness | None) -> Page:
        start = bisect_right(self._order, after) if after else 0
        found = self._order[start : start + limit]
        page = [self.rows[key] for key in found]
        last = found[-1] if len(found) == limit else None
        return Page(page if stale is None else _aged(page, self.primary, stale), last)

    def get(self, key: Key, stale: Staleness | None = None) -> Row | None:
        row = self.rows.get(key)
        if row is not None and stale is not None and stale(row):
            return row.previous
        return row


def _position(index: Index, attributes: Attributes) -> tuple[str, str] | None:
    """Where a row stands in an index; a row without one of the index's keys is not in it."""
    hash_value = attributes.get(index.hash_key)
    if hash_value is None:
        return None
    parts = [attributes.get(name) for name in index.sort_keys]
    if None in parts:
        return None
    return hash_value, "#".join(map(str, parts))


def _aged(page: Iterable[Row], index: Index, stale: Staleness) -> list[Row]:
    """The page as a replica that lags behind shows it.

    A row that has moved inside the index is left out: the replica has it elsewhere.
    """
    shown = []
    for row in page:
        if not stale(row):
            shown.append(row)
        elif row.previous is not None and _position(index, row.previous.attributes) == _position(
            index, row.attributes
        ):
            shown.append(row.previous)
    return shown
