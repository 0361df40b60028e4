"""The functions in this process, as one Lambda sandbox runs them; their ports are arguments."""

import json
import os
import runpy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

from aggregated_metrics import wiring
from aggregated_metrics.adapters import observability

_ROOT = Path(__file__).parents[1]
_WIRING: Any = wiring
_OBSERVABILITY: Any = observability
_PROCESS, _INVOCATION = wiring.process, observability.invocation

type Event = Mapping[str, Any]
type Call = tuple[str, Event]
"""A function, and what it is given."""


@dataclass
class Context:
    """As much of Lambda's context as the handlers use; `report` takes the fields of the log line.

    With `report` set nothing is logged or measured.
    """

    time_left: Callable[[], float]
    report: dict[str, Any] | None = None
    aws_request_id: str = field(default="truth", init=False)

    def get_remaining_time_in_millis(self) -> float:
        return max(0.0, self.time_left()) * 1000


class Engine:
    """One process of the functions, as one Lambda sandbox is.

    Args:
        environment: the functions' variables.
        clock: the time now, aware.
        sleep: takes the seconds of every wait.
        session: replaces the session that the API's client posts with.
        aws: replaces boto3's clients: service name to client.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        clock: Callable[[], datetime],
        sleep: Callable[[float], None],
        session: Any = None,
        aws: Callable[[str], Any] | None = None,
    ) -> None:
        deployed = _deployed(tuple(environment.items()))
        self.process = wiring.Process(
            settings=deployed.settings,
            session=session or deployed.session,
            aws=aws or deployed.aws,
            clock=clock,
            sleep=sleep,
        )

    def invoke(self, function: str, event: Event, context: Context) -> Any:
        """Invoke a function as Lambda does; gives its result. Raises what it raises."""
        # Each handler asks for both before its first request. Greenlets meet only at requests.
        _WIRING.process = lambda: self.process
        if context.report is not None:
            _OBSERVABILITY.invocation = _reported
        try:
            result = _handler(function)(event, context)
        finally:
            _WIRING.process, _OBSERVABILITY.invocation = _PROCESS, _INVOCATION
        return json.loads(json.dumps(result, default=str))


@lru_cache(maxsize=8)
def _deployed(environment: tuple[tuple[str, str], ...]) -> wiring.Process:
    with patch.dict(os.environ, dict(environment)):
        return _PROCESS.__wrapped__()


@cache
def _handler(function: str) -> Callable[[Any, Any], Any]:
    path = _ROOT / "functions" / function / "app.py"
    handler: Callable[[Any, Any], Any] = runpy.run_path(str(path))["lambda_handler"]
    return handler


@contextmanager
def _reported(_: str, context: Context) -> Iterator[dict[str, Any]]:
    report: dict[str, Any] = {}
    try:
        yield report
    finally:
        if context.report is not None:
            context.report.update(report)


def walk_backfill(
    invoke: Callable[[Call], Any], wait: Callable[[], object], **asked: Any
) -> dict[str, Any]:
    """Count whole tables, step by step as the state machine does; gives the report.

    Args:
        invoke: carries out one step.
        wait: the wait between the passes.
        asked: what the first step is asked for; `run` names the execution.
    """

    def step(**event: Any) -> Any:
        return invoke(("backfiller", event))

    plan = step(prepare=asked)
    for number in (1, 2):
        for unit in plan["units"]:
            while not step(scan=unit | {"pass": number})["done"]:
                pass
        if number == 1:
            wait()
    for following in plan["partitions"]:
        while following:
            following = step(reduce=following)["next"]  # noqa: PLW2901
    return dict(step(report={"run": asked["run"]}))
