"""report: a page with what was counted. Its range and its reading are show's, too."""

import re
from argparse import Namespace
from datetime import datetime, timedelta
from pathlib import Path

from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import EventError, SettingsError
from aggregated_metrics.wiring import Process

from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.exit_codes import DONE
from aggregated_metrics_cli.output import Output
from aggregated_metrics_cli.overview import Overview, collect

SECONDS = 60.0
"""What one request may take, tries included."""


def range_of(options: Namespace) -> tuple[datetime, datetime]:
    """The range that --day, or --start and --end, ask for.

    Raises:
        EventError: neither is there, or nothing lies between them.
    """
    if options.day is not None:
        first = datetime.combine(options.day, datetime.min.time(), options.zone)
        after = options.day + timedelta(days=1)
        return first, datetime.combine(after, datetime.min.time(), options.zone)
    if options.start is None or options.end is None:
        raise EventError(
            "a range is needed: --day, or --start and --end; show --explain takes one --start"
        )
    start, end = buckets.parse(options.start), buckets.parse(options.end)
    if end <= start:
        raise EventError("--end must be later than --start")
    return start, end


def overview_of(options: Namespace, process: Process) -> Overview:
    """Read what the views show.

    Raises:
        EventError: the range is none.
        ApiError: the API refused, or did not answer.
    """
    client = process.client(lambda: SECONDS)
    return collect(client, options.account, *range_of(options), options.zone, now=process.clock())


def run(options: Namespace, deployment: Deployment, output: Output) -> int:
    """Write the page and say where; returns the exit code.

    Raises:
        SettingsError: plotly is not installed, or the file cannot be written.
        EventError: the range is none.
        ApiError: the API refused, or did not answer.
    """
    path = write(options, deployment.process)
    if output.as_json:
        output.line({"written": str(path)})
    else:
        output.out.write(f"{path}\n")  # it is to be copied: rich would break it
    return DONE


def write(options: Namespace, process: Process) -> Path:
    """Write the page; returns where it is.

    Raises:
        SettingsError: plotly is not installed, or the file cannot be written.
        EventError: the range is none.
        ApiError: the API refused, or did not answer.
    """
    try:
        from aggregated_metrics_cli.page import render  # noqa: PLC0415 - needs plotly
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "plotly":
            raise
        raise SettingsError(
            "the page's charts need plotly, which the layer leaves out: pip install plotly"
        ) from error
    overview = overview_of(options, process)
    path: Path = options.output or Path(_name(overview))
    try:
        path.write_text(render(overview, options.stack or ""), "utf-8")
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written ({error}): choose another --output"
        ) from error
    return path.resolve()


def _name(overview: Overview) -> str:
    account = re.sub(r"[^\w.-]+", "_", overview.account_id)[:80]
    return f"counts-{account}-{overview.start:%Y-%m-%d}.html"
