"""Whole tables counted on the emulated stack, with the event source mappings switched off."""

import json
import time
from dataclasses import dataclass, replace
from typing import Any

from testbench.emulated.functions import StepError
from testbench.emulated.stack import EmulatedStack
from testbench.traffic import Traffic

_SHARE = 4
_LOOK_SECONDS = 0.5


def split(made: Traffic) -> tuple[Traffic, Traffic]:
    """The first quarter of the writes, and the rest."""
    first = len(made.writes) // _SHARE
    return replace(made, writes=made.writes[:first]), replace(made, writes=made.writes[first:])


@dataclass(frozen=True, slots=True)
class Mappings:
    """The stack's event source mappings."""

    stack: EmulatedStack

    def switch(self, *, on: bool) -> None:
        """Have them deliver, or not; a mapping that was off goes on where it was."""
        client = self.stack.client("lambda")
        for mapping in client.list_event_source_mappings()["EventSourceMappings"]:
            client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=on)


def run(stack: EmulatedStack) -> dict[str, Any]:
    """A backfill of all tables by the state machine; its report.

    Raises:
        StepError: the execution failed.
    """
    states = stack.client("stepfunctions")
    arn = states.start_execution(
        stateMachineArn=stack.app["BackfillStateMachine"], input=json.dumps({"segments": 2})
    )["executionArn"]
    while (found := states.describe_execution(executionArn=arn))["status"] == "RUNNING":
        time.sleep(_LOOK_SECONDS)
    if found["status"] != "SUCCEEDED":
        raise StepError(f"backfill: {found.get('error')}: {found.get('cause')}")
    report: dict[str, Any] = json.loads(found["output"])
    return report
