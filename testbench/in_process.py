"""The functions and what they talk to, in one process: the Fake API, and moto's DynamoDB and SQS.

Only time and sockets are replaced: requests are signed and retried by the layer's own session, the
table of pending hours is the one that template.yaml describes.
"""

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from aggregated_metrics import wiring
from aggregated_metrics.adapters.appsync import AppSyncClient
from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.adapters.observability import Report
from aggregated_metrics.adapters.pending_hours import PendingHours
from aggregated_metrics.adapters.quarantine import Quarantine
from aggregated_metrics.jobs.aggregator import Aggregator
from aggregated_metrics.jobs.sweeper import Sweeper

from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.endpoint import CALM, Answer
from testbench.fakes.signatures import Request
from testbench.fakes.transport import Exchange, FakeAdapter

ROOT = Path(__file__).parents[1]
ENDPOINT = "https://metrics.example.com/graphql"
"""A domain name of the API's own: moto answers whatever is asked of amazonaws.com."""
TABLE = "pending-hours"
GRACE = 120
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "made-up-for-tests"}
NOW = datetime(2026, 11, 22, 10, 6, 40, 123456, tzinfo=UTC)

type Line = dict[str, Any]


@dataclass
class Clock:
    """A clock that stands until somebody sets it."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)

    def sleep(self, seconds: float) -> None:
        self.advance(seconds=seconds)

    def monotonic(self) -> float:
        return self.now.timestamp()

    def set(self, text: str) -> None:
        self.now = datetime.fromisoformat(text)


@dataclass
class Context:
    """A Lambda context; its time runs with the clock."""

    clock: Clock
    seconds: float = 60.0
    aws_request_id: str = "8f2b0c1e-made-up"
    function_name: str = "under-test"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:under-test"
    _started: datetime = field(init=False)

    def __post_init__(self) -> None:
        self._started = self.clock()

    def time_left(self) -> float:
        return self.seconds - (self.clock() - self._started).total_seconds()

    def get_remaining_time_in_millis(self) -> int:
        return int(self.time_left() * 1000)


class CrashError(Exception):
    """The process dies here: nothing of the package may catch it."""


class Gate:
    """Where every request to the API comes through; a test can put something in its way.

    `before` and `after` are called with the request; `before` may give another answer, or set
    `disturbance` to have something go wrong inside the request.
    """

    def __init__(self, api: FakeAppSync) -> None:
        self.api = api
        self.disturbance = CALM
        self.before: Callable[[Request], Answer | None] = lambda _: None
        self.after: Callable[[Request], None] = lambda _: None

    def fields_of(self, request: Request) -> Mapping[str, str]:
        return self.api.fields_of(request)

    def answer(self, request: Request) -> Answer:
        answer = self.before(request) or self.api.answer(request, self.disturbance)
        self.after(request)
        return answer


@cache
def handler(function: str) -> Callable[[Any, Any], dict[str, Any]]:
    """The `lambda_handler` of functions/<function>/app.py."""
    path = ROOT / "functions" / function / "app.py"
    spec = importlib.util.spec_from_file_location(f"functions_{function}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    loaded: Callable[[Any, Any], dict[str, Any]] = module.lambda_handler
    return loaded


class Stack:
    """One stack; conftest makes it.

    Args:
        api: the Fake.
        aws: boto3's client for a service.
        clock: tells everybody the time.
        process: what `wiring` has built from the environment.
        lines: gives the structured lines logged so far.
    """

    def __init__(
        self,
        api: FakeAppSync,
        aws: Callable[[str], Any],
        clock: Clock,
        process: wiring.Process,
        lines: Callable[[], list[Line]],
    ) -> None:
        self.api, self.clock, self.lines = api, clock, lines
        self.dynamodb, self.sqs = aws("dynamodb"), aws("sqs")
        self._aws = aws
        self.gate = Gate(api)
        retries = process.session.get_adapter(ENDPOINT).max_retries  # type: ignore[attr-defined]
        self.adapter = FakeAdapter(
            self.gate, max_retries=retries.new(backoff_factor=0, backoff_jitter=0)
        )
        self.context = Context(clock)
        self._wire(process)
        self.queue_url = process.settings.QUARANTINE_QUEUE_URL

    def _wire(self, process: wiring.Process) -> None:
        self.process = process
        process.session.mount("https://", self.adapter)
        process.aws, process.clock = self._aws, self.clock

    def rewire(self, monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
        """End the process; the next one begins in an environment with these changes."""
        self.process.session.close()
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        wiring.process.cache_clear()
        self._wire(wiring.process())

    @property
    def log(self) -> list[Exchange]:
        """Every request to the API."""
        return self.adapter.log

    def requests(self, work: Callable[[], Any]) -> list[Exchange]:
        """The requests to the API that `work` makes."""
        first = len(self.log)
        work()
        return self.log[first:]

    def invoke(self, function: str, event: Any, context: Context | None = None) -> dict[str, Any]:
        """Invoke a function as Lambda does; its result has gone through JSON, as Lambda's has."""
        result = handler(function)(json.loads(json.dumps(event)), context or Context(self.clock))
        given: dict[str, Any] = json.loads(json.dumps(result))
        return given

    def apply(self, event: Any) -> Report:
        """Count an event; gives the report."""
        aggregator = self.aggregator()
        taken = aggregator.fold(event)
        return taken.as_report() | aggregator.apply(taken).as_report()

    def sweep(self) -> Report:
        """Sweep once; gives the report."""
        swept = self.sweeper().sweep()
        swept.raise_failure()
        return swept.as_report()

    def client(self) -> AppSyncClient:
        """The API's client."""
        return self.process.client(self.context.time_left)

    def store(self) -> HourStore:
        """The hours, with waits that move the clock."""
        return HourStore(
            self.client(),
            clock=self.clock,
            grace=GRACE,
            time_left=self.context.time_left,
            sleep=self.clock.sleep,
            jitter=lambda: 1.0,
        )

    def pending(self, remembered: dict[Any, int] | None = None) -> PendingHours:
        """The pending hours, of a process that has just begun."""
        return PendingHours(
            self.dynamodb,
            TABLE,
            clock=self.clock,
            grace=GRACE,
            remembered=remembered,
            sleep=self.clock.sleep,
        )

    def aggregator(self) -> Aggregator:
        """One invocation of stream_aggregator in a process of its own."""
        self.context = Context(self.clock)
        return Aggregator(
            store=self.store(),
            pending=self.pending(),
            quarantine=Quarantine(self.sqs, self.queue_url, clock=self.clock),
            source_tables={},
            clock=self.clock,
            grace=GRACE,
        )

    def sweeper(self) -> Sweeper:
        """One invocation of bucket_sweeper."""
        self.context = Context(self.clock)
        return Sweeper(
            store=self.store(),
            pending=self.pending(),
            clock=self.clock,
            grace=GRACE,
            time_left=self.context.time_left,
        )

    def rows(self) -> list[dict[str, Any]]:
        """All that is stored of AggregatedMetrics."""
        return self.api.rows("AggregatedMetrics")

    def row(self, key: str, account: str = "acct-1") -> dict[str, Any]:
        """One stored bucket by its composite key."""
        (found,) = [r for r in self.rows() if (r["accountId"], r["compositeKey"]) == (account, key)]
        return found

    def counts(self) -> dict[str, int]:
        """The count of every stored bucket, by composite key; of all accounts together."""
        counts: dict[str, int] = {}
        for row in self.rows():
            counts[row["compositeKey"]] = counts.get(row["compositeKey"], 0) + row["count"]
        return counts

    def marks(self) -> dict[str, dict[str, Any]]:
        """The marks of the table of pending hours by hour, as plain values."""
        items = self.dynamodb.scan(TableName=TABLE)["Items"]
        return {
            item["hour"]["S"]: {
                name: int(value["N"]) if "N" in value else value["S"]
                for name, value in item.items()
            }
            for item in items
        }

    def quarantined(self) -> list[dict[str, Any]]:
        """The messages in quarantine; takes them out."""
        return list(self._messages())

    def _messages(self) -> Iterator[dict[str, Any]]:
        while messages := self.sqs.receive_message(
            QueueUrl=self.queue_url, MaxNumberOfMessages=10, VisibilityTimeout=600
        ).get("Messages"):
            for message in messages:
                yield json.loads(message["Body"])
