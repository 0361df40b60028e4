"""Tables in memory, as DynamoDB's: rows by key, and secondary indexes that are kept in order."""

import json
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

from amplify_api.errors import dynamodb_refusal
from amplify_api.models import Index, Model
from amplify_api.ports import Condition, Key, Page, PageRequest, Span, Values

from testbench.fakes.filters import matches
from testbench.fakes.scalars import read_json

type Attributes = dict[str, Any]
type Staleness = Callable[["Row"], bool]

# Sorts behind every character: what begins with p lies in [p, p + _LAST).
_LAST = "\U0010ffff"
_WHOLE = Index("(whole table)", "")


def attributes_of(model: Model, row: Mapping[str, Any]) -> Attributes:
    """A row's plain values, AWSJSON as any value, as a table holds them."""
    found = dict(row)
    for name in model.json_fields & row.keys():
        if row[name] is not None:
            found[name] = read_json(json.dumps(row[name]))
    return found


@dataclass(slots=True, eq=False)
class Row:
    """One version of a row. Never changed once stored, so it can be read without a lock."""

    attributes: Attributes
    written: float = 0
    previous: "Row | None" = None
    # What is answered, by selection: rows are read far more often than they are written.
    completed: dict[Any, dict[str, Any]] = field(default_factory=dict)


@dataclass
class Behaviour:
    """What all tables of an API do.

    Attributes:
        monotonic: gives the time of a write, in seconds.
        equal_put_succeeds: a failed condition is a success if the stored item already equals the
            one to be written.
        stale: which rows the next reads see in their previous version; None for none.
    """

    monotonic: Callable[[], float]
    equal_put_succeeds: bool
    stale: Staleness | None = None


class Table:
    """The rows of one model. The caller holds a lock.

    Args:
        model: what the table holds.
        behaviour: what all tables of an API do.

    Attributes:
        rows: by primary key.
    """

    def __init__(self, model: Model, behaviour: Behaviour) -> None:
        self.model = model
        self.rows: dict[Key, Row] = {}
        self._behaviour = behaviour
        self._indexes = (_WHOLE, model.primary, *model.indexes.values())
        # Per index and hash value the sorted (sort value, primary key) of its rows.
        self._partitions: dict[str, dict[str, list[tuple[str, Key]]]] = {
            index.name: {} for index in self._indexes
        }

    def get(self, key: Key) -> Row | None:
        row, stale = self.rows.get(key), self._behaviour.stale
        return row.previous if row is not None and stale and stale(row) else row

    def put(self, values: Values, condition: Condition) -> Row:
        self._check_keys(values)
        key = tuple([values[name] for name in self.model.key])
        old = self.rows.get(key)
        # A condition is asked in addition to the key's absence: a create can never overwrite.
        if old is not None or not matches(condition, {}):
            return self._failed(old, values)
        return self.write(key, dict(values))

    def update(self, key: Key, changes: Values, condition: Condition) -> Row:
        self._check_keys(changes, removes=True)
        old = self.rows.get(key)
        if old is None:
            return self._failed(None, changes)
        attributes = {**old.attributes, **changes}
        for name, value in changes.items():
            if value is None:
                del attributes[name]
        if not matches(condition, old.attributes):
            return self._failed(old, attributes)
        return self.write(key, attributes)

    def delete(self, key: Key, condition: Condition) -> Row:
        old = self.rows.get(key)
        if old is None or not matches(condition, old.attributes):
            return self._failed(None, {})
        return self.remove(key)

    def page(self, request: PageRequest) -> Page[Row]:
        if request.limit < 1:
            _refuse("Limit must be at least 1")
        whole, limit = request.hash_value is None, request.limit
        index = _WHOLE if whole else request.key
        entries = self._partitions[index.name].get(request.hash_value or "", [])
        start, end = _bounds(entries, request)
        if request.descending:
            found = entries[max(start, end - limit) : end][::-1]
        else:
            found = entries[start : min(end, start + limit)]
        page = [self.rows[key] for _, key in found]
        if stale := self._behaviour.stale:
            page = _aged(page, index, stale)
        # Filtered after the limit, as DynamoDB does: an empty page can have a successor.
        if request.condition:
            page = [row for row in page if matches(request.condition, row.attributes)]
        return Page(page, found[-1] if len(found) == limit else None)

    def write(self, key: Key, attributes: Attributes) -> Row:
        """Store a row past all checks."""
        old = self.rows.get(key)
        row = Row(attributes, self._behaviour.monotonic(), old)
        if old is not None:
            # A stale read goes back by one write; longer chains would only hold memory.
            old.previous = None
        self.rows[key] = row
        self._move(key, old.attributes if old else None, attributes)
        return row

    def remove(self, key: Key) -> Row:
        """Remove a row past all checks."""
        row = self.rows.pop(key)
        self._move(key, row.attributes, None)
        return row

    def _check_keys(self, values: Values, *, removes: bool = False) -> None:
        """Refuse what DynamoDB refuses as a key: null, and the empty string."""
        for name in self.model.key_fields:
            value = values.get(name, "-")
            if value is None and not removes:
                _refuse("Invalid attribute value type")
            if value == "":
                _refuse(
                    "One or more parameter values are not valid. The AttributeValue for a key "
                    f"attribute cannot contain an empty string value. IndexKey: {name}"
                )

    def _failed(self, stored: Row | None, wanted: Values) -> Row:
        if self._behaviour.equal_put_succeeds and stored and stored.attributes == wanted:
            return stored
        return _refuse("The conditional request failed", "ConditionalCheckFailedException")

    def _move(self, key: Key, old: Attributes | None, new: Attributes | None) -> None:
        names = self.model.key_fields
        if old and new and [old.get(name) for name in names] == [new.get(name) for name in names]:
            return  # nearly always: an update moves a row in no index
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


def _refuse(message: str, code: str = "ValidationException") -> NoReturn:
    raise dynamodb_refusal(code, message, "F4584E38-7EB3-4AE9-B735-8BD6C9FD8F4B")


# "\0" makes the next greater string, so every condition is a half-open range.
_RANGES: dict[str, Callable[..., tuple[str, str]]] = {
    "eq": lambda value: (value, value + "\0"),
    "le": lambda value: ("", value + "\0"),
    "lt": lambda value: ("", value),
    "ge": lambda value: (value, _LAST),
    "gt": lambda value: (value + "\0", _LAST),
    "between": lambda low, high: (low, high + "\0"),
    "beginsWith": lambda value: (value, value + _LAST),
}


def _bounds(entries: list[tuple[str, Key]], request: PageRequest) -> tuple[int, int]:
    """Which entries may be read: [start, end)."""
    span: Span = request.span or Span("ge", ("",))
    low, high = _RANGES[span.operator](*span.values)
    start, end = bisect_left(entries, (low,)), bisect_left(entries, (high,))
    if request.start:
        sort_value, key = request.start
        place = (sort_value, tuple(key))
        if request.descending:
            end = min(end, bisect_left(entries, place))
        else:
            start = max(start, bisect_right(entries, place))
    return start, end


def _position(index: Index, attributes: Mapping[str, Any]) -> tuple[str, str] | None:
    """Where a row stands in an index; a row without one of the index's keys is not in it."""
    if index is _WHOLE:
        return "", ""
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
    place, shown = partial(_position, index), []
    for row in page:
        version = row.previous if stale(row) else row
        # nearly always it is the row itself
        if version and (version is row or place(version.attributes) == place(row.attributes)):
            shown.append(version)
    return shown
