"""A run over whole tables, as the state machine drives it, in the reconciler's small world."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, cast

from aggregated_metrics.adapters.run_files import RunFiles
from aggregated_metrics.adapters.table_rows import TableRows, TokenBucket
from aggregated_metrics.core.record_types import MODELS
from aggregated_metrics.jobs.backfiller import Backfiller

from testbench.fakes.scans import FakeBucket, FakeTables
from testbench.reconciliation import SETTLE, World

_NUMBERS = count(1)


class Died(Exception):  # noqa: N818 - nothing went wrong: the test wants it
    """The process is gone."""


@dataclass
class Backfilling:
    """Runs over the tables of a world; things may happen at its moments (World.at).

    Attributes:
        world: the API, the streams and the clock.
        page: rows a page.
        dies: asked at each page and each file that is put; true: the process dies there.
    """

    world: World
    page: int = 4
    dies: Callable[[], bool] = lambda: False
    bucket: FakeBucket = field(default_factory=FakeBucket)
    seconds_left: float = 900.0
    deaths: int = 0
    tables: FakeTables = field(init=False)

    def __post_init__(self) -> None:
        self.tables = FakeTables(self.world.api, page=self.page, on_page=self._on_page)
        self.bucket.on_put = lambda _: self._maybe_die()

    def _on_page(self) -> None:
        self.world._happen("page")
        self._maybe_die()

    def _maybe_die(self) -> None:
        if self.dies():
            raise Died

    def job(self) -> Backfiller:
        """One invocation's."""
        world = self.world
        return Backfiller(
            rows=TableRows(
                cast("Any", self.tables),
                {model: model for model in MODELS},
                lambda rate: TokenBucket(rate, monotonic=lambda: 0.0, sleep=lambda _: None),
            ),
            files=RunFiles(cast("Any", self.bucket), "runs"),
            checker=world.reconciler(),
            clock=world.clock,
            time_left=lambda: self.seconds_left,
            read_units=1000.0,
            concurrency=8,
            breakdowns=world.breakdowns,
        )

    def invoke(self, event: Mapping[str, Any]) -> Any:
        """One step, sent again until it gets through."""
        while True:
            try:
                return self.job().run(event).result
            except Died:
                self.deaths += 1

    def run(self, **asked: Any) -> dict[str, Any]:
        """A whole run; gives its report."""
        name = str(asked.get("run") or f"run-{next(_NUMBERS)}")
        asked = {"segments": 2, "partitions": 3} | asked | {"run": name}
        plan = self.invoke({"prepare": asked})
        self._scan(plan["first"])
        self.world.clock.advance(SETTLE + 1)
        self.world._happen("wait")
        self._scan(plan["second"])
        self.invoke({"gather": {"run": name}})
        for partition in plan["partitions"]:
            for _ in self._reduce(partition):
                pass
        self.world._happen("report")
        report: dict[str, Any] = self.invoke({"report": {"run": name}})
        return report

    def _scan(self, units: list[Any]) -> None:
        for unit in units:
            while not self.invoke({"scan": unit})["done"]:
                pass

    def _reduce(self, partition: Mapping[str, Any]) -> Iterator[None]:
        event: Any = partition
        while event:
            self.world._happen("reduce")
            event = self.invoke({"reduce": event})["next"]
            yield
