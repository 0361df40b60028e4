"""How a model is declared, built-in and custom ones alike. Pure.

A custom model is a table of a TOML file (docs/custom-models.md); the functions get the same
document as JSON in their variable MODELS.

A measure reads attributes by path: `status` is an attribute, `usage.total` what the AWSJSON
attribute `usage` has under `total`. Of several paths the first that has a value counts.
"""

import json
import zlib
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, model_validator
from pydantic_core import ValidationError

from aggregated_metrics.core.errors import SettingsError
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.metadata import RESERVED
from aggregated_metrics.core.rows import text_of

FIELDS = Measures._fields[1:]
"""The measures that are fields of the API and that a model may declare."""
_MOST_IDS = 2


def _several(value: Any) -> Any:
    """A list of one may be written without brackets."""
    return (value,) if isinstance(value, (str, int, float)) else value


type _Attribute = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
type _Attributes = Annotated[tuple[_Attribute, ...], BeforeValidator(_several), Field(min_length=1)]
type _Path = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*(\.[^.]+)*$")]
type _Paths = Annotated[tuple[_Path, ...], BeforeValidator(_several), Field(min_length=1)]
type _RecordType = Annotated[str, StringConstraints(pattern=r"^[a-z][A-Za-z0-9]{0,39}$")]
type _Value = Annotated[str, BeforeValidator(text_of)]
type _Values = Annotated[tuple[_Value, ...], BeforeValidator(_several), Field(min_length=1)]


class _Form(BaseModel):
    model_config = {"extra": "forbid", "frozen": True, "defer_build": True}


class Listing(_Form):
    """An index of the table by account and time; its sort key alone may be given as a text.

    Attributes:
        by: the attribute that it sorts by.
        query: the API's query of it; by default as Amplify names it.
    """

    by: _Attribute
    query: _Attribute = ""


class Measure(_Form):
    """What a row adds to one measure; just one of these is given.

    Attributes:
        dollars: dollars, counted in millionths and rounded half-even; nothing is 0.
        number: a whole number; a fraction is cut off, nothing is 0.
        present: 1 if there is something, be it 0 or false; an empty text is nothing.
        equals: 1 if the attribute at a path has one of these values; of several paths any.
    """

    dollars: _Paths = ()
    number: _Paths = ()
    present: _Paths = ()
    equals: dict[_Path, _Values] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if len(self.model_fields_set) != 1 or not self.paths:
            raise ValueError("must be just one of dollars, number, present and equals")
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """What it reads."""
        return self.dollars or self.number or self.present or tuple(self.equals)


