"""Each function works with its role, and fails with any one of its permissions taken away.

The emulator enforces the roles on what the functions call. It reads the streams, writes logs and
delivers failed batches without asking the role: those statements are compared by the contract tests
alone.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aggregated_metrics.adapters.pending_hours import PendingHours
from aggregated_metrics.core.series import HourId, Series, hour_key

from testbench import rows
from testbench.emulated.functions import invoke, wait
from testbench.emulated.stack import StepError
from testbench.engine import walk_backfill
from testbench.privileges import DOCUMENTS, statements
from testbench.streams import Stream, event
from tests.e2e.bench import HOUR, MINUTE, Bench

RANGE = {"start": "2026-11-22T10:00:00Z", "end": "2026-11-22T11:00:00Z"}
LISTINGS = {"!Ref": "ListingFieldArns"}
ITEMS = "listItemByAccountIdAndCreatedAt"
"""What the reconciler lists here: the account's rows are all of the one model."""
NOT_ASKED = {"Log", "KeepFailedBatches", "FindFailedBatchesBucket", None}


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


class Account:
    """An account with one row, whose minute says five."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.stack = bench, bench.stack
        wait(self.is_current)
        self.id = bench.corrupted()
        self.stream = Stream("Item")
        self.pending = PendingHours(
            bench.dynamodb,
            self.stack.app["PendingHoursTable"],
            clock=lambda: datetime.now(UTC),
            grace=0,
        )

    def is_current(self) -> bool:
        """Whether a sweep knows that the streams are applied: nothing is completed before."""
        invoke(self.stack, "BucketSweeperFunction", {})
        return None not in self.bench.as_of().values()

    def row(self, name: str, **changes: Any) -> dict[str, Any]:
        return rows.item(f"{name}-{self.id}", accountId=self.id, **changes)

    def hour(self, record_type: str = "items") -> HourId:
        return HourId(Series(self.id, record_type), int(HOUR.timestamp()) // 60)

    def delete_rollup(self) -> None:
        """Delete a rollup, which a scheduled sweep makes again in its next minute."""
        self.bench.change(self.id, "items#2026-11-22T10:05:00Z#5", None)

    def delete_entry(self) -> bool:
        """Forget the hour: only the entry of a repair is deleted by it. Whether it was there."""
        found = self.bench.dynamodb.delete_item(
            TableName=self.stack.app["PendingHoursTable"],
            Key={"hour": {"S": hour_key(self.hour())}},
            ReturnValues="ALL_OLD",
        )
        return "Attributes" in found

    def poison(self) -> None:
        """A minute that the API cannot give: a required field is missing."""
        self.bench.change(self.id, "items#2026-11-22T10:07:00Z#1", {"cost": 1})

    def count(self) -> None:
        """New buckets, changed ones, a refused record, and an hour that cannot be read."""
        self.deliver(self.row("a", createdAt="2026-11-22T10:25:00.000Z"))
        self.deliver(self.row("b"))
        self.poison()
        self.deliver(self.row("c", createdAt=None))
        self.deliver(self.row("d"))

    def deliver(self, row: dict[str, Any]) -> None:
        """A batch with the row's insertion."""
        invoke(self.stack, "StreamAggregatorFunction", event(self.stream.insert(row)))

    def sweep(self) -> None:
        """An hour that is due and lacks a rollup, and one of a record type that nothing counts."""
        self.delete_rollup()
        for record_type in ("items", "orders"):
            self.pending.expect(self.hour(record_type), "a test")
        invoke(self.stack, "BucketSweeperFunction", {})

    def reconcile(self) -> None:
        """A range; an hour that another invocation may be writing; a lost batch; quarantine."""
        self.delete_rollup()
        self.delete_entry()
        asked = {"range": {"accountId": self.id, **RANGE, "repair": True}}
        found = invoke(self.stack, "ReconcilerFunction", asked)
        assert found["repaired"] == found["driftCount"] > 0
        self.bench.change(self.id, MINUTE, {"count": 5})
        self.pending.touch({self.hour(): int(time.time())})
        invoke(self.stack, "ReconcilerFunction", {"repair": True})
        lost = (self.row("a"), self.row("b", createdAt=None))
        self.bench.lose_batch(*map(self.stream.insert, lost))
        wait(lambda: invoke(self.stack, "ReconcilerFunction", {"failedBatches": {}})["hours"])
        self.bench.quarantine(self.stream.insert(self.row("c")))
        assert invoke(self.stack, "ReconcilerFunction", {"quarantine": {}})["hours"]

    def backfill(self) -> None:
        """Every step of a run, as the state machine calls them: it would try again for minutes."""
        self.bench.put("FeedbackItem", rows.feedback_item(f"f-{self.id}", accountId=self.id))
        # of this hour, which is not over, and listed outside of it
        later = datetime.now(UTC) + timedelta(hours=1)
        row = self.row("a", createdAt=f"{later:%Y-%m-%dT%H:%M:00.000+01:00}")
        self.bench.put("Item", row)
        self.delete_rollup()
        self.delete_entry()
        found = walk_backfill(
            lambda call: invoke(self.stack, "BackfillerFunction", call[1]),
            lambda: time.sleep(2),  # the passes lie a second apart
            run=f"run-{self.id}",
            models=["Item", "FeedbackItem"],
        )
        assert (found["repaired"] == found["driftCount"] > 0, found["failed"]) == (True, [])
        if self.delete_entry():
            raise StepError("the entry of an hour that came out right still stands")

    def do(self, function: str) -> None:
        ways = {
            "Backfiller": self.backfill,
            "StreamAggregator": self.count,
            "BucketSweeper": self.sweep,
            "Reconciler": self.reconcile,
        }
        ways[function]()


@pytest.mark.parametrize("function", DOCUMENTS)
def test_a_function_works_with_its_role(bench: Bench, function: str) -> None:
    Account(bench).do(function)


@pytest.mark.thorough  # eight seconds each
@pytest.mark.parametrize(("function", "permission"), PROBES)
def test_a_function_fails_without_any_one_permission(
    bench: Bench, function: str, permission: str
) -> None:
    account = Account(bench)
    with bench.without(function, permission), pytest.raises(StepError):
        account.do(function)
