"""What breaks while rows are written, and is mended: the counts come out exact."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from testbench import oracle
from testbench.emulated.bench import Bench, table, wait
from testbench.emulated.check import measures_of
from testbench.emulated.functions import StreamLog
from testbench.emulated.writing import change, put_all
from testbench.traffic import Write

BATCH = 20


def test_an_api_that_cannot_be_reached_loses_and_doubles_nothing(
    bench: Bench, stream_log: StreamLog
) -> None:
    first, then = (
        bench.traffic(name, 120, minutes=10, hours_ago=3) for name in ("before", "while")
    )
    expected = bench.write(first)
    with refused() as endpoint:
        changes = {"Environment": {"GRAPHQL_ENDPOINT": endpoint}}
        with bench.configured("StreamAggregatorFunction", **changes):
            expected += bench.write(then)
            wait(lambda: failures(stream_log))
    stream_log.drain(expected)
    assert stream_log.records == expected
    verdict, _ = bench.judge()
    assert verdict.differences == []


def test_a_mapping_made_again_at_the_oldest_record_counts_nothing_twice(
    bench: Bench, stream_log: StreamLog
) -> None:
    """Events of the emulator name no shard, so a batch stands for a shard of its own.

    That is exact if the batches begin at the same records as before, and here they do: everything
    is in the stream before a mapping reads it, in whole batches. Where events name their shard, as
    on AWS, batches may begin anywhere: tests/integration holds that at the handler.
    """
    made = bench.traffic("replay", 300, minutes=10, hours_ago=9)
    writes = [of_account(each) for each in made.writes if each.model == "Task"]
    del writes[len(writes) // BATCH * BATCH :]
    with table(bench, "Task-replayed") as arn:
        dynamodb = bench.stack.client("dynamodb")
        for each in writes:
            if each.is_new:
                put_all(dynamodb, {"Task": "Task-replayed"}, [each])
            else:
                change(dynamodb, "Task-replayed", each)
        with mapping(bench, arn):
            stream_log.drain(len(writes))
        once = tasks_of(bench)
        with mapping(bench, arn):
            stream_log.drain(2 * len(writes))
        rows = dynamodb.scan(TableName="Task-replayed")["Items"]
    assert len(writes) >= 2 * BATCH
    assert stream_log.records == 2 * len(writes)
    assert tasks_of(bench) == once
    assert once == oracle.buckets_of(
        ("Task", {name: value.get("S") for name, value in row.items()}) for row in rows
    )


@contextmanager
def refused() -> Iterator[str]:
    """An endpoint where nobody listens: the port is taken and stays so."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/graphql"


@contextmanager
def mapping(bench: Bench, arn: str) -> Iterator[None]:
    """An event source mapping from the oldest record on."""
    client = bench.stack.client("lambda")
    made = client.create_event_source_mapping(
        FunctionName=bench.stack.app["StreamAggregatorFunction"],
        EventSourceArn=arn,
        StartingPosition="TRIM_HORIZON",
        BatchSize=BATCH,
    )
    yield
    client.delete_event_source_mapping(UUID=made["UUID"])


def of_account(write: Write) -> Write:
    """The same write for an account whose rows are in no other table."""
    row = write.row
    return write._replace(row=row | {"accountId": "replayed"} if row and write.is_new else row)


def failures(log: StreamLog) -> list[str]:
    """The batches that have failed by now."""
    log.look()
    return log.failures


def tasks_of(bench: Bench) -> dict[oracle.Key, tuple[int, ...]]:
    """What the buckets of that account hold; those that hold nothing left out."""
    held = {key: measures_of(each) for key, each in bench.stored("replayed").items()}
    return {key: measures for key, measures in held.items() if any(measures)}
