"""Faults in front of an API: what goes wrong between a client and its answer, by a seed."""

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.endpoint import Answer, ConnectionDroppedError, Disturbance, refusal
from testbench.fakes.signatures import Request


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


# All kinds are drawn for each request, in this order: one rate does not shift the others.
_KINDS = Rates._fields[:8]

# What refuses a request before it is carried out. What stands between a client and the API answers
# in its own way, not always in JSON.
_REFUSALS = {
    "too_many_requests": [refusal(429, "TooManyRequestsException", "Rate exceeded")],
    "server_error": [
        refusal(500, "InternalFailure", "An internal failure occurred."),
        refusal(503, "ServiceUnavailableException", "Service unavailable."),
        Answer(502, b"<html><body>502 Bad Gateway</body></html>"),
        Answer(504, b""),
    ],
    "throttled_request": [
        Answer(
            200,
            b'{"data":null,'
            b'"errors":[{"errorType":"ThrottlingException","message":"Rate exceeded"}]}',
            error_types=("ThrottlingException",),
        )
    ],
}


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
        self._draws = (random.Random(f"{seed}/{number}") for number in itertools.count(1))
        self._sleep = sleep
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Answer:
        """Answer, or raise ConnectionDroppedError."""
        with self._lock:
            draw = next(self._draws)
        struck = {kind for kind in _KINDS if draw.random() < getattr(self.rates, kind)}
        delay, is_late = draw.random() * self.rates.longest, draw.random() < 0.5
        if "slow" in struck:
            self._count("slow")
            if not is_late:
                self._sleep(delay)
        answer = self._refused(struck, draw) or self._carried_out(request, struck, draw)
        if "slow" in struck and is_late:
            self._sleep(delay)
        return answer

    def _refused(self, struck: set[str], draw: random.Random) -> Answer | None:
        if "drop_before" in struck:
            self._count("drop_before")
            raise ConnectionDroppedError
        for kind, answers in _REFUSALS.items():
            if kind in struck:
                self._count(kind)
                return draw.choice(answers)
        return None

    def _carried_out(self, request: Request, struck: set[str], draw: random.Random) -> Answer:
        rates, met = self.rates, set()

        def strikes(kind: str, share: float) -> bool:
            hit = kind in struck and draw.random() < share
            met.update([kind] if hit else [])
            return hit

        oldest = self.api.monotonic() - rates.staleness
        disturbance = Disturbance(
            throttles=lambda _: strikes("throttled_aliases", rates.alias_share),
            stale=lambda row: row.written > oldest and strikes("stale_read", rates.row_share),
        )
        answer = self.api.answer(request, disturbance)
        for kind in met | (struck & {"drop_after"}):
            self._count(kind)
        if "drop_after" in struck:
            raise ConnectionDroppedError
        return answer

    def _count(self, kind: str) -> None:
        with self._lock:
            self.counts[kind] += 1
