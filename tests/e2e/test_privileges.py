"""Each function works with its role, and fails with any one of its permissions taken away.

The emulator enforces the roles on AppSync's fields, the table of pending hours, the queue and
CloudWatch. It reads the streams, writes logs and traces and delivers failed batches without asking
the role: those statements are compared by the contract tests alone.
"""

import copy
import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from aggregated_metrics.adapters.pending_hours import _item
from aggregated_metrics.core.hours import HourId, Series
from aggregated_metrics.model import AggregatedMetrics

from testbench import rows
from testbench.emulated.functions import StepError, invoke
from testbench.emulated.world import World, wait
from testbench.privileges import DOCUMENTS, statements
from testbench.streams import Stream, event

HOUR = datetime(2026, 11, 22, 10, tzinfo=UTC)
RANGE = {"start": "2026-11-22T10:00:00Z", "end": "2026-11-22T11:00:00Z"}
LISTINGS = {"!Ref": "ListingFieldArns"}
ITEMS = "listItemByAccountIdAndCreatedAt"
"""What the reconciler lists here: the account's rows are all of the one model."""
NOT_ASKED = {"Log", "Trace", "KeepFailedBatches", "FindFailedBatchesBucket", None}


def permissions(function: str) -> Iterator[str]:
    """What can be taken away: `field` of AppSync, or an action."""
    for statement in statements(function):
        if statement.get("Sid") in NOT_ASKED:
            continue
        if statement["Action"] == "appsync:GraphQL" and statement["Resource"] == LISTINGS:
            yield ITEMS
        elif statement["Action"] == "appsync:GraphQL":
            yield from (field["!Sub"].rpartition("/")[2] for field in statement["Resource"])
        else:
            actions = statement["Action"]
            yield from actions if isinstance(actions, list) else [actions]


PROBES = [(function, name) for function in DOCUMENTS for name in permissions(function)]


@contextmanager
def without(world: World, function: str, permission: str) -> Iterator[None]:
    """The function's role without one permission."""
    iam, role = world.stack.client("iam"), world.stack.app[f"{function}Role"]
    whole = {
        name: iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]
    }

    def put(policies: Mapping[str, Any]) -> None:
        for name, document in policies.items():
            if document["Statement"]:
                text = json.dumps(document)
                iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=text)
            else:
                iam.delete_role_policy(RoleName=role, PolicyName=name)

    less = copy.deepcopy(whole)
    for document in less.values():
        document["Statement"] = list(filter(None, map(_less(permission), document["Statement"])))
    assert less != whole
    put(less)
    try:
        yield
    finally:
        put(whole)


def _less(permission: str) -> Callable[[dict[str, Any]], dict[str, Any] | None]:
    def take(statement: dict[str, Any]) -> dict[str, Any] | None:
        for key in ("Action", "Resource"):
            given = statement[key] if isinstance(statement[key], list) else [statement[key]]
            kept = [one for one in given if one.rpartition("/")[2].rstrip("*") != permission]
            if not kept:
                return None
            statement[key] = kept
        return statement

    return take


class Account:
    """An account of its own, with one wrong hour."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.id = f"acct-{uuid.uuid4()}"
        self.stream = Stream("Item")

    def row(self, name: str, **changes: Any) -> dict[str, Any]:
        return rows.item(name, accountId=self.id, **changes)

    def bucket(self) -> None:
        """An incomplete minute without parents, and without rows."""
        start, end = HOUR, HOUR.replace(minute=1)
        AggregatedMetrics.create_or_update(
            self.world.vandal, self.id, "items", start, end, 1, 5, complete=False
        )

    def mark(self, state: Any) -> None:
        """Say that the hour is due to be swept, or to be checked."""
        hour = HourId(Series(self.id, "items"), int(HOUR.timestamp()) // 60)
        self.world.stack.client("dynamodb").put_item(
            TableName=self.world.stack.app["PendingHoursTable"], Item=_item(hour, 0, 0, state)
        )

    def count(self) -> None:
        """Every way of the stream function: new buckets, changed ones, a refused record."""
        for batch in (
            [self.stream.insert(self.row("a"))],
            [self.stream.insert(self.row("b"))],
            [self.stream.insert(self.row("c", createdAt=None))],
        ):
            invoke(self.world.stack, "StreamAggregatorFunction", event(*batch))

    def sweep(self) -> None:
        self.bucket()
        self.mark("pending")
        invoke(self.world.stack, "BucketSweeperFunction", {})

    def reconcile(self) -> None:
        """Every way of the reconciler: a repair of a wrong hour, then the closed hours."""
        self.bucket()
        asked = {"accountId": self.id, **RANGE, "repair": True}
        found = invoke(self.world.stack, "ReconcilerFunction", asked)
        assert found["repaired"] == found["driftCount"] > 0
        self.mark("closed")
        invoke(self.world.stack, "ReconcilerFunction", {})

    def backfill(self) -> None:
        """Every step of the backfiller, as the state machine calls it."""
        states = self.world.stack.client("stepfunctions")
        machine = self.world.stack.app["BackfillStateMachine"]
        arn = states.start_execution(stateMachineArn=machine, input="{}")["executionArn"]
        look = partial(states.describe_execution, executionArn=arn)
        wait(lambda: look()["status"] != "RUNNING")
        if look()["status"] != "SUCCEEDED":
            raise StepError(look().get("cause"))

    def do(self, function: str) -> None:
        ways = {
            "Backfiller": self.backfill,
            "StreamAggregator": self.count,
            "BucketSweeper": self.sweep,
            "Reconciler": self.reconcile,
        }
        ways[function]()


@pytest.mark.parametrize("function", [name for name in DOCUMENTS if name != "Backfiller"])
def test_a_function_works_with_its_role(world: World, function: str) -> None:
    """The backfiller does too: test_operations has whole tables counted, which is all it does."""
    Account(world).do(function)


@pytest.mark.thorough  # eight seconds each
@pytest.mark.parametrize(("function", "permission"), PROBES)
def test_a_function_fails_without_any_one_permission(
    world: World, function: str, permission: str
) -> None:
    account = Account(world)
    with without(world, function, permission), pytest.raises(StepError):
        account.do(function)
