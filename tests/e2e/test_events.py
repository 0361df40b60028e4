"""The functions, invoked for real with the test events, each with its own role."""

import json
from functools import cache
from typing import Any

import pytest

from demo.functions import invoke
from demo.stack import ROOT
from tests.e2e.conftest import World

pytestmark = pytest.mark.e2e

EVENTS = ROOT / "events"
STREAM_EVENTS = sorted(path.name for path in (EVENTS / "stream_aggregator").glob("*.json"))
RECONCILER_EVENTS = sorted(path.name for path in (EVENTS / "reconciler").glob("*.json"))


@cache
def event(path: str) -> Any:
    """A test event."""
    return json.loads((EVENTS / path).read_text())


@pytest.mark.parametrize("name", STREAM_EVENTS)
def test_stream_aggregator_takes_its_events(world: World, name: str) -> None:
    given = invoke(world.stack, "StreamAggregatorFunction", event(f"stream_aggregator/{name}"))
    assert given == {"state": {}}


def test_bucket_sweeper_takes_its_event(world: World) -> None:
    given = invoke(world.stack, "BucketSweeperFunction", event("bucket_sweeper/scheduled.json"))
    assert given["failedGroups"] == 0


@pytest.mark.parametrize("name", RECONCILER_EVENTS)
def test_reconciler_takes_its_events(world: World, name: str) -> None:
    given = invoke(world.stack, "ReconcilerFunction", event(f"reconciler/{name}"))
    assert "days" in given or given["hours"] >= 0
