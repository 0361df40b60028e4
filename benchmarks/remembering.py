"""Memory: the peak resident size of a process of its own that does one thing, all imports included.

`python -m benchmarks.remembering batch|check|start FILE` is that process; it prints its peak.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import sweeping, workloads
from benchmarks.functions import functions
from benchmarks.measuring import Line
from benchmarks.server import ROOT, Server, search_path, serving

_SIX_MEGABYTES = 6 * 1024 * 1024
_MEGABYTE = 1024 * 1024


def run(*, quick: bool) -> list[Line]:
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
            path.write_text(json.dumps(sweeping.prepare_check(server, rows)))
            what = f"reconciler, {rows:,} source rows: peak"
            lines.append(Line("memory", what, _peak(server, "check", path), "MB"))
    return lines


def _write_batch(path: Path) -> int:
    one = len(json.dumps(workloads.inserts("ScoreResult", 100))) / 100
    records = int(_SIX_MEGABYTES / one)
    path.write_text(json.dumps(workloads.inserts("ScoreResult", records, minutes=5)))
    return records


def _peak(server: Server, what: str, path: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.remembering", what, str(path), server.url],
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
