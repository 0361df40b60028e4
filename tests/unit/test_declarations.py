"""Models of your own: what a declaration says, and what it may not say."""

from typing import Any

import pytest
from aggregated_metrics.core.declarations import (
    Declaration,
    dollars,
    number,
    one_if,
    present,
    registry,
)
from aggregated_metrics.core.errors import DeclarationError, UncountableError
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.record_types import KNOWN
from aggregated_metrics.core.series import Series
from aggregated_metrics.core.source_models import Model, contribution

LISTING = ("listReviewByTenantAndUpdatedAt", "updatedAt")
REVIEW = Declaration(
    name="Review",
    record_type="reviews",
    listing=LISTING,
    account="tenant",
    time=("reviewedAt", "createdAt"),
    split=("channel", {"phone": "phoneReviews", "mail": "mailReviews"}),
    scopes={
        "reviewsByScorecard": ("sheet",),
        "reviewsByScore": ("sheet", "question"),
    },
    measures={
        "cost": dollars("usage.total", "usage.usd"),
        "errorCount": one_if("state", "BROKEN", "true"),
        "decisionCount": present("verdict"),
        "wordCount": number("usage.detail.words"),
        "pageCount": number("pages"),
    },
)
ROW = {
    "tenant": "t1",
    "reviewedAt": "2026-11-22T10:05:30Z",
    "createdAt": "2026-11-22T09:00:00Z",
    "channel": "phone",
    "sheet": "s1",
    "question": "q1",
    "state": "BROKEN",
    "verdict": "good",
    "pages": 3,
    "usage": {"total": "0.25", "detail": {"words": 120}},
}
FIVE_PAST = 29_689_085


def added(**changes: Any) -> Measures:
    return contribution(REVIEW.model(), ROW | changes).measures


def test_a_row_counts_by_account_time_split_and_scope() -> None:
    found = contribution(REVIEW.model(), ROW)
    assert list(found.series) == [
        Series("t1", "reviews"),
        Series("t1", "phoneReviews"),
        Series("t1", "reviewsByScorecard", "s1"),
        Series("t1", "reviewsByScore", "s1", "q1"),
    ]
    later = contribution(REVIEW.model(), ROW | {"reviewedAt": None})
    assert later.minute == found.minute - 65


def test_measures_are_the_fields_of_the_api_and_then_its_own() -> None:
    assert REVIEW.model().extra == ("wordCount", "pageCount")
    assert added() == Measures(1, 250_000, 1, 0, 0, 1, 120, 3)


@pytest.mark.parametrize(
    ("changes", "measures"),
    [
        ({"usage": None}, (1, 0, 1, 0, 0, 1, 0, 3)),
        ({"usage": '{"usd": 1, "detail": 7}'}, (1, 1_000_000, 1, 0, 0, 1, 0, 3)),
        ({"state": True, "verdict": False}, (1, 250_000, 1, 0, 0, 1, 120, 3)),
        ({"state": None, "verdict": ""}, (1, 250_000, 0, 0, 0, 0, 120, 3)),
        ({"pages": "2.9"}, (1, 250_000, 1, 0, 0, 1, 120, 2)),
    ],
)
def test_what_is_not_there_is_nothing_and_the_first_path_that_is_there_counts(
    changes: dict[str, Any], measures: tuple[int, ...]
) -> None:
    assert added(**changes) == measures


@pytest.mark.parametrize("pages", ["many", [1], {"n": 1}])
def test_a_measure_that_is_no_number_makes_a_row_uncountable(pages: Any) -> None:
    with pytest.raises(UncountableError, match="pageCount is"):
        added(pages=pages)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "review"}, "name must be the model's name"),
        ({"name": "AggregatedMetrics"}, "name must be the model's name"),
        ({"record_type": "Re views"}, "record type 'Re views' must be"),
        ({"record_type": "r" * 41}, "1 to 40 letters"),
        ({"account": "tenant.id"}, "account is 'tenant.id'"),
        ({"time": ()}, "time is \\(\\)"),
        ({"time": ["createdAt"]}, "or a tuple of some"),
        ({"listing": "listReviews"}, "listing is 'listReviews', not a query and the time"),
        ({"listing": ("list reviews", "createdAt")}, "or None if there is none"),
        ({"split": "channel"}, "split is 'channel'"),
        ({"split": ("channel", ["phone"])}, "a record type for each value"),
        ({"split": ("a b", {})}, "split's attribute is 'a b'"),
        ({"scopes": {"reviewsByScorecard": "sheet"}}, "give \\('scorecardId',\\)"),
        ({"scopes": {"a": ("x",), "b": ("y", "z")}}, "scope a reads x, another one y, z"),
        ({"measures": {"count": number("n")}}, "leave it out"),
        ({"measures": {"ledger": number("n")}}, "needs another name"),
        ({"measures": {"cost": number("n")}}, "use dollars"),
        ({"measures": {"wordCount": "words"}}, "use number, dollars, one_if or present"),
        ({"measures": {"wordCount": number("a..b")}}, "not a path such as 'usage.total'"),
        ({"measures": {"wordCount": number()}}, "reads nothing"),
    ],
)
def test_a_wrong_declaration_says_where_and_what_to_write(
    changes: dict[str, Any], says: str
) -> None:
    given = {name: getattr(REVIEW, name) for name in REVIEW.__dataclass_fields__} | changes
    with pytest.raises(DeclarationError, match=f"^own_models.py: .*{says}"):
        Declaration(**given).model()


@pytest.mark.parametrize(
    "changes", [{"name": "Item"}, {"record_type": "items"}, {"scopes": {"tasks": ("sheet",)}}]
)
def test_a_name_that_is_taken_is_refused(changes: dict[str, Any]) -> None:
    given = {name: getattr(REVIEW, name) for name in REVIEW.__dataclass_fields__} | changes
    with pytest.raises(DeclarationError, match="is taken by"):
        registry(KNOWN, [Declaration(**given)])


def test_declared_models_come_after_the_known_ones() -> None:
    found: list[Model] = list(registry(KNOWN, [REVIEW]).values())
    assert [*found[:-1]] == [*KNOWN]
    assert found[-1].name == "Review"
