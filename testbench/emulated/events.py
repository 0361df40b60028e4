"""The test events in events/: whose they are, and what may be answered to them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from testbench.emulated.stack import ROOT

FOLDER = ROOT / "events"
FUNCTIONS = {
    "stream_aggregator": "StreamAggregatorFunction",
    "bucket_sweeper": "BucketSweeperFunction",
    "reconciler": "ReconcilerFunction",
}
"""Folder in events/ → the function's name in template.yaml."""
BACKFILL = FOLDER / "backfill.json"
"""The state machine's input: no function takes it."""


class Event(NamedTuple):
    """One test event."""

    function: str
    path: Path

    @property
    def name(self) -> str:
        """Such as `reconciler/verify_range`."""
        return f"{self.path.parent.name}/{self.path.stem}"


EVENTS = tuple(
    Event(function, path)
    for folder, function in FUNCTIONS.items()
    for path in sorted((FOLDER / folder).glob("*.json"))
)
"""In the order in which they make sense on one stack: count, complete, compare."""


def is_good(function: str, answer: Mapping[str, Any]) -> bool:
    """Whether the function did what an event asked for: no test event is meant to fail."""
    if function == "StreamAggregatorFunction":
        return answer == {"state": {}}
    if function == "BucketSweeperFunction":
        return answer.get("failedHours") == 0
    return "hours" in answer
