"""Walks through docs/adding-a-record-type.md: its own code, through the real handlers."""

import re
from textwrap import dedent
from typing import Any

import pytest
from aggregated_metrics.core import ranges, record_types
from aggregated_metrics.core.record_types import MODELS, RECORD_TYPES, Model

from testbench import rows
from testbench.in_process import ROOT, Stack
from testbench.streams import Stream, window_event

PAGE = (ROOT / "docs" / "adding-a-record-type.md").read_text()
NEW_TYPES = ("feedbackItems", "yesFeedbackItems")
HOUR = {"accountId": "acct-1", "start": "2026-11-22T10:00:00Z", "end": "2026-11-22T11:00:00Z"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Model:
    """Step 1: the page's function and model, put where the page says."""
    function, definition = blocks("python")
    names: dict[str, Any] = dict(vars(record_types))
    exec(function, names)
    made: Model = eval(dedent(definition).strip().removesuffix(","), names)
    monkeypatch.setitem(MODELS, made.name, made)
    for module in (record_types, ranges):
        monkeypatch.setattr(module, "RECORD_TYPES", (*RECORD_TYPES, *NEW_TYPES))
    return made


def feedback(name: str, **changes: Any) -> rows.Attributes:
    return {
        "id": name,
        "accountId": "acct-1",
        "createdAt": rows.CREATED_AT,
        "updatedAt": rows.CREATED_AT,
        "scorecardId": "scorecard-1",
        "scoreId": "score-1",
        "itemId": "item-1",
        "cacheKey": name,
        "finalAnswerValue": "no",
        "isInvalid": False,
    } | changes


def test_its_rows_are_counted_updated_and_removed(stack: Stack, model: Model) -> None:
    stream = Stream(model.name)
    a, b = feedback("a", finalAnswerValue="yes"), feedback("b")
    event = window_event(stream.insert(a), stream.insert(b))
    for _ in range(2):  # delivered twice, counted once
        assert stack.invoke("stream_aggregator", event) == {"state": {}}
    assert stack.counts()["feedbackItems#2026-11-22T10:05:00Z#1"] == 2
    assert stack.counts()["feedbackItems#2026-11-22T10:00:00Z#60"] == 2
    assert stack.counts()["yesFeedbackItems#2026-11-22T10:05:00Z#1"] == 1

    corrected = b | {"isInvalid": True}
    stack.invoke("stream_aggregator", window_event(stream.modify(b, corrected), stream.remove(a)))
    row = stack.row("feedbackItems#2026-11-22T10:05:00Z#1")
    assert (row["count"], row["errorCount"]) == (1, 1)
    assert stack.counts()["yesFeedbackItems#2026-11-22T10:05:00Z#1"] == 0


def test_its_buckets_are_completed(stack: Stack, model: Model) -> None:
    stack.invoke("stream_aggregator", window_event(Stream(model.name).insert(feedback("a"))))
    stack.clock.advance(hours=2)
    stack.invoke("bucket_sweeper", {})
    assert stack.row("feedbackItems#2026-11-22T10:00:00Z#60")["complete"]


def test_its_rows_are_counted_again_by_the_reconciler(stack: Stack, model: Model) -> None:
    written = [feedback("a", finalAnswerValue="yes"), feedback("b")]
    stack.api.put(model.name, *written)
    stream = Stream(model.name)
    stack.invoke("stream_aggregator", window_event(*map(stream.insert, written)))
    found = stack.invoke("reconciler", HOUR | {"recordTypes": list(NEW_TYPES)})
    assert (found["rows"], found["driftCount"], found["movingCount"]) == (2, 0, 0)
    assert found["minutes"] == 2


def test_a_backfill_plans_it(stack: Stack, model: Model) -> None:
    days = stack.invoke("reconciler", {"plan": HOUR})["days"]
    assert list(NEW_TYPES) in [day["recordTypes"] for day in days]
    assert model.record_types("yesFeedbackItems") == NEW_TYPES


def test_the_pages_template_is_what_another_model_has() -> None:
    """Step 2: with Task for FeedbackItem, every block stands in template.yaml."""
    template = (ROOT / "template.yaml").read_text()
    shown = blocks("yaml")
    assert len(shown) == 5
    for block in shown:
        assert block.replace("FeedbackItem", "Task") in template
