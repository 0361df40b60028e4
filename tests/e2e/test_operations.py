"""What docs/operations.md has people do, done on the stack."""

import io
import json
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from aggregated_metrics.model import AggregatedMetrics

from aggregated_metrics_cli.main import main
from testbench import rows
from testbench.emulated import corruption
from testbench.emulated.functions import invoke
from testbench.emulated.stack import APP_STACK, REGION, ROOT_CREDENTIALS
from testbench.emulated.world import World, wait
from testbench.streams import Stream, event

START = datetime(2026, 11, 22, 10, tzinfo=UTC)


def corrupted(world: World, at: datetime) -> str:
    """An account with a bucket that no row has made."""
    account = f"acct-{uuid.uuid4()}"
    end = at.replace(minute=1)
    AggregatedMetrics.create_or_update(world.vandal, account, "items", at, end, 1, 5)
    return account


def counts(world: World, account: str, at: datetime) -> set[int]:
    until = at.replace(minute=59)
    found = AggregatedMetrics.list_by_time_range(world.reader, account, at, until, "items")
    return {bucket.count for bucket in found}


def executed(world: World, asked: str) -> dict[str, Any]:
    """How an execution of the backfill's state machine ended."""
    states = world.stack.client("stepfunctions")
    arn = states.start_execution(
        stateMachineArn=world.stack.app["BackfillStateMachine"], input=asked
    )["executionArn"]
    wait(lambda: states.describe_execution(executionArn=arn)["status"] != "RUNNING")
    ended: dict[str, Any] = states.describe_execution(executionArn=arn)
    return ended


def report_of(world: World, asked: str) -> dict[str, Any]:
    """What an execution that succeeds gives back."""
    ended = executed(world, asked)
    assert ended["status"] == "SUCCEEDED", ended.get("cause")
    report: dict[str, Any] = json.loads(ended["output"])
    return report


def test_a_backfill_works_through_the_units_of_a_range_and_sets_it_right(world: World) -> None:
    """Three days, two at once, of a model that is listed by createdAt are two units."""
    account = corrupted(world, START)
    asked = {
        "accountId": account,
        "start": "2026-11-20T08:00:00Z",
        "end": "2026-11-23T00:00:00Z",
        "recordTypes": ["items"],
        "days": 2,
    }
    totals = report_of(world, json.dumps(asked))
    assert (totals["units"], totals["hours"]) == (2, 3 * 24 - 8)
    assert totals["drift"] == totals["repaired"] > 0
    assert counts(world, account, START) == {0}


def test_a_backfill_counts_whole_tables_and_a_deep_verify_only_says_what_is_wrong(
    world: World,
) -> None:
    """The deep verify is asked as its schedule asks."""
    made = world.traffic("whole", 60, minutes=5, hours_ago=30)
    world.write(made)
    assert sum(report_of(world, "{}")["rows"].values()) > 0
    # Whole hours: a bucket of 5 minutes or more may start before the first row.
    first = made.start.replace(minute=0, second=0, microsecond=0)
    buckets = {
        key: bucket
        for key, bucket in world.stored().items()
        if first <= bucket.timeRangeStart < made.end
    }
    assert sum(bucket.count for bucket in buckets.values()) > 60
    wrong = corruption.corrupt(world.vandal, buckets, seed=5, each=1)
    minutes = {each.key: each.after or 0 for each in wrong if each.key[3] == 1}
    (timer,) = (
        each["PhysicalResourceId"]
        for each in world.resources(APP_STACK)
        if each["LogicalResourceId"] == "BackfillStateMachineDeepVerify"
    )
    schedule = world.stack.client("scheduler").get_schedule(Name=timer)
    assert schedule["State"] == "DISABLED"
    report = report_of(world, schedule["Target"]["Input"])
    assert sum(report["drift"].values()) >= len(minutes)
    assert (report["repaired"], report["written"], report["completed"]) == ({}, 0, 0)
    stored = world.stored()
    left = {key: stored[key].count if key in stored else 0 for key in minutes}
    assert left == minutes
    report = report_of(world, "{}")
    assert report["drift"] == report["repaired"]
    assert corruption.reconcile(world.stack, minutes, repair=False).drift == {}


def test_a_backfill_of_a_range_that_ends_before_it_starts_says_so(world: World) -> None:
    asked = {"accountId": "a", "start": "2026-11-23T00:00:00Z", "end": "2026-11-22T00:00:00Z"}
    ended = executed(world, json.dumps(asked))
    assert (ended["status"], ended["error"]) == ("FAILED", "EventError")


def test_a_failed_batch_is_noted_and_its_hours_are_repaired(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = corrupted(world, START)
    batch = event(Stream("Item").insert(rows.item(accountId=account)))
    world.stack.client("s3").put_object(
        Bucket=world.stack.app["OnFailureBucket"],
        Key=f"aws/lambda/{account}",
        Body=json.dumps({"payload": json.dumps(batch)}).encode(),
    )
    sqs, queue = world.stack.client("sqs"), world.stack.app["FailedBatchesQueueUrl"]

    def noted() -> int:
        asked = ["ApproximateNumberOfMessages"]
        got = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=asked)
        return int(got["Attributes"]["ApproximateNumberOfMessages"])

    wait(noted)
    monkeypatch.setenv("AWS_ENDPOINT_URL", world.stack.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ROOT_CREDENTIALS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ROOT_CREDENTIALS.secret_key)
    out, err = io.StringIO(), io.StringIO()
    asked = ["repair", "--failed-batches", "--stack", APP_STACK, "--region", REGION, "--json"]
    assert main(asked, out=out, err=err) == 0, out.getvalue() + err.getvalue()
    assert json.loads(out.getvalue())["repaired"] > 0
    assert noted() == 0
    assert counts(world, account, START) == {0}


def test_a_failed_batch_is_repaired_by_itself(world: World) -> None:
    account = corrupted(world, START)
    batch = event(Stream("Item").insert(rows.item(accountId=account)))
    world.stack.client("s3").put_object(
        Bucket=world.stack.app["OnFailureBucket"],
        Key=f"aws/lambda/{account}",
        Body=json.dumps({"payload": json.dumps(batch)}).encode(),
    )
    wait(lambda: invoke(world.stack, "ReconcilerFunction", {"lostBatches": True})["lostBatches"])
    assert counts(world, account, START) == {0}


def test_attaching_finds_the_back_end_that_is_deployed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", world.stack.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ROOT_CREDENTIALS.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ROOT_CREDENTIALS.secret_key)
    config = tmp_path / "samconfig.toml"
    out = io.StringIO()
    asked = ("--api-id", world.stack.backend["GraphQLApiId"], "--region", REGION)
    own = ("--endpoint", world.stack.graphql_endpoint, "--config", str(config))
    given = ["attach", *asked, "--env", "prod", *own]
    assert main(given, out=out, err=out) == 0, out.getvalue()
    shared = tomlkit.parse(config.read_text()).unwrap()["prod"]["global"]["parameters"]
    written = shared["parameter_overrides"]
    expected = {"GraphQLEndpoint": world.stack.backend["GraphQLEndpoint"]}
    expected["GraphQLApiArn"] = world.stack.backend["GraphQLApiArn"]
    assert expected.items() <= written.items()
    deployed = world.stack.app_parameters()
    for name in ("StreamArns", "TableArns", "ListingFieldArns"):
        assert sorted(written[name].split(",")) == sorted(deployed[name].split(","))
