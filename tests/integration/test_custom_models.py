"""A model that this project does not know is counted, checked and backfilled by its declaration.

The declaration is the one of docs/custom-models.md; the API gets the model here.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from aggregated_metrics.core.declarations import Document

from testbench import reviews, rows
from testbench.fakes import models
from testbench.fakes.documents import Documents
from testbench.world import World

TENANT = "tenant-1"
AT = "2026-11-22T10:05:30.000Z"


@pytest.fixture(autouse=True)
def _maker(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(rows, "MAKERS", {**rows.MAKERS, "Review": reviews.review})
    yield
    models.extend()


def reviewing(document: Document | None = None, *changed: tuple[str, str]) -> World:
    """A world whose application has the model, in a schema with these changes."""
    sdl = reviews.SDL
    for old, new in changed:
        assert old in sdl
        sdl = sdl.replace(old, new)
    models.extend(sdl)
    declared = (document or reviews.document()).as_variable()
    world = World(["Item", "Review"], breakdowns="all", environment={"MODELS": declared})
    world.api.documents = Documents()  # those of another schema are of no use
    return world


def declared(**changes: Any) -> Document:
    """The page's declaration with changes."""
    (review,) = reviews.document().models
    given = review.model_dump(exclude_defaults=True) | changes
    return Document.model_validate({"models": [given]})


def test_its_rows_are_counted_updated_moved_removed_and_checked() -> None:
    world = reviewing()
    world.insert("Item", "i")
    world.insert("Review", "a")
    world.insert("Review", "b", channel="mail", state="BROKEN", reviewedAt=None)
    world.deliver()
    world.update("Review", "b", scoreId="score-2", usage={"total": 1, "detail": {}})
    world.remove("Review", "a")
    world.deliver()
    assert world.stored() == world.counted()
    assert {key[1] for key in world.stored() if key[0] == TENANT} == {
        *("reviews", "mailReviews", "reviewsByScorecard#scorecard-1", "reviewsByScore#score-2"),
    }
    world.insert("Review", "lost")
    world.lose()
    world.sweep()
    assert world.check_range(account=TENANT, repair=True)["repaired"] > 0
    assert world.stored() == world.counted()


def test_rows_that_were_there_before_are_counted_by_a_backfill_and_then_not_again() -> None:
    world = reviewing()
    for name in "abc":
        world.insert("Review", name)
    world.clock.advance(3_600)
    report = world.backfill(models=["Review"])
    assert (report["rows"], report["inFlux"]) == (3, 0)
    assert world.stored() == world.counted()
    world.deliver()
    assert world.stored() == world.counted()


CASES: dict[str, tuple[Document, list[tuple[str, str]], dict[str, Any]]] = {
    "listed by another time than counted": (
        declared(time=["reviewedAt"], listing={"by": "createdAt"}),
        [
            (
                "listReviewByTenantIdAndUpdatedAt(tenantId: String!, updatedAt",
                "listReviewByTenantIdAndCreatedAt(tenantId: String!, createdAt",
            )
        ],
        {"createdAt": "2026-11-22T08:00:00.000Z"},
    ),
    "split by an Int": (
        declared(split={"channel": {"1": "phoneReviews"}}),
        [("channel: String", "channel: Int")],
        {"channel": 1},
    ),
    "broken down by an Int": (
        declared(breakdowns={"reviewsByScorecard": ["channel"]}),
        [("channel: String", "channel: Int")],
        {"channel": 7},
    ),
    "a condition on a Float": (
        declared(measures={"errorCount": {"equals": {"state": [1, 2.5]}}}),
        [("state: String", "state: Float")],
        {"state": 1.0},
    ),
    "a condition on a Boolean": (
        declared(measures={"errorCount": {"equals": {"state": [True]}}}),
        [("state: String", "state: Boolean")],
        {"state": True},
    ),
    "a time with an offset": (declared(), [], {"reviewedAt": "2026-11-22T12:05:30.000+02:00"}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_check_counts_it_as_the_stream_does(case: str) -> None:
    document, changed, row = CASES[case]
    world = reviewing(document, *changed)
    for name in "abc":
        world.insert("Review", name, **({"reviewedAt": AT, "updatedAt": AT} | row))
    world.deliver()
    counted = world.stored()
    assert counted[TENANT, "reviews", "2026-11-22T10:00:00Z", 60][0] == 3
    world.sweep()
    for result in (world.check(), world.check_range(account=TENANT, repair=True), world.backfill()):
        assert (result["driftCount"], result["repaired"]) == (0, 0)
    assert world.stored() == counted


def test_a_model_with_another_identifier_is_checked() -> None:
    """Such a type has no field `id`: a query that selects it is invalid."""
    world = reviewing(
        declared(identifier=["reviewId"]),
        (" id: ID", " reviewId: ID"),
        ("(id: ID!)", "(reviewId: ID!)"),
    )
    world.insert("Review", "a", reviewId="a", reviewedAt=AT)
    world.lose()
    world.clock.advance(7_200)
    assert world.check_range(account=TENANT, repair=True)["repaired"] > 0
    assert world.stored()[TENANT, "reviews", "2026-11-22T10:00:00Z", 60][0] == 1


def test_a_row_that_is_marked_as_deleted_counts_as_no_row() -> None:
    document = declared().model_copy(update={"softDeletes": ("Review",)})
    world = reviewing(document, ("usage: AWSJSON", "usage: AWSJSON _deleted: Boolean"))
    for name in "abc":
        world.insert("Review", name)
    world.deliver()
    world.update("Review", "a", _deleted=True)
    world.deliver()
    world.update("Review", "b", _deleted=True)
    world.lose()
    world.sweep()
    assert world.check_range(account=TENANT, repair=True)["repaired"] > 0
    assert world.stored() == world.counted()
    assert world.backfill()["driftCount"] == 0
    assert world.stored()[TENANT, "reviews", "2026-11-22T10:00:00Z", 60][0] == 1
