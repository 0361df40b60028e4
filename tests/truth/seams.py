"""The seams between the truth test and the engine that it tests.

Of tests/truth only this module and mutations.py (what each mutation patches) import the engine. One
process of it (testbench/engine.py) has as its ports a session (requests' `post`), boto3's clients
by name, a clock and a sleep; what else it holds is memory. What events and results look like, what
is stored, and what the API is asked for is known here, and nowhere else.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

from aggregated_metrics.adapters import source_rows
from aggregated_metrics.core import buckets
from aggregated_metrics.core.series import HourId, Series, hour_key
from aggregated_metrics.jobs import backfiller
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    OperationDefinitionNode,
    get_argument_values,
    get_operation_ast,
    get_variable_values,
    parse,
)

from testbench import oracle
from testbench.engine import Call, Context, Engine, Event, walk_backfill
from testbench.fakes.models import schema

__all__ = ["Call", "Context", "Engine", "Event", "walk_backfill"]

PRELOAD = (
    "aggregated_metrics.jobs.aggregator",
    "aggregated_metrics.jobs.sweeper",
    "aggregated_metrics.jobs.reconciler",
    "aggregated_metrics.jobs.recount",
)
"""What a new worker process has imported already."""
META = ("checkpoints", "countedUntil", "unindexed")
"""Names in metadata that the engine gives a meaning to."""

type Minute = tuple[str, str, str]
"""Account, series (oracle.Key), start."""


@contextmanager
def pages(rows: int) -> Iterator[None]:
    """Meanwhile read so many rows a page, and put down a scan's totals after four times as many."""
    kept = source_rows.PAGE, backfiller.ROWS_A_PART
    source_rows.PAGE, backfiller.ROWS_A_PART = rows, 4 * rows
    try:
        yield
    finally:
        source_rows.PAGE, backfiller.ROWS_A_PART = kept


# --------------------------------------------------------------------------------------------------
# What the functions are asked for, and what they answer
# --------------------------------------------------------------------------------------------------
SWEEP: Call = ("bucket_sweeper", {})
CHECK: Call = ("reconciler", {"repair": True})
"""The hourly check of all pending hours that are over."""


def aggregate(records: Iterable[Event], shard: str | None) -> Call:
    """Count a batch; `shard` is None for an event that does not name it."""
    named = {"shardId": shard, "state": {}, "window": {}} if shard else {}
    return "stream_aggregator", {"Records": list(records), **named}


REPAIR_LOST_BATCHES: Call = ("reconciler", {"failedBatches": {"repair": True}})
"""Repair the hours of the batches that were given up."""
REPAIR_QUARANTINE: Call = ("reconciler", {"quarantine": {"repair": True}})
"""Repair the hours of the records in quarantine."""


def repair_range(account: str, record_types: Iterable[str], start: str, end: str) -> Call:
    """Check an account's hours from start up to end."""
    asked = {"accountId": account, "recordTypes": sorted(record_types), "start": start, "end": end}
    return "reconciler", {"range": asked | {"repair": True}}


def settle(invoke: Callable[[Call], Any], call: Call) -> bool:
    """Carry out a call; whether it left nothing to be done again.

    `invoke` gives None for an invocation that failed.
    """
    result = invoke(call)
    return result is not None and is_settled(result)


def is_settled(result: Mapping[str, Any]) -> bool:
    """Whether a check left nothing to be done again.

    Hours that are not over are left to the hourly check: an uncountable record that stays in
    quarantine names those of its old image each time.
    """
    named = result.get("notReached", ())
    not_over = sum(str(each).endswith("is not over") for each in named)
    return not result["inFlux"] and not_over >= min(result["notReachedCount"], len(named) or 1)


def repaired(result: Any) -> list[tuple[Minute, int, tuple[int, ...]]]:
    """The buckets that a check has set (start, size), and to what, in the group-by's order."""
    if not isinstance(result, Mapping) or not result.get("repaired"):
        return []
    return [
        (
            (drift["accountId"], oracle.series_of(drift), drift["timeRangeStart"]),
            drift["numberOfMinutes"],
            tuple(drift["counted"][name] for name in oracle.measures_of(drift["recordType"])),
        )
        for drift in result["drift"]
    ]


def repaired_number(result: Any) -> int:
    """How many buckets a check has set: more than it names, if there are many."""
    return int(result.get("repaired") or 0) if isinstance(result, Mapping) else 0


# --------------------------------------------------------------------------------------------------
# What is stored
# --------------------------------------------------------------------------------------------------
class Entry(NamedTuple):
    """A pending hour; `start` is its epoch minute. One that is complete waits for its check."""

    account: str
    series: str
    start: int
    complete: bool


