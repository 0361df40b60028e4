"""What each of the stack's managed policies lets a person do, and what it does not."""

import io
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aggregated_metrics.adapters.pending_hours import _item
from aggregated_metrics.core.errors import AuthorizationError
from aggregated_metrics.core.hours import HourId, Series
from aggregated_metrics.model import AggregatedMetrics
from botocore.exceptions import ClientError

from aggregated_metrics_cli.exit_codes import DONE, FAILED
from aggregated_metrics_cli.main import main
from testbench.emulated import check
from testbench.emulated.stack import APP_STACK, REGION, Credentials
from testbench.emulated.world import World

START, END = datetime(2026, 11, 22, 10, tzinfo=UTC), datetime(2026, 11, 22, 10, 1, tzinfo=UTC)
RANGE = ("--start", "2026-11-22T10:00:00Z", "--end", "2026-11-22T11:00:00Z")


def person(world: World, *policies: str) -> Credentials:
    """A new user who has these policies of the stack, and nothing else."""
    iam, name = world.stack.client("iam"), f"person-{uuid.uuid4()}"
    iam.create_user(UserName=name)
    for policy in policies:
        iam.attach_user_policy(UserName=name, PolicyArn=world.stack.app[policy])
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return Credentials(key["AccessKeyId"], key["SecretAccessKey"])


@pytest.fixture(scope="module")
def look(world: World) -> Credentials:
    return person(world, "ReadOnlyPolicy")


@pytest.fixture(scope="module")
def repair(world: World) -> Credentials:
    return person(world, "ReadOnlyPolicy", "RepairPolicy")


@pytest.fixture
def account(world: World) -> str:
    """An account with a bucket that no row has made."""
    name = f"acct-{uuid.uuid4()}"
    AggregatedMetrics.create_or_update(world.vandal, name, "items", START, END, 1, 5)
    return name


def command(
    world: World, who: Credentials, monkeypatch: pytest.MonkeyPatch, *given: str
) -> tuple[int, str]:
    """Run a command as that person; gives its exit code and what it wrote."""
    variables = {
        "AWS_ENDPOINT_URL": world.stack.endpoint,
        "AWS_ACCESS_KEY_ID": who.access_key,
        "AWS_SECRET_ACCESS_KEY": who.secret_key,
        "AWS_DEFAULT_REGION": REGION,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    out, err = io.StringIO(), io.StringIO()
    code = main([*given, "--stack", APP_STACK, "--json"], out=out, err=err)
    return code, out.getvalue() + err.getvalue()


def test_who_looks_may_show_and_start_nothing(
    world: World, look: Credentials, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = command(world, look, monkeypatch, "verify", "--account", account, *RANGE)
    assert code == FAILED, said
    shown = ("show", "--account", account, "--record-type", "items", *RANGE, "--minutes", "1")
    code, said = command(world, look, monkeypatch, *shown)
    assert code == DONE, said
    code, said = command(world, look, monkeypatch, "repair", "--account", account, *RANGE)
    assert code == FAILED, said
    with pytest.raises(AuthorizationError):
        AggregatedMetrics.create_or_update(
            check.api_client(world.stack, look), account, "items", START, END, 1, 6
        )


def test_who_repairs_may_repair(
    world: World, repair: Credentials, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, said = command(world, repair, monkeypatch, "repair", "--account", account, *RANGE)
    assert code == DONE, said
    code, said = command(world, repair, monkeypatch, "verify", "--account", account, *RANGE)
    assert code == DONE, said


def requests(world: World, who: Credentials) -> Iterator[tuple[str, Callable[[], Any]]]:
    """What else the runbook has people do, by the policy that it takes."""
    app = world.stack.app
    dynamodb, sqs, functions, logs = (
        world.stack.client(name, who) for name in ("dynamodb", "sqs", "lambda", "logs")
    )
    hour = _item(HourId(Series(f"acct-{uuid.uuid4()}", "items"), 0), 0, 0, "closed")
    queue = app["QuarantineQueueUrl"]
    yield "look", lambda: sqs.receive_message(QueueUrl=queue)
    yield (
        "look",
        lambda: functions.list_event_source_mappings(FunctionName=app["StreamAggregatorFunction"]),
    )
    yield (
        "look",
        lambda: dynamodb.get_item(TableName=app["PendingHoursTable"], Key={"hour": {"S": "x"}}),
    )
    yield "look", lambda: logs.filter_log_events(logGroupName=app["ReconcilerLogs"], limit=1)
    yield "nobody", lambda: functions.invoke(FunctionName=app["BucketSweeperFunction"])
    yield (
        "nobody",
        lambda: dynamodb.batch_write_item(
            RequestItems={app["PendingHoursTable"]: [{"PutRequest": {"Item": hour}}]}
        ),
    )
    yield "nobody", lambda: dynamodb.scan(TableName=world.stack.tables["Item"])
    yield "nobody", lambda: functions.delete_function(FunctionName=app["ReconcilerFunction"])
    yield "nobody", lambda: sqs.purge_queue(QueueUrl=queue)


@pytest.mark.parametrize("who", ["look", "repair"])
def test_a_person_may_do_what_the_runbook_has_it_do_and_no_more(
    world: World, look: Credentials, repair: Credentials, who: str
) -> None:
    allowed = {"look"} if who == "look" else {"look", "repair"}
    for needed, request in requests(world, look if who == "look" else repair):
        if needed in allowed:
            request()
        else:
            with pytest.raises(ClientError, match=r"not authorized|AccessDenied"):
                request()


def test_who_attaches_may_attach_and_change_nothing(
    world: World, tmp_path: Path, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = person(world, "AttachPolicy")
    monkeypatch.setenv("AWS_ENDPOINT_URL", world.stack.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", who.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", who.secret_key)
    out = io.StringIO()
    asked = ("--api-id", world.stack.backend["GraphQLApiId"], "--region", REGION, "--dry-run")
    own = ("--endpoint", world.stack.graphql_endpoint, "--config", str(tmp_path / "s.toml"))
    assert main(["attach", *asked, *own], out=out, err=out) == 0, out.getvalue()
    with pytest.raises(AuthorizationError):
        AggregatedMetrics.create_or_update(
            check.api_client(world.stack, who), account, "items", START, END, 1, 6
        )
