"""What a stack sends to CloudWatch while nothing happens: AWS bills a metric by the hour."""

import json

import pytest

from testbench.in_process import Stack
from testbench.streams import window_event

IDLE = [
    ("stream_aggregator", {**window_event(), "isFinalInvokeForWindow": True}),
    ("bucket_sweeper", {}),
    ("reconciler", {"repair": True}),
    ("reconciler", {"lostBatches": True}),
]


def test_idle_invocations_emit_four_metrics_at_most(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    for function, event in IDLE:
        stack.invoke(function, event)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    names = {
        metric["Name"]
        for line in lines
        for described in line["_aws"]["CloudWatchMetrics"]
        for metric in described["Metrics"]
    }
    assert {"OldestPendingHour", "OldestClosedHour"} <= names
    assert len(names) <= 4, names
