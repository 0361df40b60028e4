"""A stream that is not consumed is reported, and holds its model's as of back."""

import time

from testbench.emulated.functions import wait
from tests.e2e.bench import Bench


def test_a_mapping_that_is_turned_off_shows_and_holds_as_of_back(bench: Bench) -> None:
    client, stream = bench.stack.client("lambda"), bench.stack.backend["TaskStreamArn"]
    (mapping,) = client.list_event_source_mappings(
        FunctionName=bench.stack.app["StreamAggregatorFunction"], EventSourceArn=stream
    )["EventSourceMappings"]
    wait(lambda: bench.sweep()["streamsNotConsumed"] == 0 and None not in bench.as_of().values())
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    try:
        report, before = bench.sweep(), bench.as_of()
        time.sleep(1)  # as of has whole seconds
        bench.sweep()
        after = bench.as_of()
    finally:
        client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
    (named,) = report["streams"]
    assert named["stream"].startswith(bench.stack.table("Task"))
    assert named["consumer"].startswith("Disabl")
    assert {name for name in before if before[name] == after[name]} == {"tasks"}
    assert bench.sweep()["streamsNotConsumed"] == 0
