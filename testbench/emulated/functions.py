"""What is deployed, seen from outside: invocations, executions, and the lines that are logged."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from botocore.config import Config

from testbench.emulated.stack import EmulatedStack

_LOOK_SECONDS = 0.5
_PATIENCE_SECONDS = 300  # a machine may be busy; waiting ends as soon as everything is in
_LONGEST_SECONDS = 900  # no function may take longer
_OVERLAP_MILLISECONDS = 10_000
_TRIES = 3


class StepError(Exception):
    """A step after the start of the stack failed; says which, why, and where its log is."""


def persistently[Result](work: Callable[[], Result]) -> Result:
    """Do what may be done again; on a busy machine an answer may come too late.

    Raises:
        StepError: it failed each time.
    """
    for _ in range(_TRIES - 1):
        try:
            return work()
        except StepError:
            time.sleep(_LOOK_SECONDS)
    return work()


def invoke(stack: EmulatedStack, function: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """Invoke a function by its name in template.yaml, such as `BucketSweeperFunction`.

    Raises:
        StepError: the function raised.
    """
    client = stack.client(
        "lambda", config=Config(read_timeout=_LONGEST_SECONDS, retries={"total_max_attempts": 1})
    )
    answer = client.invoke(FunctionName=stack.app[function], Payload=json.dumps(event).encode())
    result: dict[str, Any] = json.loads(answer["Payload"].read())
    if answer.get("FunctionError"):
        raise StepError(
            f"{function} failed: {result.get('errorType')}: {result.get('errorMessage')}. "
            f"Its log: {stack.emulator_log}"
        )
    return result


def execute(stack: EmulatedStack, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Have the state machine do what is asked; its report.

    Raises:
        StepError: the execution failed.
    """
    states = stack.client("stepfunctions")
    arn = states.start_execution(
        stateMachineArn=stack.app["BackfillStateMachine"], input=json.dumps(asked)
    )["executionArn"]
    while (found := states.describe_execution(executionArn=arn))["status"] == "RUNNING":
        time.sleep(_LOOK_SECONDS)
    if found["status"] != "SUCCEEDED":
        raise StepError(f"the execution failed: {found.get('error')}: {found.get('cause')}")
    report: dict[str, Any] = json.loads(found["output"])
    return report


@dataclass
class StreamLog:
    """What stream_aggregator has logged since this object was made.

    Attributes:
        records: stream records in the batches that succeeded.
        failures: the errors of the batches that failed.
    """

    stack: EmulatedStack
    records: int = 0
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._logs = self.stack.client("logs")
        self._seen: set[tuple[str, str]] = set()
        self._began = self._from = int(time.time() * 1000)
        self._looked = 0.0

    def look(self, at_most_every: float = 0.0) -> None:
        """Read what is new, unless that was done within so many seconds."""
        if time.monotonic() < self._looked + at_most_every:
            return
        self._looked = time.monotonic()
        pages = self._logs.get_paginator("filter_log_events").paginate(
            logGroupName=self.stack.app["StreamAggregatorLogs"],
            startTime=max(self._began, self._from - _OVERLAP_MILLISECONDS),
        )
        for page in pages:
            for event in page["events"]:
                self._from = max(self._from, event["timestamp"])
                identity = (event["logStreamName"], event["message"])
                if identity not in self._seen:
                    self._seen.add(identity)
                    self._add(event["message"])

    def drain(self, expected: int, on_progress: Callable[[int], None] = lambda _: None) -> None:
        """Wait until so many records have been applied.

        Args:
            expected: how many, since this object was made.
            on_progress: called with how many there are by now.

        Raises:
            StepError: nothing has been applied for a while, although records are missing.
        """
        last = self.records
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            self.look()
            on_progress(self.records)
            if self.records >= expected:
                return
            if self.records > last:
                last, deadline = self.records, time.monotonic() + _PATIENCE_SECONDS
            if time.monotonic() > deadline:
                why = self.failures[-1] if self.failures else "no batch has failed"
                raise StepError(
                    f"the streams are not drained: {self.records} of {expected} records are in, "
                    f"and nothing has moved for {_PATIENCE_SECONDS} s ({why}). "
                    f"Its log: {self.stack.emulator_log}"
                )
            time.sleep(_LOOK_SECONDS)

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
