"""From arguments to exit code: connects, runs one command, reports what went wrong."""

import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from aggregated_metrics.core.errors import AggregatedMetricsError
from botocore.exceptions import BotoCoreError, ClientError

from aggregated_metrics_cli import arguments, attach, checks, deployment, show
from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.errors import CommandError
from aggregated_metrics_cli.exit_codes import FAILED, STOPPED
from aggregated_metrics_cli.output import Output, survive

type Connect = Callable[[Namespace, Mapping[str, str]], Deployment]
type Command = Callable[[Namespace, Deployment, Output], int]

_COMMANDS: Mapping[str, Command] = {
    "attach": attach.run,
    "show": show.run,
    "report": show.report,
    "verify": checks.run,
    "repair": checks.run,
    "backfill": checks.run,
}
_EXPECTED = (AggregatedMetricsError, CommandError, BotoCoreError, ClientError, OSError)


def main(
    given: Sequence[str],
    *,
    environment: Mapping[str, str] = os.environ,
    connect: Connect = deployment.connect,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Run one command; returns the exit code, 2 for whatever the command raises.

    Args:
        given: the arguments, without the program's name.
        environment: the process's variables.
        connect: makes what the command works with.
        out: where results go; stdout by default.
        err: where progress and errors go; stderr by default.
    """
    out, err = survive(out or sys.stdout), survive(err or sys.stderr)
    options = arguments.parse(given)
    output = Output(options.json, out, err)
    try:
        if options.command == "attach":
            attach.prepare(options)
        found = connect(options, environment)
        output.say(f"{options.command}: {found.acts_on}")
        return _COMMANDS[options.command](options, found, output)
    except _EXPECTED as error:
        output.say(f"{options.command}: {error}")
        return FAILED
    except KeyboardInterrupt:
        return STOPPED
    except Exception as error:  # noqa: BLE001 - the last resort: one line instead of a traceback
        output.say(f"{options.command}: {_defect(error)}")
        return FAILED


def _defect(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return (
        f"defect: {type(error).__name__}: {error} ({Path(last.filename).name}:{last.lineno}). "
        "Please report this line and the command in the project's issue tracker"
    )
