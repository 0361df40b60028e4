"""What docs/operations.md has people do, done on the stack with the commands that it names."""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import tomlkit
from aggregated_metrics.model import AggregatedMetrics

from aggregated_metrics_cli.exit_codes import DONE, FAILED, LEFT
from testbench import rows
from testbench.emulated import check
from testbench.emulated.bench import Bench, wait
from testbench.emulated.functions import StreamLog, execute, invoke
from testbench.emulated.stack import APP_STACK
from testbench.emulated.writing import change, put_all
from testbench.streams import Stream, event
from testbench.traffic import Write

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
HOUR = ("--start", "2026-11-22T10:00:00Z", "--end", "2026-11-22T11:00:00Z")


def corrupted(bench: Bench) -> str:
    """An account with a bucket that no row has made."""
    account = f"acct-{uuid.uuid4()}"
    end = START.replace(minute=1)
    AggregatedMetrics.create_or_update(bench.vandal, account, "items", START, end, 1, 5)
    return account


def counts(bench: Bench, account: str) -> set[int]:
    until = START.replace(minute=59)
    found = AggregatedMetrics.list_by_time_range(bench.reader, account, START, until, "items")
    return {bucket.count for bucket in found}


def item(account: str, **changes: Any) -> Write:
    """A new row of an account."""
    row = rows.item(f"item-{account}", accountId=account) | changes
    return Write(START, "Item", row["id"], row, is_new=True)


def test_a_range_is_verified_and_repaired(bench: Bench) -> None:
    asked = ("--account", corrupted(bench), *HOUR, "--record-type", "items")
    code, report = bench.command("verify", *asked)
    assert code == LEFT, report
    (wrong,) = (each for each in report["drift"] if each["numberOfMinutes"] == 1)
    assert (wrong["stored"]["count"], wrong["counted"]["count"]) == (5, 0)
    assert counts(bench, asked[1]) == {5}
    code, report = bench.command("repair", *asked)
    assert code == DONE, report
    assert report["repaired"] == report["driftCount"] > 0
    assert counts(bench, asked[1]) == {0}
    code, report = bench.command("verify", *asked)
    assert (code, report["driftCount"]) == (DONE, 0)


def test_a_range_without_an_end_starts_nothing(bench: Bench) -> None:
    code, said = bench.command("verify", "--account", "a", *HOUR[:2])
    assert code == FAILED
    assert "--end" in said


def test_an_execution_is_refused_where_it_asks_for_nothing_that_is_known(bench: Bench) -> None:
    states = bench.stack.client("stepfunctions")
    machine = bench.stack.app["BackfillStateMachine"]
    wrong: tuple[Any, ...] = ({}, {"repair": True}, {"range": {}, "tables": {}}, {"tables": "Item"})
    for asked in wrong:
        arn = states.start_execution(stateMachineArn=machine, input=json.dumps(asked))
        ended = ended_of(bench, arn["executionArn"])
        assert (ended["status"], ended["error"]) == ("FAILED", "EventError"), asked


def ended_of(bench: Bench, arn: str) -> Mapping[str, Any]:
    states = bench.stack.client("stepfunctions")
    wait(lambda: states.describe_execution(executionArn=arn)["status"] != "RUNNING")
    found: Mapping[str, Any] = states.describe_execution(executionArn=arn)
    return found


def test_a_backfill_counts_whole_tables_and_a_deep_verify_only_says_what_is_wrong(
    bench: Bench,
) -> None:
    """The deep verify is asked as its schedule asks; rows of other tests are counted, too."""
    account = corrupted(bench)
    put_all(bench.stack.client("dynamodb"), bench.stack.tables, [item(account)])
    wait(lambda: 6 in counts(bench, account) or 1 in counts(bench, account))
    (timer,) = (
        each["PhysicalResourceId"]
        for each in bench.resources(APP_STACK)
        if each["LogicalResourceId"] == "BackfillStateMachineDeepVerify"
    )
    schedule = bench.stack.client("scheduler").get_schedule(Name=timer)
    assert schedule["State"] == "DISABLED"
    before = bench.stored(account)
    report = execute(bench.stack, json.loads(schedule["Target"]["Input"]))
    assert report["repair"] is False
    assert {each["accountId"] for each in report["drift"]} >= {account}
    assert (report["repaired"], bench.stored(account)) == (0, before)
    code, report = bench.command("backfill", "--yes")
    assert code == DONE, report
    assert report["rows"] > 0
    assert report["repaired"] == report["driftCount"] > 0
    assert counts(bench, account) == {1, 0}
    code, report = bench.command("verify", "--models", "Item", "--yes")
    assert (code, report["driftCount"]) == (DONE, 0), report


