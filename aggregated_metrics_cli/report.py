"""report: a page with what was counted. Its range and its reading are show's, too."""

import re
from argparse import Namespace
from pathlib import Path

from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.errors import CommandError
from aggregated_metrics_cli.exit_codes import DONE
from aggregated_metrics_cli.output import Output
from aggregated_metrics_cli.overview import Overview
from aggregated_metrics_cli.page import render
from aggregated_metrics_cli.show import overview_of


def run(options: Namespace, deployment: Deployment, output: Output) -> int:
    """Write the page and say where; returns the exit code.

    Raises:
        CommandError: the range or the account is not known, or the file cannot be written.
        ApiError: the API refused, or did not answer.
    """
    found = overview_of(options, deployment)
    path: Path = options.output or Path(_name(found))
    try:
        path.write_text(render(found, options.stack or ""), "utf-8")
    except OSError as error:
        raise CommandError(
            f"{path} cannot be written ({error}): choose another --output"
        ) from error
    if output.as_json:
        output.line({"written": str(path.resolve())})
    else:
        output.tell(str(path.resolve()))
    return DONE


def _name(overview: Overview) -> str:
    account = re.sub(r"[^\w.-]+", "_", overview.account_id)[:80]
    return f"counts-{account}-{overview.start:%Y-%m-%d}.html"
