"""Every event in events/ does what its name says, through the function's own handler.

An event without an expectation here fails: it would be an example that nobody checks.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from testbench.in_process import ROOT, Stack

OURS = "6f1c2b9e-4d1a-4c0e-9a57-2b8f0e7d9c11"
OTHERS = "c0a8d7e4-93b5-4f62-8d1e-5a7b6c3f2e90"
FUNCTIONS = ("stream_aggregator", "bucket_sweeper")
FILES = sorted(file for name in FUNCTIONS for file in (ROOT / "events" / name).glob("*.json"))

type Hours = dict[tuple[str, str], tuple[int, int, int, int, int, int]]

# What the hours' buckets hold afterwards: count, cost, decisions, calls, cached calls, errors.
HOURS: dict[str, Hours] = {
    "insert": {
        (OURS, "scoreResults"): (1, 1230, 1, 2, 1, 0),
        (OURS, "predictionScoreResults"): (1, 1230, 1, 2, 1, 0),
    },
    "modify": {
        (OURS, "scoreResults"): (0, 1230, 1, 2, 1, 0),
        (OURS, "predictionScoreResults"): (0, 1230, 1, 2, 1, 0),
    },
    "remove": {(OURS, "evaluations"): (0, 0, 0, 0, 0, 0)},  # it was never counted
    "expiry": {},
    "mixed_batch": {
        (OURS, "scoreResults"): (3, 5430, 3, 5, 1, 0),
        (OURS, "predictionScoreResults"): (2, 1230, 2, 2, 1, 0),
        (OURS, "evaluationScoreResults"): (1, 4200, 1, 3, 0, 0),
        (OTHERS, "scoreResults"): (1, 1230, 1, 2, 1, 0),
        (OTHERS, "predictionScoreResults"): (1, 1230, 1, 2, 1, 0),
    },
    "tumbling_window": {
        (OURS, "items"): (3, 0, 0, 0, 0, 0),
        (OURS, "predictionItems"): (2, 0, 0, 0, 0, 0),
        (OURS, "evaluationItems"): (1, 0, 0, 0, 0, 0),
    },
    "final_invocation": {},
    "uncountable": {(OURS, "tasks"): (1, 0, 0, 0, 0, 0)},
}
QUARANTINED = {
    "mixed_batch": ["accountId is missing"],
    "uncountable": [
        "accountId is missing",
        "createdAt '22.11.2026 10:06' is not an AWSDateTime",
        "createdAt 2026-12-24T18:00:00Z is more than a day after the write",
        (
            "no model is known for table 'Invoice-abcdefghij-NONE': name it in SOURCE_TABLES, "
            'for example {"Invoice-abcdefghij-NONE": "Item"}'
        ),
    ],
}
REQUESTS = {"expiry": 0, "final_invocation": 0}
"""Of a delivery and its redelivery together; 2 and 1 where something is counted."""


def read(file: Path) -> Any:
    return json.loads(file.read_text())


def hours(stack: Stack) -> Hours:
    return {
        (row["accountId"], row["recordType"]): (
            row["count"],
            row["cost"],
            row["decisionCount"],
            row["externalAiApiCount"],
            row["cachedAiApiCount"],
            row["errorCount"],
        )
        for row in stack.rows()
        if row["numberOfMinutes"] == 60
    }


def check_stream_aggregator(stack: Stack, file: Path) -> None:
    for _ in range(2):  # it can be tried by hand again and again
        assert stack.invoke("stream_aggregator", read(file)) == {"state": {}}
        assert hours(stack) == HOURS[file.stem]
    reasons = [message["reason"] for message in stack.quarantined()]
    assert sorted(reasons) == sorted(QUARANTINED.get(file.stem, []) * 2)
    assert len(stack.log) == REQUESTS.get(file.stem, 3)


def check_bucket_sweeper(stack: Stack, file: Path) -> None:
    stack.invoke("stream_aggregator", read(ROOT / "events/stream_aggregator/insert.json"))
    stack.clock.set(read(file)["time"])
    assert stack.invoke("bucket_sweeper", read(file))["closed"] == 2
    assert all(row["complete"] for row in stack.rows())


CHECKS = {
    **{f"stream_aggregator/{name}": check_stream_aggregator for name in HOURS},
    "bucket_sweeper/scheduled": check_bucket_sweeper,
}


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_an_event_does_what_its_name_says(stack: Stack, file: Path) -> None:
    name = f"{file.parent.name}/{file.stem}"
    assert name in CHECKS, f"events/{name}.json has no expectation"
    CHECKS[name](stack, file)


def test_every_expectation_has_its_event() -> None:
    assert {f"{file.parent.name}/{file.stem}" for file in FILES} == set(CHECKS)