class Declaration(_Form):
    """One model.

    >>> file = '''
    ... [[models]]
    ... name = "Review"
    ... recordType = "reviews"
    ... breakdowns = { reviewsByScorecard = ["scorecardId"] }
    ... measures.cost = { dollars = "usage.total" }
    ... '''
    >>> Document.of(tomllib.loads(file)).models[0].record_types
    ('reviews', 'reviewsByScorecard')

    Attributes:
        name: the model's name in the schema.
        recordType: what every row counts into.
        account: the attribute that names the account.
        time: the attribute of the time, or several: the first that a row has counts.
        identifier: the model's identifier: the attributes that together name a row.
        listing: the index through which checks read its rows, best by the attribute that `time`
            names first, else by updatedAt. Without one only a Scan checks its counts.
        split: an attribute, and the further record type of each of its values.
        breakdowns: further record types by scorecard, of one attribute, or by score, of two: the
            scorecard's and the score's. They count where the parameter Breakdowns names them.
        measures: what else is summed: cost, decisionCount, externalAiApiCount, cachedAiApiCount and
            errorCount are fields of the API, any other name is kept in the bucket's metadata.
        required: attributes that the schema requires of a row. The API cannot give a row that lacks
            one, therefore a check selects them all.
        types: attributes that are numbers or truth values in the schema. The API cannot give one
            that is something else in the table.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z0-9]{0,62}$")] = Field(
        examples=['"Review"']
    )
    recordType: _RecordType = Field(examples=['"reviews"'])
    account: _Attribute = Field("accountId", examples=['"tenantId"'])
    time: _Attributes = Field(("createdAt",), examples=['["reviewedAt", "createdAt"]'])
    identifier: _Attributes = Field(("id",), examples=['"reviewId"'])
    listing: Annotated[
        Listing | None, BeforeValidator(lambda by: {"by": by} if isinstance(by, str) else by)
    ] = Field(None, examples=['"updatedAt"'])
    split: dict[_Attribute, Annotated[dict[str, _RecordType], Field(min_length=1)]] = Field(
        default_factory=dict, max_length=1, examples=['{ channel = { phone = "phoneReviews" } }']
    )
    breakdowns: dict[_RecordType, Annotated[_Attributes, Field(max_length=_MOST_IDS)]] = Field(
        default_factory=dict, examples=['{ reviewsByScorecard = ["scorecardId"] }']
    )
    measures: dict[_Attribute, Measure] = Field(
        default_factory=dict, examples=['{ cost = { dollars = "usage.total" } }']
    )
    required: tuple[_Attribute, ...] = Field((), examples=['["state"]'])
    types: dict[_Attribute, Literal["Int", "Float", "Boolean"]] = Field(
        default_factory=dict, examples=['{ rating = "Float" }']
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if problem := next(self._problems(), None):
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterator[str]:
        if self.name == "AggregatedMetrics":
            yield "name: these are the counts themselves; name another model"
        names = self.record_types
        if repeated := next((name for name in names if names.count(name) > 1), None):
            yield f"the record type {repeated} is declared twice; choose another name"
        longest = max(self.breakdowns.values(), key=len, default=())
        for name, ids in self.breakdowns.items():
            if ids != longest[: len(ids)]:
                yield f"breakdowns.{name}: must begin with {longest[0]}, as the others do"
        for name, measure in self.measures.items():
            if name == "count" or name in RESERVED:
                yield f"measures.{name}: this name is reserved; choose another name"
            if name == "cost" and not measure.dollars:
                yield 'measures.cost: is in dollars; write cost = { dollars = "…" }'

    @property
    def record_types(self) -> tuple[str, ...]:
        """Every record type that its rows may count into."""
        splits = (name for values in self.split.values() for name in values.values())
        return (self.recordType, *splits, *self.breakdowns)

    @property
    def index(self) -> Listing | None:
        """Its listing, with the name of the query."""
        if self.listing is None or self.listing.query:
            return self.listing
        key, by = (name[0].upper() + name[1:] for name in (self.account, self.listing.by))
        query = f"list{self.name}By{key}And{by}"
        return Listing.model_construct(by=self.listing.by, query=query)


class Document(_Form):
    """A file of declarations.

    Attributes:
        models: the custom models.
        softDeletes: models, built-in ones too, whose type in the schema has `_deleted`; `attach`
            finds them.
    """

    models: tuple[Declaration, ...] = ()
    softDeletes: tuple[str, ...] = ()

    @classmethod
    def of_variable(cls, text: str) -> Self:
        """Read the variable MODELS; an empty text declares nothing.

        Raises:
            SettingsError: naming the model, the key and what to write.
        """
        if not text:
            return cls.model_construct()
        try:
            plain = text if text.startswith("{") else zlib.decompress(urlsafe_b64decode(text))
            return cls.of(json.loads(plain))
        except (ValueError, zlib.error) as error:
            raise SettingsError(f"this is not JSON, nor compressed JSON: {error}") from error

    @classmethod
    def of(cls, content: Any) -> Self:
        """Check what a file or the variable says.

        Raises:
            SettingsError: as of_variable.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            problems = (_described(problem, content) for problem in error.errors())
            raise SettingsError("\n".join(dict.fromkeys(problems))) from error


def _described(problem: Any, content: Any) -> str:
    """One problem: the model, the key, what is wrong and an example."""
    where, keys, known = "", problem["loc"], Document.model_fields
    if keys[:1] == ("models",) and keys[1:]:
        given, number = content["models"][keys[1]], keys[1] + 1
        name = given.get("name", f"number {number}") if isinstance(given, dict) else given
        where, keys, known = f"model {name}: ", keys[2:], Declaration.model_fields
    key = ".".join(map(str, keys))
    reason = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        forms = {1: known, 2: Listing.model_fields, 3: Measure.model_fields}
        return f"{where}{key} is not known: use {', '.join(forms[len(keys)])}"
    if problem["type"] == "string_pattern_mismatch":
        reason = f"{problem['input'][:80]!r} must match {problem['ctx']['pattern']}"
    example = known[keys[0]].examples if keys and keys[0] in known else None
    remedy = f"; write for example {keys[0]} = {example[0]}" if example else ""
    return f"{where}{f'{key}: ' if key else ''}{reason}{remedy}"
