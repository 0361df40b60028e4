"""From arguments to exit code: connects, runs one command, prints what it gives."""

import json
import os
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, TextIO

from aggregated_metrics.adapters.source_rows import SourceRows
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import AggregatedMetricsError, EventError, SettingsError
from aggregated_metrics.jobs.checker import Findings
from aggregated_metrics.wiring import Process
from botocore.exceptions import BotoCoreError, ClientError

from aggregated_metrics_cli import (
    arguments,
    attach,
    check,
    deployment,
    explain,
    redrive,
    repair_batches,
    show,
)

if TYPE_CHECKING:
    from aggregated_metrics.adapters.source_rows import Counted
    from aggregated_metrics.core.ranges import Range

DONE, DRIFT, FAILED, STOPPED = 0, 1, 2, 130
type Connect = Callable[[Namespace, Mapping[str, str]], Process]


def main(
    given: Sequence[str],
    *,
    environment: Mapping[str, str] = os.environ,
    connect: Connect = deployment.connect,
    out: TextIO | None = None,
    err: TextIO | None = None,
) -> int:
    """Run one command; gives back the exit code.

    Args:
        given: the arguments, without the program's name.
        environment: the process's variables.
        connect: makes what the command works with.
        out: where results go; stdout by default.
        err: where progress and errors go; stderr by default.
    """
    if given and given[0] in _ADMINISTRATION:
        return _ADMINISTRATION[given[0]](given[1:])
    options = arguments.parse(given)
    desk = _Desk(options, out or sys.stdout, err or sys.stderr)
    try:
        if not options.json:
            desk.display()
        return _COMMANDS[options.command](options, connect(options, environment), desk)
    except (AggregatedMetricsError, BotoCoreError, ClientError) as error:
        desk.err.write(f"{type(error).__name__}: {error}\n")
        return FAILED
    except KeyboardInterrupt:
        return STOPPED


@dataclass(slots=True)
class _Desk:
    """Where one command writes: JSON for machines, or what rich draws for people."""

    options: Namespace
    out: TextIO
    err: TextIO

    def display(self) -> ModuleType:
        """The module that draws.

        Raises:
            SettingsError: rich is not installed.
        """
        try:
            from aggregated_metrics_cli import display  # noqa: PLC0415 - needs rich
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "rich":
                raise
            raise SettingsError(
                "tables need rich, which the layer leaves out: pip install rich, or use --json"
            ) from error
        return display

    def show(self, machine: Any, draw: Callable[[ModuleType], Any]) -> None:
        """Write a result."""
        if self.options.json:
            self.out.write(json.dumps(machine) + "\n")
            self.out.flush()
        else:
            self.console(self.out).print(draw(self.display()))

    def console(self, stream: TextIO) -> Any:
        """A console of rich's."""
        from rich.console import Console  # noqa: PLC0415 - only where rich is needed

        return Console(file=stream)


class _Lines:
    """Says nothing, but for a backfill a line of JSON when a day is done."""

    def __init__(self, desk: _Desk) -> None:
        self._desk = desk

    def begin(self, days: int) -> None:
        """So many days are going to be checked."""

    def page(self, counted: "Counted") -> None:
        """A page of source rows was read."""

    def day(self, day: "Range", found: Findings) -> None:
        """A day is done."""
        if self._desk.options.command == "backfill":
            line = {
                "day": buckets.iso(day.start)[:10],
                "rows": found.rows,
                "drift": len(found.drift),
                "repaired": len(found.repaired),
                "moving": len(found.moving),
                "resumeWithEnd": buckets.iso(day.start),
            }
            self._desk.out.write(json.dumps(line) + "\n")
            self._desk.out.flush()


def _check(options: Namespace, process: Process, desk: _Desk) -> int:
    work = check.work_of(options, lambda place: check.read_text(process, place))
    code = None
    try:
        found = _watched(work, process, desk)
    except check.Stopped as stop:
        desk.err.write(f"{stop}\n")
        found, code = stop.findings, STOPPED
    desk.show(
        check.as_json(found, repair=work.repair),
        lambda display: display.findings(found, repair=work.repair),
    )
    return code or (DRIFT if check.left(found) else DONE)


def _watched(work: check.Work, process: Process, desk: _Desk) -> Findings:
    if desk.options.json:
        return check.run(work, process, _Lines(desk))
    resumable = desk.options.command == "backfill"
    with desk.display().Progress(desk.console(desk.err), resumable=resumable) as progress:
        return check.run(work, process, progress)


def _show(options: Namespace, process: Process, desk: _Desk) -> int:
    account, name, minutes = options.account, options.record_type, options.minutes
    if options.explain:
        known = process.settings.PENDING_HOURS_TABLE not in deployment.UNUSED.values()
        e = explain.explain(process, account, name, options.start, minutes, marks_known=known)
        desk.show(explain.as_json(e), lambda display: display.explanation(e))
        return DONE if e.measures == e.counted or e.expired else DRIFT
    if options.end is None:
        raise EventError("show needs --end, or --explain for one bucket")
    shown = show.buckets_of(
        process.client(lambda: 60.0), account, name, options.start, options.end, minutes
    )
    desk.show([bucket.as_json() for bucket in shown], lambda display: display.chart(shown))
    return DONE


def _redrive(options: Namespace, process: Process, desk: _Desk) -> int:
    sqs, queue = process.aws("sqs"), process.settings.QUARANTINE_QUEUE_URL
    lambdas, function = process.aws("lambda"), process.settings.STREAM_FUNCTION
    tables = redrive.source_tables_of(lambdas, function, process.settings.SOURCE_TABLES)
    rows = SourceRows(process.client(lambda: 60.0), clock=process.clock)
    messages = redrive.receive(sqs, queue, options.limit, options.wait)
    if options.dry_run:
        results = [redrive.judge(held, tables, rows.row) for held in messages]
        redrive.release(sqs, queue, messages)
    else:
        results = redrive.redrive(
            messages,
            redrive.invoker(lambdas, function),
            lambda held: sqs.delete_message(QueueUrl=queue, ReceiptHandle=held.receipt),
            tables,
            rows.row,
        )
        redrive.release(sqs, queue, [result.held for result in results if result.left])
    desk.show(
        [result.as_json() for result in results],
        lambda display: display.redriven(results, dry=options.dry_run),
    )
    return DRIFT if any(result.left for result in results) and not options.dry_run else DONE


_COMMANDS: Mapping[str, Callable[[Namespace, Process, _Desk], int]] = {
    "verify": _check,
    "repair": _check,
    "backfill": _check,
    "show": _show,
    "redrive": _redrive,
}
_ADMINISTRATION: Mapping[str, Callable[[Sequence[str]], int]] = {
    "attach": attach.main,
    "repair-batches": repair_batches.main,
}
"""Commands that read a whole stack or application, with options of their own."""
