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

_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 900  # a machine may be busy
_TRIES = 3


def persistently[Result](work: Callable[[], Result]) -> Result:
    """Do what may be done again; on a busy machine an answer may come too late.

    Raises:
        StepError, ApiError: it failed each time.
    """
    for _ in range(_TRIES - 1):
        try:
            return work()
        except (StepError, ApiError):
            time.sleep(_LOOK_SECONDS)
    return work()


def wait(condition: Callable[[], Any], found: Callable[[], str] = str) -> None:
    """Wait until it holds, however slow the machine is just now.

    Raises:
        StepError: it does not hold after a long time; says what is found instead.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise StepError(f"not so after {_PATIENCE_SECONDS} s. {found()}")
        time.sleep(_LOOK_SECONDS)


def invoke(stack: EmulatedStack, function: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Invoke a function by its name in template.yaml, such as `BucketSweeperFunction`.

    Raises:
        StepError: the function raised.
    """
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
    # boto3 has no other way to take an endpoint
    with patch.dict(os.environ, stack.variables(who)):
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

    def look(self) -> Self:
        """Read the log again."""
        self.records, self.failures = 0, []
        pages = self._stack.client("logs").get_paginator("filter_log_events")
        group = self._stack.app["StreamAggregatorLogs"]
        for page in pages.paginate(logGroupName=group, startTime=self._began):
            for event in page["events"]:
                self._add(event["message"])
        return self

    def drain(self, expected: int, on_progress: Callable[[int], None] = lambda _: None) -> None:
        """Wait until so many records have been applied.

        Args:
            expected: how many, since this object was made.
            on_progress: called with how many there are by now.

        Raises:
            StepError: records are missing after a long time.
        """

        def is_drained() -> bool:
            on_progress(self.look().records)
            return self.records >= expected

        wait(is_drained, lambda: f"{self.records} of {expected} records, failed: {self.failures}")

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
