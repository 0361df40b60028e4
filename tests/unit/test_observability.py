"""One line and one set of metrics an invocation; an idle one sends as little as it can."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from aggregated_metrics.adapters.observability import HEARTBEATS, METRICS, Report, invocation

from testbench.engine import Call, Context
from testbench.streams import window_event
from testbench.world import World

type Lines = Callable[[], list[dict[str, Any]]]

CONTEXT = Context(lambda: 60.0)


def emitted(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The sets of metrics that were sent: their values, and `dimensions`."""
    sets = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "_aws" in line]
    return [
        {metric["Name"]: each[metric["Name"]] for metric in described["Metrics"]}
        | {"dimensions": {name: each[name] for name in described["Dimensions"][0]}}
        for each in sets
        for described in each["_aws"]["CloudWatchMetrics"]
    ]


def invoke(report: Report) -> None:
    with invocation("stream_aggregator", CONTEXT) as given:
        given.update(report)


def test_an_invocation_logs_one_line_with_what_was_reported(lines: Lines) -> None:
    invoke({"records": 3, "shard": "0944fa24146b"})
    (line,) = lines()
    assert line["message"] == "stream_aggregator"
    assert (line["level"], line["records"], line["shard"]) == ("INFO", 3, "0944fa24146b")
    assert line["requestId"] == CONTEXT.aws_request_id
    assert line["milliseconds"] >= 0


def test_only_known_numbers_are_metrics(lines: Lines, capsys: pytest.CaptureFixture[str]) -> None:
    more: Report = {"shard": "x", "due": 4, "quarantined": None, "drift": [{"a": 1}]}
    invoke(dict.fromkeys(METRICS, 1) | more)
    names = {name for name, _ in METRICS.values()} - {"Quarantined"}
    assert emitted(capsys) == [{name: [1.0] for name in names} | {"dimensions": {}}]
    assert lines()[0]["drift"] == [{"a": 1}]


def test_idle_functions_send_the_heartbeats_alone(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """AWS bills a metric by the hour."""
    final = {**window_event(), "isFinalInvokeForWindow": True}
    idle: list[Call] = [("stream_aggregator", final), ("bucket_sweeper", {}), ("reconciler", {})]
    for function, event in idle:
        world.engine.invoke(function, event, CONTEXT)
    sent = [name for each in emitted(capsys) for name in each.keys() - {"dimensions"}]
    assert sorted(sent) == sorted(METRICS[name][0] for name in HEARTBEATS)
    assert len(sent) <= 4


def test_every_metric_is_a_number_that_a_function_reports() -> None:
    world = World(["Task"])
    world.insert("Task", "first")
    world.deliver()
    world.sweep(times=1)
    world.check()
    assert METRICS.keys() <= {name for report in world.reports for name in report}


def test_a_check_is_a_dimension_of_its_own_metrics_alone(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    invoke({"driftCount": 2, "check": "deep"})
    invoke({"records": 2})
    assert emitted(capsys) == [
        {"Drift": [2.0], "dimensions": {"check": "deep"}},
        {"Records": [2.0], "dimensions": {}},
    ]


def test_an_error_is_logged_with_what_was_done_by_then_and_goes_on(
    lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        with invocation("bucket_sweeper", CONTEXT) as report:
            report["records"] = 3
            raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        fail()
    (line,) = lines()
    found = [line[name] for name in ("level", "function", "error", "exception_name", "records")]
    assert found == ["ERROR", "bucket_sweeper", "LookupError", "LookupError", 3]
    assert emitted(capsys) == [{"Records": [3.0], "dimensions": {}}]
