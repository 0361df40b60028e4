"""The emulator's command, with four changes.

- The API's requests are carried out a few at a time. Each has processes of its own for its
  resolvers, started for a burst and killed when they are late. On few cores a burst of them ends in
  nothing but starts. Here the others wait, and processes stay. On a busy machine requests would
  take longer than their callers wait, and all work would be for callers that have left: one that
  waits for long is refused as AWS throttles, and fewer are carried out at once while they are slow.
- A permission has the name that AWS's IAM gives it: that of a single message for a batch of them,
  and GetFunctionConcurrency.
- An alarm on an expression, which the emulator refuses, watches the first metric of it.
- After a resolver's answer nothing waits for more lines of its log: that is half of a request.

Runs in the emulator's interpreter (`python -P`), which has none of this project's packages.
"""

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

from ministack.app import main
from ministack.core import appsync_js, iam_actions, lambda_runtime
from ministack.services import appsync
from ministack.services.cloudformation import provisioners

_AT_ONCE = 4
_WAIT_SECONDS, _SLOW_SECONDS = 4.0, 2.5
"""Together shorter than a caller waits for an answer: 7 seconds, less when its time is short."""
_handle = appsync.handle_request
_alarm = provisioners._cw_metric_alarm_record
_action = iam_actions.extract_iam_action
_log_of = lambda_runtime.Worker._drain_stderr_bounded


class _Turns:
    """Carries out requests; the API's own wait for their turn, in no thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._at_once, self._free = clock, _AT_ONCE, asyncio.Semaphore(_AT_ONCE)

    async def handle(self, method: str, path: str, *given: Any) -> Any:
        if not path.endswith("/graphql"):
            return await _handle(method, path, *given)
        try:
            await asyncio.wait_for(self._free.acquire(), _WAIT_SECONDS)
        except TimeoutError:
            return appsync._graphql_error(429, "TooManyRequestsException", "Rate exceeded")
        began = self._clock()
        try:
            return await _handle(method, path, *given)
        finally:
            before, step = self._at_once, -1 if self._clock() - began > _SLOW_SECONDS else 1
            self._at_once = min(max(before + step, 1), _AT_ONCE)
            for _ in range(1 + self._at_once - before):
                self._free.release()


def _action_of_aws(service: str, method: str, *given: Any) -> str | None:
    action: str | None = _action(service, method, *given)
    if action == "lambda:PutFunctionConcurrency" and method == "GET":
        return "lambda:GetFunctionConcurrency"
    return action.removesuffix("Batch") if action and service == "sqs" else action


def _alarm_on_a_metric(name: str, given: dict[str, Any]) -> Any:
    properties = dict(given)
    if queries := properties.pop("Metrics", None):
        first = queries[0]["MetricStat"]
        properties |= first["Metric"] | {"Period": first["Period"], "Statistic": first["Stat"]}
    return _alarm(name, properties)


if __name__ == "__main__":
    lambda_runtime.Worker._drain_stderr_bounded = lambda worker: (
        worker._drain_stderr() if "ResolverFunction" in worker.func_name else _log_of(worker)
    )
    iam_actions.extract_iam_action = _action_of_aws
    provisioners._cw_metric_alarm_record = _alarm_on_a_metric
    appsync.handle_request, appsync_js._pool.max_idle = _Turns().handle, _AT_ONCE
    sys.exit(main())
