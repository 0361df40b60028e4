"""What the functions ask of AWS is what its services take: boto3's own requests, against moto.

Every other test uses ports in memory; these say that the ports answer in the same way.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from aggregated_metrics.adapters.consumers import consumers
from aggregated_metrics.adapters.pending_hours import PendingHours
from aggregated_metrics.adapters.queues import Quarantine
from aggregated_metrics.adapters.run_files import Part, RunFiles
from aggregated_metrics.core.series import HourId, Series
from botocore.stub import Stubber

from testbench import local
from testbench.fakes.aws import FakeMappings, MemoryQueue, Queues
from testbench.fakes.dynamodb import MemoryTable
from testbench.fakes.scans import FakeBucket
from testbench.streams import image, table_arn
from testbench.world import Clock, World
from tests.conftest import Aws

TABLE = "Item-abcdefghij-NONE"
HOURS = [HourId(Series("acct-1", name), 29_000_000 // 60 * 60) for name in ("items", "tasks")]


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
    record = world.undelivered[-1].record
    kept = {"payload": json.dumps({"Records": [record], "shardId": "lost"})}
    aws("s3").put_object(Bucket="lost", Key="a/b", Body=json.dumps(kept).encode())
    note = {"detail": {"bucket": {"name": "lost"}, "object": {"key": "a/b"}}}
    failed = world.environment["FAILED_BATCHES_QUEUE_URL"]
    aws("sqs").send_message(QueueUrl=failed, MessageBody=json.dumps(note))
    world.lose()
    # 3. Completed, checked, repaired; the record is still uncountable.
    world.clock.advance(3_600)
    world.sweep()
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


def test_entries_are_found_by_what_is_due_and_moved_only_under_their_token(
    pending: PendingHours, clock: Clock
) -> None:
    now = int(clock.timestamp())
    many = [HourId(Series(f"other-{n}", "items"), HOURS[0].start) for n in range(30)]
    assert (
        pending.touch({HOURS[0]: now - 5, HOURS[1]: now - 9} | dict.fromkeys(many, now + 9)) == 32
    )
    first, second = pending.due(10)
    assert [first.hour, second.hour] == HOURS[::-1]
    assert {entry.hour for entry in pending.over()} == {*HOURS, *many}
    pending.touch({HOURS[0]: now - 7})
    assert [pending.reschedule(entry, None) for entry in (first, second)] == [True, False]
    assert [entry.hour for entry in pending.due(10)] == [HOURS[0]]
    found, _ = pending.find(HOURS[1])
    assert found is not None
    assert (found.due, pending.delete(second), pending.delete(found)) == (None, False, True)
    assert pending.find(HOURS[1]) == (None, None)


def test_a_claim_replaces_an_entry_whose_writer_has_ended(
    pending: PendingHours, clock: Clock
) -> None:
    claimed = pending.claim(HOURS[0], None)
    assert claimed is not None
    assert pending.claim(HOURS[0], None) is None  # another one has put it meanwhile
    pending.touch({HOURS[1]: 0})
    (entry, _) = pending.find(HOURS[1])
    assert pending.claim(HOURS[1], entry) is None  # it may still be written
    clock.advance(91)
    (entry, _) = pending.find(HOURS[1])
    assert entry is not None
    taken = pending.claim(HOURS[1], entry)
    assert taken is not None
    assert (pending.delete(entry), pending.delete(taken)) == (False, True)


def test_an_open_check_keeps_its_first_time_and_stays_deferred(
    pending: PendingHours, clock: Clock
) -> None:
    pending.open_check(HOURS[0], "lost", deferred=True)
    (old,) = pending.open_checks()
    clock.advance(60)
    pending.expect(HOURS[0], "in flux")
    (check,) = pending.open_checks()
    assert (check.since, check.at - check.since) == (old.since, 60)
    assert (check.deferred, check.reason) == (True, "in flux")
    assert [entry.hour for entry in pending.over()] == [HOURS[0]]
    assert [pending.close_check(each) for each in (old, check)] == [False, True]
    assert list(pending.open_checks()) == []


def test_notes_count_for_ten_minutes(pending: PendingHours, clock: Clock) -> None:
    pending.put_note("Item", "a", 5.0)
    clock.advance(599)
    pending.put_note("Item", "b", 6.5)
    assert sorted(first for _, first in pending.notes()) == [5.0, 6.5]
    clock.advance(2)
    assert pending.notes() == [("Item", 6.5)]


@pytest.fixture(params=["memory", "aws"])
def queue(request: pytest.FixtureRequest) -> tuple[Any, str]:
    if request.param == "memory":
        return Queues({local.QUARANTINE: MemoryQueue()}), local.QUARANTINE
    client = request.getfixturevalue("aws")("sqs")
    return client, request.getfixturevalue("queue_url")


def test_quarantined_messages_are_hidden_released_and_deleted(
    queue: tuple[Any, str], clock: Clock
) -> None:
    quarantine = Quarantine(*queue, clock=clock)
    sent = [({"eventID": str(n)}, "why") for n in range(12)]
    assert quarantine.send(sent) == 12
    taken = quarantine.receive(20)
    assert {str((record or {})["eventID"]) for record, _ in taken} == {str(n) for n in range(12)}
    quarantine.delete(taken[:11])
    quarantine.release(taken[11:])
    (left,) = quarantine.receive(20)
    assert left[0] == taken[11][0]


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
    assert [files.blocks("run", 1, n) for n in range(3)] == [[b"one"], [b""], [b"3"]]
    files.put("run", "gathered.json", {"a": 1})
    assert files.get("run", "gathered.json") == {"a": 1}
