"""Models: how the rows of a table are counted, and the record types that they count into. Pure.

`Model.part_of` is the hot path: benchmarks/ measures it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from math import inf
from typing import Any

from aggregated_metrics.core import rows
from aggregated_metrics.core.buckets import hour_prefix, is_time, minute_of, utc_minute
from aggregated_metrics.core.declarations import Declaration, Document, Listing, Measure
from aggregated_metrics.core.errors import SettingsError, UncountableError
from aggregated_metrics.core.measures import Sums
from aggregated_metrics.core.rows import DELETED, Row, text_of
from aggregated_metrics.core.series import Series

UPDATED = "updatedAt"
_MOST_BYTES = 1_400
"""Of an accountId: with a record type, a scope and an hour it must fit a key of 2,048 bytes."""
_MOST_SCOPE_BYTES = 180
"""Of a scorecard's or score's id, which in a key may be three times as long."""

type Who = tuple[str, str | None, str | None, str | None]
"""Whose a row is: account, further record type by its split, scorecard, score."""
type Place = tuple[int, Who, str]
"""Where a row counts: the epoch minute, whose it is, and the UTC prefix of its hour."""
type Part = tuple[Place, Sums, bool]
"""What a row adds: where, what, and whether the index that checks read lists it within its own hour
and the API can give it; always true of a model without an index."""


class Model:
    """How the rows of one model are counted. Immutable.

    Args:
        declaration: what is declared of it.
        soft_deletes: whether its type in the schema has `_deleted`.
        breakdowns: the further record types by scorecard or score that count; None for all.

    Attributes:
        name: the model's name, which is also its table's name before the first `-`.
        record_type: the record type that every row counts into.
        plain_types: the record types that its rows count into, without breakdowns.
        breakdowns: the breakdowns, with the attributes of their ids.
        account: the attribute that names the account.
        times: the attributes that may name the time; the first that a row has counts.
        identifier: the attributes that together name a row.
        listing: the index that checks read; None if only a Scan can check the model.
        extra: the names of the measures that are no fields of the API.
    """

    def __init__(
        self,
        declaration: Declaration,
        *,
        soft_deletes: bool = False,
        breakdowns: Collection[str] | None = None,
    ) -> None:
        self.declaration = declaration
        self.soft_deletes = soft_deletes
        self.name = declaration.name
        self.record_type = declaration.recordType
        self.account = declaration.account
        self.times = declaration.time
        self.identifier = declaration.identifier
        self.listing = declaration.index
        declared = declaration.breakdowns
        on = declared if breakdowns is None else breakdowns
        self.breakdowns = {name: ids for name, ids in declared.items() if name in on}
        self._by_update = self.listing is not None and self.listing.by == UPDATED
        self._splits = next(iter(declaration.split.values()), {})
        self.plain_types = (self.record_type, *self._splits.values())
        self._reads, self._measure, self.extra = rows.NAMED.get(self.name) or rows.declared(
            declaration.measures
        )
        ids = max(self.breakdowns.values(), key=len, default=())
        self._places = (self.account, *declaration.split, *ids)
        listed_by = () if self.listing is None else (self.listing.by,)
        self._needed = (*listed_by, *declaration.required)
        self._place = lru_cache(maxsize=4096)(self._find_place)
        self.series = lru_cache(maxsize=4096)(self._series_of)

    @cached_property
    def _read(self) -> frozenset[str]:
        return frozenset((*self.projected, *self.declaration.types))

    @cached_property
    def _usual(self) -> Callable[[Row], rows.Usual] | None:
        """What reads its usual images; None if these are not as simple."""
        paths = [path for read in self._reads for path in read.paths]
        is_deep = any(path[2:] for path in paths)
        if len(self.times) > 1 or self.declaration.types or is_deep:
            return None
        by = self.times[0] if self.listing is None else self.listing.by
        return rows.compiled(
            (*self.times, by), self._places, self.declaration.required, self._reads
        )

    @property
    def counts_into(self) -> tuple[str, ...]:
        """Every record type that its rows count into."""
        return (*self.plain_types, *self.breakdowns)

    def only(self, breakdowns: Collection[str]) -> "Model":
        """The same model with just these of its breakdowns; what is off is not even read."""
        wanted = frozenset(self.breakdowns).intersection(breakdowns)
        return Model(self.declaration, soft_deletes=self.soft_deletes, breakdowns=wanted)

    def row_id(self, row: Mapping[str, Any]) -> str:
        """What names a row of the API among those of its model."""
        return "\0".join(str(text_of(row.get(name))) for name in self.identifier)

    def image_id(self, image: Row) -> str:
        """The same of a row as DynamoDB JSON."""
        return self.row_id({name: rows.plain(image[name]) for name in self.identifier})

    @property
    def selected(self) -> tuple[str, ...]:
        """Every attribute that a check must select."""
        deleted = (DELETED,) if self.soft_deletes else ()
        measured = (path[0] for read in self._reads for path in read.paths)
        names = (*self.identifier, *self._places, *self.times, *self._needed, *measured, *deleted)
        return tuple(dict.fromkeys(names))

    @property
    def projected(self) -> tuple[str, ...]:
        """Every attribute that a Scan must ask for."""
        return tuple(dict.fromkeys((*self.selected, DELETED)))

    @property
    def demanded(self) -> frozenset[str]:
        """The attributes that make a row unindexed, by their absence or by an invalid value."""
        return frozenset((*self.times, *self._needed, *self.declaration.types))

    def part_of(self, image: Row, latest: float = inf) -> Part | None:
        """What a row as DynamoDB JSON adds; None for one that is marked as deleted: it is no row.

        Args:
            image: the row.
            latest: the last minute in which it may count.

        Raises:
            UncountableError: no account, no readable time, a later one, or a measure that is no
                number.
        """
        try:
            if self._usual is not None:
                at, by, places, measured = self._usual(image)
                place = self._place(utc_minute(at), places)
                if place[0] <= latest:
                    return place, self._measure(measured), self._is_listed(at, by, place[2])
        except (KeyError, TypeError, ValueError):
            pass  # it is no usual image
        return self.part_of_row(self._plain(image), latest)

    def _plain(self, image: Row) -> Row:
        try:
            return {name: rows.plain(value) for name, value in image.items() if name in self._read}
        except (AttributeError, TypeError, ValueError) as error:
            raise UncountableError("the image is not DynamoDB JSON") from error

    def part_of_row(self, row: Row, latest: float = inf) -> Part | None:
        """What a row of the API adds: the same as part_of of the same row."""
        if row.get(DELETED) is True:
            return None
        for name in (self.account, *self.times):
            if not isinstance(row.get(name), str | None):
                raise UncountableError(f"{name} {row[name]!r} is not a text")
        times = {name: row[name] for name in self.times if row.get(name) is not None}
        place = self._timely_place(row, times, latest)
        measures = self._measure([read.of(row) for read in self._reads])
        return place, measures, self._is_indexed(row, times, place[2])

    def _timely_place(self, row: Row, times: Mapping[str, str], latest: float) -> Place:
        if not times:
            raise UncountableError(f"{self.times[-1]} is missing")
        name, at = next(iter(times.items()))
        places = tuple(text_of(row.get(name)) for name in self._places)
        try:
            place = self._place(utc_minute(at), places)
        except ValueError as error:
            reason = "is not an AWSDateTime of the years 1 to 9999"
            raise UncountableError(f"{name} {at[:40]!r} {reason}") from error
        if place[0] > latest:
            raise UncountableError(f"{name} {at[:40]!r} is more than a day after the write")
        return place

    def _is_indexed(self, row: Row, times: Mapping[str, str], hour: str) -> bool:
        """Whether an index lists a row within its hour, and the API can give it."""
        if self.listing is None:
            return True
        at, *others = times.values()
        by = text_of(row.get(self.listing.by))
        return (
            by is not None
            and self._is_listed(at, by, hour)
            and all(map(is_time, others))
            and (len(self.times) == 1 or is_time(at))
            and all(row.get(name) is not None for name in self.declaration.required)
            and rows.can_serialize(self.declaration.types, row)
        )

    def _is_listed(self, at: str, by: str, hour: str) -> bool:
        """Whether an index lists a row by a text within its hour."""
        return self.listing is None or (
            (by >= hour if self._by_update else by.startswith(hour)) and (by == at or is_time(by))
        )

    def _find_place(self, minute_text: str, places: Sequence[str | None]) -> Place:
        account_id, *rest = places
        if not account_id:
            raise UncountableError(f"{self.account} is missing")
        if _length(account_id) > _MOST_BYTES:
            raise UncountableError(
                f"{self.account} has more than {_MOST_BYTES} bytes: no key can hold it"
            )
        split, *ids = rest if self.declaration.split else (None, *rest)
        scorecard, score, *_ = (*map(_id, ids), None, None)
        minute = minute_of(f"{minute_text}00Z")
        who = (account_id, self._splits.get(split or ""), scorecard, score)
        return minute, who, hour_prefix(minute)

    def _series_of(self, who: Who) -> tuple[Series, ...]:
        """The series that a row counts into."""
        account_id, split, scorecard, score = who
        names = (self.record_type,) if split is None else (self.record_type, split)
        found = [Series(account_id, name) for name in names]
        for name, ids in self.breakdowns.items():
            if scorecard is not None and len(ids) == 1:
                found.append(Series(account_id, name, scorecard))
            elif scorecard is not None and score is not None:
                found.append(Series(account_id, name, scorecard, score))
        return tuple(found)


def _id(text: str | None) -> str | None:
    """An id that is empty, or too long for a key, is none."""
    return text if text and _length(text) <= _MOST_SCOPE_BYTES else None


def _length(text: str) -> int:
    return len(text.encode(errors="surrogatepass"))


class Models:
    """Models by name. Immutable.

    Args:
        models: in the order in which their record types are shown.

    Raises:
        SettingsError: two models have the same name, or the same record type.

    Attributes:
        record_types: every record type but the breakdowns.
        breakdowns: the record types by scorecard (one attribute) or score (two).
    """

    def __init__(self, models: Iterable[Model]) -> None:
        self._by_name: dict[str, Model] = {}
        self._by_type: dict[str, Model] = {}
        for model in models:
            for name in (model.name, *model.counts_into):
                if other := self._by_name.get(name) or self._by_type.get(name):
                    raise SettingsError(
                        f"model {model.name}: {name} is already {other.name}'s; choose another name"
                    )
            self._by_name[model.name] = model
            self._by_type |= dict.fromkeys(model.counts_into, model)
        self.record_types = tuple(name for model in self for name in model.plain_types)
        self.breakdowns: Mapping[str, tuple[str, ...]] = {
            name: ids for model in self for name, ids in model.breakdowns.items()
        }

    def __iter__(self) -> Iterator[Model]:
        return iter(self._by_name.values())

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __getitem__(self, name: str) -> Model:
        return self._by_name[name]

    def of(self, record_type: str) -> Model | None:
        """The model whose rows count into a record type."""
        return self._by_type.get(record_type)

    def lists(self, record_type: str) -> bool:
        """Whether an index lists a record type's rows; otherwise only a Scan counts them again."""
        model = self.of(record_type)
        return model is not None and model.listing is not None

    def of_table(self, table: str, source_tables: Mapping[str, str]) -> Model:
        """The model of a table, by the name before its first `-` or by SOURCE_TABLES.

        Raises:
            UncountableError: there is none; the message names the remedy.
        """
        model = self._by_name.get(source_tables.get(table) or table.partition("-")[0])
        if model is None:
            raise UncountableError(
                f"no model is known for table {table!r}: name it in SOURCE_TABLES, "
                f'for example {{"{table}": "Item"}}, or declare its model'
            )
        return model

    def extra_measures(self, record_type: str) -> tuple[str, ...]:
        """The measures that a record type's buckets keep in metadata; none for an unknown one."""
        model = self._by_type.get(record_type)
        return () if model is None else model.extra

    @property
    def custom(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """What readers cannot know of custom models: extra measures, and breakdowns' ids."""
        own = [model for model in self if model.name not in BUILT_IN]
        extra = {name: model.extra for model in own if model.extra for name in model.counts_into}
        ids = {name: each for model in own for name, each in model.breakdowns.items()}
        return {name: each for name, each in (("measures", extra), ("breakdowns", ids)) if each}

    @property
    def attributes(self) -> frozenset[str]:
        """Every attribute that counting or checking any of them reads."""
        return frozenset(name for model in self for name in model.projected)

    def only(self, breakdowns: Collection[str]) -> "Models":
        """The same models with just these breakdowns."""
        return Models(model.only(breakdowns) for model in self)

    def declaring(self, document: Document) -> "Models":
        """These models and the declared ones.

        Raises:
            SettingsError: a name is used twice, or softDeletes names an unknown model.
        """
        declared = [*(model.declaration for model in self), *document.models]
        names = [declaration.name for declaration in declared]
        if unknown := next((name for name in document.softDeletes if name not in names), None):
            raise SettingsError(f"softDeletes: no model is named {unknown}")
        return Models(
            Model(each, soft_deletes=each.name in document.softDeletes) for each in declared
        )


def _built_in(name: str, record_type: str, by: str, *, scored: bool = False, **more: Any) -> Model:
    """A model whose declaration a test validates: at every start that would take longer."""
    if scored:
        more["breakdowns"] = {
            f"{record_type}ByScorecard": ("scorecardId",),
            f"{record_type}ByScore": ("scorecardId", "scoreId"),
        }
    listing = Listing.model_construct(by=by)
    given = {"name": name, "recordType": record_type, "listing": listing, **more}
    return Model(Declaration.model_construct(**given))


def _split(attribute: str, plain: str) -> dict[str, dict[str, str]]:
    return {attribute: {kind: f"{kind}{plain}" for kind in ("prediction", "evaluation")}}


_FAILED = {"errorCount": Measure.model_construct(equals={"status": ("FAILED", "ERROR")})}
_DOLLARS = {"cost": Measure.model_construct(dollars=("cost",))}
BUILT_IN = Models(
    [
        _built_in("Item", "items", "createdAt", split=_split("createdByType", "Items")),
        _built_in(
            "ScoreResult",
            "scoreResults",
            UPDATED,
            scored=True,
            split=_split("type", "ScoreResults"),
            required=("value", "scorecardId"),
        ),
        _built_in("Task", "tasks", UPDATED, measures=_FAILED, required=("status",)),
        _built_in(
            "Evaluation",
            "evaluations",
            UPDATED,
            scored=True,
            measures=_FAILED | _DOLLARS,
            required=("status", "createdAt"),
            types={"cost": "Float"},
        ),
        _built_in(
            "FeedbackItem",
            "feedbackItems",
            UPDATED,  # the index by editedAt lacks the rows that were never edited
            scored=True,
            time=("editedAt", UPDATED, "createdAt"),
            required=("createdAt", "scorecardId", "scoreId"),
            types={"isInvalid": "Boolean"},
        ),
        _built_in("Procedure", "procedures", "createdAt", measures=_FAILED),
        _built_in(
            "ChatSession", "chatSessions", UPDATED, measures=_FAILED, required=("createdAt",)
        ),
        _built_in("ChatMessage", "chatMessages", "createdAt"),
    ]
)
"""The models that need no declaration."""
