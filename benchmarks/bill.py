"""What score results cost a month, by rows, accounts and batching window, at us-east-1's prices.

An hour of steady traffic goes through the functions, with every request and write counted. A month
is 730 of them. The tables' rows and the dashboards' reads are the application's own.
"""

import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from benchmarks import workloads
from benchmarks.counting import counted
from benchmarks.measuring import Line
from testbench import local
from testbench.engine import Context, Engine
from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.endpoint import Answer
from testbench.fakes.signatures import Request
from testbench.streams import FIRST_SEQUENCE_NUMBER, Stream
from testbench.traffic import text
from tests.truth import seams

HOURS = 730
BATCH = 1000
WINDOWS = (10, 60, 300)
TRAFFIC = ((100_000, 1), (1_000_000, 1), (1_000_000, 20), (10_000_000, 20))
"""Rows a month, accounts."""
PRICES = {
    "requests": 4e-6,
    "written": 3 * 0.625e-6,  # a bucket is in two indexes
    "entries": 3 * 0.625e-6,  # an entry as well
    "invocations": 0.2e-6 + 0.1 * 0.5 * 13.4e-6 + 500e-9,  # 0.1 s of 512 MB, and its log line
}
_START = datetime(2026, 11, 22, 10, tzinfo=UTC)


class Hour:
    """The functions for an hour, with what is billed counted.

    Args:
        window: the mapping's batching window, in seconds.
    """

    def __init__(self, window: int) -> None:
        self.billed: Counter[str] = Counter()
        self.now, self.window = _START, window
        self._stream = Stream("ScoreResult", first=FIRST_SEQUENCE_NUMBER)
        self._api = FakeAppSync(clock=lambda: self.now)
        ports = local.LocalPorts(self._api)
        for name in ("put_item", "update_item"):
            setattr(ports.table, name, self._counted(getattr(ports.table, name)))
        self._engine = Engine(
            local.ENVIRONMENT | {"BATCHING_WINDOW_SECONDS": str(window)},
            clock=lambda: self.now,
            sleep=lambda _: None,
            session=local.Session(self._answer),
            aws=ports.aws,
        )

    def run(self, rows: int, accounts: int) -> None:
        """Let rows arrive at random times; count them in batches, and sweep every minute."""
        draw = random.Random(1)
        arrivals = sorted(draw.uniform(0, 3600) for _ in range(rows))
        numbers, sweep = count(), 60.0
        while arrivals or sweep < 3600:
            due = arrivals[0] + self.window if arrivals else 3600.0
            if len(arrivals) >= BATCH:
                due = min(due, arrivals[BATCH - 1])
            if sweep <= due:
                self._invoke(sweep, seams.SWEEP)
                sweep += 60
                continue
            ready = [at for at in arrivals[:BATCH] if at <= due]
            arrivals = arrivals[len(ready) :]
            records = [self._record(next(numbers), at, draw.randrange(accounts)) for at in ready]
            self._invoke(due, workloads.received(records))
        if counted(self._api) != rows:
            raise AssertionError("not every row was counted")

    def _record(self, number: int, at: float, account: int) -> Any:
        row = workloads.score_result(number)
        created = _START + timedelta(seconds=at)
        own = {"accountId": f"account-{account}"}
        own |= dict.fromkeys(("createdAt", "updatedAt"), text(created))
        return self._stream.insert(row | own, created=created)

    def _invoke(self, at: float, call: seams.Call) -> None:
        self.now = _START + timedelta(seconds=at)
        report: dict[str, Any] = {}
        self._engine.invoke(*call, Context(lambda: 60.0, report))
        if call is not seams.SWEEP:
            self.billed["invocations"] += 1
        self.billed["written"] += report.get("written") or 0

    def _answer(self, request: Request) -> Answer:
        if not local.is_about_streams(request):  # an idle stack pays for these
            self.billed["requests"] += 1
        return self._api.answer(request)

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def billed(**asked: Any) -> Any:
            self.billed["entries"] += 1
            return call(**asked)

        return billed


def dollars(rows: int, accounts: int, window: int) -> float:
    """What so many rows a month cost on top of an idle stack."""
    hour = Hour(window)
    hour.run(round(rows / HOURS), accounts)
    return HOURS * sum(hour.billed[name] * price for name, price in PRICES.items())


def run(*, quick: bool) -> list[Line]:
    lines = []
    for rows, accounts in TRAFFIC[: 2 if quick else None]:
        for window in WINDOWS:
            what = f"{rows:,} rows, accounts: {accounts}, window: {window} s"
            cost = round(dollars(rows, accounts, window), 2)
            lines.append(Line("dollars a month", what, cost, "$"))
    return lines
