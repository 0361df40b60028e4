"""What is deployed, seen from outside: invocations, commands, and the lines that are logged."""

import io
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Self
from unittest.mock import patch

from aggregated_metrics.core.errors import ApiError
from botocore.credentials import Credentials

from aggregated_metrics_cli.main import main
from testbench.emulated.stack import APP_STACK, ROOT_CREDENTIALS, EmulatedStack, StepError

_LOOK_SECONDS = 0.2
_PATIENCE_SECONDS = 900  # a machine may be busy
_STILL_SECONDS = 300
_TRIES = 3


def persistently[Result](work: Callable[[], Result]) -> Result:
    """Do what may be done again; on a busy machine an answer may come too late."""
    for _ in range(_TRIES - 1):
        try:
            return work()
        except (StepError, ApiError):
            time.sleep(_LOOK_SECONDS)
    return work()


def wait(condition: Callable[[], Any], found: Callable[[], str] = str) -> None:
    """Wait until it holds, however slow the machine is; a StepError says what is found instead."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise StepError(f"not so after {_PATIENCE_SECONDS} s. {found()}")
        time.sleep(_LOOK_SECONDS)


def invoke(stack: EmulatedStack, function: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Invoke a function by its name in template.yaml; a StepError if it raises."""
    answer = stack.client("lambda").invoke(
        FunctionName=stack.app[function], Payload=json.dumps(event).encode()
    )
    result: dict[str, Any] = json.loads(answer["Payload"].read())
    if answer.get("FunctionError"):
        why = f"{function} failed: {result.get('errorType')}: {result.get('errorMessage')}"
        raise StepError(why, stack.emulator_log)
    return result


def command(
    stack: EmulatedStack, *given: str, who: Credentials = ROOT_CREDENTIALS
) -> tuple[int, Any]:
    """Run a command on the stack; gives its exit code, and its JSON or what it said."""
    out, err = io.StringIO(), io.StringIO()
    named = () if given[0] == "attach" else ("--stack", APP_STACK)
    often = patch("aggregated_metrics_cli.executions._LOOK_SECONDS", (0.2, 0.2))
    # boto3 has no other way to take an endpoint
    with often, patch.dict(os.environ, stack.variables(who)):
        code = main([*given, *named, "--json"], out=out, err=err)
    return code, json.loads(out.getvalue()) if out.getvalue() else err.getvalue()


class StreamLog:
    """What stream_aggregator has logged since this object was made.

    Attributes:
        records: stream records in the batches that succeeded.
        failures: the errors of the batches that failed.
    """

    def __init__(self, stack: EmulatedStack) -> None:
        self.records, self.failures = 0, list[str]()
        self._stack = stack
        self._began = int(time.time() * 1000)

    @property
    def again(self) -> str:
        """How many batches failed, for people; empty for none."""
        return f"; {len(self.failures)} batches failed and come again" if self.failures else ""

    def look(self) -> Self:
        """Read the log again."""
        self.records, self.failures = 0, []
        pages = self._stack.client("logs").get_paginator("filter_log_events")
        group = self._stack.app["StreamAggregatorLogs"]
        for page in pages.paginate(logGroupName=group, startTime=self._began):
            for event in page["events"]:
                self._add(event["message"])
        return self

    def drain(
        self, expected: int, on_progress: Callable[[int], None] = lambda _: None, clock: Any = time
    ) -> None:
        """Wait until so many records have been applied.

        Args:
            expected: how many, since this object was made.
            on_progress: called with how many there are by now.
            clock: has the `monotonic` and the `sleep` of the module `time`.

        Raises:
            StepError: for minutes no further record has been applied; says what to do.
        """
        most, since = -1, 0.0
        while self.look().records < expected:
            if self.records > most:
                most, since = self.records, clock.monotonic()
            elif clock.monotonic() - since > _STILL_SECONDS:
                why = f"{most:,} of {expected:,} records are applied, and no more in the last "
                why += f"{_STILL_SECONDS // 60} minutes; failed batches: {self.failures[-1:]}. Try "
                why += f"again when this machine is less busy (load {os.getloadavg()[0]:.0f} on "
                why += f"{os.cpu_count()} cores), or with fewer rows, such as ROWS=200"
                raise StepError(why, self._stack.emulator_log)
            on_progress(self.records)
            clock.sleep(_LOOK_SECONDS)

    def _add(self, message: str) -> None:
        if "Task timed out" in message:
            self.failures.append(message.strip())
        if not message.startswith("{"):
            return
        line = json.loads(message)
        if "error" in line:
            self.failures.append(str(line["error"]))
        elif "records" in line:
            self.records += line["records"]
