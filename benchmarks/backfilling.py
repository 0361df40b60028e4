"""Counting history: rows read and requests by a range's days, memory, and many scanners at once.

Memory is what Python has allocated at the most (tracemalloc) while one invocation works, of twice
sizes: it must not grow with the rows. What stands in for AWS makes its answers when it is asked.
"""

import random
import time
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice, product
from typing import Any, Self, cast

from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.adapters.pending_hours import PendingHours
from aggregated_metrics.adapters.run_files import RunFiles
from aggregated_metrics.adapters.source_rows import SourceRows
from aggregated_metrics.adapters.table_rows import TableRows, TokenBucket
from aggregated_metrics.core import buckets
from aggregated_metrics.core.findings import Findings
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.ranges import MOST_DAYS, parse_range
from aggregated_metrics.core.row_sums import GroupKey, Sums, partition_of
from aggregated_metrics.core.runs import LOOKS, Part, Run, Segment, Table, encode, plan_run
from aggregated_metrics.core.series import Series, Target
from aggregated_metrics.jobs.checker import Checker
from aggregated_metrics.jobs.long_ranges import LongRange
from aggregated_metrics.jobs.reducer import Reducer
from aggregated_metrics.jobs.scanner import HELD, Scanner

from benchmarks.measuring import Line
from testbench import rows
from testbench.backfilling import Backfilling
from testbench.fakes.dynamodb import MemoryTable
from testbench.fakes.scans import FakeBucket
from testbench.in_process import TABLE
from testbench.reconciliation import START, World
from testbench.streams import image

_DAYS = (5, 40, 365)
_LOOKS_BAR = 2.05
_FLAT_BAR = 1.25
_ROWS_REDUCED = 40_000
_DAYS_REDUCED = 20
_WINDOWS_DAYS = 2 * MOST_DAYS
_PAGE = 1000
_ANSWER_SECONDS = 0.02
_UNITS_A_PAGE = 128.0
_BEGAN = datetime(2026, 11, 22, tzinfo=UTC)


def run(*, quick: bool) -> list[Line]:
    size = 20 if quick else 100
    return [*_read(1 if quick else 3), *_memory(quick=quick), *_scaling(size)]


def _read(each: int) -> list[Line]:
    """Rows read over rows, both looks, of a history that nobody has counted; and requests."""
    lines = []
    for days in _DAYS:
        world, whole = _history(days, each)
        start = f"{(START - timedelta(days=days)).date()}T00:00:00Z"
        asked = {"accountId": rows.ACCOUNT, "start": start, "end": START.isoformat()}
        result = world.run(asked | {"repair": True})
        if result["next"]:
            raise AssertionError(f"{days} days are not done in one invocation")
        backfilled = len(world.adapter.log)
        world.run(asked)
        verified = len(world.adapter.log) - backfilled
        world, whole = _history(days, each)
        scanned = Backfilling(world, page=100)
        scanned.run()
        for how, read in (("range", result["rows"]), ("scan", scanned.tables.read)):
            what = f"{how} of {days} days: rows read over rows"
            lines.append(Line("history", what, read / whole, "", bar=_LOOKS_BAR))
        what = f"range of {days} days, 8 models, that is right: requests a day"
        lines.append(Line("history", what, verified / days, ""))
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


def _memory(*, quick: bool) -> list[Line]:
    works: list[tuple[str, Callable[[int], Callable[[], int]], tuple[int, int]]] = [
        ("a scanner", _scanner, (40, 120)),
        ("a reducer, of a table", _reducer, (1_000_000, 10_000_000)),
        ("a check of two windows", _range_check, (1440, 2880)),
    ]
    lines = []
    for name, prepare, sizes in works:
        peaks = []
        for size in sizes[: 1 if quick else 2]:
            work = prepare(size)
            tracemalloc.start()
            number = work()
            peaks.append(tracemalloc.get_traced_memory()[1] / 1e6)
            tracemalloc.stop()
            lines.append(Line("history", f"{name}, {number:,} rows: peak memory", peaks[-1], "MB"))
        if len(peaks) > 1:
            what = f"{name}: memory of the larger over the smaller"
            lines.append(Line("history", what, peaks[1] / peaks[0], "x", bar=_FLAT_BAR))
    return lines


def _scanner(pages: int) -> Callable[[], int]:
    """Every minute of a month."""

    def work() -> int:
        _scan(pages, 0.0)
        return pages * _PAGE

    return work


