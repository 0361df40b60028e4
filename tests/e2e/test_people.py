"""What each of the stack's managed policies lets a person do, and what it does not."""

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aggregated_metrics.core.errors import AuthorizationError
from aggregated_metrics.model import AggregatedMetrics
from botocore.exceptions import ClientError

from aggregated_metrics_cli.exit_codes import DONE, FAILED
from testbench.emulated import check
from testbench.emulated.bench import Bench
from testbench.emulated.stack import Credentials

START, END = datetime(2026, 11, 22, 10, tzinfo=UTC), datetime(2026, 11, 22, 10, 1, tzinfo=UTC)
RANGE = ("--start", "2026-11-22T10:00:00Z", "--end", "2026-11-22T11:00:00Z")


def person(bench: Bench, *policies: str) -> Credentials:
    return bench.stack.person(f"person-{uuid.uuid4()}", *policies)


@pytest.fixture(scope="module")
def look(bench: Bench) -> Credentials:
    return person(bench, "ReadOnlyPolicy")


@pytest.fixture(scope="module")
def repair(bench: Bench) -> Credentials:
    return person(bench, "ReadOnlyPolicy", "RepairPolicy")


@pytest.fixture
def account(bench: Bench) -> str:
    return bench.corrupted()


def test_who_looks_may_show_and_start_nothing(
    bench: Bench, look: Credentials, account: str
) -> None:
    shown = ("show", "--account", account, "--record-type", "items", *RANGE, "--minutes", "1")
    code, said = bench.command(*shown, who=look)
    assert code == DONE, said
    for command in ("verify", "repair"):
        code, said = bench.command(command, "--account", account, *RANGE, who=look)
        assert code == FAILED, said
        assert "StartExecution" in said
    with pytest.raises(AuthorizationError):
        AggregatedMetrics.create_or_update(
            check.api_client(bench.stack, look), account, "items", START, END, 1, 6
        )


def test_who_repairs_may_repair(bench: Bench, repair: Credentials, account: str) -> None:
    for command in ("repair", "verify"):
        code, said = bench.command(command, "--account", account, *RANGE, who=repair)
        assert code == DONE, said


def requests(bench: Bench, who: Credentials) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What else the runbook has people do, by the policy that it takes."""
    app = bench.stack.app
    dynamodb, sqs, functions, logs = (
        bench.stack.client(name, who) for name in ("dynamodb", "sqs", "lambda", "logs")
    )
    queue, entry = app["QuarantineQueueUrl"], {"hour": {"S": "x"}}
    yield "look", lambda: sqs.receive_message(QueueUrl=queue)
    yield "repair", lambda: sqs.delete_message(QueueUrl=queue, ReceiptHandle=received(bench))
    yield (
        "look",
        lambda: functions.list_event_source_mappings(FunctionName=app["StreamAggregatorFunction"]),
    )
    yield (
        "look",
        lambda: dynamodb.get_item(TableName=app["PendingHoursTable"], Key=entry),
    )
    yield "look", lambda: logs.filter_log_events(logGroupName=app["ReconcilerLogs"], limit=1)
    yield "nobody", lambda: functions.invoke(FunctionName=app["BucketSweeperFunction"])
    yield (
        "nobody",
        lambda: dynamodb.batch_write_item(
            RequestItems={app["PendingHoursTable"]: [{"PutRequest": {"Item": entry}}]}
        ),
    )
    yield "nobody", lambda: dynamodb.scan(TableName=bench.stack.tables["Item"])
    yield "nobody", lambda: functions.delete_function(FunctionName=app["ReconcilerFunction"])
    yield "nobody", lambda: sqs.purge_queue(QueueUrl=queue)


def received(bench: Bench) -> str:
    """The handle of a quarantined message."""
    sqs, queue = bench.stack.client("sqs"), bench.stack.app["QuarantineQueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody="{}")
    return str(sqs.receive_message(QueueUrl=queue)["Messages"][0]["ReceiptHandle"])


@pytest.mark.parametrize("who", ["look", "repair"])
def test_a_person_may_do_what_the_runbook_has_it_do_and_no_more(
    bench: Bench, look: Credentials, repair: Credentials, who: str
) -> None:
    allowed = {"look"} if who == "look" else {"look", "repair"}
    for needed, request in requests(bench, look if who == "look" else repair):
        if needed in allowed:
            request()
        else:
            with pytest.raises(ClientError, match=r"not authorized|AccessDenied"):
                request()


def test_who_attaches_may_attach_and_change_nothing(
    bench: Bench, tmp_path: Path, account: str
) -> None:
    who = person(bench, "AttachPolicy")
    asked = ("--api-id", bench.stack.backend["GraphQLApiId"], "--dry-run")
    own = ("--endpoint", bench.stack.graphql_endpoint, "--config", str(tmp_path / "s.toml"))
    code, said = bench.command("attach", *asked, *own, who=who)
    assert code == DONE, said
    with pytest.raises(AuthorizationError):
        AggregatedMetrics.create_or_update(
            check.api_client(bench.stack, who), account, "items", START, END, 1, 6
        )
