"""Counting history: rows read by a range's days, a scanner's speed and memory, many at once."""

import time
import tracemalloc
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from aggregated_metrics.adapters.run_files import RunFiles
from aggregated_metrics.adapters.table_rows import TableRows, TokenBucket
from aggregated_metrics.core.runs import Run, Segment
from aggregated_metrics.jobs.scanner import Scanner

from benchmarks.measuring import Line
from testbench import rows
from testbench.backfilling import Backfilling
from testbench.fakes.aws import MemoryTable
from testbench.fakes.scans import FakeBucket
from testbench.reconciliation import START, World
from testbench.streams import image

_DAYS = (5, 40, 365)
_LOOKS_BAR = 2.05
_PAGE = 1000
_ANSWER_SECONDS = 0.02
_UNITS_A_PAGE = 128.0
_BEGAN = datetime(2026, 11, 22, tzinfo=UTC)


def run(*, quick: bool) -> list[Line]:
    size = 20 if quick else 100
    return [*_read(2 if quick else 4), *_memory(size), *_scaling(size)]


def _read(each: int) -> list[Line]:
    """Rows read over rows, both looks, of a history that nobody has counted."""
    lines = []
    for days in _DAYS:
        world, whole = _history(days, each)
        start = f"{(START - timedelta(days=days)).date()}T00:00:00Z"
        asked = {"accountId": rows.ACCOUNT, "start": start, "end": START.isoformat()}
        result = world.run(asked | {"repair": True})
        world, whole = _history(days, each)
        scanned = Backfilling(world, page=100)
        scanned.run()
        for how, read in (("range", result["rows"]), ("scan", scanned.tables.read)):
            what = f"{how} of {days} days: rows read over rows"
            lines.append(Line("history", what, read / whole, "", bar=_LOOKS_BAR))
    return lines


def _history(days: int, each: int) -> tuple[World, int]:
    world = World(MemoryTable())
    for day in range(days):
        for number in range(each):
            at = START - timedelta(days=day, hours=2, minutes=7 * number)
            later = min(START, at + timedelta(hours=day % 40))
            times = {
                name: moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
                for name, moment in (("createdAt", at), ("updatedAt", later))
            }
            for model in ("Item", "ScoreResult", "Task", "Evaluation"):
                world.insert(model, f"{model}-{day}-{number}", **times)
    world.undelivered.clear()
    return world, 4 * days * each


class _Table:
    """Pages of score results over a month, each after so long an answer."""

    def __init__(self, pages: int, seconds: float) -> None:
        self._pages = pages
        self._seconds = seconds
        self._rows = [
            [_row(page, number) for number in range(_PAGE)] for page in range(min(pages, 31))
        ]

    def scan(self, *, ExclusiveStartKey: Mapping[str, Any] | None = None, **_: Any) -> Any:
        time.sleep(self._seconds)
        page = int(ExclusiveStartKey["id"]["S"]) if ExclusiveStartKey else 0
        answer: dict[str, Any] = {
            "Items": self._rows[page % len(self._rows)],
            "ConsumedCapacity": {"CapacityUnits": _UNITS_A_PAGE},
        }
        if page + 1 < self._pages:
            answer["LastEvaluatedKey"] = {"id": {"S": str(page + 1)}}
        return answer


def _row(page: int, number: int) -> dict[str, Any]:
    at = (_BEGAN - timedelta(days=1 + page, minutes=number)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    made = rows.score_result(str(number), createdAt=at, updatedAt=at)
    wanted = ("id", "accountId", "createdAt", "updatedAt", "type", "value", "code", "cost")
    return image({name: made[name] for name in wanted})


def _scan(pages: int, seconds: float) -> float:
    """Scan a segment of so many pages; returns the seconds that it took."""
    run = Run("r", _BEGAN.timestamp(), True, {"ScoreResult": 1}, 16, {"ScoreResult": 1e9}, {})
    scanner = Scanner(
        TableRows(
            cast("Any", _Table(pages, seconds)),
            {"ScoreResult": "t"},
            TokenBucket,
        ),
        RunFiles(cast("Any", FakeBucket()), "b"),
        lambda: datetime.now(UTC),
        lambda: 900.0,
    )
    began = time.perf_counter()
    part = scanner.scan(run, Segment("r", 1, "ScoreResult", 0))
    if part.rows != pages * _PAGE:
        raise AssertionError(part)
    return time.perf_counter() - began


def _memory(pages: int) -> list[Line]:
    lines = []
    for number in (max(pages, 40), 3 * max(pages, 40)):  # both with every minute of the month
        tracemalloc.start()
        _scan(number, 0.0)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        what = f"a scanner of {number * _PAGE:,} rows: peak memory"
        lines.append(Line("history", what, peak, "MB", note="the table's own pages included"))
    return lines


def _scaling(pages: int) -> list[Line]:
    """The same table by 1 to 8 scanners, each a process; answers in 20 ms."""
    lines = []
    for workers in (1, 2, 4, 8):
        with ProcessPoolExecutor(workers) as pool:
            list(pool.map(_scan, [1] * workers, [0.0] * workers))  # start them all
            began = time.perf_counter()
            list(pool.map(_scan, [pages] * workers, [_ANSWER_SECONDS] * workers))
            wall = time.perf_counter() - began
        rate = workers * pages * _PAGE / wall
        note = f"{pages} requests and {pages * _UNITS_A_PAGE:,.0f} read units each"
        lines.append(Line("history", f"{workers} scanners: rows a second", rate, "", note=note))
    return lines
