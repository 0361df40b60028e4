"""Models of your own, by declaration: what own_models lists. Pure.

    Declaration(
        name="Review",
        record_type="reviews",
        time=("reviewedAt", "createdAt"),
        listing=("listReviewByAccountIdAndUpdatedAt", "updatedAt"),
        split=("channel", {"phone": "phoneReviews"}),
        scopes={"reviewsByScorecard": ("scorecardId",)},
        measures={"cost": dollars("usage.total"), "wordCount": number("usage.words")},
    )

A measure reads attributes by path: `status` is an attribute, `usage.total` what the AWSJSON
attribute `usage` has under `total`. Of several paths the first that is there counts.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aggregated_metrics.core.errors import DeclarationError, UncountableError
from aggregated_metrics.core.measures import Measures, calls, micro_dollars
from aggregated_metrics.core.metadata import RESERVED
from aggregated_metrics.core.source_models import Model

_MODEL = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")
_RECORD_TYPE = re.compile(r"[a-z][A-Za-z0-9]{0,39}")
_ATTRIBUTE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[^.]+)*")
_ACCOUNT_ONLY, _WITH_SCORE = 1, 2


class Measure(NamedTuple):
    """What a row adds to one measure: a whole number, read at the first path that is there."""

    paths: tuple[str, ...]
    read: Callable[[Any], int]
    kind: str


def number(*paths: str) -> Measure:
    """A whole number; a fraction is cut off, nothing is 0."""
    return Measure(paths, lambda value: 0 if value is None else calls(value), "number")


def dollars(*paths: str) -> Measure:
    """Dollars, counted in millionths and rounded half-even; nothing is 0."""
    return Measure(paths, lambda value: 0 if value is None else micro_dollars(value), "dollars")


def one_if(path: str, *values: str) -> Measure:
    """1 if the attribute is one of these texts; numbers and truth values compare as texts."""
    wanted = frozenset(values)
    return Measure((path,), lambda value: int(text_of(value) in wanted), "one_if")


def present(*paths: str) -> Measure:
    """1 if there is something, be it 0 or false; nothing, null and an empty text are 0."""
    return Measure(paths, lambda value: int(value is not None and value != ""), "present")


def text_of(value: Any) -> str | None:
    """A value as a text, the same from a stream image and from the API; None for nothing."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


@dataclass(frozen=True)
class Declaration:
    """One model of your own.

    Attributes:
        name: the model's name in the schema, such as `Review`.
        record_type: what every row counts into, such as `reviews`.
        listing: the query by account and time and the time that it sorts by, an index's of the
            table: best by the attribute that `time` names first, else by updatedAt. None if there
            is none: then the counts are exact, but only a reading of the whole table checks them.
        account: the attribute that names the account.
        time: the attribute of the time, or several: the first that a row has counts.
        split: an attribute, and the further record type of each of its values.
        scopes: further record types by scorecard, of one attribute, or by score, of two: the
            scorecard's and the score's. They count where BREAKDOWNS switches them on.
        measures: what else is summed: cost, decisionCount, externalAiApiCount, cachedAiApiCount and
            errorCount are fields of the API, any other name is kept in the bucket's metadata.
    """

    name: str
    record_type: str
    listing: tuple[str, str] | None
    account: str = "accountId"
    time: str | tuple[str, ...] = "createdAt"
    split: tuple[str, Mapping[str, str]] | None = None
    scopes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    measures: Mapping[str, Measure] = field(default_factory=dict)

    def model(self) -> Model:
        """How its rows are counted.

        Raises:
            DeclarationError: the declaration is wrong; the message says where and what to write.
        """
        if wrong := [*_problems(self)]:
            raise DeclarationError(f"own_models.py: {self.name}: {'; '.join(wrong)}")
        attribute, splits = self.split or ("", {})
        own = tuple(name for name in self.measures if name not in Measures._fields)
        measured, maps = _sources(self.measures.values())
        return Model(
            name=self.name,
            record_type=self.record_type,
            measure=_measuring(self.measures, own, measured, maps),
            listing=self.listing,
            account=self.account,
            times=(self.time,) if isinstance(self.time, str) else self.time,
            measured=measured,
            maps={name: tuple((key,) for key in keys) for name, keys in maps.items()},
            split_by=attribute,
            splits=splits,
            scopes=self.scopes,
            extra=own,
        )


def registry(built_in: Sequence[Model], declarations: Sequence[Declaration]) -> Mapping[str, Model]:
    """All models by name.

    Raises:
        DeclarationError: a declaration is wrong, or a name is taken twice.
    """
    models: dict[str, Model] = {}
    taken: dict[str, str] = {}
    for model in (*built_in, *(declaration.model() for declaration in declarations)):
        for name in (model.name, *model.counts_into):
            if name in taken:
                raise DeclarationError(
                    f"own_models.py: {model.name}: {name} is taken by {taken[name]}: "
                    "choose another name"
                )
            taken[name] = model.name
        models[model.name] = model
    return models


