"""From arguments to exit code: connects, runs one command, prints what it gives."""

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from typing import TextIO

from aggregated_metrics.core.errors import AggregatedMetricsError
from botocore.exceptions import BotoCoreError, ClientError

from aggregated_metrics_cli import (
    arguments,
    attach,
    backfill,
    deployment,
    redrive,
    repair,
    repair_batches,
    report,
    show,
    verify,
    whole_tables,
)
from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.exit_codes import FAILED, STOPPED
from aggregated_metrics_cli.output import Output

type Connect = Callable[[Namespace, Mapping[str, str]], Deployment]
type Command = Callable[[Namespace, Deployment, Output], int]

_COMMANDS: Mapping[str, Command] = {
    "verify": verify.run,
    "repair": repair.run,
    "backfill": backfill.run,
    "show": show.run,
    "report": report.run,
    "redrive": redrive.run,
    "repair-batches": repair_batches.run,
}
_ATTACH = "attach"
"""Reads an application, not a deployment, so it has options of its own."""


def main(
    given: Sequence[str],
    *,
    environment: Mapping[str, str] = os.environ,
    connect: Connect = deployment.connect,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Run one command; returns the exit code.

    Args:
        given: the arguments, without the program's name.
        environment: the process's variables.
        connect: makes what the command works with.
        out: where results go; stdout by default.
        err: where progress and errors go; stderr by default.
    """
    if whole_tables.is_asked(given):
        return whole_tables.main(given[1:])
    if given and given[0] == _ATTACH:
        return attach.main(given[1:])
    options = arguments.parse(given)
    output = Output(options.json, out or sys.stdout, err or sys.stderr)
    try:
        if not options.json:
            output.display()
        found = connect(options, environment)
        if found.acts_on:
            output.say(f"{options.command}: {options.stack}, {found.acts_on}")
        return _COMMANDS[options.command](options, found, output)
    except (AggregatedMetricsError, BotoCoreError, ClientError) as error:
        output.say(f"{type(error).__name__}: {error}")
        return FAILED
    except KeyboardInterrupt:
        return STOPPED
