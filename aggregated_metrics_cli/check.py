"""What verify, repair and backfill share: the reconciler's check, day by day, without a time-out.

Each group (account, model, day) fails alone: the others are checked and shown, and the command
fails at the end with a line for each that could not be checked.
"""

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from aggregated_metrics import wiring
from aggregated_metrics.adapters.source_rows import Counted
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import AggregatedMetricsError
from aggregated_metrics.core.ranges import Range, parse_range
from aggregated_metrics.jobs.checker import Findings
from aggregated_metrics.jobs.reconciler import Closed, Reconciler, result
from aggregated_metrics.wiring import Process

from aggregated_metrics_cli.exit_codes import DONE, FAILED, LEFT, STOPPED
from aggregated_metrics_cli.output import Output

NO_DEADLINE = 1e9
"""More seconds than anybody waits: a laptop has no time-out."""


class Progress(Protocol):
    """Who is told how a check goes on."""

    def begin(self, days: int) -> None:
        """So many days are going to be checked."""

    def page(self, counted: Counted) -> None:
        """A page of source rows was read."""

    def day(self, day: Range, found: Findings) -> None:
        """A day is done."""


class Silent:
    """A Progress that says nothing."""

    def begin(self, days: int) -> None:
        """So many days are going to be checked."""

    def page(self, counted: Counted) -> None:
        """A page of source rows was read."""

    def day(self, day: Range, found: Findings) -> None:
        """A day is done."""


@dataclass(slots=True)
class Checked:
    """What a check came to.

    Attributes:
        findings: of all groups that could be checked.
        failed: a line for each group that could not.
        set_aside: hours of record types that no model counts into.
        stopped: how to go on, where somebody interrupted it.
    """

    findings: Findings = field(default_factory=Findings)
    failed: list[str] = field(default_factory=list)
    set_aside: int = 0
    stopped: str | None = None

    def exit_code(self) -> int:
        """130 if interrupted, else 2 if something failed, else 1 if something is left."""
        if self.stopped is not None:
            return STOPPED
        if self.failed:
            return FAILED
        return LEFT if left(self.findings) or self.set_aside else DONE

    def as_json(self, *, repair: bool) -> dict[str, Any]:
        """All that was found, nothing left out."""
        return {
            **result(self.findings, None, repair=repair),
            "drift": [drift.as_json() for drift in self.findings.drift],
            "moving": [drift.as_json() for drift in self.findings.moving],
            "failed": self.failed,
            "setAside": self.set_aside,
        }


def left(findings: Findings) -> int:
    """How many buckets are wrong, or may be because they were moving."""
    return len(findings.drift) - len(findings.repaired) + len(findings.moving)


def range_of(options: Namespace, attached: Sequence[str]) -> Range | None:
    """The range that the options ask for; None where they ask for none.

    Raises:
        EventError: it is incomplete, or not a range.
    """
    if options.account is None and options.start is None and options.end is None:
        return None
    return parsed_range(options, attached)


def parsed_range(options: Namespace, attached: Sequence[str]) -> Range:
    """The range that the options name; of the attached record types where they name none.

    Raises:
        EventError: it is incomplete, or not a range.
    """
    return parse_range(
        {
            "accountId": options.account,
            "start": options.start,
            "end": options.end,
            "recordTypes": options.record_types,
        },
        attached,
    )


def reconciler_of(
    process: Process, *, on_page: Callable[[Counted], None] = lambda _: None
) -> Reconciler:
    """The reconciler's job, without its time-out and its limit of rows."""
    return Reconciler(
        checker=wiring.checker(process, lambda: NO_DEADLINE, on_page=on_page),
        pending=process.pending(),
        quarantine=process.quarantine(),
        source_tables=process.settings.SOURCE_TABLES,
        time_left=lambda: NO_DEADLINE,
        clock=process.clock,
    )


def check_range(process: Process, asked: Range, progress: Progress, *, repair: bool) -> Checked:
    """Check a range day by day, the newest first; interrupted, it says where to go on."""
    reconciler = reconciler_of(process, on_page=progress.page)
    checked = Checked()
    days = list(asked.days())
    progress.begin(len(days))
    end = asked.end
    try:
        for day in days:
            found, failed = reconciler.check_all(day.hours(), repair=repair)
            checked.findings.add(found)
            checked.failed += failed
            end = day.start
            progress.day(day, found)
    except KeyboardInterrupt:
        checked.stopped = f"go on with --end {buckets.iso(end)}"
    return checked


def check_closed(process: Process, progress: Progress, *, repair: bool) -> Checked:
    """Check the hours that are closed and wait to be checked."""
    progress.begin(1)
    closed = Closed()
    checked = Checked(closed.findings, closed.failed)
    try:
        reconciler_of(process, on_page=progress.page).check_closed(closed, repair=repair)
    except KeyboardInterrupt:
        checked.stopped = "run this again"
    except AggregatedMetricsError as error:
        checked.failed.append(str(error))  # what was repaired before is shown all the same
    checked.set_aside = closed.set_aside
    return checked


def check(process: Process, asked: Range | None, output: Output, *, repair: bool) -> int:
    """Check a range, or the closed hours, and show what was found; returns the exit code."""

    def work(progress: Progress) -> Checked:
        if asked is None:
            return check_closed(process, progress, repair=repair)
        return check_range(process, asked, progress, repair=repair)

    if output.as_json:
        return report(work(Silent()), output, repair=repair)
    with output.display().Bars(output.console(output.err)) as bars:
        checked = work(bars)
    return report(checked, output, repair=repair)


def report(checked: Checked, output: Output, *, repair: bool) -> int:
    """Show what a check came to, and what it could not do; returns the exit code."""
    for line in checked.failed:
        output.say(f"not checked: {line}")
    if checked.set_aside:
        output.say(f"{checked.set_aside} hours are set aside: no model counts their record type")
    if checked.stopped is not None:
        output.say(f"stopped; {checked.stopped}")
    output.show(
        checked.as_json(repair=repair),
        lambda display: display.findings(checked.findings, repair=repair),
    )
    return checked.exit_code()
