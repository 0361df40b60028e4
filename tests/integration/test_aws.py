"""What the functions ask of AWS is what its services take: boto3's own requests, against moto.

Every other test uses ports in memory; these say that the ports answer in the same way.
"""

import json
import math
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from aggregated_metrics.adapters import queues
from aggregated_metrics.adapters.consumers import consumers
from aggregated_metrics.adapters.pending_hours import Entry, PendingHours
from aggregated_metrics.adapters.queues import Queue
from aggregated_metrics.adapters.run_files import Part, RunFiles
from aggregated_metrics.core.errors import RunError
from aggregated_metrics.core.series import HourId, Series
from botocore.stub import Stubber

from testbench import local
from testbench.fakes.aws import FakeMappings, MemoryQueue, Queues
from testbench.fakes.dynamodb import MemoryTable
from testbench.fakes.scans import FakeBucket
from testbench.hours import HOUR, TEN
from testbench.streams import image, table_arn
from testbench.world import Clock, World
from tests.conftest import Aws, over

TABLE = "Item-abcdefghij-NONE"


@pytest.fixture
def world(aws: Aws) -> World:
    """A world whose table, streams, queues and buckets are moto's; moto runs no mappings."""
    for bucket in ("runs", "lost"):
        aws("s3").create_bucket(Bucket=bucket)
    stream = aws("dynamodb").create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )["TableDescription"]["LatestStreamLabel"]
    environment = {
        "QUARANTINE_QUEUE_URL": aws("sqs").create_queue(QueueName="bad")["QueueUrl"],
        "FAILED_BATCHES_QUEUE_URL": aws("sqs").create_queue(QueueName="failed")["QueueUrl"],
        "STREAM_ARNS": f"{TABLE}/{stream}",
    }
    mappings = FakeMappings()
    made = World(
        ["Item"],
        environment=environment,
        aws=lambda service: mappings if service == "lambda" else aws(service),
    )
    mappings.enable([environment["STREAM_ARNS"]], made.clock.now - timedelta(hours=1))
    return made


def items(aws: Aws) -> list[Mapping[str, Any]]:
    return list(aws("dynamodb").scan(TableName=local.PENDING_HOURS)["Items"])


def test_every_function_works_with_aws_own_requests(aws: Aws, world: World) -> None:
    # 1. Counted, and one quarantined.
    world.insert("Item", "counted")
    world.insert("Item", "uncountable", accountId=None)
    world.deliver()
    assert {item["kind"]["S"] for item in items(aws)} == {"entry"}
    # 2. Lost, in a batch that Lambda has kept in S3.
    world.insert("Item", "lost")
    record = world.undelivered[-1]
    kept = {"payload": json.dumps({"Records": [record], "shardId": "lost"})}
    aws("s3").put_object(Bucket="lost", Key="a/b", Body=json.dumps(kept).encode())
    note = {"detail": {"bucket": {"name": "lost"}, "object": {"key": "a/b"}}}
    failed = world.environment["FAILED_BATCHES_QUEUE_URL"]
    aws("sqs").send_message(QueueUrl=failed, MessageBody=json.dumps(note))
    world.lose()
    # 3. Completed, checked, repaired; the record is still uncountable.
    over(world)
    assert world.check()["repaired"] > 0
    assert world.stored() == world.counted()
    result = world.invoke("reconciler", {"quarantine": {"repair": True}})
    assert (result["driftCount"], result["stillUncountable"]) == (0, 1)
    # 4. Whole tables.
    world.api.put("Item", world.row("Item", "lost") | {"id": "older"})
    for row in world.api.rows("Item"):
        aws("dynamodb").put_item(TableName=TABLE, Item=image(row))
    world.clock.advance(3_600)
    assert world.backfill(segments=2)["repaired"] > 0
    assert world.stored() == world.counted()
    assert items(aws) == []


def test_lambda_is_asked_for_the_functions_mappings(aws: Aws, world: World) -> None:
    functions, stream = aws("lambda"), world.environment["STREAM_ARNS"]
    table, label = stream.split("/")
    arn = f"{table_arn(table)}/stream/{label}"
    mapping = {"EventSourceArn": arn, "State": "Disabled", "LastModified": world.clock.now}
    named = {"FunctionName": "f"}
    with Stubber(functions) as stub:
        stub.add_response("get_function_concurrency", {}, named)
        stub.add_response("list_event_source_mappings", {"EventSourceMappings": [mapping]}, named)
        found = consumers(functions, aws("dynamodb"), "f", {"Item": stream})
    assert found == {"Item": (stream, "Disabled", world.clock.timestamp())}


# Each rule of a port, in memory and on AWS's own requests -----------------------------------------


@pytest.fixture(params=["memory", "aws"])
def pending(request: pytest.FixtureRequest, clock: Clock) -> PendingHours:
    table: Any = MemoryTable()
    if request.param == "aws":
        table = request.getfixturevalue("aws")("dynamodb")
    return PendingHours(
        table, local.PENDING_HOURS, clock=clock, grace=120, sleep=clock.advance, lease=lambda: 90
    )


def entry_of(pending: PendingHours, hour: HourId) -> Entry:
    entry, _ = pending.find(hour)
    assert entry is not None
    return entry


