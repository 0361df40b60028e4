"""What verify, repair and backfill share: the reconciler's check, step by step, without a time-out.

Each group (account, model, window) fails alone: the others are checked and shown, and the command
fails at the end with a line for each that could not be checked.
"""

from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from aggregated_metrics import wiring
from aggregated_metrics.adapters.source_rows import Counted
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import AggregatedMetricsError
from aggregated_metrics.core.findings import Findings
from aggregated_metrics.core.ranges import Range, parse_range, steps
from aggregated_metrics.jobs.checker import Checker
from aggregated_metrics.jobs.closed_hours import ClosedHours
from aggregated_metrics.jobs.range_check import check_step
from aggregated_metrics.jobs.reconciler import result
from aggregated_metrics.wiring import Process

from aggregated_metrics_cli.exit_codes import DONE, FAILED, LEFT, STOPPED
from aggregated_metrics_cli.output import Output

NO_DEADLINE = 1e9
"""More seconds than anybody waits: a laptop has no time-out."""


class Progress(Protocol):
    """Who is told how a check goes on."""

    def begin(self, parts: int) -> None:
        """So many parts are going to be checked."""

    def page(self, counted: Counted) -> None:
        """A page of source rows was read."""

    def part(self, part: Range, rest: Range, found: Findings) -> None:
        """A step is done; `rest` is what is left."""


class Silent:
    """A Progress that says nothing."""

    def begin(self, parts: int) -> None:
        """So many parts are going to be checked."""

    def page(self, counted: Counted) -> None:
        """A page of source rows was read."""

    def part(self, part: Range, rest: Range, found: Findings) -> None:
        """A step is done; `rest` is what is left."""


@dataclass(slots=True)
class Checked:
    """What a check came to.

    Attributes:
        findings: of all groups; its `failed` names those that could not be checked.
        set_aside: hours of record types that no model counts into.
        stopped: how to go on, where somebody interrupted it.
    """

    findings: Findings = field(default_factory=Findings)
    set_aside: int = 0
    stopped: str | None = None

    def exit_code(self) -> int:
        """130 if interrupted, else 2 if something failed, else 1 if something is left."""
        if self.stopped is not None:
            return STOPPED
        if self.findings.failed:
            return FAILED
        return LEFT if left(self.findings) or self.set_aside else DONE

    def as_json(self, *, repair: bool) -> dict[str, Any]:
        """All that was found; of a long range the first repaired buckets."""
        return {
            **result(self.findings, None, repair=repair),
            "drift": [drift.as_json() for drift in self.findings.drift],
            "moving": [drift.as_json() for drift in self.findings.moving],
            "undecided": self.findings.undecided_as_json(),
            "failed": self.findings.failed,
            "setAside": self.set_aside,
        }


def left(findings: Findings) -> int:
    """How many buckets are wrong, or may be: they were moving, or not all rows can be read."""
    open_buckets = len(findings.moving) + len(findings.undecided)
    return findings.drifted - findings.set_right + open_buckets


def range_of(options: Namespace, counted: Sequence[str]) -> Range | None:
    """The range that the options ask for; None where they ask for none.

    Raises:
        EventError: it is incomplete, or not a range.
    """
    if options.account is None and options.start is None and options.end is None:
        return None
    return parsed_range(options, counted)


def parsed_range(options: Namespace, counted: Sequence[str]) -> Range:
    """The range that the options name; without record types of all that are counted.

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
        counted,
    )


def checker_of(process: Process, *, on_page: Callable[[Counted], None] = lambda _: None) -> Checker:
    """What compares hours with the source rows, without a time-out."""
    return wiring.checker(process, lambda: NO_DEADLINE, on_page=on_page)


def check_range(process: Process, asked: Range, progress: Progress, *, repair: bool) -> Checked:
    """Check a range step by step; interrupted, it says where to go on."""
    checker = checker_of(process, on_page=progress.page)
    checked = Checked()
    parts = list(steps(asked))
    progress.begin(len(parts))
    rests = [rest for rest, _ in parts[1:]] + [replace(asked, end=asked.start)]
    rest = asked
    try:
        for (_, part), after in zip(parts, rests, strict=True):
            found = Findings()
            try:
                check_step(checker, part, found, repair=repair)
            finally:  # what is repaired of a step that somebody interrupts is shown
                checked.findings.add(found)
                checked.findings.shorten()
            rest = after
            progress.part(part, rest, found)
    except KeyboardInterrupt:
        names = ",".join(rest.record_types)
        checked.stopped = f"go on with --end {buckets.iso(rest.end)} --record-types {names}"
    return checked


def check_closed(process: Process, progress: Progress, *, repair: bool) -> Checked:
    """Check the hours that are closed and wait to be checked."""
    progress.begin(1)
    check = ClosedHours(
        checker_of(process, on_page=progress.page),
        process.pending(),
        lambda: NO_DEADLINE,
        process.clock,
    )
    checked = Checked(check.done.findings)
    try:
        check.check(repair=repair)
    except KeyboardInterrupt:
        checked.stopped = "run this again"
    except AggregatedMetricsError as error:
        checked.findings.failed.append(str(error))  # what was repaired before is shown all the same
    checked.set_aside = check.done.set_aside
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
    for line in checked.findings.failed:
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
