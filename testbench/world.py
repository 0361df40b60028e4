"""One small world for every test that needs the functions or the API: streams, rows, a clock.

The functions run as they are deployed, through their handlers, against ports in memory. Time moves
only when a test moves it. What happens inside a check is hung into the world's moments
(`World.at`): while a page of rows is read, while it waits between the passes, before it writes, and
after. What happens at a request to the API is `World.before` and `World.after`.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import requests
from aggregated_metrics.adapters.appsync import AppSyncClient, open_session
from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.adapters.pending_hours import PendingHours
from botocore.credentials import Credentials

from testbench import local, oracle, rows
from testbench.engine import Context, Engine, walk_backfill
from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.endpoint import CALM, Answer
from testbench.fakes.signatures import Request, Signatures
from testbench.fakes.transport import Exchange, FakeAdapter, Log, carry_out
from testbench.streams import Record, Stream, window_event

type Numbers = tuple[int, ...]

START = datetime(2026, 11, 22, 12, 10, tzinfo=UTC)
SETTLE = 60
GRACE = 120
"""Of buckets: with a batching window of 10 s, GRACE_SECONDS decides."""


class Clock:
    """The time in the world."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def timestamp(self) -> float:
        return self.now.timestamp()

    def advance(self, seconds: float = 0, **by: float) -> None:
        self.now += timedelta(seconds=seconds, **by)

    def set(self, text: str) -> None:
        self.now = datetime.fromisoformat(text)


