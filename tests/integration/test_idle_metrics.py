"""What a stack sends to CloudWatch while nothing happens: AWS bills a metric by the hour."""

import json
from collections.abc import Iterator

import pytest
from aggregated_metrics.adapters.observability import HEARTBEATS, METRICS

from testbench.engine import Call, Context
from testbench.streams import window_event
from testbench.world import World

FINAL = {**window_event(), "isFinalInvokeForWindow": True}
CHECK: Call = ("reconciler", {"repair": True})


def emitted(world: World, capsys: pytest.CaptureFixture[str], *calls: Call) -> Iterator[str]:
    """The metrics that invocations send."""
    for function, event in calls:
        world.engine.invoke(function, event, Context(lambda: 60.0))
    for line in capsys.readouterr().out.splitlines():
        if "_aws" in line:
            for described in json.loads(line)["_aws"]["CloudWatchMetrics"]:
                yield from (metric["Name"] for metric in described["Metrics"])


def test_idle_invocations_send_the_heartbeats_alone(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    idle: list[Call] = [("stream_aggregator", FINAL), ("bucket_sweeper", {}), CHECK]
    sent = sorted(emitted(world, capsys, *idle))
    assert sent == sorted(METRICS[name][0] for name in HEARTBEATS)
    assert len(sent) <= 4


def test_a_batch_that_is_counted_sends_what_it_did(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.insert("Item", "item-1")
    record = world.undelivered.popleft().record
    batch = ("stream_aggregator", window_event(record))
    assert {*emitted(world, capsys, batch)} == {"Records", "BucketsWritten", "Freshness"}
