"""How the rows of a model are counted: into which series, when, and what they add. Pure.

A `Model` gets plain values, which a stream image and a row of the API give alike: so the reconciler
counts exactly as the stream does. Which models there are stands in record_types.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import Any, NamedTuple

from aggregated_metrics.core.buckets import DAY, FIRST, HOUR, LAST, floor, iso, minute_of
from aggregated_metrics.core.errors import UncountableError
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.series import HourId, Series

type Row = Mapping[str, Any]
type Scope = tuple[str, str | None]
"""The ids of a row's scorecard and of its score."""

_MOST_BYTES = 1_800
"""Of an accountId: with a record type, a scope and an hour it must fit a key of 2,048 bytes."""
_MOST_CHARACTERS = _MOST_BYTES // 4
_MOST_SCOPE_BYTES = 180
"""Of a scorecard's or score's id, for the same reason."""


@dataclass(frozen=True)
class Model:
    """How the rows of one model of the API are counted.

    Attributes:
        name: the model's name, which is also its table's name before the first `-`.
        record_type: the record type that every row counts into.
        measure: what a row adds, from the values of `measured` and then of `maps`, in their order.
        listing: the API's query by account and time, and the time that it sorts by. None if there
            is none: then only a reading of the whole table can check its counts.
        account: the attribute that names the account.
        times: the attributes that may name the time; the first that a row has counts.
        measured: the attributes that `measure` reads. A row all of whose attributes are texts is
            read in half the time: a number sends it through the slower branch of images.
        maps: further ones that a table keeps as a Map (the API as AWSJSON): for each the keys that
            are read, with all the names that writers give them. The value is a list with the first
            of each that is there, or None without a Map.
        split_by: the attribute whose value chooses a further record type; empty if none does.
        splits: that attribute's values, and the record type of each.
        scopes: breakdowns: further record types whose series are apart by scorecard (one attribute)
            or by score (two: the scorecard's and the score's). All name the same scorecard.
        extra: the names of the measures that are no fields of the API.
        required: of what counting reads, what the API's schema requires to be there.
    """

    name: str
    record_type: str
    measure: Callable[..., Measures]
    listing: tuple[str, str] | None
    account: str = "accountId"
    times: tuple[str, ...] = ("createdAt",)
    measured: tuple[str, ...] = ()
    maps: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    split_by: str = ""
    splits: Mapping[str, str] = field(default_factory=dict)
    scopes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    required: tuple[str, ...] = ()

    @cached_property
    def places(self) -> tuple[str, ...]:
        """What says where a row counts: account, times, split (a name that no row has), scope."""
        scope: tuple[str, ...] = max(self.scopes.values(), key=len, default=())
        return (self.account, *self.times, self.split_by, *scope)

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """What is read apart from `maps`."""
        return (*self.places, *self.measured)

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """Every attribute that counting reads."""
        return tuple(dict.fromkeys(name for name in (*self.texts, *self.maps) if name))

    @property
    def time_name(self) -> str:
        """What names the time in a reason for the quarantine."""
        return self.times[0] if len(self.times) == 1 else "its time"

    @cached_property
    def demanded(self) -> tuple[int, ...]:
        """Where in `texts` those are without which the API cannot give a row."""
        return tuple(i for i, name in enumerate(self.texts) if name in self.required)

    @cached_property
    def counts_into(self) -> tuple[str, ...]:
        """Every record type that its rows may count into."""
        return (self.record_type, *self.splits.values(), *self.scopes)

    def record_types(self, split: str | None) -> tuple[str, ...]:
        """The record types, breakdowns apart, that a row with this split counts into."""
        return (self.record_type,) if split is None else (self.record_type, split)

    def series(self, account_id: str, split: str | None, scope: Scope | None) -> list[Series]:
        """The series that a row with this split and scope counts into."""
        found = [Series(account_id, name) for name in self.record_types(split)]
        if scope is not None:
            scorecard, score = scope
            for name, attributes in self.scopes.items():
                if len(attributes) == 1:
                    found.append(Series(account_id, name, scorecard))
                elif score is not None:
                    found.append(Series(account_id, name, scorecard, score))
        return found

    def only(self, breakdowns: Collection[str]) -> "Model":
        """The same model with just these of its breakdowns; what is off is not even read."""
        wanted = {name: ids for name, ids in self.scopes.items() if name in breakdowns}
        return self if len(wanted) == len(self.scopes) else replace(self, scopes=wanted)


