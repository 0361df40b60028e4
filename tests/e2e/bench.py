"""The local stack with rows in its tables, and what an end-to-end test does to it."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aggregated_metrics.adapters.appsync import AppSyncClient
from aggregated_metrics.model import AggregatedMetrics

from testbench import oracle, rows
from testbench.emulated import check
from testbench.emulated.check import Verdict
from testbench.emulated.functions import invoke, persistently, wait
from testbench.emulated.stack import EmulatedStack
from testbench.emulated.writing import update, write
from testbench.streams import event, image
from testbench.traffic import Traffic, traffic

GRACE = timedelta(seconds=2)
HOUR = datetime(2026, 11, 22, 10, tzinfo=UTC)
"""Of rows that are made by testbench/rows.py."""
MINUTE = "items#2026-11-22T10:05:00Z#1"
"""The key of those rows' minute."""
RANGE = ("--start", "2026-11-22T10:00:00Z", "--end", "2026-11-22T11:00:00Z")
"""Their hour, as the commands take it."""


@dataclass
class Bench:
    """The stack, and a reader of its API."""

    stack: EmulatedStack
    reader: AppSyncClient

    def __post_init__(self) -> None:
        self.dynamodb = self.stack.client("dynamodb")

    def traffic(self, name: str, rows: int, *, minutes: int, hours_ago: float) -> Traffic:
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        return traffic(rows, 7, now - timedelta(hours=hours_ago), minutes=minutes, name=name)

    def write(self, made: Traffic) -> int:
        return write(self.stack, made)

    def stored(self, account: str) -> dict[oracle.Key, AggregatedMetrics]:
        return check.stored(self.reader, [account])

    def judge(self) -> Verdict:
        """The comparison of every bucket with the rows."""
        return check.judge(self.stack, self.reader, GRACE)[0]

    def sweep(self) -> dict[str, Any]:
        """A sweep besides those of the schedule; gives its result."""
        return persistently(lambda: invoke(self.stack, "BucketSweeperFunction", {}))

    def put(self, model: str, row: dict[str, Any]) -> None:
        """Write a new row."""
        self.dynamodb.put_item(TableName=self.stack.table(model), Item=image(row))

    def counts(self, account: str) -> set[int]:
        """The counts of an account's items in the hour of `corrupted`."""
        end = HOUR.replace(minute=59)
        found = AggregatedMetrics.list_by_time_range(self.reader, account, HOUR, end, "items")
        return {bucket.count for bucket in found}

    def corrupted(self) -> str:
        """A new account with one item, whose minute says five: in its rollups a sweep may, too."""
        account = f"acct-{uuid.uuid4()}"
        self.put("Item", rows.item(f"item-{account}", accountId=account))
        wait(lambda: self.counts(account) == {1})
        self.sweep()  # no later one writes the minute
        self.change(account, MINUTE, {"count": 5})
        return account

    def change(self, account: str, key: str, changes: dict[str, Any] | None) -> None:
        """Change or delete a stored bucket, behind the API's back."""
        table = self.stack.backend["AggregatedMetricsTableName"]
        update(self.dynamodb, table, {"accountId": account, "compositeKey": key}, changes)

    def lose_batch(self, *records: dict[str, Any]) -> None:
        """Have a batch age out: Lambda writes it to the bucket, and a rule notes the object."""
        batch = {"payload": json.dumps(event(*records))}
        self.stack.client("s3").put_object(
            Bucket=self.stack.app["OnFailureBucket"],
            Key=f"aws/lambda/{uuid.uuid4()}",
            Body=json.dumps(batch).encode(),
        )

    def quarantine(self, record: dict[str, Any]) -> None:
        """Put a stream record into quarantine."""
        body = json.dumps({"reason": "a test", "record": record})
        queue = self.stack.app["QuarantineQueueUrl"]
        self.stack.client("sqs").send_message(QueueUrl=queue, MessageBody=body)

    def as_of(self) -> dict[str, str | None]:
        """Up to when each record type is known to be counted, as the last sweep has stored it."""
        found = self.dynamodb.get_item(
            TableName=self.stack.backend["AggregatedMetricsTableName"],
            Key=image(
                {"accountId": "_streams", "compositeKey": "_streams#1970-01-01T00:00:00Z#60"}
            ),
        )
        known = found["Item"]["metadata"]["M"]["asOf"]["M"]
        return {name: value.get("S") for name, value in known.items()}

    def resources(self, stack: str) -> list[dict[str, Any]]:
        """What a stack has, as CloudFormation describes it."""
        described = self.stack.client("cloudformation").describe_stack_resources(StackName=stack)
        found: list[dict[str, Any]] = described["StackResources"]
        return found

    @contextmanager
    def without(self, function: str, permission: str) -> Iterator[None]:
        """A function's role without one permission: an action, or a field of the API."""
        iam, role = self.stack.client("iam"), self.stack.app[f"{function}Role"]
        field = f"{self.stack.backend['GraphQLApiArn']}/types/*/fields/{permission}"
        action, resource = (permission, "*") if ":" in permission else ("appsync:GraphQL", field)
        denied = {"Effect": "Deny", "Action": action, "Resource": resource}
        document = json.dumps({"Version": "2012-10-17", "Statement": [denied]})
        iam.put_role_policy(RoleName=role, PolicyName="without", PolicyDocument=document)
        try:
            yield
        finally:
            iam.delete_role_policy(RoleName=role, PolicyName="without")
