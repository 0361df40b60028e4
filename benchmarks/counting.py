"""What counting a batch costs: requests, which do not vary, and CPU, as a share of parsing it.

The functions and the Fake API are one process; what the Fake's answers take is subtracted. A
batch's fixed part is left out: it is the difference of a large batch and of one record.
"""

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from benchmarks import workloads
from benchmarks.measuring import Line, interleaved
from benchmarks.stand_in import context
from testbench import local
from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.endpoint import Answer
from testbench.fakes.signatures import Request
from tests.truth import seams

RECORDS = 1000
_NOW = workloads.FIRST + timedelta(minutes=2)


class Counter:
    """The functions before a Fake API, with their requests counted.

    Attributes:
        requests: to the API.
        seconds: CPU time that its answers took.
    """

    def __init__(self, **settings: str) -> None:
        ports = local.LocalPorts(FakeAppSync(clock=lambda: _NOW))
        self.api = ports.api
        self.requests, self.seconds = 0, 0.0
        self._engine = seams.Engine(
            local.ENVIRONMENT | settings,
            clock=lambda: _NOW,
            sleep=lambda _: None,
            session=local.Session(self._answer),
            aws=ports.aws,
        )

    def _answer(self, request: Request) -> Answer:
        began = time.process_time()
        self.requests += 1
        answer = self.api.answer(request)
        self.seconds += time.process_time() - began
        return answer

    def invoke(self, call: seams.Call) -> int:
        """Carry out a call; returns its requests."""
        before = self.requests
        self._engine.invoke(*call, context())
        return self.requests - before


def counted(api: FakeAppSync) -> int:
    """The sum of the minutes of all score results."""
    return sum(
        row["count"]
        for row in api.rows("AggregatedMetrics")
        if row["recordType"] == "scoreResults" and row["numberOfMinutes"] == 1
    )


def requests(*, quick: bool) -> list[Line]:  # noqa: ARG001 - they do not vary
    counter = Counter()
    number = counter.invoke(workloads.inserts(100))
    again = counter.invoke(workloads.inserts(100))
    nothing = counter.invoke(workloads.untouched(100))
    _demand(counter, 100)
    broken_down = Counter(BREAKDOWNS="all")
    scores = broken_down.invoke(workloads.inserts(100, scores=20))
    _demand(broken_down, 100)
    large = counter.invoke(workloads.inserts(4000, first=10**30))
    _demand(counter, 4100)
    return [
        Line("requests", "100 records of one account", number, bar=2),
        Line("requests", "4,000 records of one account", large, bar=2),
        Line("requests", "the same 100 delivered again", again, bar=1),
        Line("requests", "100 updates of nothing that is counted", nothing, bar=0),
        Line("requests", "100 records of 20 scores, all breakdowns", scores, bar=4),
    ]


def cpu(*, quick: bool) -> list[Line]:
    """The handler's CPU for each score result, over json.loads of the same record."""
    counter, batch = Counter(), 0

    def fresh(records: int) -> Callable[[], seams.Call]:
        def prepare() -> seams.Call:
            nonlocal batch
            batch += 1
            return workloads.inserts(records, first=10**21 + batch * 10**6)

        return prepare

    def handle(call: seams.Call) -> float:
        before = counter.seconds
        counter.invoke(call)
        return counter.seconds - before

    text = json.dumps(workloads.inserts(RECORDS)[1])
    few = json.dumps(workloads.inserts(1)[1])
    works: dict[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {
        "parse": (lambda: text, json.loads),
        "parse one": (lambda: few, json.loads),
        "handle": (fresh(RECORDS), handle),
        "handle one": (fresh(1), handle),
    }
    repeats = 5 if quick else 31
    taken = interleaved(works, repeats)
    _demand(counter, (repeats + 1) * (RECORDS + 1))
    parse = taken["parse"].minus(taken["parse one"])
    handled = taken["handle"].minus(taken["handle one"])
    ratio = handled.over(parse)
    what = "the handler for a score result, over json.loads of it"
    return [
        Line("CPU", what, ratio.median, "x", ratio.spread, bar=0.65),
        Line("CPU", "json.loads of a score result", parse.median * 1e6 / RECORDS, "µs"),
        Line("CPU", "an invocation with one record", taken["handle one"].median * 1e3, "ms"),
    ]


def _demand(counter: Counter, rows: int) -> None:
    if (number := counted(counter.api)) != rows:
        raise AssertionError(f"{number} rows are counted, not {rows}")
