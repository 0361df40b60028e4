"""The seams between the truth test and the engine that it tests.

Of tests/truth only this module, mutations.py (what each mutation patches) and declared.py (a custom
model) import the engine. Another engine is tested by the same histories when it provides this:

- **Handlers**: functions/<name>/app.py with `lambda_handler(event, context)` for stream_aggregator,
  bucket_sweeper, reconciler and backfiller. Of the context it uses get_remaining_time_in_millis().
- **One process** (testbench/engine.py): `wiring.process()` builds it from the environment,
  `wiring.Process` holds the ports `session` (requests' `post`), `aws` (service name to a client
  with boto3's calls), `clock` and `sleep` (every wait passes through it), which can be replaced.
  What else it holds is memory, and is empty in a new one. A handler asks for wiring.process()
  before its first request.
- **Requests**: hours are loaded by `listAggregatedMetrics` with `accountId` and a `beginsWith` of
  `compositeKey`; rows are read by `list<Model>By…` with the account and a condition on the time.
  meddling.py notices a check by these (`asked`).
- **Events and results**: what this module's functions below write and read, and nothing else.
- **Stored forms**: the items of the pending-hours table (`entries`, `entry`, `deferred`), and what
  metadata holds (`holds_what_rows_do_not_show`, `is_repaired`, `checkpoints`, `META`).
- **Page sizes** (`pages`): small ones, so that few rows take many pages.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, NamedTuple

import graphql
from aggregated_metrics.adapters import source_rows
from aggregated_metrics.core import buckets
from aggregated_metrics.core.declarations import Document
from aggregated_metrics.core.series import HourId, Series, hour_key
from aggregated_metrics.jobs import backfiller

from testbench import oracle
from testbench.engine import Call, Context, Engine, Event

__all__ = ["Call", "Context", "Engine", "Event"]

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
def pages(*, rows: int | None = None, scanned: int | None = None) -> Iterator[None]:
    """Meanwhile read so many rows a page, and put down a scan's totals after so many rows."""
    kept = source_rows.PAGE, backfiller.ROWS_A_PART
    source_rows.PAGE, backfiller.ROWS_A_PART = rows or kept[0], scanned or kept[1]
    source_rows._query.cache_clear()
    try:
        yield
    finally:
        source_rows.PAGE, backfiller.ROWS_A_PART = kept
        source_rows._query.cache_clear()


# --------------------------------------------------------------------------------------------------
# What the functions are asked for, and what they answer
# --------------------------------------------------------------------------------------------------
SWEEP: Call = ("bucket_sweeper", {})
CHECK: Call = ("reconciler", {"repair": True})
"""The hourly check of all pending hours that are over."""


def soft_deletes(environment: Mapping[str, str], models: Iterable[str]) -> dict[str, str]:
    """The environment where rows of these models have `_deleted`."""
    declared = Document.of_variable(environment["MODELS"])
    whole = declared.model_copy(update={"softDeletes": tuple(models)})
    return {**environment, "MODELS": whole.as_variable()}


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
    left = ("inFlux", "notReachedCount")
    return result is not None and not any(result[name] for name in left)


class Repair(NamedTuple):
    """A bucket that a check has set, and to what (in the group-by's order)."""

    minute: Minute
    size: int
    sums: tuple[int, ...]


def repaired(result: Any) -> list[Repair]:
    """What a check has set, by its result."""
    if not isinstance(result, Mapping) or not result.get("repaired"):
        return []
    return [
        Repair(
            (drift["accountId"], oracle.series_of(drift), drift["timeRangeStart"]),
            drift["numberOfMinutes"],
            tuple(drift["counted"][name] for name in oracle.measures_of(drift["recordType"])),
        )
        for drift in result["drift"]
    ]


def repaired_number(result: Any) -> int:
    """How many buckets a check has set: more than it names, if there are many."""
    return int(result.get("repaired") or 0) if isinstance(result, Mapping) else 0


def backfill(
    invoke: Callable[[Call], Any],
    run: str,
    *,
    models: Iterable[str] = (),
    segments: int,
    partitions: int,
    between_passes: Callable[[], object],
    before: Callable[[str], object] = lambda _: None,
) -> tuple[int, int]:
    """Count whole tables, as the state machine does; how many buckets were set, and are in flux.

    Args:
        invoke: carries out one step; again until it succeeds.
        run: the execution's name.
        models: whose tables; none for all that are attached.
        segments, partitions: into how many each table is cut, and all hours are.
        between_passes: the wait.
        before: is told the step that comes ("reduce", "report").
    """

    def step(**event: Any) -> Any:
        return invoke(("backfiller", event))

    def read(number: int) -> None:
        for unit in plan["units"]:
            while not step(scan=unit | {"pass": number})["done"]:
                pass

    asked: dict[str, Any] = {"run": run, "segments": segments, "partitions": partitions}
    if chosen := sorted(models):
        asked["models"] = chosen
    plan = step(prepare=asked)
    read(1)
    between_passes()
    read(2)
    step(gather={"run": run})
    for partition in plan["partitions"]:
        following = partition
        while following:
            before("reduce")
            following = step(reduce=following)["next"]
    before("report")
    report = step(report={"run": run})
    return report["repaired"], report["inFlux"]


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


def is_repaired(bucket: Mapping[str, Any] | None) -> bool:
    """Whether a repair has set this bucket."""
    return bucket is not None and "countedUntil" in str(bucket["metadata"])


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

    def includes(self, text: str) -> bool:
        """Whether its condition holds for a row with this time."""
        asked = self.condition
        first, last = asked.get("between", (asked.get("ge", ""), "~"))
        return bool(first <= text <= last)


def asked(request: bytes) -> list[Asked]:
    """What a request to the API asks for, field by field."""
    document = json.loads(request)
    return [
        Asked(
            (selection.alias or selection.name).value,
            selection.name.value,
            {
                argument.name.value: graphql.value_from_ast_untyped(
                    argument.value, document.get("variables")
                )
                for argument in selection.arguments or ()
            },
            selected,
        )
        for selection, selected in _selections(document["query"])
    ]


@lru_cache(maxsize=256)
def _selections(query: str) -> tuple[tuple[graphql.FieldNode, tuple[str, ...]], ...]:
    parts = graphql.parse(query, no_location=True).definitions
    fragments = {p.name.value: p for p in parts if isinstance(p, graphql.FragmentDefinitionNode)}
    (operation,) = (p for p in parts if isinstance(p, graphql.OperationDefinitionNode))
    return tuple(
        (field, tuple(_fields(fields.get("items", field), fragments)))
        for field in _fields(operation, fragments).values()
        for fields in (_fields(field, fragments),)
    )


def _fields(node: Any, fragments: Mapping[str, Any]) -> dict[str, graphql.FieldNode]:
    """The fields that a node selects, by alias or name; fragments are resolved."""
    found: dict[str, graphql.FieldNode] = {}
    for selection in node.selection_set.selections if node.selection_set else ():
        if isinstance(selection, graphql.FieldNode):
            found[(selection.alias or selection.name).value] = selection
        else:
            found |= _fields(fragments[selection.name.value], fragments)
    return found
