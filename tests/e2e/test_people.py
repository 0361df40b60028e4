"""What each of the stack's managed policies lets a person do, and what it does not."""

import uuid
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from aggregated_metrics_cli.exit_codes import DONE, FAILED
from testbench.emulated.functions import command
from tests.e2e.bench import RANGE, Bench

POLICIES = {
    "look": ("ReadOnlyPolicy",),
    "repair": ("ReadOnlyPolicy", "RepairPolicy"),
    "attach": ("AttachPolicy",),
}


@pytest.fixture(scope="module")
def people(bench: Bench) -> dict[str, Credentials]:
    """One for each of POLICIES."""
    return {
        name: bench.stack.person(f"{name}-{uuid.uuid4()}", *policies)
        for name, policies in POLICIES.items()
    }


@pytest.fixture
def account(bench: Bench) -> str:
    return bench.corrupted()


def test_who_looks_may_show_and_start_nothing(
    bench: Bench, people: dict[str, Credentials], account: str
) -> None:
    asked = ("--account", account, *RANGE)
    shown = ("show", *asked, "--record-type", "items", "--minutes", "1")
    code, said = command(bench.stack, *shown, who=people["look"])
    assert code == DONE, said
    for name in ("verify", "repair"):
        code, said = command(bench.stack, name, *asked, who=people["look"])
        assert code == FAILED, said
        assert "StartExecution" in said


def test_who_repairs_may_repair(bench: Bench, people: dict[str, Credentials], account: str) -> None:
    for name in ("repair", "verify"):
        code, said = command(bench.stack, name, "--account", account, *RANGE, who=people["repair"])
        assert code == DONE, said


@pytest.mark.parametrize("who", ["look", "repair"])
def test_a_person_may_do_what_the_runbook_has_it_do_and_no_more(
    bench: Bench, people: dict[str, Credentials], who: str
) -> None:
    app, queue = bench.stack.app, bench.stack.app["QuarantineQueueUrl"]
    own = bench.stack.client("sqs")
    dynamodb, sqs, functions = (
        bench.stack.client(name, people[who]) for name in ("dynamodb", "sqs", "lambda")
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
        dynamodb.scan(TableName=bench.stack.table("Item"))


def refused() -> Any:
    return pytest.raises(ClientError, match=r"not authorized|AccessDenied")


def test_who_attaches_may_attach(
    bench: Bench, people: dict[str, Credentials], tmp_path: Path
) -> None:
    asked = ("--api-id", bench.stack.backend["GraphQLApiId"], "--dry-run")
    own = ("--endpoint", bench.stack.graphql_endpoint, "--config", str(tmp_path / "s.toml"))
    code, said = command(bench.stack, "attach", *asked, *own, who=people["attach"])
    assert code == DONE, said
