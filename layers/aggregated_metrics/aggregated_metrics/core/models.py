"""Models: how the rows of a table are counted, and the record types that they count into. Pure.

`Model.part_of` is the hot path: benchmarks/ measures it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from aggregated_metrics.core.buckets import FIRST, LAST, hour_prefix, is_time, minute_of
from aggregated_metrics.core.declarations import Declaration, Document
from aggregated_metrics.core.errors import DeclarationError, UncountableError
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.measuring import NAMED, Counting, compiled
from aggregated_metrics.core.series import Series
from aggregated_metrics.core.values import (
    Image,
    attribute_numbers,
    attribute_text,
    attribute_values,
    can_serialize,
    json_values,
    text_of,
)

UPDATED = "updatedAt"
DELETED = "_deleted"
_MOST_BYTES = 1_400
"""Of an accountId: with a record type, a scope and an hour it must fit a key of 2,048 bytes."""
_MOST_SCOPE_BYTES = 180
"""Of a scorecard's or score's id, which in a key may be three times as long."""
_text = itemgetter("S")
_NO_TEXT = {"S": None}
_NO_NUMBER = {"N": None}

type Who = tuple[str, str | None, str | None, str | None]
"""Whose a row is: account, further record type by its split, scorecard, score."""
type Part = tuple[int, Who, Measures, bool]
"""What a row adds: epoch minute, whose, measures, whether it is indexed."""


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
        selected: every attribute that a check must select.
        demanded: those that make a row unindexed, by their absence or by an invalid value.
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
        self.listing = declaration.listing
        self.breakdowns: Mapping[str, tuple[str, ...]] = {
            name: ids
            for name, ids in declaration.breakdowns.items()
            if breakdowns is None or name in breakdowns
        }
        self._splits = next(iter(declaration.split.values()), {})
        self.plain_types = (self.record_type, *self._splits.values())
        self._listed_by = () if self.listing is None else (self.listing.by,)
        self._lay_out()
        parsed = (name for name, *_ in self._json)
        deleted = (DELETED,) if soft_deletes else ()
        self.selected = tuple(dict.fromkeys((*self.identifier, *self._names, *parsed, *deleted)))
        self.demanded = frozenset(
            (*self.times, *declaration.required, *declaration.types, *self._listed_by)
        )
        self.series = lru_cache(maxsize=4096)(self._series_of)
        self._who = lru_cache(maxsize=4096)(self._find_who)

    def _lay_out(self) -> None:
        """Decide which texts of a row are read, and where in their list each is."""
        counting = NAMED.get(self.name) or compiled(self.declaration.measures)
        self.extra, self._measure = counting.extra, counting.measure
        ids = max(self.breakdowns.values(), key=len, default=())
        first = (self.account, *self.times, *self.declaration.split, *ids)
        given = dict.fromkeys((*self.declaration.required, *self._listed_by))
        others = [name for name in given if name not in first]
        plain = [path for path in counting.paths if "." not in path]
        self._names = (*first, *others, *plain)
        self._nothing = [_NO_TEXT] * len(self._names)
        self._when = slice(1, 1 + len(self.times))
        self._places = slice(1 + len(self.times), len(first))
        self._measured = slice(len(first) + len(others), None)
        self._required = [self._names.index(name) for name in self.declaration.required]
        self._by = [self._names.index(name) for name in self._listed_by]
        self._stamps = [*range(2, 1 + len(self.times)), *self._by]
        self._json = _json_reads(counting)

    @property
    def counts_into(self) -> tuple[str, ...]:
        """Every record type that its rows count into."""
        return (*self.plain_types, *self.breakdowns)

    def only(self, breakdowns: Collection[str]) -> "Model":
        """The same model with just these of its breakdowns; what is off is not even read."""
        if all(name in breakdowns for name in self.breakdowns):
            return self
        return Model(self.declaration, soft_deletes=self.soft_deletes, breakdowns=breakdowns)

    def row_id(self, row: Mapping[str, Any]) -> str:
        """What names a row of the API among those of its model."""
        return "\0".join(str(text_of(row.get(name))) for name in self.identifier)

    def image_id(self, image: Image) -> str:
        """The same of a row as DynamoDB JSON."""
        return "\0".join(str(attribute_text(image[name])) for name in self.identifier)

    def of_image(self, image: Image) -> Contribution | None:
        """What a row as DynamoDB JSON adds; None for one that is marked as deleted: it is no row.

        Raises:
            UncountableError: no account, no readable time, or a measure that is no number.
        """
        return self._contribution(self.part_of(image))

    def of_row(self, row: Mapping[str, Any]) -> Contribution | None:
        """What a row of the API adds: the same as of_image of the same row.

        Raises:
            UncountableError: as of_image.
        """
        if row.get(DELETED) is True:
            return None
        texts = [text_of(row.get(name)) for name in self._names]
        for name, paths, *_ in self._json:
            texts += json_values(row.get(name), paths, name)
        return self._contribution(self._part(texts, serializable=True))

    def part_of(self, image: Image) -> Part | None:
        """What a row as DynamoDB JSON adds, without objects; None if it is marked as deleted.

        Raises:
            UncountableError: as of_image.
        """
        try:
            if DELETED in image and image[DELETED].get("BOOL") is True:
                return None
            texts = self._texts(image)
            types = self.declaration.types
            serializable = not types or all(
                can_serialize(types[name], image[name]) for name in types if name in image
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UncountableError("the image is not DynamoDB JSON") from error
        return self._part(texts, serializable=serializable)

    def _contribution(self, part: Part | None) -> Contribution | None:
        if part is None:
            return None
        minute, who, measures, indexed = part
        return Contribution(self.series(who), minute, measures, indexed)

    def _texts(self, image: Image) -> list[Any]:
        """The texts of an image: of attributes, then of what is read in AWSJSON ones."""
        try:
            texts = [*map(_text, map(image.get, self._names, self._nothing))]
        except KeyError:  # one is not a text: a number, NULL, a writer's error
            texts = [attribute_text(image[n]) if n in image else None for n in self._names]
            for name in (self.account, *self.times):
                if name in image and not {"S", "NULL"} & image[name].keys():
                    raise UncountableError(f"{name} {image[name]} is not a text") from None
        for reads in self._json:
            texts += reads.of_image(image)
        return texts

    def _part(self, texts: Sequence[Any], *, serializable: bool) -> Part:
        who = self._who(texts[0], *texts[self._places])
        at = texts[1]
        if at is None:
            at = next((text for text in texts[self._when] if text is not None), "")
        try:
            minute = minute_of(at)
        except ValueError as error:
            raise self._untimely(texts, "is not an AWSDateTime") from error
        if not FIRST <= minute < LAST:
            raise self._untimely(texts, "is in no hour of the years 1 to 9999")
        measures = self._measure(*texts[self._measured])
        return minute, who, measures, serializable and self._is_indexed(texts, at, minute)

    def _untimely(self, texts: Sequence[Any], reason: str) -> UncountableError:
        for name, text in zip(self.times, texts[self._when], strict=True):
            if text is not None:
                return UncountableError(f"{name} {text[:40]!r} {reason}")
        return UncountableError(f"{self.times[-1]} is missing")

    def _is_indexed(self, texts: Sequence[Any], at: str, minute: int) -> bool:
        if self.listing is None:
            return True
        for i in self._required:
            if texts[i] is None:
                return False
        for i in self._stamps:
            text = texts[i]
            if text is not None and text != at and not is_time(text):
                return False
        text, prefix = texts[self._by[0]], hour_prefix(minute)
        if text is None:
            return False
        return bool(text >= prefix if self.listing.by == UPDATED else text.startswith(prefix))

    def _find_who(self, account_id: str | None, *places: str | None) -> Who:
        if not account_id:
            raise UncountableError(f"{self.account} is missing")
        if len(account_id.encode(errors="surrogatepass")) > _MOST_BYTES:
            raise UncountableError(
                f"{self.account} has more than {_MOST_BYTES} bytes: no key can hold it"
            )
        split, *ids = places if self._splits else (None, *places)
        scorecard, score, *_ = (*map(_id, ids), None, None)
        return account_id, self._splits.get(split or ""), scorecard, score

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
    return text if text and len(text.encode(errors="surrogatepass")) <= _MOST_SCOPE_BYTES else None


class _JsonReads(NamedTuple):
    """What is read of one AWSJSON attribute; `numbers` names all of it if that is numbers only."""

    name: str
    paths: Sequence[Sequence[str]]
    numbers: Sequence[str]
    nothing: Sequence[Image]

    def of_image(self, image: Image) -> list[Any]:
        """The texts at the paths."""
        if self.name not in image:
            return [None for _ in self.paths]
        if self.numbers:
            try:
                return attribute_numbers(image[self.name], self.numbers, self.nothing)
            except KeyError:
                pass  # not a Map, or one is not a number
        return attribute_values(image[self.name], self.paths, self.name)


def _json_reads(counting: Counting) -> list[_JsonReads]:
    found = []
    keyed = (path.split(".") for path in counting.paths if "." in path)
    for name, group in groupby(keyed, key=itemgetter(0)):
        paths = [keys for _, *keys in group]
        slow = any(len(keys) > 1 or f"{name}.{keys[0]}" in counting.texts for keys in paths)
        numbers = [] if slow else [key for (key,) in paths]
        found.append(_JsonReads(name, paths, numbers, [_NO_NUMBER] * len(numbers)))
    return found


class Models:
    """Models by name. Immutable.

    Args:
        models: in the order in which their record types are shown.

    Raises:
        DeclarationError: two models have the same name, or the same record type.

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
                    raise DeclarationError(
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

    def extra(self, record_type: str) -> tuple[str, ...]:
        """The measures that a record type's buckets keep in metadata; none for an unknown one."""
        model = self._by_type.get(record_type)
        return () if model is None else model.extra

    def declaring(self, document: Document) -> "Models":
        """These models and the declared ones.

        Raises:
            DeclarationError: a name is used twice, or softDeletes names an unknown model.
        """
        declared = [*(model.declaration for model in self), *document.models]
        names = [declaration.name for declaration in declared]
        if unknown := next((name for name in document.softDeletes if name not in names), None):
            raise DeclarationError(f"softDeletes: no model is named {unknown}")
        return Models(
            Model(each, soft_deletes=each.name in document.softDeletes) for each in declared
        )


def _by_scorecard_and_score(record_type: str) -> dict[str, tuple[str, ...]]:
    return {
        f"{record_type}ByScorecard": ("scorecardId",),
        f"{record_type}ByScore": ("scorecardId", "scoreId"),
    }


def _listing(name: str, by: str) -> dict[str, str]:
    return {"query": f"list{name}ByAccountIdAnd{by[0].upper()}{by[1:]}", "by": by}


_FAILED = {"errorCount": {"equals": {"status": ["FAILED", "ERROR"]}}}
_DECLARED: tuple[dict[str, Any], ...] = (
    {
        "name": "Item",
        "recordType": "items",
        "listing": _listing("Item", "createdAt"),
        "split": {
            "createdByType": {"prediction": "predictionItems", "evaluation": "evaluationItems"}
        },
    },
    {
        "name": "ScoreResult",
        "recordType": "scoreResults",
        "listing": _listing("ScoreResult", UPDATED),
        "split": {
            "type": {"prediction": "predictionScoreResults", "evaluation": "evaluationScoreResults"}
        },
        "breakdowns": _by_scorecard_and_score("scoreResults"),
        "required": ("value", "scorecardId"),
    },
    {
        "name": "Task",
        "recordType": "tasks",
        "listing": _listing("Task", UPDATED),
        "measures": _FAILED,
        "required": ("status",),
    },
    {
        "name": "Evaluation",
        "recordType": "evaluations",
        "listing": _listing("Evaluation", UPDATED),
        "breakdowns": _by_scorecard_and_score("evaluations"),
        "measures": {"cost": {"dollars": "cost"}, **_FAILED},
        "required": ("status", "createdAt"),
        "types": {"cost": "Float"},
    },
    {
        "name": "FeedbackItem",
        "recordType": "feedbackItems",
        "time": ("editedAt", UPDATED, "createdAt"),
        # The index by editedAt lacks the rows that were never edited.
        "listing": _listing("FeedbackItem", UPDATED),
        "breakdowns": _by_scorecard_and_score("feedbackItems"),
        "required": ("createdAt", "scorecardId", "scoreId"),
        "types": {"isInvalid": "Boolean"},
    },
    {
        "name": "Procedure",
        "recordType": "procedures",
        "listing": _listing("Procedure", "createdAt"),
        "measures": _FAILED,
    },
    {
        "name": "ChatSession",
        "recordType": "chatSessions",
        "listing": _listing("ChatSession", UPDATED),
        "measures": _FAILED,
        "required": ("createdAt",),
    },
    {
        "name": "ChatMessage",
        "recordType": "chatMessages",
        "listing": _listing("ChatMessage", "createdAt"),
    },
)
BUILT_IN = Models(Model(Declaration.model_validate(each)) for each in _DECLARED)
"""The models that need no declaration."""
