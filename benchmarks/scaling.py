"""What large numbers cost: many pending hours, many source rows, and the memory of a full batch.

Memory is the peak resident size of a process of its own that does one thing, all imports included.
`python -m benchmarks.scaling batch|check|start FILE URL` is that process; it prints its peak.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from aggregated_metrics.adapters import pending_hours as pending
from aggregated_metrics.core import buckets
from aggregated_metrics.core.hours import HourId, Series

from benchmarks import workloads
from benchmarks.measuring import Line
from benchmarks.serving import ROOT, Server, functions, search_path, serving

_PUT = 2000
_MEGABYTE = 1024 * 1024
_BATCH = 6 * _MEGABYTE
"""The most that Lambda hands to a function at once."""


def sweep_and_reconcile(*, quick: bool) -> list[Line]:
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


def memory(*, quick: bool) -> list[Line]:
    lines = []
    with serving() as server, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "event.json"
        records = _write_batch(path)
        start = _peak(server, "start", path)
        batch = _peak(server, "batch", path)
        lines += [
            Line("memory", "stream_aggregator, one record: peak", start, "MB"),
            Line(
                "memory",
                f"stream_aggregator, a batch of 6 MB ({records:,} records): peak",
                batch,
                "MB",
                bar=128,
            ),
        ]
        for rows in (1_000, 10_000, 100_000) if quick else (1_000, 100_000, 1_000_000):
            path.write_text(json.dumps(prepare_check(server, rows)))
            what = f"reconciler, {rows:,} source rows: peak"
            lines.append(Line("memory", what, _peak(server, "check", path), "MB"))
    return lines


def _write_batch(path: Path) -> int:
    one = len(json.dumps(workloads.inserts("ScoreResult", 100))) / 100
    records = int(_BATCH / one)
    path.write_text(json.dumps(workloads.inserts("ScoreResult", records, minutes=5)))
    return records


def _peak(server: Server, what: str, path: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling", what, str(path), server.url],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": search_path()},
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout.split()[-1])


def main(what: str, path: str, url: str) -> None:
    with functions(Server(url)) as invoked:
        if what == "start":
            invoked.invoke("stream_aggregator", workloads.inserts("ScoreResult", 1))
        else:
            name = "stream_aggregator" if what == "batch" else "reconciler"
            with Path(path).open("rb") as file:
                invoked.invoke(name, json.load(file))
    # Not getrusage: its peak begins with the size of the process that started this one.
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(int(peak) * 1024 / _MEGABYTE)


if __name__ == "__main__":
    main(*sys.argv[1:4])
