"""The world that the workers live in: the Fakes over HTTP, and worker processes."""

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from testbench import oracle
from testbench.fakes import aws, transport
from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.aws import MemoryQueue, MemoryTable
from testbench.fakes.documents import Documents
from testbench.fakes.faults import Faults, Rates
from tests.truth import worker

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

TABLE = "pending-hours"
REGION = "us-east-1"
CONTEXT = multiprocessing.get_context("forkserver")
_DOCUMENTS = Documents(validated=100)
"""All worlds of a process: compiling them is what a Fake spends most of its time on."""


class World:
    """One API with faults, one table of pending hours, one quarantine queue."""

    def __init__(
        self,
        rates: Rates,
        seed: int,
        *,
        settings: Mapping[str, str],
        mutation: str | None = None,
    ) -> None:
        self.ahead = timedelta()
        self.oldest = CONTEXT.Value("d", 0.0)
        self.api = FakeAppSync(
            monotonic=self._monotonic,
            equal_put_succeeds=True,
            seed=seed,
            documents=_DOCUMENTS,
        )
        self.faults = Faults(self.api, rates, seed=seed)
        self.mutation = mutation
        self._settings = settings
        self._stack = contextlib.ExitStack()
        self.environment: dict[str, str] = {}

    def now(self) -> datetime:
        """The time in this world."""
        return datetime.now(UTC) + self.ahead

    def _monotonic(self) -> float:
        return time.monotonic() + self.ahead.total_seconds()

    def __enter__(self) -> Self:
        self.server = self._stack.enter_context(transport.serve(self.faults))
        self.table, self.queue = MemoryTable(), MemoryQueue()
        url = self._stack.enter_context(aws.serve(self.table, self.queue))
        self.environment = {
            "GRAPHQL_ENDPOINT": self.server.url,
            "PENDING_HOURS_TABLE": TABLE,
            "QUARANTINE_QUEUE_URL": f"{url}/123456789012/quarantine",
            "GRACE_SECONDS": "120",
            "STREAM_FUNCTION": "stream_aggregator",
            "AWS_ENDPOINT_URL": url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "made-up",
            "POWERTOOLS_SERVICE_NAME": "truth",
            "POWERTOOLS_METRICS_NAMESPACE": "truth",
            **self._settings,
        }
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def stored(self) -> dict[oracle.Key, Mapping[str, Any]]:
        """Every bucket of the API."""
        return {
            (
                row["accountId"],
                row["recordType"],
                row["timeRangeStart"],
                row["numberOfMinutes"],
            ): row
            for row in self.api.rows("AggregatedMetrics")
        }

    def pending(self, state: str) -> int:
        """How many hours are in this state."""
        return sum(item["state"]["S"] == state for item in list(self.table.items.values()))


def measures_of(bucket: Mapping[str, Any] | None) -> tuple[int, ...] | None:
    """A bucket's measures, in the group-by's order; None for none."""
    return None if bucket is None else tuple(bucket[name] or 0 for name in oracle.MEASURES)


class Worker:
    """A worker process, begun again when it has died."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._lock = threading.Lock()
        self.deaths = 0
        self._begin()

    def _begin(self) -> None:
        world = self._world
        self._pipe, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(
            target=worker.work,
            args=(theirs, world.environment, world.oldest, world.mutation),
            daemon=True,
        )
        self._process.start()
        theirs.close()

    @property
    def peak(self) -> int:
        """The most memory that this process has had: bytes."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

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

    def end(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.terminate()


def preload() -> None:
    """Let new workers begin with everything imported: a death costs milliseconds, not a second."""
    CONTEXT.set_forkserver_preload(
        [
            "tests.truth.worker",
            "tests.truth.world",
            "tests.truth.mutations",
            "aggregated_metrics.jobs.aggregator",
            "aggregated_metrics.jobs.sweeper",
            "aggregated_metrics.jobs.reconciler",
        ]
    )
