"""The seams between the truth test and the engine that it tests.

Of tests/truth only this module, mutations.py (what each mutation patches) and declared.py (a custom
model) import the engine. Another engine is tested by the same histories when it provides this:

- **Handlers**: functions/<name>/app.py with `lambda_handler(event, context)` for stream_aggregator,
  bucket_sweeper, reconciler and backfiller. Of the context it uses get_remaining_time_in_millis().
- **One process**: `wiring.process()` builds it from the environment, `wiring.Process` holds the
  ports `session` (requests' `post`), `aws` (service name to a client with boto3's calls), `clock`
  and `sleep` (every wait passes through it), which can be replaced. What else it holds is memory,
  and is empty in a new one. A handler asks for wiring.process() before its first request.
- **Requests**: hours are loaded by `listAggregatedMetrics` with `accountId` and a `beginsWith` of
  `compositeKey`; rows are read by `list<Model>By…` with the account and a condition on the time.
  meddling.py notices a check by these (`asked`).
- **Events and results**: what this module's functions below write and read, and nothing else.
- **Stored forms**: the items of the pending-hours table (`entries`, `entry`, `deferred`), and what
  metadata holds (`holds_what_rows_do_not_show`, `is_repaired`, `checkpoints`, `META`).
- **Page sizes** (`pages`): small ones, so that few rows take many pages.
"""

import importlib.util
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import graphql
from aggregated_metrics import wiring
from aggregated_metrics.adapters import observability, source_rows
from aggregated_metrics.adapters.source_rows import SourceRows
from aggregated_metrics.jobs import scanner

from aggregated_metrics_cli import queue_repair, redrive
from testbench import oracle

PRELOAD = (
    "tests.truth.declared",  # before the engine
    "aggregated_metrics.jobs.aggregator",
    "aggregated_metrics.jobs.sweeper",
    "aggregated_metrics.jobs.reconciler",
)
"""What a new worker process has imported already."""
META = ("ledger", "fence", "listed")
"""Names in metadata that the engine gives a meaning to."""
_ROOT = Path(__file__).parents[2]
_WIRING: Any = wiring
_OBSERVABILITY: Any = observability
_PROCESS, _INVOCATION = wiring.process, observability.invocation

type Minute = tuple[str, str, str]
"""Account, series (oracle.Key), start."""
type Event = Mapping[str, Any]
type Call = tuple[str, Event]
"""A function, and what it is given."""


# --------------------------------------------------------------------------------------------------
# Invoking the functions
# --------------------------------------------------------------------------------------------------
@dataclass
class Context:
    """As much of Lambda's context as the handlers use; `report` takes the fields of the log line.

    With `report` set nothing is logged or measured.
    """

    time_left: Callable[[], float]
    report: dict[str, Any] | None = None
    aws_request_id: str = field(default="truth", init=False)

    def get_remaining_time_in_millis(self) -> float:
        return max(0.0, self.time_left()) * 1000


class Engine:
    """One process of the functions, as one Lambda sandbox is.

    Args:
        environment: the functions' variables.
        clock: the time now, aware.
        sleep: takes the seconds of every wait.
        session: replaces the session that the API's client posts with.
        aws: replaces boto3's clients: service name to client.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None],
        session: Any = None,
        aws: Callable[[str], Any] | None = None,
    ) -> None:
        deployed = _deployed(tuple(environment.items()))
        self._process = wiring.Process(
            settings=deployed.settings,
            session=session or deployed.session,
            aws=aws or deployed.aws,
            clock=clock,
            sleep=sleep,
        )

    def invoke(self, function: str, event: Event, context: Context) -> Any:
        """Invoke a function as Lambda does; gives its result. Raises what it raises.

        "redrive" is an operator's command; its event is that of `repair_quarantine`.
        """
        if function == "redrive":
            return _redrive(self._process, event)
        # Each handler asks for both before its first request. Greenlets meet only at requests.
        _WIRING.process = lambda: self._process
        if context.report is not None:
            _OBSERVABILITY.invocation = _reported
        try:
            result = _handler(function)(event, context)
        finally:
            _WIRING.process, _OBSERVABILITY.invocation = _PROCESS, _INVOCATION
        return json.loads(json.dumps(result, default=str))


@lru_cache(maxsize=8)
def _deployed(environment: tuple[tuple[str, str], ...]) -> wiring.Process:
    with patch.dict(os.environ, dict(environment)):
        return _PROCESS.__wrapped__()


@cache
def _handler(function: str) -> Callable[[Any, Any], Any]:
    path = _ROOT / "functions" / function / "app.py"
    spec = importlib.util.spec_from_file_location(f"truth_{function}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    handler: Callable[[Any, Any], Any] = module.lambda_handler
    return handler


@contextmanager
def _reported(_: str, context: Context) -> Iterator[dict[str, Any]]:
    report: dict[str, Any] = {}
    try:
        yield report
    finally:
        if context.report is not None:
            context.report.update(report)


def _redrive(process: wiring.Process, event: Event) -> dict[str, Any]:
    """As `aggregated-metrics redrive` does, with messages that were received already."""
    rows = SourceRows(process.client(lambda: 60.0), clock=process.clock)
    jobs = [
        redrive.classify(
            queue_repair.QueueMessage(str(i), "", json.loads(body)),
            process.settings.SOURCE_TABLES,
            rows.row,
            process.clock(),
            process.settings.BREAKDOWNS,
        )
        for i, body in enumerate(event["bodies"])
    ]
    repaired = queue_repair.repair(process, jobs)
    return {"unsettled": len(repaired.unsettled) + len(repaired.failed)}


@contextmanager
def pages(*, rows: int | None = None, scanned: int | None = None) -> Iterator[None]:
    """Meanwhile read so many rows a page, and put down a scan's totals after so many rows."""
    kept = source_rows.PAGE, scanner.ROWS
    source_rows.PAGE, scanner.ROWS = rows or kept[0], scanned or kept[1]
    try:
        yield
    finally:
        source_rows.PAGE, scanner.ROWS = kept


