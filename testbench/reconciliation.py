"""A small world for the reconciler: the API in memory, the streams, and all three functions.

Time only moves when it is told to. What happens between the looks of a check is hung into the
world's moments (`World.at`): while a page is read, while it waits, and before it writes.
"""

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
from aggregated_metrics.adapters.appsync import AppSyncClient
from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.adapters.pending_hours import PendingHours
from aggregated_metrics.adapters.quarantine import Quarantine
from aggregated_metrics.adapters.source_rows import Counted, SourceRows
from aggregated_metrics.core.buckets import to_minute
from aggregated_metrics.core.findings import Findings
from aggregated_metrics.core.hours import HourId, Series
from aggregated_metrics.core.record_types import MODELS, RECORD_TYPES
from aggregated_metrics.jobs.aggregator import Aggregator
from aggregated_metrics.jobs.checker import Checker
from aggregated_metrics.jobs.reconciler import Reconciler
from aggregated_metrics.jobs.sweeper import Sweeper

from testbench import oracle, rows
from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.transport import FakeAdapter
from testbench.in_process import GRACE, TABLE
from testbench.streams import Stream, window_event

type Key = tuple[str, str, str, int]
"""Account, record type, start, minutes."""
type Numbers = tuple[int, ...]

START = datetime(2026, 11, 22, 12, 10, tzinfo=UTC)
SETTLE = 60


