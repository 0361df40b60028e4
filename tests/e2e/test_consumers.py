"""A stream that is not consumed shows: in this stack's metrics and no other's, and in as of."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from testbench.emulated.bench import Bench, wait
from testbench.emulated.functions import invoke
from testbench.emulated.stack import APP_STACK


def sweep(bench: Bench) -> dict[str, Any]:
    return invoke(bench.stack, "BucketSweeperFunction", {})


def measured(bench: Bench, metric: str) -> Iterator[tuple[str, float]]:
    """Namespace and value of the metric in every line that the sweeper has logged."""
    pages = bench.stack.client("logs").get_paginator("filter_log_events")
    for page in pages.paginate(logGroupName=bench.stack.app["BucketSweeperLogs"]):
        for event in page["events"]:
            if event["message"].startswith("{") and metric in event["message"]:
                line = json.loads(event["message"])
                if "_aws" in line:
                    (described,) = line["_aws"]["CloudWatchMetrics"]
                    yield described["Namespace"], line[metric][0]


@contextmanager
def disabled(bench: Bench, model: str) -> Iterator[None]:
    """One model's mapping turned off; afterwards on again, with the runbook's command."""
    client = bench.stack.client("lambda")
    (mapping,) = (
        each["UUID"]
        for each in client.list_event_source_mappings(
            FunctionName=bench.stack.app["StreamAggregatorFunction"]
        )["EventSourceMappings"]
        if each["EventSourceArn"] == bench.stack.backend[f"{model}StreamArn"]
    )
    client.update_event_source_mapping(UUID=mapping, Enabled=False)
    try:
        yield
    finally:
        client.update_event_source_mapping(UUID=mapping, Enabled=True)


def test_a_mapping_that_is_turned_off_shows_and_holds_as_of_back(bench: Bench) -> None:
    wait(lambda: sweep(bench)["streamsNotConsumed"] == 0 and None not in bench.as_of().values())
    with disabled(bench, "Task"):
        report, before = sweep(bench), bench.as_of()
        time.sleep(1)  # as of has whole seconds
        sweep(bench)
        after = bench.as_of()
    assert report["streamsNotConsumed"] == 1
    (named,) = report["streams"]
    assert named["stream"].startswith(bench.stack.tables["Task"])
    assert named["consumer"].startswith("Disabl")
    assert {name for name in before if before[name] == after[name]} == {"tasks"}
    namespace = f"AggregatedMetrics/{APP_STACK}"
    wait(lambda: (namespace, 1.0) in measured(bench, "StreamNotConsumed"))
    alarm = bench.alarms(APP_STACK)["StreamNotConsumedAlarm"]
    assert (alarm["Namespace"], alarm["MetricName"]) == (namespace, "StreamNotConsumed")
    assert sweep(bench)["streamsNotConsumed"] == 0
