"""Counting history: rows read and requests by a range's days, memory, and many scanners at once.

Memory is what Python has allocated at the most (tracemalloc) while one invocation works, of two
sizes: it must not grow with the rows. What stands in for AWS makes its answers when it is asked.
"""

import random
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, Self, cast

from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.adapters.index_rows import IndexRows
from aggregated_metrics.adapters.pending_hours import PendingHours
from aggregated_metrics.adapters.retries import Retries
from aggregated_metrics.adapters.run_files import Part, Run, RunFiles, Segment
from aggregated_metrics.adapters.table_rows import Table, TableRows
from aggregated_metrics.core import buckets
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.models import BUILT_IN, Contribution
from aggregated_metrics.core.series import Series
from aggregated_metrics.core.totals import Totals, pack, partition_of
from aggregated_metrics.jobs.backfiller import MINUTES_A_PART, Backfiller, plan
from aggregated_metrics.jobs.partitions import PASSES
from aggregated_metrics.jobs.recount import Recount

from benchmarks.measuring import Line
from testbench import rows
from testbench.fakes.scans import FakeBucket
from testbench.streams import image
from testbench.world import START, World

_DAYS = (5, 40, 365)
_PASSES_BAR = 2.05
_FLAT_BAR = 1.25
_MOST_MEGABYTES = 256
_ROWS_REDUCED = 40_000
_DAYS_REDUCED = 20
_PAGE = 1000
_ANSWER_SECONDS = 0.02
_UNITS_A_PAGE = 128.0
_BEGAN = datetime(2026, 11, 22, tzinfo=UTC)
_MODEL = "ScoreResult"
_COUNTED = Measures(1, 1230, 1, 1, 0, 0)


def run(*, quick: bool) -> list[Line]:
    size = 20 if quick else 100
    return [*_read(1 if quick else 3), *_memory(quick=quick), *_scaling(size)]


# Rows read ---------------------------------------------------------------------------------------


def _read(each: int) -> Iterator[Line]:
    """Rows read over rows, both passes, of a history that was never counted; and requests."""
    for days in _DAYS:
        by_range, by_scan = _history(days, each), _history(days, each)
        whole = 4 * days * each
        start = START - timedelta(days=days)
        result = by_range.check_range(start.replace(hour=0, minute=0), START, repair=True)
        repaired = len(by_range.requests)
        by_range.check_range(start.replace(hour=0, minute=0), START)
        verified = len(by_range.requests) - repaired
        by_scan.backfill()
        for how, read in (("range", result["rows"]), ("scan", by_scan.ports.tables.read)):
            what = f"{how} of {days} days: rows read over rows"
            yield Line("history", what, read / whole, "", bar=_PASSES_BAR)
        what = f"range of {days} days, {len(by_range.models)} models, that is right: requests a day"
        yield Line("history", what, verified / days, "")


def _history(days: int, each: int) -> World:
    world = World()
    for day, number in product(range(days), range(each)):
        at = START - timedelta(days=day, hours=2, minutes=7 * number)
        later = min(START, at + timedelta(hours=day % 40))
        times = {
            name: moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
            for name, moment in (("createdAt", at), ("updatedAt", later))
        }
        for model in ("Item", "ScoreResult", "Task", "Evaluation"):
            world.insert(model, f"{model}-{day}-{number}", **times)
    world.lose()
    return world


# Memory ------------------------------------------------------------------------------------------


