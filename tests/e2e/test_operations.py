"""What docs/operations.md has people do, done on the stack with the commands that it names."""

import json
from collections.abc import Mapping
from typing import Any

from aggregated_metrics_cli.exit_codes import DONE, LEFT
from testbench import rows
from testbench.emulated import check
from testbench.emulated.functions import command, wait
from testbench.emulated.stack import APP_STACK
from testbench.streams import Stream
from tests.e2e.bench import RANGE, Bench


def test_a_range_is_verified_and_repaired(bench: Bench) -> None:
    account = bench.corrupted()
    asked = ("--account", account, *RANGE, "--record-type", "items")
    code, report = command(bench.stack, "verify", *asked)
    assert code == LEFT, report
    (wrong,) = report["drift"]
    assert (wrong["stored"]["count"], wrong["counted"]["count"]) == (5, 1)
    assert 5 in bench.counts(account)
    code, report = command(bench.stack, "repair", *asked)
    assert (code, report["repaired"]) == (DONE, 1), report
    assert bench.counts(account) == {1}
    code, report = command(bench.stack, "verify", *asked)
    assert (code, report["driftCount"]) == (DONE, 0)


def test_an_execution_is_refused_where_it_asks_for_nothing_that_is_known(bench: Bench) -> None:
    wrong: tuple[Any, ...] = ({}, {"repair": True}, {"range": {}, "tables": {}}, {"tables": "Item"})
    for asked in wrong:
        ended = executed(bench, json.dumps(asked))
        assert (ended["status"], ended["error"]) == ("FAILED", "EventError"), asked


def executed(bench: Bench, asked: str) -> Mapping[str, Any]:
    """An execution of the state machine that has ended."""
    states, machine = bench.stack.client("stepfunctions"), bench.stack.app["BackfillStateMachine"]
    arn = states.start_execution(stateMachineArn=machine, input=asked)["executionArn"]
    wait(lambda: states.describe_execution(executionArn=arn)["status"] != "RUNNING")
    found: Mapping[str, Any] = states.describe_execution(executionArn=arn)
    return found


def test_a_backfill_counts_whole_tables_and_a_deep_verify_only_says_what_is_wrong(
    bench: Bench,
) -> None:
    """The deep verify is asked as its schedule asks; rows of other tests are counted, too."""
    account = bench.corrupted()
    timer = bench.stack.physical_id(APP_STACK, "BackfillStateMachineDeepVerify")
    schedule = bench.stack.client("scheduler").get_schedule(Name=timer)
    assert schedule["State"] == "DISABLED"
    report = json.loads(executed(bench, schedule["Target"]["Input"])["output"])
    assert (report["repair"], report["repaired"]) == (False, 0)
    assert account in {each["accountId"] for each in report["drift"]}
    assert 5 in bench.counts(account)
    code, report = command(bench.stack, "backfill", "--yes")
    assert code == DONE, report
    assert report["rows"] > 0
    assert report["repaired"] == report["driftCount"] > 0
    assert bench.counts(account) == {1}
    code, report = command(bench.stack, "verify", "--models", "Item", "--yes")
    assert (code, report["driftCount"]) == (DONE, 0), report


def waiting(bench: Bench, queue: str) -> int:
    """The messages that wait in a queue of the stack's outputs."""
    got = bench.stack.client("sqs").get_queue_attributes(
        QueueUrl=bench.stack.app[queue], AttributeNames=["ApproximateNumberOfMessages"]
    )
    return int(got["Attributes"]["ApproximateNumberOfMessages"])


def test_a_failed_batch_is_noted_and_its_hours_are_repaired(bench: Bench) -> None:
    account = bench.corrupted()
    bench.lose_batch(Stream("Item").insert(rows.item(accountId=account)))
    wait(lambda: waiting(bench, "FailedBatchesQueueUrl"))
    code, report = command(bench.stack, "repair", "--failed-batches")
    assert code == DONE, report
    assert report["repaired"] > 0
    assert waiting(bench, "FailedBatchesQueueUrl") == 0
    assert bench.counts(account) == {1}


def test_a_record_in_quarantine_that_can_be_counted_by_now_is_taken_out(bench: Bench) -> None:
    """Its hour is checked, however the record came there; what cannot be counted stays."""
    account = bench.corrupted()
    good = Stream("Item").insert(rows.item(f"item-{account}", accountId=account))
    bad = Stream("Item").insert(rows.item(f"bad-{account}", createdAt="yesterday"))
    bench.quarantine(good)
    bench.quarantine(bad)
    code, report = command(bench.stack, "repair", "--quarantine")
    assert (code, report["repaired"]) == (LEFT, 1), report
    assert report["stillUncountable"] > 0
    assert bench.counts(account) == {1}
    left = {message.id for message in check.quarantined(bench.stack)}
    assert {f"item-{account}", f"bad-{account}"} & left == {f"bad-{account}"}