def lost(bench: Bench, account: str) -> None:
    """Have a batch age out: Lambda writes it to the bucket, and a rule notes the object."""
    batch = event(Stream("Item").insert(rows.item(accountId=account)))
    bench.stack.client("s3").put_object(
        Bucket=bench.stack.app["OnFailureBucket"],
        Key=f"aws/lambda/{account}",
        Body=json.dumps({"payload": json.dumps(batch)}).encode(),
    )


def waiting(bench: Bench, queue: str) -> int:
    """The messages that wait in a queue of the stack's outputs."""
    got = bench.stack.client("sqs").get_queue_attributes(
        QueueUrl=bench.stack.app[queue], AttributeNames=["ApproximateNumberOfMessages"]
    )
    return int(got["Attributes"]["ApproximateNumberOfMessages"])


def test_a_failed_batch_is_noted_and_its_hours_are_repaired(bench: Bench) -> None:
    account = corrupted(bench)
    lost(bench, account)
    wait(lambda: waiting(bench, "FailedBatchesQueueUrl"))
    code, report = bench.command("repair", "--failed-batches")
    assert code == DONE, report
    assert report["repaired"] > 0
    assert waiting(bench, "FailedBatchesQueueUrl") == 0
    assert counts(bench, account) == {0}


def test_a_failed_batch_is_repaired_by_the_hourly_check(bench: Bench) -> None:
    account = corrupted(bench)
    lost(bench, account)
    wait(lambda: waiting(bench, "FailedBatchesQueueUrl"))
    assert invoke(bench.stack, "ReconcilerFunction", {"repair": True})["repaired"] > 0
    assert counts(bench, account) == {0}


def test_a_record_in_quarantine_is_counted_once_its_row_is_corrected(
    bench: Bench, stream_log: StreamLog
) -> None:
    """The message of a row that is still wrong stays."""
    dynamodb, tables = bench.stack.client("dynamodb"), bench.stack.tables
    good, bad = f"acct-{uuid.uuid4()}", f"acct-{uuid.uuid4()}"
    wrong = [item(account, createdAt="yesterday") for account in (good, bad)]
    put_all(dynamodb, tables, wrong)
    stream_log.drain(2)
    corrected = Write(START, "Item", wrong[0].id, {"createdAt": "2026-11-22T10:05:00.000Z"})
    change(dynamodb, tables["Item"], corrected)
    stream_log.drain(3)
    code, report = bench.command("repair", "--quarantine")
    assert code == DONE, report
    left = {message.id for message in check.quarantined(bench.stack)}
    assert wrong[1].id in left
    assert counts(bench, good) == {1, 0}
    for each in wrong:
        change(dynamodb, tables["Item"], each._replace(row=None))


def test_attaching_finds_the_back_end_that_is_deployed(bench: Bench, tmp_path: Path) -> None:
    config = tmp_path / "samconfig.toml"
    asked = ("--api-id", bench.stack.backend["GraphQLApiId"], "--env", "prod")
    own = ("--endpoint", bench.stack.graphql_endpoint, "--config", str(config))
    code, said = bench.command("attach", *asked, *own)
    assert code == DONE, said
    shared = tomlkit.parse(config.read_text()).unwrap()["prod"]["global"]["parameters"]
    written = shared["parameter_overrides"]
    expected = {"GraphQLEndpoint": bench.stack.backend["GraphQLEndpoint"]}
    expected["GraphQLApiArn"] = bench.stack.backend["GraphQLApiArn"]
    assert expected.items() <= written.items()
    deployed = bench.stack.app_parameters()
    for name in ("StreamArns", "TableArns", "ListingFieldArns"):
        assert sorted(written[name].split(",")) == sorted(deployed[name].split(","))
