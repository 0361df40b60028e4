"""The local stack with rows in its tables, and what an end-to-end test does to it."""

import io
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aggregated_metrics.adapters.appsync import AppSyncClient
from aggregated_metrics.model import AggregatedMetrics

from aggregated_metrics_cli.main import main
from testbench import oracle, rows
from testbench.emulated import check
from testbench.emulated.check import Buckets, Verdict
from testbench.emulated.stack import APP_STACK, ROOT_CREDENTIALS, Credentials, EmulatedStack
from testbench.emulated.writing import put_all, write
from testbench.traffic import ACCOUNTS, Traffic, Write, traffic

GRACE = timedelta(seconds=2)
HOUR = datetime(2026, 11, 22, 10, tzinfo=UTC)
"""Of rows that are made by testbench/rows.py."""
_STREAMS = {
    "accountId": {"S": "_streams"},
    "compositeKey": {"S": "_streams#1970-01-01T00:00:00Z#60"},
}
_LOOK_SECONDS = 0.25
_PATIENCE_SECONDS = 600


@dataclass
class Bench:
    """The stack, and what has been written to its tables by now."""

    stack: EmulatedStack
    reader: AppSyncClient
    vandal: AppSyncClient
    now: datetime = field(
        default_factory=lambda: datetime.now(UTC).replace(second=0, microsecond=0)
    )
    uncountable: set[tuple[str, str]] = field(default_factory=set)

    def traffic(self, name: str, rows: int, *, minutes: int, hours_ago: float) -> Traffic:
        end = self.now - timedelta(hours=hours_ago)
        return traffic(rows, 7, end, minutes=minutes, name=name)

    def write(self, made: Traffic) -> int:
        self.uncountable |= made.uncountable
        return write(self.stack, made)

    def stored(self, *accounts: str) -> dict[oracle.Key, AggregatedMetrics]:
        return check.stored(self.reader, accounts or ACCOUNTS)

    def judge(self) -> tuple[Verdict, Buckets]:
        """Sweep, and compare every bucket with all rows of the traffic's accounts by now."""
        swept, _ = check.sweep(self.stack)
        buckets, counted = self.stored(), check.counted(self.stack)
        counted = {key: measures for key, measures in counted.items() if key[0] in ACCOUNTS}
        return check.compare(counted, buckets, swept=swept, grace=GRACE), buckets

    def put(self, model: str, row: dict[str, Any]) -> None:
        """Write a new row."""
        write_ = Write(self.now, model, row["id"], row, is_new=True)
        put_all(self.stack.client("dynamodb"), self.stack.tables, [write_])

    def counts(self, account: str) -> set[int]:
        """The counts of an account's items in the hour of `corrupted`."""
        end = HOUR.replace(minute=59)
        found = AggregatedMetrics.list_by_time_range(self.reader, account, HOUR, end, "items")
        return {bucket.count for bucket in found}

    def corrupted(self) -> str:
        """A new account with one item, whose minute says that there are five."""
        account = f"acct-{uuid.uuid4()}"
        self.put("Item", rows.item(f"item-{account}", accountId=account))
        wait(lambda: self.counts(account) == {1})
        self.corrupt(account)
        return account

    def corrupt(self, account: str) -> None:
        """Have that minute say five again."""
        start = HOUR.replace(minute=5)
        AggregatedMetrics.create_or_update(
            self.vandal, account, "items", start, start.replace(minute=6), 1, 5
        )

    def as_of(self) -> dict[str, str | None]:
        """Up to when each record type is known to be counted, as the last sweep has stored it."""
        found = self.stack.client("dynamodb").get_item(
            TableName=self.stack.backend["AggregatedMetricsTableName"], Key=_STREAMS
        )
        known = found["Item"]["metadata"]["M"]["asOf"]["M"]
        return {name: value.get("S") for name, value in known.items()}

    def command(self, *given: str, who: Credentials = ROOT_CREDENTIALS) -> tuple[int, Any]:
        """Run a command on the stack; gives its exit code, and its JSON or what it said."""
        out, err = io.StringIO(), io.StringIO()
        stack = () if given[0] == "attach" else ("--stack", APP_STACK)
        variables = os.environ | self.stack.variables(who)
        with _environment(variables):
            code = main([*given, *stack, "--json"], environment=variables, out=out, err=err)
        return code, json.loads(out.getvalue()) if out.getvalue() else err.getvalue()

    def resources(self, stack: str) -> list[dict[str, Any]]:
        """What a stack has, as CloudFormation describes it."""
        formation = self.stack.client("cloudformation")
        found: list[dict[str, Any]] = formation.describe_stack_resources(StackName=stack)[
            "StackResources"
        ]
        return found

    def physical_id(self, stack: str, name: str) -> str:
        """The id of a resource, by its name in the template."""
        (found,) = (
            each["PhysicalResourceId"]
            for each in self.resources(stack)
            if each["LogicalResourceId"] == name
        )
        return str(found)

    @contextmanager
    def configured(self, function: str, **changes: Any) -> Iterator[None]:
        """The function with another configuration; `Environment` names only what differs."""
        client, name = self.stack.client("lambda"), self.stack.app[function]
        before = client.get_function_configuration(FunctionName=name)
        variables = before["Environment"]["Variables"]
        if "Environment" in changes:
            changes["Environment"] = {"Variables": variables | changes["Environment"]}
        client.update_function_configuration(FunctionName=name, **changes)
        try:
            yield
        finally:
            client.update_function_configuration(
                FunctionName=name,
                Timeout=before["Timeout"],
                Environment={"Variables": variables},
            )


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set this process's variables for a while: boto3 has no other way to take an endpoint."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def wait(condition: Callable[[], Any]) -> None:
    """Wait until it holds, however slow the machine is just now."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"not so after {_PATIENCE_SECONDS} s"
        time.sleep(_LOOK_SECONDS)


@contextmanager
def table(bench: Bench, name: str) -> Iterator[str]:
    """A table with a stream; gives the stream's ARN."""
    dynamodb = bench.stack.client("dynamodb")
    made = dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    yield made["TableDescription"]["LatestStreamArn"]
    dynamodb.delete_table(TableName=name)
