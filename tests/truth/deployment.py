"""What the workers work with: the Fakes over HTTP, a clock that all share, and worker processes."""

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from testbench import local, oracle
from testbench.fakes import aws, models, transport
from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.faults import Faults
from tests import reviews
from tests.truth import seams, worker
from tests.truth.plans import RATES, Plan
from tests.truth.row_histories import MODELS

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

_PAGE = 50
"""Rows of a page of a Scan."""
_LONGEST = 1_000
"""Of a document that is validated: longer ones repeat it under more aliases, and take most time."""
CONTEXT = multiprocessing.get_context("forkserver")


class SharedClock:
    """The time in a deployment: the real one and how far it is ahead, the same in all processes."""

    def __init__(self) -> None:
        self.ahead = CONTEXT.Value("d", 0.0)

    def now(self) -> datetime:
        """The time now."""
        return datetime.now(UTC) + timedelta(seconds=self._ahead())

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead()

    def _ahead(self) -> float:
        ahead: float = self.ahead.get_obj().value  # without the lock, which `slow` holds
        return ahead

    def reach(self, moment: datetime) -> None:
        """Jump to a moment, if it is not over."""
        self.pass_by((moment - self.now()).total_seconds())

    def pass_by(self, seconds: float) -> None:
        """Let so much time pass at once."""
        with self.ahead.get_lock():
            self.ahead.value += max(0.0, seconds)

    @contextlib.contextmanager
    def slow(self) -> Iterator[None]:
        """Meanwhile time passes as it really does: no wait advances it."""
        with self.ahead.get_lock():
            yield


class _SourceTables:
    """An API's rows by the names of their tables."""

    def __init__(self, api: FakeAppSync) -> None:
        self._api = api

    def keys(self, table: str) -> list[tuple[str, ...]]:
        return self._api.keys(_model(table))

    def row(self, table: str, *key: str) -> Mapping[str, Any] | None:
        return self._api.row(_model(table), *key)


def _model(table: str) -> str:
    model = table.partition("-")[0].removeprefix("rebuilt")
    assert model in MODELS, table
    return model


class FakeDeployment:
    """One API with faults, one table of pending hours, one quarantine queue."""

    def __init__(self, seed: int, settings: Mapping[str, str]) -> None:
        self.clock = SharedClock()
        self.api = FakeAppSync(
            clock=self.clock.now,
            monotonic=self.clock.monotonic,
            equal_put_succeeds=True,
            longest=_LONGEST,
        )
        self.faults = Faults(self.api, RATES, seed=seed)
        self._settings = settings
        self._stack = contextlib.ExitStack()
        self.environment: dict[str, str] = {}

    def __enter__(self) -> Self:
        self.server = self._stack.enter_context(transport.serve(self.faults))
        self.ports = local.LocalPorts(self.api, rows=_SourceTables(self.api), page=_PAGE)
        streams = self._settings["STREAM_ARNS"].split(",")
        self.ports.mappings.enable(streams, self.clock.now() - timedelta(days=365))
        self.environment = {
            **local.ENVIRONMENT,
            "GRAPHQL_ENDPOINT": self.server.url,
            "BREAKDOWNS": "all",
            "BACKFILL_READ_UNITS": "1000000",
            "AWS_ENDPOINT_URL": self._stack.enter_context(aws.serve(self.ports.aws)),
            "POWERTOOLS_SERVICE_NAME": "truth",
            "POWERTOOLS_METRICS_NAMESPACE": "truth",
            **self._settings,
        }
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def stored(self) -> dict[oracle.Key, Mapping[str, Any]]:
        """Every bucket of the API."""
        return {oracle.key_of(row): row for row in oracle.buckets_in(self.api)}

    def pending(self, *, checked: bool) -> set[tuple[str, str, int]]:
        """The pending hours: account, series, start (epoch minute).

        Where nothing checks them, those that are complete are done.
        """
        entries = seams.entries(list(self.ports.table.items.values()))
        return {entry[:3] for entry in entries if checked or not entry.complete}


def sums_of(bucket: Mapping[str, Any] | None) -> tuple[int, ...] | None:
    """A bucket's sums, in the group-by's order; None for none."""
    return None if bucket is None else oracle.held(bucket)


class Worker:
    """A worker process, begun again when it has died; `skew` is its clock's, in seconds."""

    def __init__(self, deployment: FakeDeployment, plan: Plan, skew: float) -> None:
        self._deployment = deployment
        self._plan, self._skew = plan, skew
        self._lock = threading.Lock()
        self.deaths = 0
        self._begin()

    def _begin(self) -> None:
        deployment = self._deployment
        self._pipe, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(
            target=worker.work,
            args=(theirs, deployment.environment, deployment.clock.ahead, self._plan, self._skew),
            daemon=True,
        )
        self._process.start()
        theirs.close()

    def do(self, job: worker.Job) -> tuple[str | None, Any]:
        """One invocation: (error or None, result). A death is an error."""
        with self._lock:
            pipe: Connection = self._pipe
            try:
                pipe.send(job)
                answer: tuple[str | None, Any] = pipe.recv()
            except (EOFError, OSError):
                self._process.join()
                self.deaths += self._process.exitcode == worker.DEATH
                why = f"the process died ({self._process.exitcode})"
                self._begin()
                return why, None
            return answer

    def begin_again(self) -> None:
        """A new process, which remembers nothing."""
        with self._lock:
            self.end()
            self._begin()

    def end(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.terminate()


def preload() -> None:
    """Let new workers begin with everything imported: a death costs milliseconds, not a second.

    The API has the model that is declared from now on, and the workers' layer declares it.
    """
    models.extend(reviews.SDL)
    CONTEXT.set_forkserver_preload(
        [
            *seams.PRELOAD,
            "tests.truth.worker",
            "tests.truth.deployment",
        ]
    )
