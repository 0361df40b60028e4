"""A value counts alike from a stream image, a Scan and the API, whatever its type."""

import json
from collections.abc import Mapping
from typing import Any

from aggregated_metrics.core.declarations import Declaration
from aggregated_metrics.core.errors import UncountableError
from aggregated_metrics.core.models import BUILT_IN, Model
from aggregated_metrics.core.rows import is_number
from graphql import GraphQLBoolean, GraphQLFloat, GraphQLInt, GraphQLString
from hypothesis import given
from hypothesis import strategies as st

from testbench.fakes.scalars import SCALARS
from testbench.rows import MAKERS, REMOVED
from testbench.streams import image

REVIEW = Model(
    Declaration.model_validate(
        {
            "name": "Review",
            "recordType": "reviews",
            "listing": {"query": "listReviews", "by": "createdAt"},
            "split": {"value": {"1": "ones", "true": "trues", "2.5": "halves", "A": "letters"}},
            "breakdowns": {"reviewsByValue": "value"},
            "measures": {
                "cost": {"dollars": ["usage.n", "usage.t"]},
                "decisionCount": {"present": "value"},
                "errorCount": {"equals": {"value": [1, True, 2.5, "A"]}},
                "whole": {"number": "usage.n"},
                "matched": {"equals": {"usage.t": ["A", "1", True], "usage.deep.t": [1, "B"]}},
                "deep": {"present": "usage.deep.t"},
            },
        }
    )
)
FLOATS = st.floats(-1e20, 1e20, allow_nan=False).map(lambda number: number + 0.0)
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    GraphQLInt: st.integers(-(2**31), 2**31 - 1) | st.just(1),
    GraphQLFloat: FLOATS | st.sampled_from([1.0, 2.5, -0.0, 1e-7, 5e-324]),
    GraphQLBoolean: st.booleans(),
    GraphQLString: st.text() | st.sampled_from(["A", "1", "true", "2.50"]),
}
PLAIN = st.one_of(st.none(), *VALUES.values())
USAGE = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "n": PLAIN | st.sampled_from(["0.5", "1e3", "\u0661", "1_0", " 1"]),
        "t": PLAIN,
        "deep": PLAIN | st.fixed_dictionaries({}, optional={"t": PLAIN | st.lists(PLAIN)}),
    },
)


def outcome(count: Any, row: Mapping[str, Any]) -> str:
    """As a text: fingerprints differ between 1 and 1.0, too."""
    try:
        return repr(count(row))
    except UncountableError:
        return "uncountable"


def answer(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the client parses it; AWSJSON as its text."""
    write_json = SCALARS["AWSJSON"][1]
    texts = {name: write_json(value) for name, value in row.items() if isinstance(value, dict)}
    parsed: dict[str, Any] = json.loads(json.dumps({**row, **texts}))
    return parsed


@given(st.sampled_from([*VALUES]), st.data(), USAGE)
def test_a_value_counts_alike_from_an_image_and_from_the_api(
    kind: Any, data: st.DataObject, usage: Any
) -> None:
    value = data.draw(st.none() | VALUES[kind])
    row = {"accountId": "a", "createdAt": "2026-11-22T10:05:30Z", "value": value, "usage": usage}
    stored = {name: value for name, value in row.items() if value is not None}
    given = row | {"value": None if value is None else kind.serialize(value)}
    assert outcome(REVIEW.part_of, image(stored)) == outcome(REVIEW.part_of_row, answer(given))


ODD = PLAIN | st.just(REMOVED) | st.lists(PLAIN, max_size=2) | USAGE


@given(st.sampled_from([*BUILT_IN, *BUILT_IN.only(()), REVIEW]), st.data())
def test_an_image_counts_alike_whether_it_is_read_as_usual_or_not(
    model: Model, data: st.DataObject
) -> None:
    names = st.sampled_from([name for name in model.selected if name != "id"])
    make = MAKERS.get(model.name, MAKERS["ScoreResult"])
    stored = image(make(**data.draw(st.dictionaries(names, ODD, max_size=2))))
    unusual = Model(model.declaration, breakdowns=model.breakdowns)
    unusual._usual = None
    assert outcome(model.part_of, stored) == outcome(unusual.part_of, stored)


@given(st.text(alphabet="0123456789.eE+-_ \u0661N", max_size=8) | st.floats().map(repr))
def test_a_number_is_what_json_writes(text: str) -> None:
    try:
        found = json.loads(text, parse_constant=lambda _: None)
    except ValueError:
        found = None
    assert bool(is_number(text)) == (found is not None and text == text.strip())
