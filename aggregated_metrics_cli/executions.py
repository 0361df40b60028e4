"""Executions of the stack's state machine: started, followed, stopped, and what they report."""

import json
import shlex
import time
import uuid
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn

from aggregated_metrics_cli.errors import CommandError
from aggregated_metrics_cli.output import Output

_LOOK_SECONDS = (0.5, 5.0)
"""How long to wait before the state is asked again: first, and at most."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The state machine of a stack.

    Attributes:
        stepfunctions: boto3's client.
        arn: the state machine's.
    """

    stepfunctions: Any
    arn: str

    def start(self, command: str, asked: Mapping[str, Any]) -> str:
        """Start an execution with this input; returns its name."""
        name = f"{command}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:6]}"
        self.stepfunctions.start_execution(
            stateMachineArn=self.arn, name=name, input=json.dumps(asked)
        )
        return name

    def stop(self, name: str) -> None:
        """Stop an execution; what it has repaired stays so."""
        self.stepfunctions.stop_execution(executionArn=self.execution(name))

    def execution(self, name: str) -> str:
        """The ARN of an execution."""
        return f"{self.arn.replace(':stateMachine:', ':execution:')}:{name}"

    def watched(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Its description, again and again until it has ended."""
        wait, longest = _LOOK_SECONDS
        while True:
            found = self.stepfunctions.describe_execution(executionArn=self.execution(name))
            yield found
            if found["status"] != "RUNNING":
                return
            time.sleep(wait)
            wait = min(longest, wait * 1.5)

    def progress(self, name: str) -> tuple[int, int, int] | None:
        """How many of its maps have begun; of the newest how many parts are done, and how many are.

        None where that may not be read, or nothing has begun.
        """
        try:
            runs = self.stepfunctions.list_map_runs(executionArn=self.execution(name))["mapRuns"]
            newest = max(runs, key=lambda run: run["startDate"], default=None)
            if newest is None:
                return None
            run = self.stepfunctions.describe_map_run(mapRunArn=newest["mapRunArn"])
        except ClientError:
            return None
        return len(runs), run["itemCounts"]["succeeded"], run["itemCounts"]["total"]


def follow(machine: Machine, name: str, options: Namespace, output: Output) -> dict[str, Any]:
    """Show how far an execution has come until it has ended; returns its report.

    Raises:
        CommandError: it failed, or was stopped.
        KeyboardInterrupt: following was interrupted; the execution goes on, and that is said.
    """
    try:
        ended = _ended(machine, name, output)
    except KeyboardInterrupt:
        again = _command(options)
        output.say(f"{name} is still running. To follow it: {again} --follow {name}")
        output.say(f"To stop it: {again} --stop {name}")
        raise
    if ended["status"] != "SUCCEEDED":
        raise CommandError(f"{name} {_why(ended)}. What it has repaired stays so")
    report: dict[str, Any] = json.loads(ended["output"])
    return report


def _ended(machine: Machine, name: str, output: Output) -> Mapping[str, Any]:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with output.progress(*columns) as bars:
        task = bars.add_task(name, total=None)
        for found in machine.watched(name):
            if found["status"] == "RUNNING" and (progress := machine.progress(name)):
                number, done, total = progress
                said = f"{name}: step {number}, {done:,} of {total:,}"
                bars.update(task, description=said, total=total, completed=done)
    return found


def _why(ended: Mapping[str, Any]) -> str:
    """Why it has not succeeded: a function's error is a JSON object in the cause."""
    state = {"ABORTED": "was stopped", "TIMED_OUT": "ran out of time"}.get(
        ended["status"], "failed"
    )
    cause = str(ended.get("cause") or ended.get("error") or "")
    with suppress(ValueError, LookupError, TypeError):
        cause = json.loads(cause)["errorMessage"]
    return f"{state}: {cause}" if cause else state


def _command(options: Namespace) -> str:
    parts = ["aggregated-metrics", options.command, "--stack", options.stack]
    for name in ("region", "profile"):
        if given := getattr(options, name):
            parts += [f"--{name}", given]
    return shlex.join(parts)