def _memory(*, quick: bool) -> Iterator[Line]:
    works: list[tuple[str, Callable[[int], Callable[[], int]], tuple[int, int]]] = [
        ("a scanner", _scanner, (40, 120)),
        ("a reducer, of a table", _reducer, (1_000_000, 10_000_000)),
        ("a reducer, of a day of 1,000 scores, minutes", _dense_reducer, (60, 240)),
    ]
    for name, prepare, sizes in works:
        peaks = []
        for size in sizes[: 1 if quick else 2]:
            work = prepare(size)
            tracemalloc.start()
            number = work()
            peaks.append(tracemalloc.get_traced_memory()[1] / 1e6)
            tracemalloc.stop()
            what = f"{name}, {number:,} rows: peak memory"
            yield Line("history", what, peaks[-1], "MB", bar=_MOST_MEGABYTES)
        if len(peaks) > 1 and prepare is not _dense_reducer:
            what = f"{name}: memory of the larger over the smaller"
            yield Line("history", what, peaks[1] / peaks[0], "x", bar=_FLAT_BAR)


class _Table:
    """Pages of score results over a month; each answer takes that many seconds."""

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
    return image({name: made[name] for name in BUILT_IN[_MODEL].selected if name in made})


def _scan(pages: int, seconds: float) -> float:
    """Scan a segment of that many pages; returns the seconds of it."""
    files = RunFiles(cast("Any", FakeBucket()), "b")
    files.begin(Run("r", _BEGAN.timestamp(), True, {_MODEL: 1}, 16, {_MODEL: 1e9}))
    job = _job(_Table(pages, seconds), files)
    event = {"scan": {"run": "r", "pass": 1, "model": _MODEL, "segment": 0}}
    began = time.perf_counter()
    result, _ = job.run(event)
    if result != {"done": True, "rows": pages * _PAGE}:
        raise AssertionError(result)
    return time.perf_counter() - began


def _scanner(pages: int) -> Callable[[], int]:
    """Every minute of a month."""

    def work() -> int:
        _scan(pages, 0.0)
        return pages * _PAGE

    return work


