"""bucket_sweeper over many pending hours, and the reconciler over many source rows."""

import time
from typing import Any

from aggregated_metrics.adapters import pending_hours as pending
from aggregated_metrics.core import buckets
from aggregated_metrics.core.hours import HourId, Series

from benchmarks import workloads
from benchmarks.functions import functions
from benchmarks.measuring import Line
from benchmarks.server import serving

_PUT = 2000


def run(*, quick: bool) -> list[Line]:
    hours, rows = (1_000, 20_000) if quick else (10_000, 200_000)
    return sweep(hours) + reconcile(rows)


def sweep(number: int) -> list[Line]:
    """So many hours of as many accounts, each with one minute, are due and have elapsed."""
    with serving() as server, functions(server) as invoked:
        rows = [row for n in range(number) for row in _hour(n)]
        for first in range(0, len(rows), _PUT):
            server.post("/put", rows[first : first + _PUT])
        server.post("/mark", [_mark(n) for n in range(number)])
        with invoked.counted() as traffic:
            began, at = time.process_time(), time.perf_counter()
            report = invoked.invoke("bucket_sweeper", {})
            cpu, wall = time.process_time() - began, time.perf_counter() - at
        left = len([row for row in server.post("/rows") if not row["complete"]])
    if report["swept"] != number or left:
        raise AssertionError(f"{report}: {left} buckets are left open")
    what = f"{number:,} pending hours"
    return [
        Line("sweep", f"{what}: GraphQL requests", traffic.requests, ""),
        Line("sweep", f"{what}: requests an hour", traffic.requests / number, ""),
        Line("sweep", f"{what}: buckets closed", traffic.writes, ""),
        Line("sweep", f"{what}: wall", wall, "s", note="answers in 0 ms"),
        Line("sweep", f"{what}: CPU", cpu, "s"),
        Line("sweep", f"{what}: CPU an hour", cpu / number * 1000, "ms"),
    ]


def reconcile(rows: int) -> list[Line]:
    """One hour of one account whose counts are right, so one look is enough."""
    with serving() as server, functions(server) as invoked:
        event = prepare_check(server, rows)
        with invoked.counted() as traffic:
            began, at = time.process_time(), time.perf_counter()
            result = invoked.invoke("reconciler", event)
            cpu, wall = time.process_time() - began, time.perf_counter() - at
    if result["rows"] != rows or result["driftCount"] or result["movingCount"]:
        raise AssertionError(f"the check went wrong: {result['rows']} rows")
    what = f"{rows:,} source rows"
    return [
        Line("reconcile", f"{what}: requests", traffic.requests, ""),
        Line("reconcile", f"{what}: CPU", cpu / rows * 1e6, "µs/row"),
        Line("reconcile", f"{what}: rows a second of CPU", rows / cpu, ""),
        Line("reconcile", f"{what}: rows a second", rows / wall, "", note="answers in 0 ms"),
    ]


def prepare_check(server: Any, rows: int) -> dict[str, Any]:
    """Source rows, the buckets that they come to, and the event that compares them."""
    server.post("/reset")
    server.post("/source", rows)
    whole, rest = divmod(rows, 1000)
    counts = [0] * 60
    for number in range(1000):
        counts[number % 60] += whole + (number < rest)
    server.post("/put", workloads.counted_hour("items", counts))
    day = f"{workloads.FIRST:%Y-%m-%d}"
    return {
        "accountId": workloads.ACCOUNT,
        "recordTypes": ["items"],
        "start": f"{day}T10:00:00Z",
        "end": f"{day}T11:00:00Z",
    }


def _account(number: int) -> str:
    return f"account-{number:06d}"


def _hour(number: int) -> list[dict[str, Any]]:
    """One minute and its three parents, all elapsed."""
    rows = workloads.counted_hour("items", [1] + [0] * 59)
    return [row | {"accountId": _account(number)} for row in rows]


def _mark(number: int) -> dict[str, Any]:
    hour = HourId(Series(_account(number), "items"), buckets.to_minute(workloads.HOUR))
    return pending._item(hour, 1, 1, "pending")  # noqa: SLF001 - a mark of long ago
