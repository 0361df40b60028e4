"""Models: how the rows of a table are counted, and the record types that they count into. Pure.

`Model.part_of` is the hot path: benchmarks/ measures it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from math import inf
from typing import Any, NamedTuple

from aggregated_metrics.core.buckets import hour_prefix, is_time, minute_of, utc_minute
from aggregated_metrics.core.declarations import Declaration, Document, Listing, Measure
from aggregated_metrics.core.errors import SettingsError, UncountableError
from aggregated_metrics.core.measures import Measures, Sums
from aggregated_metrics.core.rows import (
    DELETED,
    NAMED,
    Layout,
    Row,
    Values,
    attribute_text,
    compiled,
    declared,
    text_of,
)
from aggregated_metrics.core.series import Series

UPDATED = "updatedAt"
_NO_TRUTH: Mapping[str, Any] = {}
_MOST_BYTES = 1_400
"""Of an accountId: with a record type, a scope and an hour it must fit a key of 2,048 bytes."""
_MOST_SCOPE_BYTES = 180
"""Of a scorecard's or score's id, which in a key may be three times as long."""

type Who = tuple[str, str | None, str | None, str | None]
"""Whose a row is: account, further record type by its split, scorecard, score."""


class Place(NamedTuple):
    """Where a row counts: the epoch minute, whose it is, and the UTC prefix of its hour."""

    minute: int
    who: Who
    prefix: str


type Part = tuple[Place, Sums, bool]
"""What a row adds: where, what, and whether it is indexed."""


class Contribution(NamedTuple):
    """What one row adds: `measures` to one minute of these series.

    Attributes:
        series: of one account.
        minute: epoch minute.
        measures: what is added.
        indexed: whether the index that checks read lists the row within the row's own hour, and
            the API can give it. Always true of a model without an index.
    """

    series: Sequence[Series]
    minute: int
    measures: Measures
    indexed: bool


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
        self.breakdowns: Mapping[str, tuple[str, ...]] = {
            name: ids
            for name, ids in declaration.breakdowns.items()
            if breakdowns is None or name in breakdowns
        }
        self._by_update = self.listing is not None and self.listing.by == UPDATED
        self._splits = next(iter(declaration.split.values()), {})
        self.plain_types = (self.record_type, *self._splits.values())
        measured, self._measure, self.extra = NAMED.get(self.name) or declared(declaration.measures)
        self._layout = Layout(
            places=(
                self.account,
                *declaration.split,
                *max(self.breakdowns.values(), key=len, default=()),
            ),
            times=self.times,
            listed_by=None if self.listing is None else self.listing.by,
            required=declaration.required,
            measured=measured,
            types=declaration.types,
        )
        self._place = lru_cache(maxsize=4096)(self._find_place)
        self._only = lru_cache(maxsize=8)(self._narrowed)
        self.series = lru_cache(maxsize=4096)(self._series_of)

    @cached_property
    def _read(self) -> Callable[[Row], Values]:
        return compiled(self._layout)

    @property
    def counts_into(self) -> tuple[str, ...]:
        """Every record type that its rows count into."""
        return (*self.plain_types, *self.breakdowns)

    def only(self, breakdowns: Collection[str]) -> "Model":
        """The same model with just these of its breakdowns; what is off is not even read."""
        wanted = frozenset(self.breakdowns).intersection(breakdowns)
        return self if len(wanted) == len(self.breakdowns) else self._only(wanted)

    def _narrowed(self, breakdowns: frozenset[str]) -> "Model":
        return Model(self.declaration, soft_deletes=self.soft_deletes, breakdowns=breakdowns)

    def row_id(self, row: Mapping[str, Any]) -> str:
        """What names a row of the API among those of its model."""
        return "\0".join(str(text_of(row.get(name))) for name in self.identifier)

    def image_id(self, image: Row) -> str:
        """The same of a row as DynamoDB JSON."""
        return "\0".join(str(attribute_text(image[name])) for name in self.identifier)

    @property
    def selected(self) -> tuple[str, ...]:
        """Every attribute that a check must select."""
        deleted = (DELETED,) if self.soft_deletes else ()
        return tuple(dict.fromkeys((*self.identifier, *self._layout.attributes(), *deleted)))

    @property
    def projected(self) -> tuple[str, ...]:
        """Every attribute that a Scan must ask for."""
        return tuple(dict.fromkeys((*self.selected, DELETED)))

    @property
    def demanded(self) -> frozenset[str]:
        """The attributes that make a row unindexed, by their absence or by an invalid value."""
        by = () if self.listing is None else (self.listing.by,)
        return frozenset((*self.times, *by, *self.declaration.required, *self.declaration.types))

    def of_image(self, image: Row) -> Contribution | None:
        """What a row as DynamoDB JSON adds; None for one that is marked as deleted: it is no row.

        Raises:
            UncountableError: no account, no readable time, or a measure that is no number.
        """
        return self._contribution(self.part_of(image))

    def of_row(self, row: Row) -> Contribution | None:
        """What a row of the API adds: the same as of_image of the same row.

        Raises:
            UncountableError: as of_image.
        """
        if row.get(DELETED) is True:
            return None
        for name in (self.account, *self.times):
            if not isinstance(row.get(name), str | None):
                raise UncountableError(f"{name} {row[name]!r} is not a text")
        return self._contribution(self._part_of(row, self._layout.of_row, inf))

    def part_of(self, image: Row, latest: float = inf) -> Part | None:
        """What a row as DynamoDB JSON adds, without objects; None if it is marked as deleted.

        Args:
            image: the row.
            latest: the last minute in which it may count.

        Raises:
            UncountableError: as of_image, or its minute is later.
        """
        try:
            return self._part_of(image, self._read, latest)
        except (AttributeError, KeyError, TypeError, ValueError):
            return self._unusual(image, latest)

    def _unusual(self, image: Row, latest: float) -> Part | None:
        try:
            if image.get(DELETED, _NO_TRUTH).get("BOOL") is True:
                return None
            for name in (self.account, *self.times):
                if name in image and not {"S", "NULL"} & image[name].keys():
                    raise UncountableError(f"{name} {image[name]} is not a text")
            return self._part_of(image, self._layout.of_image, latest)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UncountableError("the image is not DynamoDB JSON") from error

    def _contribution(self, part: Part | None) -> Contribution | None:
        if part is None:
            return None
        place, measures, indexed = part
        return Contribution(self.series(place.who), place.minute, Measures(*measures), indexed)

    def _part_of(self, row: Row, read: Callable[[Row], Values], latest: float) -> Part:
        places, times, by, required, measured, is_serializable = read(row)
        at = times[0]
        if at is None:
            at = next((text for text in times if text is not None), "")
        try:
            place = self._place(utc_minute(at), places)
        except ValueError as error:
            raise self._untimely(times, "is not an AWSDateTime of the years 1 to 9999") from error
        if place[0] > latest:
            raise self._untimely(times, "is more than a day after the write")
        indexed = self.listing is None or (
            is_serializable
            and by is not None
            and (by >= place[2] if self._by_update else by.startswith(place[2]))
            and None not in required
            and (by == at or is_time(by))
            and (len(times) == 1 or all(text is None or is_time(text) for text in times))
        )
        return place, self._measure(measured), indexed

    def _untimely(self, times: Sequence[Any], reason: str) -> UncountableError:
        for name, text in zip(self.times, times, strict=True):
            if text is not None:
                return UncountableError(f"{name} {text[:40]!r} {reason}")
        return UncountableError(f"{self.times[-1]} is missing")

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
        return Place(minute, who, hour_prefix(minute))

    def _series_of(self, who: Who) -> tuple[Series, ...]:
        """The series that a row counts into."""
        account_id, split, scorecard, score = who
        plain = (self.record_type,) if split is None else (self.record_type, split)
        found = [Series(account_id, name) for name in plain]
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


_FAILED = {"errorCount": Measure.model_construct(equals={"status": ("FAILED", "ERROR")})}
BUILT_IN = Models(
    [
        _built_in(
            "Item",
            "items",
            "createdAt",
            split={
                "createdByType": {"prediction": "predictionItems", "evaluation": "evaluationItems"}
            },
        ),
        _built_in(
            "ScoreResult",
            "scoreResults",
            UPDATED,
            scored=True,
            split={
                "type": {
                    "prediction": "predictionScoreResults",
                    "evaluation": "evaluationScoreResults",
                }
            },
            required=("value", "scorecardId"),
        ),
        _built_in("Task", "tasks", UPDATED, measures=_FAILED, required=("status",)),
        _built_in(
            "Evaluation",
            "evaluations",
            UPDATED,
            scored=True,
            measures={"cost": Measure.model_construct(dollars=("cost",)), **_FAILED},
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
