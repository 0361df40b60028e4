"""What a stack sends to CloudWatch while nothing happens: AWS bills a metric by the hour."""

import json

import pytest
from aggregated_metrics.adapters.observability import HEARTBEATS, METRICS

from testbench.engine import Context
from testbench.streams import window_event
from testbench.world import World

IDLE = [
    ("stream_aggregator", {**window_event(), "isFinalInvokeForWindow": True}),
    ("bucket_sweeper", {}),
    ("reconciler", {"repair": True}),
]


def test_idle_invocations_emit_four_metrics_at_most(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    for function, event in IDLE:
        world.engine.invoke(function, event, Context(lambda: 60.0))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    names = {
        metric["Name"]
        for line in lines
        for described in line["_aws"]["CloudWatchMetrics"]
        for metric in described["Metrics"]
    }
    assert {METRICS[name][0] for name in HEARTBEATS} <= names
    assert len(names) <= 4, names