def _reducer(rows_in_table: int) -> Callable[[], int]:
    """One partition, as a table of so many rows is cut: parts, and what each holds of it."""
    tables = {"ScoreResult": Table(rows_in_table)}
    began = _BEGAN.timestamp()
    run = plan_run({"run": "r"}, tables, began=began, read_units=1e9, concurrency=4)
    files = RunFiles(cast("Any", FakeBucket()), "b")
    files.begin(run)
    segments = run.segments["ScoreResult"]
    each = -(-rows_in_table // segments // HELD)
    days = _days_of_partition(run.partitions)
    keys: dict[str, list[str]] = {}
    for look, segment, number in product(LOOKS, range(segments), range(each)):
        draw = random.Random(f"{segment}/{number}")
        groups: dict[GroupKey, Sums] = defaultdict(Sums)
        for _ in range(_ROWS_REDUCED // segments // each):
            key = draw.choice(days)
            minute = key.day * buckets.DAY + draw.randrange(buckets.DAY)
            for record_type in ("scoreResults", "predictionScoreResults"):
                target = Target(Series(key.account_id, record_type), minute)
                groups[key].merge(Sums({target: Measures(1, 1230, 1, 1, 0, 0)}))
        last = None if number == each - 1 else {"id": {"S": "x"}}
        part = Part(number, last, HELD, 1.0, began, began)
        content = encode(part, groups, run.partitions)
        files.put_part(Segment("r", look, "ScoreResult", segment), number, content)
    for look in LOOKS:
        keys[str(look)] = [key for _, key in files.parts("r", look)]
    fences = {"ScoreResult": [began, began + 60, began + 120]}
    files.put("r", "gathered.json", {"fences": fences, "parts": keys})

    def work() -> int:
        reduced = Reducer(_checker(_EmptyApi()), files, lambda: 900.0).reduce(run, 0)
        if not reduced.repaired.total() == reduced.minutes > 0:
            raise AssertionError(reduced)
        return rows_in_table

    return work


def _days_of_partition(partitions: int) -> list[GroupKey]:
    """Some accounts' days that belong to the first partition."""
    first = buckets.to_minute(_BEGAN) // buckets.DAY - 365
    keys = (
        GroupKey(first + number % 365, f"acct-{number // 365}", "ScoreResult")
        for number in range(10**6)
    )
    mine = (key for key in keys if partition_of(key.account_id, key.day, partitions) == 0)
    return list(islice(mine, _DAYS_REDUCED))


def _range_check(rows_a_day: int) -> Callable[[], int]:
    """An account's tasks of 62 days, which no bucket counts; they are only compared."""
    whole = _WINDOWS_DAYS * rows_a_day
    asked = parse_range(
        {
            "accountId": rows.ACCOUNT,
            "recordTypes": ["tasks"],
            "start": (_BEGAN - timedelta(days=_WINDOWS_DAYS)).isoformat(),
            "end": _BEGAN.isoformat(),
        }
    )

    def work() -> int:
        found = Findings()
        long_range = LongRange(_checker(_EmptyApi(whole, rows_a_day)), asked, found)
        long_range.check(repair=False)
        if found.rows != 2 * whole:
            raise AssertionError(f"{found.rows} rows read, not {2 * whole}")
        return whole

    return work


class _EmptyApi:
    """An API without buckets, which forgets what is written; it lists so many rows."""

    def __init__(self, rows: int = 0, rows_a_day: int = 1) -> None:
        self._rows = rows
        self._rows_a_day = rows_a_day

    def execute(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        given = dict(variables or {})
        name = query.split()[1]
        if name.startswith("Count"):
            return {"page": self._page(int(given.get("token") or 0))}
        if name.startswith("Save"):
            return {f"b{key[1:]}": {} for key in given if key[0] == "i"}
        alias = "h" if name.startswith("Load") else "d"
        empty: dict[str, Any] = {"items": [], "nextToken": None}
        return {f"{alias}{key[1:]}": empty for key in given if key[0] == "a"}

    def _page(self, first: int) -> dict[str, Any]:
        end = min(self._rows, first + _PAGE)
        items = [self._row(number) for number in range(first, end)]
        return {"items": items, "nextToken": str(end) if end < self._rows else None}

    def _row(self, number: int) -> dict[str, Any]:
        day, place = divmod(number, self._rows_a_day)
        at = (
            _BEGAN
            - timedelta(days=_WINDOWS_DAYS - day)
            + place * timedelta(days=1) / self._rows_a_day
        )
        text = at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        return rows.task(str(number), createdAt=text, updatedAt=text)


class _NoMarks:
    """A table of marks that forgets them."""

    def get_paginator(self, _: str) -> Self:
        return self

    def paginate(self, **_: Any) -> list[dict[str, Any]]:
        return [{"Items": []}]

    def batch_write_item(self, **_: Any) -> dict[str, Any]:
        return {"UnprocessedItems": {}}


def _checker(api: _EmptyApi) -> Checker:
    def clock() -> datetime:
        return _BEGAN + timedelta(minutes=5)

    return Checker(
        HourStore(api, clock=clock, grace=120, time_left=lambda: 900.0),
        SourceRows(api, clock=clock),
        PendingHours(cast("Any", _NoMarks()), TABLE, clock=clock, grace=120, remembered={}),
        clock,
        120,
        60,
        lambda _: None,
    )


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