def test_entries_are_found_the_longest_due_and_the_longest_over_first(
    pending: PendingHours, clock: Clock
) -> None:
    now = int(clock.timestamp())
    dues = {60 * n: now + offset for n, offset in enumerate((-5, 0, 1, -90, 3600))}
    hours = {HourId(Series("acct-1", "items"), TEN - start): due for start, due in dues.items()}
    others = {HourId(Series(f"other-{n}", "items"), TEN + 60): now + 9 for n in range(30)}
    assert pending.touch(hours | others) == 35
    assert [(entry.due or 0) - now for entry in pending.due()] == [-90, -5, 0]
    assert [(TEN - entry.hour.start) // 60 for entry in pending.over()] == [4, 3, 2, 1]


@pytest.mark.parametrize("act", ["later", "never", "delete"])
def test_what_was_touched_meanwhile_is_neither_moved_nor_deleted(
    pending: PendingHours, clock: Clock, act: str
) -> None:
    now = int(clock.timestamp())
    acts: Mapping[str, Callable[[Entry], bool]] = {
        "later": lambda read: pending.reschedule(read, now + 300),
        "never": lambda read: pending.reschedule(read, None),
        "delete": pending.delete,
    }
    pending.touch({HOUR: now})
    before = entry_of(pending, HOUR)
    pending.touch({HOUR: now})
    entry = entry_of(pending, HOUR)
    assert [acts[act](before), entry_of(pending, HOUR) == entry] == [False, True]
    assert [acts[act](entry), list(pending.due())] == [True, []]
    found, _ = pending.find(HOUR)
    moved = {"later": entry._replace(due=now + 300), "never": entry._replace(due=None)}
    assert found == moved.get(act)


def test_a_claim_replaces_an_entry_whose_writer_has_ended(
    pending: PendingHours, clock: Clock
) -> None:
    claimed = pending.claim(HOUR, None)
    assert claimed == entry_of(pending, HOUR)
    assert claimed is not None
    assert claimed.until == claimed.due == math.ceil(clock.timestamp() + 90)
    assert pending.claim(HOUR, None) is None  # another one has put it meanwhile
    entry = entry_of(pending, HOUR)
    assert pending.claim(HOUR, entry) is None  # it may still be written
    clock.advance(91)
    assert pending.claim(HOUR, entry) is None  # it was touched meanwhile
    clock.advance(91)
    entry = entry_of(pending, HOUR)
    taken = pending.claim(HOUR, entry)
    assert taken is not None
    assert [pending.delete(each) for each in (entry, taken)] == [False, True]


def test_an_open_check_keeps_its_first_time_and_stays_deferred(
    pending: PendingHours, clock: Clock
) -> None:
    pending.open_check(HOUR, "lost", deferred=True)
    (old,) = pending.open_checks()
    clock.advance(60)
    pending.open_check(HOUR._replace(start=TEN - 60), "later")
    pending.expect(HOUR, "in flux")
    check, later = pending.open_checks()
    assert check[:5] == (HOUR, old.since, True, "in flux", old.since + 60)
    assert later[1:4] == (old.since + 60, False, "later")
    assert [entry.hour for entry in pending.due()] == [HOUR]
    assert [pending.delete(each) for each in (old, check)] == [False, True]
    assert list(pending.open_checks()) == [later]


def test_a_note_counts_for_ten_minutes_and_a_shard_has_one(
    pending: PendingHours, clock: Clock
) -> None:
    pending.put_note("Item", "a", 5.0)
    pending.put_note("Item", "b", 4.0)
    clock.advance(599)
    pending.put_note("Item", "b", 6.5)
    assert pending.notes() == [("Item", 5.0), ("Item", 6.5)]
    clock.advance(2)
    assert pending.notes() == [("Item", 6.5)]


@pytest.fixture(params=["memory", "aws"])
def queue(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Queue:
    client: Any = Queues({local.QUARANTINE: MemoryQueue()})
    url = local.QUARANTINE
    if request.param == "aws":
        monkeypatch.setattr(queues, "_WAIT_SECONDS", 0)  # moto has one server
        client, url = request.getfixturevalue("aws")("sqs"), request.getfixturevalue("queue_url")
    return Queue(lambda: client, url, "QUARANTINE_QUEUE_URL")


def test_received_messages_are_hidden_until_they_are_deleted_or_released(queue: Queue) -> None:
    queue.send([f"{n}" for n in range(23)])
    messages, others = queue.receive(12), queue.receive(11)
    assert (len(messages), len({receipt for _, receipt in messages + others})) == (12, 23)
    queue.delete([*messages[:11], *others])
    queue.release(messages[11:])
    (left,) = queue.receive(100)
    assert left[0] == messages[11][0]


@pytest.fixture(params=["memory", "aws"])
def files(request: pytest.FixtureRequest) -> RunFiles:
    client: Any = FakeBucket()
    if request.param == "aws":
        client = request.getfixturevalue("aws")("s3")
        client.create_bucket(Bucket="runs")
    return RunFiles(client, "runs")


def test_a_part_is_written_once_and_read_by_range(files: RunFiles) -> None:
    place, part, blocks = "1/Item/0000", Part("Item", 0, None, 7, 1.0, 2.0, {}), [b"one", b"", b"3"]
    assert files.last_part("run", place) is None
    assert [files.put_part("run", place, part, each) for each in (blocks, [])] == [True, False]
    found = files.last_part("run", place)
    assert found is not None
    assert (found.rows, found.done) == (7, True)
    assert [files.blocks("run", files.parts("run", 1), n) for n in range(3)] == [
        [b"one"],
        [b""],
        [b"3"],
    ]
    files.put("run", "report.json", {"a": 1})
    assert files.get("run", "report.json") == {"a": 1}


def test_a_file_that_is_gone_is_named_with_what_to_do(files: RunFiles) -> None:
    with pytest.raises(RunError, match=r"s3://runs/runs/run/run.json does not exist: start the"):
        files.run("run")
