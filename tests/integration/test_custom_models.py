"""Carries out docs/custom-models.md, and what else may be declared, through the functions.

The models are in no schema of this project: the API gets them here.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from aggregated_metrics import summarize
from aggregated_metrics.core.errors import ArgumentError

from testbench import oracle
from testbench.fakes import models
from testbench.world import World
from tests.conftest import NOW, over
from tests.reviews import SDL, document, review

TENANT, MINUTE = "tenant-1", "2026-11-22T10:05:00Z"
type Declared = Callable[..., World]


@pytest.fixture
def declared() -> Iterator[Declared]:
    """Makes a world in which the page's model is declared, with changes to it and to its schema."""

    def make(
        sdl: str = SDL, *, only: bool = True, soft_deletes: Sequence[str] = (), **changes: Any
    ) -> World:
        models.extend(sdl)
        content = document().model_dump(mode="json", exclude_defaults=True)
        content["softDeletes"] = soft_deletes
        content["models"][0] |= changes
        for name in [name for name, value in content["models"][0].items() if value is None]:
            del content["models"][0][name]
        world = World(
            ["Review"] if only else [*oracle.MODELS, "Review"],
            now=NOW,
            breakdowns="all",
            environment={"MODELS": json.dumps(content)},
        )
        world.makers["Review"] = review
        return world

    yield make
    models.extend()


def bucket(world: World, series: str, minute: str = MINUTE) -> dict[str, Any]:
    return world.bucket(f"{series}#{minute}#1", TENANT)


def test_rows_are_counted_updated_moved_and_removed(declared: Declared) -> None:
    world = declared(only=False)
    world.insert("Review", "a")
    world.insert("Review", "b", channel="mail", state="BROKEN")
    world.insert("Item", "beside it")
    records = list(world.undelivered)
    world.deliver()
    world.undelivered.extend(records)  # delivered twice, counted once
    world.deliver()
    assert world.stored() == world.counted()
    whole = bucket(world, "reviews")
    assert (whole["count"], whole["cost"], whole["errorCount"]) == (2, 500_000, 1)
    assert whole["metadata"]["wordCount"] == 240
    assert bucket(world, "reviewsByScore#score-1")["scorecardId"] == "scorecard-1"
    world.update("Review", "b", scoreId="score-2", usage={"total": 1})
    world.remove("Review", "a")
    world.deliver()
    assert world.stored() == world.counted()


def test_readers_learn_measures_and_breakdowns_from_the_as_of_record(declared: Declared) -> None:
    world = declared()
    world.insert("Review", "a")
    world.deliver()
    world.sweep()
    read = partial(summarize, world.client(), TENANT, NOW - timedelta(hours=1), NOW, now=NOW)
    assert read("reviewsByScore", "scorecard-1", "score-1").sums["wordCount"] == 120
    for by in ("Score", "Scorecard"):
        with pytest.raises(ArgumentError, match=f"reviewsBy{by} .*pass {by.lower()}_id"):
            read(f"reviewsBy{by}")


@pytest.mark.parametrize("by", ["createdAt", "updatedAt"])
def test_lost_rows_are_repaired_once_whatever_the_index_sorts_by(
    declared: Declared, by: str
) -> None:
    """They count at one time and are listed by another; no check takes back what one has set."""
    query = f"listReviewByTenantIdAnd{by[0].upper()}{by[1:]}"
    sdl = SDL.replace("listReviewByTenantIdAndUpdatedAt", query).replace(
        "updatedAt: ModelStringKey", f"{by}: ModelStringKey"
    )
    world = declared(sdl, listing={"query": query, "by": by})
    for name in "abc":
        at = world.now()
        world.insert("Review", name, reviewedAt=at, createdAt=at, updatedAt=at)
    world.lose_batch(world.undelivered)
    world.lose()
    over(world)
    world.check()
    assert world.stored() == world.counted()
    over(world)
    assert world.check()["driftCount"] == 0
    assert world.check_range(account=TENANT, repair=True)["driftCount"] == 0
    assert world.stored() == world.counted()


@pytest.mark.parametrize("lost", [False, True])
def test_a_row_that_is_marked_as_deleted_counts_as_no_row(
    declared: Declared, *, lost: bool
) -> None:
    sdl = SDL.replace("usage: AWSJSON", "usage: AWSJSON\n  _deleted: Boolean")
    world = declared(sdl, soft_deletes=["Review"])
    for name in "ab":
        world.insert("Review", name)
    world.deliver()
    world.update("Review", "a", _deleted=True)
    if lost:
        world.lose()
    world.deliver()
    over(world)
    assert world.check_range(account=TENANT, repair=True)["driftCount"] == 4 * lost
    assert world.stored() == world.counted()
    assert bucket(world, "reviews")["count"] == 1
    assert world.backfill()["driftCount"] == 0
