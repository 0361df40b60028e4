"""A stream that nobody reads shows, in this stack's metrics and in no other's."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from testbench.emulated.functions import invoke
from testbench.emulated.stack import APP_STACK
from testbench.emulated.world import World, wait


def look(world: World) -> dict[str, Any]:
    """What a new process of the sweeper reports: a warm one asks every other minute only."""
    with world.configured("BucketSweeperFunction", Environment={"NEW_PROCESS": str(time.time())}):
        return invoke(world.stack, "BucketSweeperFunction", {})


def measured(world: World, metric: str) -> Iterator[tuple[str, float]]:
    """Namespace and value of the metric in every line that the sweeper has logged."""
    pages = world.stack.client("logs").get_paginator("filter_log_events")
    for page in pages.paginate(logGroupName=world.stack.app["BucketSweeperLogs"]):
        for event in page["events"]:
            if event["message"].startswith("{") and metric in event["message"]:
                line = json.loads(event["message"])
                if "_aws" in line:
                    (described,) = line["_aws"]["CloudWatchMetrics"]
                    yield described["Namespace"], line[metric][0]


@contextmanager
def disabled(world: World, model: str) -> Iterator[None]:
    """One model's mapping turned off; afterwards on again, with the runbook's command."""
    client = world.stack.client("lambda")
    (mapping,) = (
        each["UUID"]
        for each in client.list_event_source_mappings(
            FunctionName=world.stack.app["StreamAggregatorFunction"]
        )["EventSourceMappings"]
        if each["EventSourceArn"] == world.stack.backend[f"{model}StreamArn"]
    )
    client.update_event_source_mapping(UUID=mapping, Enabled=False)
    try:
        yield
    finally:
        client.update_event_source_mapping(UUID=mapping, Enabled=True)


def test_a_mapping_that_is_turned_off_shows_in_the_metric_of_its_alarm(world: World) -> None:
    assert look(world)["stoppedConsumers"] == 0
    with disabled(world, "Task"):
        report = look(world)
    assert report["stoppedConsumers"] == 1
    (named,) = report["streams"]
    assert named["table"] == world.stack.tables["Task"]
    assert named["consumer"].startswith("Disabl")
    namespace = f"AggregatedMetrics/{APP_STACK}"
    wait(lambda: (namespace, 1.0) in measured(world, "StreamNotConsumed"))
    alarm = world.alarms(APP_STACK)["StreamNotConsumedAlarm"]
    assert (alarm["Namespace"], alarm["MetricName"]) == (namespace, "StreamNotConsumed")
    assert look(world)["stoppedConsumers"] == 0


def test_a_stream_that_its_table_no_longer_has_shows(world: World) -> None:
    before = f"{world.stack.backend['TaskStreamArn']}-before"
    with world.configured("BucketSweeperFunction", Environment={"STREAM_ARNS": before}):
        report = invoke(world.stack, "BucketSweeperFunction", {})
    assert (report["stoppedConsumers"], report["replacedStreams"]) == (1, 1)
