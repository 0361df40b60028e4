"""What a file of declarations may say, and what is said of one that is wrong."""

import json
from typing import Any

import pytest
from aggregated_metrics.core.declarations import Document
from aggregated_metrics.core.errors import SettingsError

from aggregated_metrics_cli.model_file import as_variable, read_toml

TOML = """
softDeletes = ["Item"]

[[models]]
name = "Review"
recordType = "reviews"
account = "tenantId"
time = ["reviewedAt", "createdAt"]
listing = "updatedAt"
split = { channel = { phone = "phoneReviews" } }
breakdowns = { reviewsByScorecard = "scorecardId", reviewsByScore = ["scorecardId", "scoreId"] }

[models.measures]
cost = { dollars = "usage.total" }
errorCount = { equals = { state = ["BROKEN", 2, true] } }
wordCount = { number = ["words", "usage.words"] }
"""


def test_a_document_is_the_same_from_toml_and_from_its_variable() -> None:
    document = read_toml(TOML)
    assert Document.of_variable(as_variable(document)) == document
    (review,) = document.models
    assert (review.time, review.identifier) == (("reviewedAt", "createdAt"), ("id",))
    assert review.measures["errorCount"].equals == {"state": ("BROKEN", "2", "true")}
    assert review.record_types == ("reviews", "phoneReviews", *review.breakdowns)


def test_an_index_has_the_query_that_amplify_names_or_the_one_that_is_given() -> None:
    (review,) = read_toml(TOML).models
    assert review.index is not None
    assert review.index.query == "listReviewByTenantIdAndUpdatedAt"
    named = TOML.replace(
        'listing = "updatedAt"', 'listing = { by = "updatedAt", query = "reviews" }'
    )
    (review,) = read_toml(named).models
    assert review.index == review.listing


def test_its_variable_says_only_what_is_not_a_default() -> None:
    assert Document.of_variable("") == read_toml("") == Document()
    assert as_variable(Document()) == "{}"
    plain = '[[models]]\nname = "Call"\nrecordType = "calls"'
    assert as_variable(read_toml(plain)) == ('{"models":[{"name":"Call","recordType":"calls"}]}')


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "review"}, 'model review: name: .*; write for example name = "Review"'),
        ({"name": "AggregatedMetrics"}, "these are the counts themselves"),
        ({"recordType": "Re views"}, "model Review: recordType: 'Re views' must match .*; write "),
        ({"recordType": "r" * 41}, "recordType"),
        ({"account": "tenant.id"}, 'account: .*account = "tenantId"'),
        ({"time": []}, "time: Value should have at least 1 item .*; write for example time = "),
        ({"time": 5}, "time"),
        ({"listing": 5}, 'listing: .*; write for example listing = "updatedAt"'),
        ({"listing": {"query": "list reviews", "by": "createdAt"}}, r"listing\.query: "),
        ({"listing": {"query": "listReviews"}}, r"listing\.by: Field required"),
        ({"listing": ""}, r"listing\.by: "),
        ({"split": "channel"}, "split: .*split = { channel = { phone"),
        ({"split": {"a": {"x": "y"}, "b": {"x": "z"}}}, "split: .*at most 1 item"),
        ({"split": {"channel": {}}}, r"split\.channel: .*at least 1 item"),
        ({"split": {"a b": {"x": "reviews2"}}}, "split"),
        ({"split": {"channel": {"x": "reviews"}}}, "the record type reviews is declared twice"),
        ({"breakdowns": {"reviewsByX": ["a", "b", "c"]}}, r"breakdowns\.reviewsByX: "),
        ({"breakdowns": {"a": ["x"], "b": ["y", "z"]}}, r"breakdowns\.a: must begin with y"),
        ({"measures": {"count": {"number": "n"}}}, r"measures\.count: this name is reserved"),
        ({"measures": {"checkpoints": {"number": "n"}}}, "this name is reserved"),
        ({"measures": {"cost": {"number": "n"}}}, r"measures\.cost: is in dollars"),
        ({"measures": {"wordCount": "words"}}, r"measures\.wordCount: .*measures = { cost = "),
        ({"measures": {"wordCount": {"number": "a..b"}}}, r"measures\.wordCount\.number"),
        (
            {"measures": {"wordCount": {"number": []}}},
            r"measures\.wordCount\.number: Value should have at least 1 item",
        ),
        (
            {"measures": {"w": {"equals": {"state": []}}}},
            r"measures\.w\.equals\.state: Value should have at least 1 item",
        ),
        ({"measures": {"w": {}}}, "just one of dollars, number, present and equals"),
        ({"measures": {"w": {"number": "a", "present": "a"}}}, "just one of dollars"),
        ({"types": {"rating": "String"}}, r'types\.rating: .*types = { rating = "Float" }'),
        ({"colour": "red"}, "model Review: colour is not known: use name, recordType, "),
        ({"listing": {"by": "x", "on": "y"}}, "listing.on is not known: use by, query$"),
        ({"measures": {"w": {"sum": "n"}}}, r"measures\.w\.sum .*: use dollars, number, present, "),
    ],
)
def test_a_wrong_declaration_names_the_model_the_key_and_what_to_write(
    changes: dict[str, Any], says: str
) -> None:
    given = {"models": [{"name": "Review", "recordType": "reviews"} | changes]}
    with pytest.raises(SettingsError, match=says):
        Document.of_variable(json.dumps(given))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("models = 3", "models: "),
        ("models = [3]", "model 3: "),
        ("[[model]]", "model is not known"),
        ("[[models]]", "model number 1: name: Field required; write for example"),
        ('[[models]]\nname = 5\ncolour = "red"', "recordType: .*\nmodel 5: colour"),
        ("name = ?\n", "this is not TOML: .*line 1"),
    ],
)
def test_a_file_of_another_shape_is_refused_with_all_its_problems(text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        read_toml(text)


@pytest.mark.parametrize("text", ["{", "[]", "null", "abcd", "eJw="])
def test_a_variable_of_another_shape_is_refused(text: str) -> None:
    with pytest.raises(SettingsError):
        Document.of_variable(text)


def test_six_models_fit_beside_a_functions_other_variables() -> None:
    text = TOML.replace("channel =", "ReviewKind =").replace('softDeletes = ["Item"]', "")
    text = text.replace("listing", 'required = ["tenantId", "ReviewState"]\nlisting')
    names = ("Review", "Invoice", "Ticket", "PhoneCall", "SurveyAnswer", "Deployment")
    models = [text.replace("reviews", f"{n.lower()}s").replace("Review", n) for n in names]
    document = read_toml(f"softDeletes = {[*names]}\n{''.join(models)}")
    variable = as_variable(document)
    assert len(variable) < 1_000 < len(document.model_dump_json(exclude_defaults=True)) / 2
    assert Document.of_variable(variable) == document
