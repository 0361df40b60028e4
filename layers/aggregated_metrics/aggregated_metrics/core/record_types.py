"""What is counted: the one place to add a record type. Pure.

A `Model` says, for one model of the API, which record types its rows count into and what a row adds
to them. It gets plain values, which a stream image and a row of the API give alike: so the
reconciler counts exactly as the stream does.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from typing import Any, NamedTuple

from aggregated_metrics.core.buckets import FIRST, LAST, minute_of
from aggregated_metrics.core.errors import UncountableError
from aggregated_metrics.core.measures import Measures, calls, micro_dollars

type Row = Mapping[str, Any]

ERROR_CODE = 400
_FAILED = frozenset({"FAILED", "ERROR"})
_MOST_BYTES = 1_800
"""Of an accountId: with a record type, a scope and an hour it must fit a key of 2,048 bytes."""
_MOST_CHARACTERS = _MOST_BYTES // 4
_COST_KEYS = (
    ("total_cost", "total_usd"),
    ("api_calls", "llm_calls"),
    ("cached_api_calls", "cached_llm_calls"),
)
_COUNTED_ONCE = Measures(count=1)
_FAILED_ONCE = Measures(count=1, errorCount=1)


@dataclass(frozen=True)
class Model:
    """How the rows of one model of the API are counted.

    Attributes:
        name: the model's name, which is also its table's name before the first `-`.
        record_type: the record type that every row counts into.
        measure: what a row adds, from the values of `measured` and then of `maps`, in their order.
        measured: the attributes that `measure` reads.
        maps: further ones that a table keeps as a Map (the API as AWSJSON): for each the keys that
            are read, with all the names that writers give them. The value is a list with the first
            of each that is there, or None without a Map.
        split_by: the attribute whose value chooses a further record type; empty if none does.
        splits: that attribute's values, and the record type of each.
        listing: the API's query by account and time, and the time that it sorts by.
        required: of what counting reads, what the API's schema requires to be there.
    """

    name: str
    record_type: str
    measure: Callable[..., Measures]
    listing: tuple[str, str]
    measured: tuple[str, ...] = ()
    maps: Mapping[str, Sequence[Sequence[str]]] = field(default_factory=dict)
    split_by: str = ""
    splits: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """What is read apart from `maps`: account, time, split (a name that no row has if none)."""
        return ("accountId", "createdAt", self.split_by, *self.measured)

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """Every attribute that counting reads."""
        return tuple(name for name in (*self.texts, *self.maps) if name)

    def record_types(self, split: str | None) -> tuple[str, ...]:
        """The record types that a row with this split counts into."""
        return (self.record_type,) if split is None else (self.record_type, split)


type Place = tuple[str, int, str | None]
"""What a row counts into: an account, an epoch minute, and the further record type if any."""


class Contribution(NamedTuple):
    """What one row adds: `measures` to one minute of an account's record types."""

    account_id: str
    minute: int
    split: str | None
    measures: Measures


def contribution(model: Model, row: Row) -> Contribution:
    """What a row of the API adds.

    Raises:
        UncountableError: no accountId, no readable createdAt, or a cost that is no number.
    """
    account_id, created, kind, *measured = map(row.get, model.texts)
    measured += [
        first_of(keys, json_object(row.get(name), name)) for name, keys in model.maps.items()
    ]
    return Contribution(*place_of(model, account_id, created, kind), model.measure(*measured))


def place_of(model: Model, account_id: Any, created: Any, kind: Any) -> Place:
    """Where a row counts.

    Raises:
        UncountableError: no accountId, or no readable createdAt.
    """
    if not account_id or not isinstance(account_id, str):
        raise UncountableError("accountId is missing")
    if len(account_id) > _MOST_CHARACTERS and len(account_id.encode()) > _MOST_BYTES:
        raise UncountableError(f"accountId has more than {_MOST_BYTES} bytes: no key can hold it")
    if not created or not isinstance(created, str):
        raise UncountableError("createdAt is missing")
    try:
        minute = minute_of(created)
    except ValueError as error:
        raise UncountableError(f"createdAt {created[:40]!r} is not an AWSDateTime") from error
    if not FIRST <= minute < LAST:
        raise UncountableError(f"createdAt {created[:40]!r} lies in no hour of the years 1 to 9999")
    return account_id, minute, model.splits.get(kind) if isinstance(kind, str) else None


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


def _item() -> Measures:
    return _COUNTED_ONCE


def _task(status: Any) -> Measures:
    return _FAILED_ONCE if _has_failed(status) else _COUNTED_ONCE


def _evaluation(status: Any, dollars: Any) -> Measures:
    cost = 0 if dollars is None else micro_dollars(dollars)
    return Measures(count=1, cost=cost, errorCount=int(_has_failed(status)))


def _has_failed(status: Any) -> bool:
    return isinstance(status, str) and status in _FAILED


def _score_result(value: Any, code: Any, cost: Sequence[Any] | None) -> Measures:
    failed = _is_error(value, code)
    decided = 0 if failed or not value else 1
    if cost is None:
        return Measures(1, 0, decided, 0, 0, int(failed))
    dollars, made, cached = cost
    sums = (
        1,
        0 if dollars is None else micro_dollars(dollars),
        decided,
        0 if made is None else calls(made),
        0 if cached is None else calls(cached),
        int(failed),
    )
    return tuple.__new__(Measures, sums)  # in half the time of Measures(*sums)


def _is_error(value: Any, code: Any) -> bool:
    if isinstance(value, str) and value.upper() == "ERROR":
        return True
    if code is None:
        return False
    try:
        return int(code) >= ERROR_CODE
    except (TypeError, ValueError):
        return False  # a code that is no number says nothing about success


MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="Item",
            record_type="items",
            measure=_item,
            listing=("listItemByAccountIdAndCreatedAt", "createdAt"),
            split_by="createdByType",
            splits={"prediction": "predictionItems", "evaluation": "evaluationItems"},
        ),
        Model(
            name="ScoreResult",
            record_type="scoreResults",
            measure=_score_result,
            measured=("value", "code"),
            maps={"cost": _COST_KEYS},
            required=("value",),
            listing=("listScoreResultByAccountIdAndUpdatedAt", "updatedAt"),
            split_by="type",
            splits={"prediction": "predictionScoreResults", "evaluation": "evaluationScoreResults"},
        ),
        Model(
            name="Task",
            record_type="tasks",
            measure=_task,
            measured=("status",),
            required=("status",),
            listing=("listTaskByAccountIdAndUpdatedAt", "updatedAt"),
        ),
        Model(
            name="Evaluation",
            record_type="evaluations",
            measure=_evaluation,
            measured=("status", "cost"),
            required=("status",),
            listing=("listEvaluationByAccountIdAndUpdatedAt", "updatedAt"),
        ),
    )
}

RECORD_TYPES: tuple[str, ...] = tuple(
    name for model in MODELS.values() for name in (model.record_type, *model.splits.values())
)


def model_of(record_type: str) -> Model:
    """The model whose rows count into `record_type`.

    Raises:
        KeyError: no model does.
    """
    for model in MODELS.values():
        if record_type == model.record_type or record_type in model.splits.values():
            return model
    raise KeyError(record_type)