def entries(items: Iterable[Mapping[str, Any]]) -> list[Entry]:
    """The entries among the items of the pending-hours table (in DynamoDB's JSON)."""
    plain = [{name: next(iter(value.values())) for name, value in i.items()} for i in items]
    return [
        Entry(
            item["accountId"],
            oracle.series_of(item),
            int(item["start"]),
            complete="due" not in item,
        )
        for item in plain
        if item["kind"] == "entry"
    ]


def deferred(items: Iterable[Mapping[str, Any]]) -> set[Minute]:
    """The hours that only a Scan can settle, as open checks say: account, series, start."""
    plain = [{name: next(iter(value.values())) for name, value in i.items()} for i in items]
    return {
        (item["accountId"], oracle.series_of(item), buckets.iso(int(item["start"])))
        for item in plain
        if item["kind"] == "check" and item["deferred"]
    }


def entry(account: str, record_type: str, start: int, **ids: str) -> dict[str, Any]:
    """The item of a pending hour that is complete, over, and waits for its check.

    `ids` are scorecardId and scoreId, for an hour of a breakdown.
    """
    series = Series(account, record_type, ids.get("scorecardId"), ids.get("scoreId"))
    texts = {
        "hour": hour_key(HourId(series, start)),
        "kind": "entry",
        "recordType": record_type,
        "accountId": account,
        **ids,
        "token": "made-up",
    }
    numbers = {"start": start, "over": 1, "until": 1}
    return {name: {"S": text} for name, text in texts.items()} | {
        name: {"N": str(number)} for name, number in numbers.items()
    }


def checkpoints(shards: int) -> dict[str, Any]:
    """The metadata of a minute to which so many shards have written."""
    listed = [[f"{i:012x}", str(10**21 + i), 1_790_000_000] for i in range(shards)]
    return {"checkpoints": listed}


def holds_what_rows_do_not_show(bucket: Mapping[str, Any]) -> bool:
    """Whether a bucket holds what no reading of the index could bring back."""
    return "unindexed" in str(bucket.get("metadata"))


# --------------------------------------------------------------------------------------------------
# What the API is asked for
# --------------------------------------------------------------------------------------------------
class Asked(NamedTuple):
    """One field of the API's schema that a request asks for.

    `selected` are the fields of what it gives: of the items, where it gives a page.
    """

    alias: str
    name: str
    arguments: Mapping[str, Any]
    selected: tuple[str, ...]

    @property
    def hour(self) -> tuple[str, str] | None:
        """Account and key prefix of the hour that is loaded; None for another question."""
        key: Any = self.arguments.get("compositeKey")
        if self.name != "listAggregatedMetrics" or "beginsWith" not in (key or {}):
            return None
        return self.arguments["accountId"], key["beginsWith"]

    def reads(self, model: str, account: str) -> bool:
        """Whether it is a page of this account's rows, through an index."""
        return self.name.startswith(f"list{model}By") and account in self.arguments.values()

    @property
    def condition(self) -> Mapping[str, Any]:
        """The condition on the index's sort key, such as {"between": [first, last]}."""
        return next(
            value
            for name, value in self.arguments.items()
            if isinstance(value, Mapping) and name != "filter"
        )


def asked(request: bytes) -> list[Asked]:
    """What a request to the API asks for, field by field."""
    given = json.loads(request)
    operation, fragments = _read(given["query"])
    values: Any = get_variable_values(
        schema(), operation.variable_definitions or (), given.get("variables") or {}
    )
    root: Any = schema().get_root_type(operation.operation)
    found = []
    for node in _fields(operation, fragments):
        arguments = get_argument_values(root.fields[node.name.value], node, values)
        below = _fields(node, fragments)
        items = next((each for each in below if each.name.value == "items"), None)
        found.append(
            Asked(
                _key(node),
                node.name.value,
                {name: value for name, value in arguments.items() if value is not None},
                tuple(map(_key, _fields(items, fragments) if items else below)),
            )
        )
    return found


@lru_cache(maxsize=4096)
def _read(text: str) -> tuple[OperationDefinitionNode, Mapping[str, Any]]:
    document = parse(text)
    operation = get_operation_ast(document)
    assert operation is not None
    nodes = (node for node in document.definitions if isinstance(node, FragmentDefinitionNode))
    return operation, {node.name.value: node for node in nodes}


def _fields(parent: Any, fragments: Mapping[str, Any]) -> list[FieldNode]:
    """The fields of a selection, with fragments put in place."""
    found: list[FieldNode] = []
    for node in parent.selection_set.selections if parent.selection_set else ():
        spread = isinstance(node, FragmentSpreadNode)
        found += _fields(fragments[node.name.value], fragments) if spread else [node]
    return found


def _key(node: FieldNode) -> str:
    return (node.alias or node.name).value
