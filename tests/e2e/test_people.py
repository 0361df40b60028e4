"""What each of the stack's managed policies lets a person do, and what it does not."""

import uuid
from contextlib import nullcontext
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


@pytest.mark.parametrize("who", ["look", "repair"])
def test_a_person_may_do_what_the_runbook_has_it_do_and_no_more(
    bench: Bench, look: Credentials, repair: Credentials, who: str
) -> None:
    app, queue = bench.stack.app, bench.stack.app["QuarantineQueueUrl"]
    own, as_ = bench.stack.client("sqs"), look if who == "look" else repair
    dynamodb, sqs, functions = (
        bench.stack.client(name, as_) for name in ("dynamodb", "sqs", "lambda")
    )
    own.send_message(QueueUrl=queue, MessageBody="{}")
    (message,) = own.receive_message(QueueUrl=queue)["Messages"]
    handle, entry = message["ReceiptHandle"], {"hour": {"S": "x"}}
    sqs.receive_message(QueueUrl=queue)
    dynamodb.get_item(TableName=app["PendingHoursTable"], Key=entry)
    functions.list_event_source_mappings(FunctionName=app["StreamAggregatorFunction"])
    with nullcontext() if who == "repair" else refused():
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=handle)
    with refused():
        functions.invoke(FunctionName=app["BucketSweeperFunction"])
    with refused():
        dynamodb.put_item(TableName=app["PendingHoursTable"], Item=entry)
    with refused():
        dynamodb.scan(TableName=bench.stack.tables["Item"])


def refused() -> Any:
    return pytest.raises(ClientError, match=r"not authorized|AccessDenied")


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