# --------------------------------------------------------------------------------------------------
# What the functions are asked for, and what they answer
# --------------------------------------------------------------------------------------------------
SWEEP: Call = ("bucket_sweeper", {})
CHECK: Call = ("reconciler", {"repair": True})
"""The hourly check of all pending hours that are over."""


SOFT_DELETES: Mapping[str, str] = {}
"""What the environment says where rows have `_deleted`. Today's engine does not know it."""


def aggregate(records: Iterable[Event], shard: str | None) -> Call:
    """Count a batch; `shard` is None for an event that does not name it."""
    named = {"shardId": shard, "state": {}, "window": {}} if shard else {}
    return "stream_aggregator", {"Records": list(records), **named}


def repair_lost_batch(event: Event) -> Call:
    """Repair what a batch that was given up would have counted."""
    return "reconciler", {"onFailure": {"payload": json.dumps(event)}}


def repair_quarantine(bodies: Iterable[str]) -> Call:
    """Repair the hours of the records in these messages."""
    return "redrive", {"bodies": list(bodies)}


def repair_range(account: str, record_types: Iterable[str], start: str, end: str) -> Call:
    """Check an account's hours from start up to end."""
    asked = {"accountId": account, "recordTypes": sorted(record_types), "start": start, "end": end}
    return "reconciler", asked | {"repair": True}


def settle(invoke: Callable[[Call], Any], call: Call) -> bool:
    """Carry out a call with all that follows from it; whether it left nothing to be done again.

    `invoke` gives None for an invocation that failed.
    """
    settled = True
    function, event = call
    following: Any = event
    while following:
        result = invoke((function, following))
        if result is None:
            return False
        settled = settled and not result.get("unsettled", 0) + result.get("movingCount", 0)
        following = result.get("next")
    return settled


def conflicts(report: Mapping[str, Any]) -> int:
    """The failed conditions of a batch, by the fields of its log line."""
    return int(report["conflicts"] or 0)


def left_to_sweeper(report: Mapping[str, Any]) -> int:
    """The hours whose rollups a batch has left to the sweeper."""
    return int(report["parentsLeft"] or 0)


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

    def read(units: Iterable[Any]) -> None:
        for unit in units:
            while not step(scan=unit)["done"]:
                pass

    asked: dict[str, Any] = {"run": run, "segments": segments, "partitions": partitions}
    if chosen := sorted(models):
        asked["models"] = chosen
    plan = step(prepare=asked)
    read(plan["first"])
    between_passes()
    read(plan["second"])
    step(gather={"run": run})
    for partition in plan["partitions"]:
        following = partition
        while following:
            before("reduce")
            following = step(reduce=following)["next"]
    before("report")
    report = step(report={"run": run})
    return sum(report["repaired"].values()), sum(report["moving"].values())


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
            complete=item["state"] == "closed",
        )
        for item in plain
        if item["state"] in {"pending", "closed"}
    ]


def deferred(items: Iterable[Mapping[str, Any]]) -> set[Minute]:
    """The hours that only a Scan can settle, as open checks say: account, series, start.

    Of today's engine an operator learns it from reports alone: there is no such item.
    """
    del items
    return set()


def entry(account: str, record_type: str, start: int, **ids: str) -> dict[str, Any]:
    """The item of a pending hour that is complete, over, and waits for its check.

    `ids` are scorecardId and scoreId, for an hour of a breakdown.
    """
    series = oracle.series_of({"recordType": record_type, **ids})
    texts = {
        "hour": f"{account}#{series}#{datetime.fromtimestamp(start * 60, UTC):%Y-%m-%dT%H:}",
        "recordType": record_type,
        "accountId": account,
        **ids,
        "state": "closed",
        "token": "made-up",
    }
    numbers = {"start": start, "due": 1, "until": 1}
    return {name: {"S": text} for name, text in texts.items()} | {
        name: {"N": str(number)} for name, number in numbers.items()
    }


def checkpoints(shards: int) -> dict[str, Any]:
    """The metadata of a minute to which so many shards have written."""
    listed = [[f"{i:012x}", str(10**21 + i), 1_790_000_000] for i in range(shards)]
    return {"ledger": listed}


def is_repaired(bucket: Mapping[str, Any] | None) -> bool:
    """Whether a repair has set this bucket."""
    return bucket is not None and "fence" in str(bucket["metadata"])


def holds_what_rows_do_not_show(bucket: Mapping[str, Any]) -> bool:
    """Whether a bucket holds what no reading of the index could bring back."""
    return "listed" in str(bucket.get("metadata"))


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
