"""stream_aggregator's whole invocation: its CPU and wall time, its requests, and what they carry.

The API and DynamoDB are another process, so what they compute is not counted; signing, HTTP, JSON,
logging and metrics are. The wall time has the answers' delay in it, twice for a load and a save.
"""

import time
from collections.abc import Iterator
from typing import Any

from benchmarks import recounting, workloads
from benchmarks.functions import Functions, functions
from benchmarks.measuring import Line, Sample, line
from benchmarks.server import Server, serving

_MODEL = "ScoreResult"
_SIZES = {1: 1, 100: 1, 1000: 2, 4000: 5}
"""Records of a batch, and the minutes that they are spread over."""
_ANSWERS = (0.0, 0.020)


def run(*, quick: bool) -> list[Line]:
    lines: list[Line] = []
    for delay in _ANSWERS:
        with serving(delay) as server, functions(server) as invoked:
            for records, minutes in _SIZES.items():
                repeats = _repeats(records, quick=quick)
                lines += _times(server, invoked, records, minutes, delay, repeats)
            if not delay:
                lines += _requests(server, invoked)
    with serving() as server, functions(server, BREAKDOWNS="all") as invoked:
        lines += _broken_down(server, invoked)
    return lines


def _repeats(records: int, *, quick: bool) -> int:
    most = 5 if quick else 21
    return max(3, most if records <= 1000 else most // 3)


def _times(
    server: Server, invoked: Functions, records: int, minutes: int, delay: float, repeats: int
) -> list[Line]:
    server.post("/reset")
    batches = _batches(records, minutes)
    invoked.invoke("stream_aggregator", next(batches))
    cpu, wall = [], []
    for _ in range(repeats):
        event = next(batches)
        began, at = time.process_time(), time.perf_counter()
        invoked.invoke("stream_aggregator", event)
        cpu.append((time.process_time() - began) * 1000)
        wall.append((time.perf_counter() - at) * 1000)
    what = f"{records} records, answers in {delay * 1000:.0f} ms"
    return [
        line("handler", f"{what}: CPU", Sample(cpu), "ms"),
        line("handler", f"{what}: wall", Sample(wall), "ms"),
    ]


def _requests(server: Server, invoked: Functions) -> Iterator[Line]:
    """Counts, which do not vary."""
    for records, minutes in _SIZES.items():
        server.post("/reset")
        batches = _batches(records, minutes)
        invoked.invoke("stream_aggregator", next(batches))
        event = next(batches)
        with invoked.counted() as traffic:
            invoked.invoke("stream_aggregator", event)
        what = f"{records} records of one account in {minutes} min"
        yield Line("handler", f"{what}: GraphQL requests", traffic.requests, "", bar=2)
        yield Line("handler", f"{what}: buckets written", traffic.writes, "")
        yield Line("handler", f"{what}: sent", traffic.sent, "bytes")
        yield Line("handler", f"{what}: received", traffic.received, "bytes")
        if records == 100:
            yield from _again(invoked, event)


def _broken_down(server: Server, invoked: Functions) -> Iterator[Line]:
    """What the breakdowns by scorecard and score add; counts, which do not vary."""
    for scores in (1, 20):
        server.post("/reset")
        first = workloads.FIRST_NUMBER
        invoked.invoke("stream_aggregator", workloads.of_scores(100, scores, first=first))
        event = workloads.of_scores(100, scores, first=first + 1_000)
        with invoked.counted() as traffic:
            invoked.invoke("stream_aggregator", event)
        what = f"100 records of one account and {scores} scores, all breakdowns"
        yield Line("handler", f"{what}: GraphQL requests", traffic.requests, "", bar=4)
        yield Line("handler", f"{what}: buckets written", traffic.writes, "")
        yield Line("handler", f"{what}: sent", traffic.sent, "bytes")


def _again(invoked: Functions, event: Any) -> Iterator[Line]:
    with invoked.counted() as traffic:
        invoked.invoke("stream_aggregator", event)
    yield Line("handler", "the same 100 delivered again: requests", traffic.requests, "", bar=1)
    yield Line(
        "handler", "the same 100 delivered again: buckets written", traffic.writes, "", bar=0
    )
    with invoked.counted() as traffic:
        invoked.invoke("stream_aggregator", workloads.untouched(_MODEL, 100))
    what = "100 updates of nothing counted: requests"
    yield Line("handler", what, traffic.requests, "", bar=0)
    recount = recounting.requests(record_types=3, hours=2, rows={_MODEL: 100, "Item": 100})
    what = "100 records by recounting two hours: requests, worked out"
    yield Line("handler", what, recount, "", note="one request a bucket, one a page of rows")


def _batches(records: int, minutes: int) -> Iterator[Any]:
    """The same rows' worth again and again, as new records of one shard."""
    first = workloads.FIRST_NUMBER
    while True:
        yield workloads.inserts(_MODEL, records, minutes=minutes, first=first)
        first += 10 * records


def growth(*, quick: bool) -> list[Line]:
    """One batch of 100 where the hour, the account and the day hold ever more rows."""
    lines: list[Line] = []
    with serving() as server, functions(server) as invoked:
        measured: dict[int, tuple[int, int, float]] = {}
        batches = _batches(100, 1)
        for rows in (10**2, 10**4, 10**6):
            server.post("/reset")
            server.post("/put", stored_day(rows))
            invoked.invoke("stream_aggregator", next(batches))
            with invoked.counted() as traffic:
                invoked.invoke("stream_aggregator", next(batches))
            cpu = []
            for _ in range(3 if quick else 15):
                event = next(batches)
                began = time.process_time()
                invoked.invoke("stream_aggregator", event)
                cpu.append((time.process_time() - began) * 1000)
            what = f"100 records onto {rows:,} rows in the hour, 24 times that in the day"
            base = measured.setdefault(10**2, (traffic.requests, _bytes(traffic), 0.0))
            more = traffic.requests - base[0]
            lines += [
                Line("growth", f"{what}: GraphQL requests", traffic.requests, "", bar=2),
                Line("growth", f"{what}: requests more than onto 100", more, "", bar=0),
                Line("growth", f"{what}: bytes", _bytes(traffic), "bytes"),
                Line("growth", f"{what}: bytes / those onto 100", _bytes(traffic) / base[1], "x"),
                line("growth", f"{what}: CPU", Sample(cpu), "ms"),
            ]
    return lines


def _bytes(traffic: Any) -> int:
    return int(traffic.sent + traffic.received)


def stored_day(rows_an_hour: int) -> list[dict[str, Any]]:
    """The buckets of a day that has so many rows in each hour."""
    return [
        bucket
        for hour in range(24)
        for record_type, share in workloads.SHARES.items()
        for bucket in workloads.stored_hour(record_type, hour, rows_an_hour * share)
    ]