type Place = tuple[str, int, str | None, Scope | None]
"""What a row counts into: an account, an epoch minute, the further record type, the scope."""


class Contribution(NamedTuple):
    """What one row adds: `measures` to one minute of these series."""

    series: Sequence[Series]
    minute: int
    measures: Measures

    def hours(self) -> set[HourId]:
        """The hours that it counts into."""
        return {HourId(series, floor(self.minute, HOUR)) for series in self.series}


def contribution(model: Model, row: Row) -> Contribution:
    """What a row of the API adds.

    Raises:
        UncountableError: no account, no readable time, or a measure that is no number.
    """
    values = list(map(row.get, model.texts))
    values += [
        first_of(keys, json_object(row.get(name), name)) for name, keys in model.maps.items()
    ]
    account_id, minute, split, scope = place_of(model, values)
    measures = model.measure(*values[len(model.places) :])
    return Contribution(model.series(account_id, split, scope), minute, measures)


def place_of(model: Model, values: Sequence[Any]) -> Place:
    """Where a row counts, from the values of `model.places`; more may follow.

    Raises:
        UncountableError: no account, or no readable time.
    """
    account_id, at, times = values[0], values[1], len(model.times)
    if not account_id or not isinstance(account_id, str):
        raise UncountableError(f"{model.account} is missing")
    if len(account_id) > _MOST_CHARACTERS and len(account_id.encode()) > _MOST_BYTES:
        raise UncountableError(
            f"{model.account} has more than {_MOST_BYTES} bytes: no key can hold it"
        )
    if at is None and times > 1:
        at = next((value for value in values[1 : times + 1] if value is not None), None)
    if not at or not isinstance(at, str):
        raise UncountableError(f"{_time_name(model, values)} is missing")
    try:
        minute = minute_of(at)
    except ValueError as error:
        raise UncountableError(
            f"{_time_name(model, values)} {at[:40]!r} is not an AWSDateTime"
        ) from error
    if not FIRST <= minute < LAST:
        raise UncountableError(
            f"{_time_name(model, values)} {at[:40]!r} lies in no hour of the years 1 to 9999"
        )
    kind = values[times + 1]
    split = model.splits.get(kind) if isinstance(kind, str) else None
    scope = _scope(values[times + 2 : len(model.places)]) if model.scopes else None
    return account_id, minute, split, scope


def is_ahead(minute: int, written: float) -> bool:
    """Whether a row counts more than a day after it was written (epoch seconds): one is wrong."""
    return (minute - DAY) * 60 > written


def ahead(model: Model, minute: int) -> UncountableError:
    """The reason why such a row is not counted."""
    return UncountableError(f"{model.time_name} {iso(minute)} is more than a day after the write")


def _time_name(model: Model, values: Sequence[Any]) -> str:
    """The attribute that a row's time is read from."""
    named = zip(model.times, values[1:], strict=False)
    return next((name for name, value in named if value is not None), model.times[-1])


def _scope(ids: Sequence[Any]) -> Scope | None:
    """The scorecard, and the score if there is one; nothing without a scorecard."""
    scorecard, *rest = (value if _is_id(value) else None for value in ids)
    return None if scorecard is None else (scorecard, rest[0] if rest else None)


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value.encode()) <= _MOST_SCOPE_BYTES


def first_of(keys: Iterable[Sequence[str]], content: Mapping[str, Any] | None) -> list[Any] | None:
    """For each key the first of its names that has a value; None without content."""
    if not content:
        return None
    return [next((content[n] for n in names if content.get(n) is not None), None) for names in keys]


def json_object(value: Any, name: str) -> Mapping[str, Any] | None:
    """AWSJSON: parsed already (a stream image), a JSON text (the API), or a text of a text.

    Raises:
        UncountableError: it is neither an object nor nothing.
    """
    for _ in range(3):
        if value is None or value == "" or isinstance(value, Mapping):
            return value or None
        if not isinstance(value, str):
            break
        try:
            value = json.loads(value, parse_float=Decimal)
        except (ArithmeticError, RecursionError, ValueError) as error:
            raise UncountableError(f"{name} is not JSON") from error
    raise UncountableError(f"{name} is not a JSON object")