def _reducer(rows_in_table: int) -> Callable[[], int]:
    """One partition of a table with that many rows: its parts, and the totals of each."""
    tables, began = {_MODEL: Table(rows_in_table)}, _BEGAN.timestamp()
    made = plan({"run": "r"}, tables, BUILT_IN, began=began, read_units=1e9, concurrency=4)
    segments = made.segments[_MODEL]
    each = -(-rows_in_table // segments // MINUTES_A_PART)
    days = _days_of_partition(made.partitions)

    def parts() -> Iterator[tuple[Segment, int, Totals]]:
        for number, segment, part in product(PASSES, range(segments), range(each)):
            draw, totals = random.Random(f"{segment}/{part}"), Totals()
            for i in range(_ROWS_REDUCED // segments // each):
                account, first = draw.choice(days)
                series = [Series(account, f"{name}coreResults") for name in ("s", "predictionS")]
                minute = first + draw.randrange(buckets.DAY)
                row = Contribution(series, minute, _COUNTED, True)
                totals.add(f"{segment}-{part}-{i}", row)
            yield Segment("r", number, _MODEL, segment), part, totals

    return _reducing(made, parts(), rows_in_table)


def _dense_reducer(minutes: int) -> Callable[[], int]:
    """A day of one account, with 1,000 scores in that many of its minutes."""
    breakdowns = ["scoreResultsByScore", "scoreResultsByScorecard"]
    made = Run("r", _BEGAN.timestamp(), True, {_MODEL: 1}, 1, {_MODEL: 1e9}, breakdowns)
    day = buckets.to_minute(_BEGAN) - buckets.DAY

    def parts() -> Iterator[tuple[Segment, int, Totals]]:
        for number, hour in product(PASSES, range(24)):
            totals = Totals()
            for minute, score in product(range(hour, minutes, 24), range(1_000)):
                place = (f"card-{score // 10}", f"score-{score}")
                series = [Series("a", "scoreResults"), Series("a", breakdowns[0], *place)]
                at = day + hour * 60 + minute // 24
                totals.add(f"{minute}-{score}", Contribution(series, at, _COUNTED, True))
            yield Segment("r", number, _MODEL, 0), hour, totals

    return _reducing(made, parts(), minutes * 1_000)


def _reducing(
    made: Run, parts: Iterator[tuple[Segment, int, Totals]], number: int
) -> Callable[[], int]:
    files = RunFiles(cast("Any", FakeBucket()), "b")
    files.begin(made)
    began = made.began
    for segment, part, totals in parts:
        content = Part(part, None, 0, began, began).encode(pack(totals, _MODEL, made.partitions))
        files.put_part(segment, part, content)
    files.put("r", "checks/0000.json", [])
    keys = {str(each): files.parts("r", each) for each in PASSES}
    passes = {_MODEL: [[began, began], [began + 60, began + 60]]}
    files.put("r", "gathered.json", {"passes": passes, "parts": keys})
    job = _job(None, files)

    def work() -> int:
        result, _ = job.run({"reduce": {"run": "r", "partition": 0}})
        (found,) = files.reduced("r")
        if not (result["done"] and found["repaired"] == found["driftCount"] > 0):
            raise AssertionError(found)
        return number

    return work


def _days_of_partition(partitions: int) -> list[tuple[str, int]]:
    """Some accounts' days that belong to the first partition."""
    last = buckets.floor(buckets.to_minute(_BEGAN), buckets.DAY)
    keys = [(f"acct-{n // 365}", last - (1 + n % 365) * buckets.DAY) for n in range(20_000)]
    mine = [key for key in keys if partition_of(*key, partitions) == 0]
    return mine[:_DAYS_REDUCED]


class _EmptyApi:
    """An API without buckets, which forgets what is written."""

    def execute(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        given = dict(variables or {})
        empty: dict[str, Any] = {"items": [], "nextToken": None}
        name = query.split()[1]
        if name.startswith("Save"):
            return {f"b{key[1:]}": {} for key in given if key[0] == "i"}
        if name.startswith("FindBreakdownHours"):
            return {"page": empty}
        alias = "h" if name.startswith("Load") else "d"
        return {f"{alias}{key[1:]}": empty for key in given if key[0] == "a"}


class _NoEntries:
    """A table of pending hours that forgets them."""

    def get_paginator(self, _: str) -> Self:
        return self

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        return [{"Items": []}]

    def __getattr__(self, _: str) -> Callable[..., dict[str, Any]]:
        return lambda **_: {"UnprocessedItems": {}}


def _job(tables: Any, files: RunFiles) -> Backfiller:
    def clock() -> datetime:
        return _BEGAN + timedelta(minutes=5)

    def left() -> float:
        return 900.0

    client = _EmptyApi()
    pending = PendingHours(cast("Any", _NoEntries()), "pending-hours", clock=clock, grace=120)
    recount = Recount(
        store=HourStore(client, clock=clock, time_left=left),
        rows=IndexRows(client, Retries(left)),
        pending=pending,
        models=BUILT_IN,
        clock=clock,
        sleep=lambda _: None,
        time_left=left,
        grace=120,
        settle_seconds=60,
        complete_until=lambda _: _BEGAN.timestamp(),
        lifetimes={},
        rows_limit=1,
    )
    source = TableRows(tables, {_MODEL: "t"}, sleep=lambda _: None)
    return Backfiller(source, files, recount, pending, BUILT_IN, clock, left, 1e9, 4)


# Scanners side by side ---------------------------------------------------------------------------


def _scaling(pages: int) -> Iterator[Line]:
    """The same table by 1 to 8 scanners, each a process; answers in 20 ms."""
    for workers in (1, 2, 4, 8):
        with ProcessPoolExecutor(workers) as pool:
            list(pool.map(_scan, [1] * workers, [0.0] * workers))  # start them all
            began = time.perf_counter()
            list(pool.map(_scan, [pages] * workers, [_ANSWER_SECONDS] * workers))
            wall = time.perf_counter() - began
        rate = workers * pages * _PAGE / wall
        note = f"{pages} requests and {pages * _UNITS_A_PAGE:,.0f} read units each"
        yield Line("history", f"{workers} scanners: rows a second", rate, "", note=note)
