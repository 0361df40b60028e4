"""Rows that a check reads, both passes, over the rows that there are: by range, by Scan, hourly.

Every minute of the history is wrong, or the oldest one: else there is no second pass.
"""

from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import batched
from typing import Any

from benchmarks.measuring import Line
from benchmarks.stand_in import context
from testbench import local, oracle, rows
from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.endpoint import Answer
from testbench.fakes.signatures import Request
from testbench.streams import Stream
from testbench.traffic import text
from tests.truth import seams

BAR = 2.05
NOW = datetime(2026, 11, 22, 12, 10, tzinfo=UTC)
_MODELS = ("Item", "ScoreResult", "Task", "Evaluation")
_DAYS, _A_DAY = 30, 40
_SETTLE = 61


class History:
    """Rows in the tables, their records in a stream, and the functions.

    Attributes:
        read: rows that were given through the API's indexes.
    """

    def __init__(self) -> None:
        self.now = NOW
        self.read = 0
        self.api = FakeAppSync(clock=lambda: self.now)
        self.ports = local.LocalPorts(self.api)
        streams = local.stream_arns(_MODELS)
        self.ports.mappings.enable(streams.split(","), NOW - timedelta(hours=1))
        self._engine = seams.Engine(
            local.ENVIRONMENT
            | {"STREAM_ARNS": streams, "BACKFILL_BUCKET": "runs"}
            | {"BACKFILL_READ_UNITS": "1000000"},
            clock=lambda: self.now,
            sleep=self.pass_by,
            session=local.Session(self._answer),
            aws=self.ports.aws,
        )

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def invoke(self, call: seams.Call) -> Any:
        return self._engine.invoke(*call, context())

    def stored(self) -> dict[oracle.Key, tuple[int, ...]]:
        """Every bucket that is not empty."""
        found = {oracle.key_of(row): oracle.held(row) for row in self.api.rows("AggregatedMetrics")}
        return {key: sums for key, sums in found.items() if any(sums)}

    def demand(self) -> None:
        """Raise if a bucket differs from the rows' totals."""
        truth = oracle.buckets_of((model, row) for model in _MODELS for row in self.api.rows(model))
        if self.stored() != truth:
            raise AssertionError("not every hour was compared and set")

    def _answer(self, request: Request) -> Answer:
        answer = self.api.answer(request)
        for asked in seams.asked(request.body):
            if any(asked.reads(model, rows.ACCOUNT) for model in _MODELS):
                self.read += answer.body.count(b'"id":')
        return answer


def run(*, quick: bool) -> list[Line]:
    each = 1 if quick else 3
    lines = []
    for days in (5, 40, 365):
        for how, read in (("range", by_range), ("Scan", by_scan)):
            lines.append(Line("rows read for each row", f"{how} of {days} days", read(days, each)))
    lines.append(Line("rows read for each row", "one old hour in each of 30 days", old_hours()))
    return [Line(line.group, line.what, line.value, bar=BAR) for line in lines]


def by_range(days: int, each: int) -> float:
    """A range of so many days that nothing has counted."""
    history, number = _uncounted(days, each)
    start = (NOW - timedelta(days=days)).replace(hour=0, minute=0)
    names = [f"{m[0].lower()}{m[1:]}s" for m in _MODELS]
    kinds = ["predictionItems", "predictionScoreResults", "evaluationItems"]
    names += [*kinds, "evaluationScoreResults"]
    call = seams.repair_range(rows.ACCOUNT, names, start.isoformat(), NOW.isoformat())
    if not seams.settle(history.invoke, call):
        raise AssertionError("the range is not settled")
    history.demand()
    return history.read / number


def by_scan(days: int, each: int) -> float:
    """The same tables, scanned."""
    history, number = _uncounted(days, each)
    wait = partial(history.pass_by, _SETTLE)
    seams.walk_backfill(history.invoke, wait, run="run", segments=2, partitions=3)
    history.demand()
    return history.ports.table.read / number


def _uncounted(days: int, each: int) -> tuple[History, int]:
    history = History()
    for day in range(days):
        for number in range(each):
            at = NOW - timedelta(days=day, hours=2, minutes=7 * number)
            later = min(NOW, at + timedelta(hours=day % 40))
            times = {"createdAt": text(at), "updatedAt": text(later)}
            for model in _MODELS:
                row = rows.MAKERS[model](f"{model}-{day}-{number}", **times)
                history.api.put(model, row)
    history.pass_by(_SETTLE)
    return history, len(_MODELS) * days * each


def old_hours() -> float:
    """An edit of one old row in each of 30 days: what the hourly check reads of the index."""
    history, stream = History(), Stream("Task")
    made = []
    for day in range(_DAYS, 0, -1):
        for number in range(_A_DAY):
            at = text(NOW - timedelta(days=day) + timedelta(minutes=number))
            made.append(rows.task(f"t-{day}-{number}", createdAt=at, updatedAt=at))
    history.api.put("Task", *made)
    for part in batched(made, 100):
        records = [stream.insert(row, created=history.now) for row in part]
        history.invoke(seams.aggregate(records, "shardId-1"))
    _rest(history)
    changed = [row | {"status": "FAILED", "updatedAt": text(history.now)} for row in made[::_A_DAY]]
    history.api.put("Task", *changed)
    pairs = zip(made[::_A_DAY], changed, strict=True)
    records = [stream.modify(old, new, created=history.now) for old, new in pairs]
    history.invoke(seams.aggregate(records, "shardId-1"))
    # One too many in the oldest hour.
    oldest = min(
        (row for row in history.api.rows("AggregatedMetrics") if row["numberOfMinutes"] == 1),
        key=lambda row: str(row["timeRangeStart"]),
    )
    history.api.put("AggregatedMetrics", {**oldest, "count": oldest["count"] + 1})
    history.read = 0
    _rest(history)
    history.demand()
    return history.read / len(made)


def _rest(history: History) -> None:
    """Let time pass until every pending hour is complete and checked."""
    for _ in range(3):
        history.pass_by(3600)
        history.invoke(seams.SWEEP)
        history.invoke(seams.CHECK)
        if not seams.entries(history.ports.table.items.values()):
            return
    raise AssertionError("hours are left to be checked")