class World:
    """One API, its streams, and what the functions do to it.

    Args:
        models: whose tables have a stream; by default every built-in one's.
        breakdowns: the record types by scorecard or score that are switched on, as BREAKDOWNS.
        environment: more variables of the functions.
        page: rows of a page when tables are scanned.
        now: when it begins.
        http: whether requests go through the layer's own session, signed and retried, and the API
            checks their signatures.
        aws: clients of services, by name, in place of the ports in memory.

    Attributes:
        before: called with each request to the API; may give another answer.
        after: called with each request that was answered.
        disturbance: what goes wrong inside requests.
        log: every request to the API.
        makers: what makes a row of a model.
        seconds_left: until Lambda ends an invocation, at its beginning.
        reports: of every invocation.
    """

    def __init__(
        self,
        models: Iterable[str] = oracle.MODELS,
        *,
        breakdowns: str = "",
        environment: Mapping[str, str] | None = None,
        page: int = 100,
        now: datetime = START,
        http: bool = False,
        aws: Callable[[str], Any] | None = None,
    ) -> None:
        self.clock = Clock(now)
        secrets = {local.KEY: local.SECRET}
        self.api = FakeAppSync(
            clock=self.clock,
            monotonic=self.clock.timestamp,
            signatures=Signatures(secrets) if http else None,
        )
        self.ports = local.LocalPorts(self.api, page=page)
        self.before: Callable[[Request], Answer | None] = lambda _: None
        self.after: Callable[[Request], object] = lambda _: None
        self.disturbance = CALM
        self.log: Log = []
        answer = partial(carry_out, self, log=self.log)
        self.session: Any = self._http() if http else local.Session(answer)
        self.table, self.queue = self.ports.table, self.ports.queue
        self.table.on_page = lambda: self._happen("page")
        self.models = tuple(models)
        streams = [f"{model}/{local.LABEL}" for model in self.models]
        self.ports.mappings.enable(streams, now - timedelta(hours=1))
        self.environment = {
            **local.ENVIRONMENT,
            "STREAM_ARNS": ",".join(streams),
            "SETTLE_SECONDS": str(SETTLE),
            "BREAKDOWNS": breakdowns,
            **(environment or {}),
        }
        self.aws = aws or self.ports.aws
        self.makers = dict(rows.MAKERS)
        self.streams: dict[str, Stream] = {}
        self.undelivered: deque[Record] = deque()
        self.moments: dict[str, deque[Callable[[], object]]] = {}
        self.seconds_left = 900.0
        self.reports: list[dict[str, Any]] = []
        self.engine = self.new_engine()

    def new_engine(self) -> Engine:
        """A sandbox that remembers nothing; the next invocations run in it."""
        self.engine = Engine(
            self.environment,
            clock=self.clock,
            sleep=self._sleep,
            session=self.session,
            aws=self.aws,
        )
        return self.engine

    def _http(self) -> requests.Session:
        """The session that a process of the functions opens, without a socket or waits."""
        session = open_session(Credentials(local.KEY, local.SECRET), "us-east-1")
        adapter: Any = session.get_adapter(local.ENDPOINT)
        retries = adapter.max_retries.new(backoff_factor=0, backoff_jitter=0)
        fake = FakeAdapter(self, max_retries=retries)
        session.mount("https://", fake)
        self.log = fake.log
        return session

    # What happens at a moment of a check ----------------------------------------------------------

    def at(self, moment: str, *events: Callable[[], object]) -> None:
        """Hang events into a moment (page, wait, save, saved): one each time that it comes."""
        self.moments.setdefault(moment, deque()).extend(events)

    def _happen(self, moment: str) -> None:
        waiting = self.moments.get(moment)
        if waiting:
            waiting.popleft()()

    def _sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)
        if seconds >= SETTLE / 2:
            self._happen("wait")

    # The API, as a transport reaches it -----------------------------------------------------------

    def answer(self, request: Request) -> Answer:
        """Answer a request to the API."""
        name = _moment(request)
        self._happen(name)
        given = self.before(request) or self.api.answer(request, self.disturbance)
        self.after(request)
        self._happen("saved" if name == "save" else "")
        return given

    # The source -----------------------------------------------------------------------------------

    def insert(self, model: str, id: str, **changes: Any) -> None:  # noqa: A002
        """Write a new row; its change waits for delivery."""
        now = self.now()
        row = self.makers[model](id, **({"createdAt": now, "updatedAt": now} | changes))
        self.api.put(model, row)
        self.undelivered.append(self.stream(model).insert(row, created=self.clock.now))

    def update(self, model: str, id: str, **changes: Any) -> None:  # noqa: A002
        """Change a row."""
        old = self.row(model, id)
        new = old | {"updatedAt": self.now()} | changes
        self.api.put(model, new)
        self.undelivered.append(self.stream(model).modify(old, new, created=self.clock.now))

    def remove(self, model: str, id: str, *, expired: bool = False) -> None:  # noqa: A002
        """Remove a row, or let its time-to-live do it."""
        old = self.row(model, id)
        self.api.remove(model, id)
        stream = self.stream(model)
        made = stream.expire if expired else stream.remove
        self.undelivered.append(made(old, created=self.clock.now))

    def row(self, model: str, *key: str) -> rows.Attributes:
        """A row as it is now."""
        found = self.api.row(model, *key)
        if found is None:
            raise KeyError(key)
        return found

    def stream(self, model: str) -> Stream:
        """A model's stream."""
        return self.streams.setdefault(model, Stream(model))

    def lose(self) -> None:
        """Lose the changes that wait for delivery."""
        self.undelivered.clear()

    def now(self) -> str:
        """The time as a row has it."""
        return self.clock.now.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    # The functions --------------------------------------------------------------------------------

    def invoke(self, function: str, event: Any) -> Any:
        """What a function returns for an event; its report is the last of `reports`."""
        report: dict[str, Any] = {}
        self.reports.append(report)
        context = Context(self._time_left(), report=report)
        return self.engine.invoke(function, json.loads(json.dumps(event)), context)

    def deliver(self, most: int = 1_000) -> None:
        """Let the aggregator apply what waits, at most so many changes, the oldest first."""
        for _ in range(most):
            if not self.undelivered:
                return
            self.invoke("stream_aggregator", window_event(self.undelivered.popleft()))

    def sweep(self, times: int = 2, seconds: float = 3_600) -> None:
        """Let the sweeper run, an hour later each time: everything that may complete does."""
        for _ in range(times):
            self.clock.advance(seconds)
            self.invoke("bucket_sweeper", {})

    def check(self, *, repair: bool = True) -> dict[str, Any]:
        """The hourly check's result."""
        result: dict[str, Any] = self.invoke("reconciler", {"repair": repair})
        return result

    def check_range(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        repair: bool = False,
        account: str = rows.ACCOUNT,
        **asked: Any,
    ) -> dict[str, Any]:
        """A range's result; by default of the day that the world begins in."""
        first = start or START.replace(hour=0, minute=0)
        last = end or first + timedelta(days=1)
        named = {"accountId": account, "start": first.isoformat(), "end": last.isoformat()}
        event = {"range": named | {"repair": repair} | asked}
        result: dict[str, Any] = self.invoke("reconciler", event)
        return result

    def lose_batch(self, records: Iterable[Record], shard: str = "lost") -> None:
        """Have a batch age out."""
        event = {"Records": list(records), "shardId": shard, "state": {}, "window": {}}
        self.ports.keep_lost_batch(event)

    def backfill(self, *, repair: bool = True, **asked: Any) -> dict[str, Any]:
        """The report of a run over whole tables, step by step as the state machine walks them."""
        asked |= {"run": f"run-{len(self.reports)}", "repair": repair}
        wait = partial(self._sleep, SETTLE)
        return walk_backfill(lambda call: self.invoke(*call), wait, **asked)

    # The adapters ---------------------------------------------------------------------------------

    def client(self, request_bytes: int = 0) -> AppSyncClient:
        """The API's client, for an invocation that begins now."""
        session, left = self.session, self._time_left()
        return AppSyncClient(local.ENDPOINT, session, left, request_bytes=request_bytes)

    def store(self, request_bytes: int = 0, **options: Any) -> HourStore:
        """The hours, for an invocation that begins now; its waits move the clock."""
        return HourStore(
            self.client(request_bytes),
            **{
                "clock": self.clock,
                "time_left": self._time_left(),
                "sleep": self._sleep,
                **options,
            },
        )

    def pending(self) -> PendingHours:
        """The pending hours, of an invocation of this process."""
        return self.engine.process.pending()

    def _time_left(self) -> Callable[[], float]:
        end = self.clock.timestamp() + self.seconds_left
        return lambda: end - self.clock.timestamp()

    def requests(self, work: Callable[[], object]) -> list[Exchange]:
        """The requests to the API that `work` makes."""
        first = len(self.log)
        work()
        return self.log[first:]

    # What is there --------------------------------------------------------------------------------

    def buckets(self) -> list[dict[str, Any]]:
        """Every stored bucket, without the record that says how far the streams are applied."""
        found = self.api.rows("AggregatedMetrics")
        return [row for row in found if row["recordType"] != "_streams"]

    def bucket(self, key: str, account: str = rows.ACCOUNT) -> dict[str, Any]:
        """One stored bucket by its composite key."""
        return self.row("AggregatedMetrics", account, key)

    def quarantined(self) -> list[dict[str, Any]]:
        """The messages in quarantine."""
        return [json.loads(body) for body in self.queue.bodies]

    def stored(self, *sizes: int) -> dict[oracle.Key, Numbers]:
        """Every stored bucket that is not empty, of these sizes."""
        found = {oracle.key_of(row): oracle.held(row) for row in self.buckets()}
        wanted = sizes or oracle.SIZES
        return {key: sums for key, sums in found.items() if any(sums) and key[3] in wanted}

    def counted(self, *sizes: int) -> dict[oracle.Key, Numbers]:
        """What the buckets should be: a plain group-by of the source rows."""
        written = [(model, row) for model in self.models for row in self.api.rows(model)]
        on = bool(self.environment["BREAKDOWNS"])
        found = oracle.buckets_of(written, breakdowns=on)
        return {key: sums for key, sums in found.items() if key[3] in (sizes or oracle.SIZES)}

    def items(self, kind: str) -> dict[str, dict[str, Any]]:
        """The pending-hours table's items of a kind (entry, check, note), as plain values."""
        return {
            key: {name: next(iter(value.values())) for name, value in item.items()}
            for key, item in self.table.items.items()
            if item["kind"] == {"S": kind}
        }


def _moment(request: Request) -> str:
    """What a request to the API is for."""
    name = json.loads(request.body)["query"].split()[1]
    return "page" if name.startswith("Count") else "save" if name.startswith("SaveHours") else ""
