"""show and report: what was counted for an account in a range, in the terminal or as a page."""

import csv
import re
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from aggregated_metrics.core import buckets

from aggregated_metrics_cli import explain, overview_tables
from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.errors import CommandError
from aggregated_metrics_cli.exit_codes import DONE
from aggregated_metrics_cli.output import Output, printable
from aggregated_metrics_cli.overview import Overview, collect, must_be_stored
from aggregated_metrics_cli.page import render
from aggregated_metrics_cli.tables import exact

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for a formula."""


def run(options: Namespace, deployment: Deployment, output: Output) -> int:
    """Show it; returns the exit code."""
    if options.explain:
        return explain.run(options, deployment, output)
    step = options.minutes and timedelta(minutes=options.minutes)
    found = overview_of(options, deployment, options.record_types, step)
    if options.csv:
        write_csv(output.out, found.rows())
    else:
        output.show(found.as_json(), *overview_tables.overview(found))
    return DONE


def report(options: Namespace, deployment: Deployment, output: Output) -> int:
    """Write the page and say where; returns the exit code."""
    found = overview_of(options, deployment)
    account = re.sub(r"[^\w.-]+", "_", found.account_id)[:80]
    path: Path = options.output or Path(f"counts-{account}-{found.start:%Y-%m-%d}.html")
    try:
        path.write_text(render(found, options.stack or ""), "utf-8")
    except OSError as error:
        raise CommandError(
            f"{path} cannot be written ({error}): choose another --output"
        ) from error
    output.show({"written": str(path.resolve())}, printable(str(path.resolve())))
    return DONE


def overview_of(
    options: Namespace,
    deployment: Deployment,
    record_types: Sequence[str] = (),
    step: timedelta | None = None,
) -> Overview:
    """Read what the views show, of all record types or of some.

    Raises:
        CommandError: the range or a record type is not known, or nothing is stored for the account.
        ApiError: the API refused, or did not answer.
    """
    models, client = deployment.process.settings.models, deployment.client
    known = (*models.record_types, *models.breakdowns)
    if unknown := [name for name in record_types if name not in known]:
        raise CommandError(f"{unknown[0]!r} is no record type; there are {', '.join(known)}")
    found = collect(
        client,
        options.account,
        *range_of(options),
        options.zone,
        deployment.process.clock(),
        models=models,
        record_types=record_types,
        step=step,
    )
    if not (found.totals or found.breakdowns):
        must_be_stored(client, options.account)
    return found


def range_of(options: Namespace) -> tuple[datetime, datetime]:
    """The range that --day, or --start and --end, ask for.

    Raises:
        CommandError: neither is given, or nothing lies between them.
    """
    if options.day is not None:
        first = datetime.combine(options.day, datetime.min.time(), options.zone)
        after = options.day + timedelta(days=1)
        return first, datetime.combine(after, datetime.min.time(), options.zone)
    if options.start is None or options.end is None:
        raise CommandError("a range is needed: --day, or --start and --end")
    start, end = buckets.parse(options.start), buckets.parse(options.end)
    if end <= start:
        raise CommandError("--end must be later than --start")
    return start, end


def write_csv(out: TextIO, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows for a spreadsheet: costs in dollars, no text of which is a formula."""
    rows = list(rows)
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(name, row.get(name)) for name in names] for row in rows)


def _cell(name: str, value: Any) -> Any:
    if name == "cost" and value is not None:
        return exact(name, value).replace(",", "")
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value