class Clock:
    """The time in the world."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def timestamp(self) -> float:
        return self.now.timestamp()

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class World:
    """One API, its streams, and what the three functions do to it."""

    def __init__(self, dynamodb: Any, breakdowns: Collection[str] = frozenset()) -> None:
        self.breakdowns = breakdowns
        self.clock = Clock()
        self.api = FakeAppSync(clock=self.clock, monotonic=self.clock.timestamp)
        self.adapter = FakeAdapter(self.api)
        session = requests.Session()
        session.mount("https://", self.adapter)
        self.client = AppSyncClient("https://fake.example/graphql", session)
        self.store = HourStore(self.client, clock=self.clock, grace=GRACE, sleep=lambda _: None)
        self.dynamodb = dynamodb
        self.pending = self._pending()
        self.streams = {model: Stream(model) for model in rows.MAKERS}
        self.undelivered: deque[tuple[datetime, dict[str, Any]]] = deque()
        self.moments: dict[str, deque[Callable[[], object]]] = {}
        self.seconds_left = 900.0
        self.born: dict[str, datetime] = {}
        self.gone: list[tuple[str, rows.Attributes, datetime]] = []
        self.unsettled: set[HourId] = set()

    # What happens at a moment of a check ---------------------------------------------------------

    def at(self, moment: str, *events: Callable[[], object]) -> None:
        """Hang events into a moment (page, wait, save): one each time that it comes."""
        self.moments.setdefault(moment, deque()).extend(events)

    def _happen(self, moment: str) -> None:
        waiting = self.moments.get(moment)
        if waiting:
            waiting.popleft()()

    # The source ----------------------------------------------------------------------------------

    def insert(self, model: str, id: str, **changes: Any) -> None:  # noqa: A002
        """Write a new row; its change waits for delivery."""
        now = self._now()
        row = rows.MAKERS[model](id, **({"createdAt": now, "updatedAt": now} | changes))
        self.api.put(model, row)
        self.born[id] = self.clock.now
        self._stream(self.streams[model].insert(row, created=self.clock.now))

    def update(self, model: str, id: str, **changes: Any) -> None:  # noqa: A002
        """Change a row."""
        old = self.row(model, id)
        new = old | {"updatedAt": self._now()} | changes
        self.api.put(model, new)
        self.gone.append((model, old, self.born[id]))
        self.born[id] = self.clock.now
        self._stream(self.streams[model].modify(old, new, created=self.clock.now))

    def remove(self, model: str, id: str, *, expired: bool = False) -> None:  # noqa: A002
        """Remove a row, or let its time-to-live do it."""
        old = self.row(model, id)
        self.api.remove(model, id)
        self.gone.append((model, old, self.born[id]))
        stream = self.streams[model]
        made = stream.expire if expired else stream.remove
        self._stream(made(old, created=self.clock.now))

    def row(self, model: str, id: str) -> rows.Attributes:  # noqa: A002
        found = self.api.row(model, id)
        if found is None:
            raise KeyError(id)
        return found

    def _now(self) -> str:
        return self.clock.now.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _stream(self, record: dict[str, Any]) -> None:
        self.undelivered.append((self.clock.now, record))

    # The functions -------------------------------------------------------------------------------

    def deliver(self, most: int = 1_000) -> None:
        """Let the aggregator apply what waits, at most so many changes, the oldest first."""
        for _ in range(min(most, len(self.undelivered))):
            _, record = self.undelivered.popleft()
            aggregator = Aggregator(
                store=self.store,
                pending=self._pending(),
                quarantine=Quarantine(None, "", clock=self.clock),  # type: ignore[arg-type]
                source_tables={},
                clock=self.clock,
                grace=GRACE,
                breakdowns=self.breakdowns,
            )
            aggregator.apply(aggregator.fold(window_event(record)))

    def sweep(self) -> None:
        """Let the sweeper run twice, an hour later each time: everything that can close closes."""
        for _ in range(2):
            self.clock.advance(3_600)
            Sweeper(
                self.store, self.pending, self.clock, GRACE, lambda: 60.0
            ).sweep().raise_failure()

    def reconciler(self, **changes: Any) -> Checker:
        ports: dict[str, Any] = {
            "store": self.store,
            "source": SourceRows(self.client, clock=self.clock),
            "pending": _Hooked(self),
            "clock": self.clock,
            "grace": GRACE,
            "settle": SETTLE,
            "sleep": self._sleep,
            "on_page": self._on_page,
        }
        return Checker(**(ports | changes))

    def checks(self, **changes: Any) -> Reconciler:
        return Reconciler(
            checker=self.reconciler(**changes),
            pending=self.pending,
            quarantine=Quarantine(None, "", clock=self.clock),  # type: ignore[arg-type]
            source_tables={},
            time_left=lambda: self.seconds_left,
            clock=self.clock,
            breakdowns=self.breakdowns,
        )

    def run(self, event: Any) -> dict[str, Any]:
        """What the reconciler function returns for an event."""
        return self.checks().run(event).result()

    def check(self, *, repair: bool = False, hours: Sequence[HourId] | None = None) -> Findings:
        """Check hours, by default all of the day that the world begins in."""
        found = self.reconciler().check(self.day() if hours is None else hours, repair=repair)
        assert found.failed == []
        return found

    def day(self) -> list[HourId]:
        first = to_minute(START.replace(hour=9, minute=0))
        return [
            HourId(Series(rows.ACCOUNT, name), first + 60 * hour)
            for name in (*RECORD_TYPES, *self.breakdowns)
            for hour in range(6)
        ]

    def _sleep(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self._happen("wait")

    def _on_page(self, _: Counted) -> None:
        self._happen("page")

    def _pending(self) -> PendingHours:
        return PendingHours(
            self.dynamodb, TABLE, clock=self.clock, grace=GRACE, sleep=lambda _: None
        )

    # What is there -------------------------------------------------------------------------------

    def born_and_gone(self, since: datetime) -> set[Key]:
        """The minutes of rows (as they then were) that came and went since: no look saw them."""
        return {
            (row["accountId"], name, f"{row['createdAt'][:16]}:00Z", 1)
            for model, row, born in self.gone
            if born >= since
            for name in MODELS[model].counts_into
        }

    def stored(self) -> dict[Key, Numbers]:
        """Every stored bucket that is not empty."""
        found = {oracle.key_of(row): oracle.held(row) for row in self.api.rows("AggregatedMetrics")}
        return {key: numbers for key, numbers in found.items() if any(numbers)}

    def marks(self) -> dict[str, str]:
        """The marked hours: key to state."""
        items = self.dynamodb.scan(TableName=TABLE)["Items"]
        return {item["hour"]["S"]: item["state"]["S"] for item in items}


class _Hooked:
    """The pending hours, with a moment before they are marked and the buckets written."""

    def __init__(self, world: World) -> None:
        self._world = world

    def mark(self, hours: Mapping[HourId, int | None]) -> int:
        self._world._happen("save")
        self._world.unsettled |= {hour for hour, due in hours.items() if due is None}
        return self._world.pending.mark(hours)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.pending, name)


def truth(
    api: FakeAppSync, sizes: Sequence[int] = oracle.SIZES, *, breakdowns: bool = False
) -> dict[Key, Numbers]:
    """What the buckets should be: a plain group-by of the source rows."""
    written = ((model, row) for model in oracle.MODELS for row in api.rows(model))
    counted = oracle.buckets_of(written, breakdowns=breakdowns)
    return {key: numbers for key, numbers in counted.items() if key[3] in sizes}


def hour_id(record_type: str, hour: int, account: str = rows.ACCOUNT) -> HourId:
    """An hour of the world's first day."""
    return HourId(
        Series(account, record_type), to_minute(START.replace(hour=hour, minute=0, second=0))
    )
