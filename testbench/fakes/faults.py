"""Faults in front of an API: what goes wrong between a client and its answer, by a seed."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple

from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.endpoint import Answer, ConnectionDroppedError, Disturbance, refusal
from testbench.fakes.signatures import Request
from testbench.fakes.tables import Row


class Rates(NamedTuple):
    """How often each fault strikes, as a probability per request, and how hard.

    `alias_share` and `row_share` are probabilities per alias and per row within a request that is
    struck; `longest` is the longest slow answer and `staleness` the age at which a write has
    reached every replica, both in seconds.
    """

    drop_before: float = 0.0
    drop_after: float = 0.0
    too_many_requests: float = 0.0
    server_error: float = 0.0
    throttled_request: float = 0.0
    throttled_aliases: float = 0.0
    slow: float = 0.0
    stale_read: float = 0.0
    alias_share: float = 0.3
    row_share: float = 0.5
    longest: float = 0.5
    staleness: float = 1.0


class Faults:
    """An API that fails at the given rates.

    Faults are drawn per request, in the order of their arrival, from the seed: the same requests
    in the same order meet the same faults. `counts` has the requests that each kind really struck.

    Args:
        api: what answers in the end.
        rates: how often; may be set to `Rates()` later, to end a run in calm.
        seed: of everything that is drawn.
        sleep: takes the seconds of a slow answer.
    """

    def __init__(
        self,
        api: FakeAppSync,
        rates: Rates,
        *,
        seed: int,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.api = api
        self.rates = rates
        self.counts: Counter[str] = Counter()
        self._seed = seed
        self._sleep = sleep
        self._lock = threading.Lock()
        self._requests = 0

    def answer(self, request: Request) -> Answer:
        """Answer, or raise ConnectionDroppedError."""
        rates = self.rates
        draw = self._draw()
        # All kinds are drawn first and in one order, so that one rate does not shift the others.
        struck = {kind: draw.random() < getattr(rates, kind) for kind in _KINDS}
        delay = draw.random() * rates.longest if struck["slow"] else 0.0
        late = draw.random() < 0.5
        if struck["slow"]:
            self._count("slow")
        if delay and not late:
            self._sleep(delay)
        answer = self._not_carried_out(struck, draw)
        if answer is None:
            answer = self._carried_out(request, struck, draw)
        if delay and late:
            self._sleep(delay)
        return answer

    def _not_carried_out(self, struck: Mapping[str, bool], draw: random.Random) -> Answer | None:
        if struck["drop_before"]:
            self._count("drop_before")
            raise ConnectionDroppedError
        if struck["too_many_requests"]:
            self._count("too_many_requests")
            return refusal(429, "TooManyRequestsException", "Rate exceeded")
        if struck["server_error"]:
            self._count("server_error")
            return draw.choice(_SERVER_ERRORS)
        if struck["throttled_request"]:
            self._count("throttled_request")
            return _THROTTLED
        return None

    def _carried_out(
        self, request: Request, struck: Mapping[str, bool], draw: random.Random
    ) -> Answer:
        rates, met = self.rates, set()

        def throttles(_: str) -> bool:
            hit = draw.random() < rates.alias_share
            if hit:
                met.add("throttled_aliases")
            return hit

        oldest = self.api.monotonic() - rates.staleness

        def stale(row: Row) -> bool:
            hit = row.written > oldest and draw.random() < rates.row_share
            if hit:
                met.add("stale_read")
            return hit

        answer = self.api.answer(
            request,
            Disturbance(
                throttles=throttles if struck["throttled_aliases"] else None,
                stale=stale if struck["stale_read"] else None,
            ),
        )
        for kind in met:
            self._count(kind)
        if struck["drop_after"]:
            self._count("drop_after")
            raise ConnectionDroppedError
        return answer

    def _draw(self) -> random.Random:
        with self._lock:
            self._requests += 1
            return random.Random(f"{self._seed}/{self._requests}")

    def _count(self, kind: str) -> None:
        with self._lock:
            self.counts[kind] += 1


_KINDS = (
    "drop_before",
    "drop_after",
    "too_many_requests",
    "server_error",
    "throttled_request",
    "throttled_aliases",
    "slow",
    "stale_read",
)

# What stands between a client and the API answers in its own way, not always in JSON.
_SERVER_ERRORS = (
    refusal(500, "InternalFailure", "An internal failure occurred."),
    refusal(503, "ServiceUnavailableException", "Service unavailable."),
    Answer(502, b"<html><body>502 Bad Gateway</body></html>"),
    Answer(504, b""),
)

_THROTTLED = Answer(
    200,
    b'{"data":null,"errors":[{"errorType":"ThrottlingException","message":"Rate exceeded"}]}',
    error_types=("ThrottlingException",),
)
