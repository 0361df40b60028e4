"""Carries out docs/adding-a-record-type.md: its declaration, through the real handlers.

The model is in no schema of this project: the API gets it here.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from aggregated_metrics.adapters import settings
from aggregated_metrics.core import ranges, record_types
from aggregated_metrics.core.record_types import MODELS, RECORD_TYPES

from aggregated_metrics_cli.application import Application
from aggregated_metrics_cli.documents import documents, validated
from testbench.fakes import models
from testbench.fakes.documents import Documents
from testbench.fakes.models import SCHEMA_PATH
from testbench.in_process import Context, Stack
from testbench.reviews import SDL, declaration, review
from testbench.streams import Stream, stream_arn, window_event

NEW_TYPES = ("reviews", "phoneReviews", "mailReviews")
NEW_BREAKDOWNS = ("reviewsByScorecard", "reviewsByScore")
STREAM_ARN = stream_arn("Review")
HOUR = {"accountId": "tenant-1", "start": "2026-11-22T10:00:00Z", "end": "2026-11-22T11:00:00Z"}


@pytest.fixture(autouse=True)
def _schema() -> Iterator[None]:
    """Step 1: the application's API has the model."""
    models.extend(SDL)
    yield
    models.extend()


@pytest.fixture(autouse=True)
def _declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Step 2: the page's declaration is in OWN_MODELS."""
    monkeypatch.setitem(MODELS, "Review", declaration().model())
    breakdowns = (*record_types.BREAKDOWNS, *NEW_BREAKDOWNS)
    for module in (record_types, ranges):
        monkeypatch.setattr(module, "RECORD_TYPES", (*RECORD_TYPES, *NEW_TYPES))
    for module in (record_types, ranges, settings):
        monkeypatch.setattr(module, "BREAKDOWNS", breakdowns)


@pytest.fixture
def reviewing(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Stack:
    """The stack of that application, with all breakdowns."""
    stack.api.documents = Documents()
    stack.rewire(
        monkeypatch, BREAKDOWNS="all", STREAM_ARNS=f"{stream_arn('Item')},,{stream_arn('Review')},"
    )
    return stack


def row_of(stack: Stack, key: str) -> dict[str, Any]:
    return stack.row(f"{key}#2026-11-22T10:05:00Z#1", "tenant-1")


def test_its_rows_are_counted_updated_moved_and_removed(reviewing: Stack) -> None:
    stream = Stream("Review")
    a, b = review("a"), review("b", channel="mail", state="BROKEN")
    event = window_event(stream.insert(a), stream.insert(b))
    for _ in range(2):  # delivered twice, counted once
        assert reviewing.invoke("stream_aggregator", event) == {"state": {}}
    whole = row_of(reviewing, "reviews")
    assert (whole["count"], whole["cost"], whole["errorCount"]) == (2, 500_000, 1)
    assert whole["metadata"]["wordCount"] == 240
    assert reviewing.counts()["reviews#2026-11-22T10:00:00Z#60"] == 2
    assert row_of(reviewing, "mailReviews")["count"] == 1
    assert row_of(reviewing, "reviewsByScore#score-1")["scorecardId"] == "scorecard-1"

    moved = b | {"scoreId": "score-2", "usage": {"total": 1}}
    reviewing.invoke("stream_aggregator", window_event(stream.modify(b, moved), stream.remove(a)))
    whole = row_of(reviewing, "reviews")
    assert (whole["count"], whole["cost"], whole["metadata"]["wordCount"]) == (1, 1_000_000, 0)
    assert row_of(reviewing, "reviewsByScore#score-1")["count"] == 0
    assert row_of(reviewing, "reviewsByScore#score-2")["count"] == 1


def test_its_buckets_are_completed(reviewing: Stack) -> None:
    reviewing.invoke("stream_aggregator", window_event(Stream("Review").insert(review("a"))))
    reviewing.clock.advance(hours=2)
    reviewing.invoke("bucket_sweeper", {})
    assert reviewing.row("reviews#2026-11-22T10:00:00Z#60", "tenant-1")["complete"]


def test_what_was_there_before_is_counted_by_a_backfill_and_then_by_nobody_else(
    reviewing: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Step 3: rows that were there first; what the stream brings of them later counts no more."""
    monkeypatch.setattr("time.sleep", lambda seconds: reviewing.clock.advance(seconds=seconds))
    reviewing.clock.set("2026-11-22T12:00:00+00:00")
    written = [review("a"), review("b", reviewedAt=None, usage=None)]
    reviewing.api.put("Review", *written)
    units = reviewing.invoke("reconciler", {"plan": HOUR})["units"]
    (unit,) = (unit for unit in units if "reviews" in unit["recordTypes"])
    assert unit["recordTypes"] == [*NEW_TYPES, *NEW_BREAKDOWNS]
    found = reviewing.invoke("reconciler", unit, Context(reviewing.clock, 900))
    assert (found["rows"], found["movingCount"]) == (4, 0)  # two looks at two rows
    assert row_of(reviewing, "reviewsByScorecard#scorecard-1")["metadata"]["wordCount"] == 120
    before = reviewing.counts()
    stream = Stream("Review")
    reviewing.invoke("stream_aggregator", window_event(*map(stream.insert, written)))
    assert reviewing.counts() == before
    assert before["reviews#2026-11-22T10:00:00Z#60"] == 2


def test_attach_names_its_stream_and_its_query() -> None:
    application = Application(
        "https://x.example/graphql",
        "arn:aws:appsync:eu-west-1:123456789012:apis/abc",
        "eu-west-1",
        streams={"Review": STREAM_ARN},
        tables={"Review": "Review-abc-NONE"},
    )
    parameters = application.parameters()
    assert parameters["StreamArns"] == STREAM_ARN
    assert parameters["TableArns"] == STREAM_ARN.partition("/stream/")[0]
    query = "types/Query/fields/listReviewByTenantIdAndUpdatedAt"
    assert parameters["ListingFieldArns"] == f"{parameters['GraphQLApiArn']}/{query}"


def test_attach_checks_that_the_schema_has_what_the_declaration_reads() -> None:
    sent = [each for each in documents(["Review"]) if "Review" in each.name]
    assert sent
    whole = f"{SCHEMA_PATH.read_text()}{SDL}"
    assert not [each for each in validated(whole, sent) if each.state == "wrong"]
    broken = whole.replace("usage: AWSJSON", "")
    refused = [each for each in validated(broken, sent) if each.state == "wrong"]
    assert any("usage" in finding.found for finding in refused)
