"""The peak memory of one invocation, in a process of its own, imports included.

`python -m benchmarks.memory NAME SIZE` is that process; it prints its peak in MB. Each asserts that
its work was done: that every hour was loaded, and that a wrong minute of the oldest was repaired.
"""

import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.measuring import Line
from benchmarks.stand_in import ACCOUNT, DAY, Api, Dense, Entries, Results, context, engine
from testbench import rows
from testbench.streams import Stream
from tests.truth import seams

BAR = 256
_HOUR = timedelta(hours=1)
_A_SCORE = 6
"""Rows of each score in each hour."""
_CHECKPOINTS = 64
_LATER = DAY + timedelta(days=32)


def day(scores: int) -> None:
    """The hourly check of a day of one account, with so many scores."""
    results = Results(DAY, 24, scores * _A_SCORE, scores)
    hours = [(name, ids, DAY + i * _HOUR) for i in range(24) for name, ids in results.series]
    api, entries = Api(results, results), Entries(hours)
    _spoil(api, results)
    process = engine(api, entries, _LATER, BREAKDOWNS="all", CHECK_ROWS_LIMIT="10000000")
    process.invoke(*seams.CHECK, context())
    _demand(api, len(hours))
    if len(entries.deleted) < len(hours) - 1:  # the repaired one may be checked once more
        raise AssertionError(f"{len(entries.deleted)} of {len(hours)} hours are checked")


def days(number: int) -> None:
    """The check of a range of so many days with 100 scores."""
    results = Results(DAY, 24 * number, 100 * _A_SCORE, 100)
    _range(results, DAY + number * 24 * _HOUR, 24 * number)


def busy_day(number: int) -> None:
    """The check of a day of so many rows, with as many later ones."""
    results = Results(DAY, 48, number // 24)
    _range(results, DAY + 24 * _HOUR, 24)


def _range(results: Results, end: datetime, hours: int) -> None:
    api = Api(results, results)
    _spoil(api, results)
    process = engine(api, Entries(), _LATER, BREAKDOWNS="all", CHECK_ROWS_LIMIT="10000000")
    names = {name for name, _ in results.series}
    call = seams.repair_range(ACCOUNT, names, DAY.isoformat(), end.isoformat())
    for _ in range(3):
        if seams.settle(lambda call: process.invoke(*call, context()), call):
            break
    _demand(api, hours * len(results.series))


def batch(hours: int) -> None:
    """A batch that removes a row of each of so many dense hours, at 64 checkpoints a minute."""
    api = Api(Dense(), checkpoints=_CHECKPOINTS)
    stream = Stream("ScoreResult")
    texts = [f"{DAY - (hour + 1) * _HOUR:%Y-%m-%dT%H:00:30.000Z}" for hour in range(hours)]
    made = (
        rows.score_result(str(i), createdAt=text, updatedAt=text, type=None, cost=None)
        for i, text in enumerate(texts)
    )
    removals = [stream.remove(row, created=_LATER) for row in made]
    function, event = seams.aggregate(json.loads(json.dumps(removals)), "shardId-1")
    del removals
    engine(api, Entries(), _LATER).invoke(function, event, context())
    minutes = [api.saved.get(f"scoreResults#{text[:16]}:00Z#1") for text in texts]
    if minutes != [8] * hours or len(api.saved) != 4 * hours:
        raise AssertionError(f"{len(api.saved)} buckets are saved of {4 * hours}")


def _spoil(api: Api, results: Results) -> None:
    """One row too many in the first minute of a series that has only this row there."""
    record_type, ids = results.series[-1]
    minute = min(results.counts(f"{record_type}#{ids['scoreId']}", DAY))
    api.wrong = f"{record_type}#{ids['scoreId']}#{DAY:%Y-%m-%dT%H:}{minute:02}:00Z#1"


def _demand(api: Api, hours: int) -> None:
    series, start, _ = api.wrong.rsplit("#", 2)
    right = api.hour.counts(series, DAY)[int(start[14:16])]
    if api.saved.get(api.wrong) != right:
        raise AssertionError(f"the wrong minute is not repaired: {api.saved}")
    if len(api.loaded) < hours:
        raise AssertionError(f"{len(api.loaded)} of {hours} hours are compared")


WORKS: dict[str, Callable[[int], None]] = {
    "day": day,
    "days": days,
    "busy day": busy_day,
    "batch": batch,
}
SIZES = {
    ("day", 1000): "hourly check of a day with 1,000 scores of one account",
    ("day", 2000): "the same with 2,000 scores",
    ("days", 10): "range of 10 days with 100 scores",
    ("days", 20): "the same of 20 days",
    ("busy day", 500_000): "range of a day of 500,000 rows, with as many later ones",
    ("batch", 1000): "batch of 1,000 removals in 1,000 hours, 64 checkpoints a minute",
    ("batch", 2000): "batch of 2,000 removals in 2,000 hours, 64 checkpoints a minute",
}


def run(*, quick: bool) -> list[Line]:
    return [
        Line("peak memory", what, peak(name, size // (20 if quick else 1)), "MB", bar=BAR)
        for (name, size), what in SIZES.items()
    ]


def peak(name: str, size: int) -> float:
    """The peak of a fresh process that does one thing."""
    command = [sys.executable, "-m", "benchmarks.memory", name, str(size)]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.split()[-1])


def main(name: str, size: str) -> None:
    logging.disable(logging.CRITICAL)
    WORKS[name](int(size))
    # Not getrusage: its peak begins with the size of the process that started this one.
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(int(kilobytes) / 1024)


if __name__ == "__main__":
    main(*sys.argv[1:3])