def _problems(given: Declaration) -> Iterator[str]:
    if not _matches(_MODEL, given.name) or given.name == "AggregatedMetrics":
        yield "name must be the model's name in the schema, such as 'Review'"
    if not _matches(_ATTRIBUTE, given.account):
        yield f"account is {given.account!r}, not the name of an attribute such as 'accountId'"
    times = (given.time,) if isinstance(given.time, str) else given.time
    if not (isinstance(times, tuple) and times and all(_matches(_ATTRIBUTE, t) for t in times)):
        yield f"time is {given.time!r}, not an attribute such as 'createdAt', or a tuple of some"
    if given.listing is not None and not (
        isinstance(given.listing, tuple)
        and len(given.listing) == 2  # noqa: PLR2004 - a query and its time
        and all(_matches(_ATTRIBUTE, part) for part in given.listing)
    ):
        yield (
            f"listing is {given.listing!r}, not a query and the time that it sorts by, such as "
            "('listReviewByAccountIdAndCreatedAt', 'createdAt'), or None if there is none"
        )
    yield from _split_problems(given)
    yield from _scope_problems(given)
    for name, measure in given.measures.items():
        yield from _measure_problems(name, measure)


def _split_problems(given: Declaration) -> Iterator[str]:
    names = [given.record_type, *given.scopes]
    if given.split is not None:
        try:
            attribute, splits = given.split
            names += splits.values()
        except (AttributeError, TypeError, ValueError):
            yield f"split is {given.split!r}, not an attribute and a record type for each value"
        else:
            if not _matches(_ATTRIBUTE, attribute):
                yield f"split's attribute is {attribute!r}: give the name of an attribute"
    for name in names:
        if not _matches(_RECORD_TYPE, name):
            yield f"the record type {name!r} must be 1 to 40 letters and digits, such as 'reviews'"


def _scope_problems(given: Declaration) -> Iterator[str]:
    for name, ids in given.scopes.items():
        if not (
            isinstance(ids, tuple)
            and len(ids) in {_ACCOUNT_ONLY, _WITH_SCORE}
            and all(_matches(_ATTRIBUTE, part) for part in ids)
        ):
            yield (
                f"scope {name} is {ids!r}: give ('scorecardId',), or ('scorecardId', 'scoreId'), "
                "by the names of your attributes"
            )
            return
    longest = max(given.scopes.values(), key=len, default=())
    for name, ids in given.scopes.items():
        if ids != longest[: len(ids)]:
            yield f"scope {name} reads {', '.join(ids)}, another one {', '.join(longest)}"


def _measure_problems(name: str, measure: Any) -> Iterator[str]:
    if name == "count":
        yield "count counts rows by itself: leave it out"
    if name not in Measures._fields and (not _matches(_ATTRIBUTE, name) or name in RESERVED):
        yield f"the measure {name!r} needs another name: letters and digits, not {sorted(RESERVED)}"
    if not isinstance(measure, Measure):
        yield f"the measure {name} is {measure!r}: use number, dollars, one_if or present"
        return
    if name == "cost" and measure.kind != "dollars":
        yield "cost is in millionths of a dollar: use dollars(…)"
    for path in measure.paths:
        if not _matches(_PATH, path):
            yield f"the measure {name} reads {path!r}, not a path such as 'usage.total'"
    if not measure.paths:
        yield f"the measure {name} reads nothing: give it a path"


def _matches(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _sources(measures: Iterator[Measure] | Any) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """The plain attributes that measures read, and of AWSJSON ones the keys."""
    plain: dict[str, None] = {}
    maps: dict[str, list[str]] = {}
    for measure in measures:
        for path in measure.paths:
            attribute, *keys = path.split(".")
            if not keys:
                plain[attribute] = None
            elif keys[0] not in maps.setdefault(attribute, []):
                maps[attribute].append(keys[0])
    return tuple(plain), maps


def _measuring(
    measures: Mapping[str, Measure],
    own: Sequence[str],
    measured: Sequence[str],
    maps: Mapping[str, Sequence[str]],
) -> Callable[..., Measures]:
    """The function from a row's values (of `measured`, then of `maps`) to its measures."""
    names = (*Measures._fields[1:], *own)
    steps = [
        (
            measures[name].read,
            [_reader(path, measured, maps) for path in measures[name].paths],
            name,
        )
        if name in measures
        else None
        for name in names
    ]

    def measure(*values: Any) -> Measures:
        return Measures(1, *[0 if step is None else _value(step, values) for step in steps])

    return measure


def _value(step: tuple[Callable[[Any], int], Sequence[Any], str], values: Sequence[Any]) -> int:
    read, readers, name = step
    found = (reader(values) for reader in readers)
    value = next((each for each in found if each is not None), None)
    try:
        return read(value)
    except UncountableError as error:
        raise UncountableError(f"{name} is {str(value)[:40]!r}, not a number") from error


def _reader(
    path: str, measured: Sequence[str], maps: Mapping[str, Sequence[str]]
) -> Callable[[Sequence[Any]], Any]:
    attribute, *keys = path.split(".")
    if not keys:
        at = list(measured).index(attribute)
        return lambda values: values[at]
    place = len(measured) + list(maps).index(attribute)
    key = list(maps[attribute]).index(keys[0])

    def read(values: Sequence[Any]) -> Any:
        content = values[place]
        value = None if content is None else content[key]
        for name in keys[1:]:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    return read
