"""Checking a range of hours step by step, while there is time."""

from collections.abc import Callable
from dataclasses import replace

from aggregated_metrics.adapters.source_rows import Counted
from aggregated_metrics.core.errors import ContentionError, OutOfTimeError
from aggregated_metrics.core.findings import Findings
from aggregated_metrics.core.groups import groups
from aggregated_metrics.core.ranges import Range, steps
from aggregated_metrics.jobs.checker import Checker
from aggregated_metrics.jobs.long_ranges import LongRange

SPARE_SECONDS = 15.0
"""With less time left than this no further page of rows is read."""
TOO_MANY_ROWS = (
    "there are too many rows for one invocation: ask for fewer recordTypes or hours, "
    "use the command line, or a backfill of whole tables"
)


def check_range(
    checker: Checker,
    asked: Range,
    time_left: Callable[[], float],
    findings: Findings,
    *,
    repair: bool,
) -> Range | None:
    """Check a range while there is time; returns what is left of it.

    Args:
        checker: compares, and has the ports.
        asked: the range.
        time_left: seconds.
        findings: takes what it comes to, also where it then ends half way.
        repair: whether to set right what is wrong.

    Raises:
        ContentionError: there is not even time for its first step.
    """
    done = False
    for rest, step in steps(asked):
        if done and time_left() < SPARE_SECONDS + checker.settle:
            return rest
        try:
            check_step(checker, step, findings, repair=repair)
        except OutOfTimeError as error:
            if done:
                return rest
            days = step.whole_days()
            if step.is_long() or days == 1:
                raise ContentionError(TOO_MANY_ROWS) from error
            return replace(rest, days=days // 2)
        findings.shorten()
        done = True
    return None


def check_step(checker: Checker, step: Range, findings: Findings, *, repair: bool) -> None:
    """Check one step of a range; a group that cannot be checked is a line in what is found.

    Args:
        checker: compares, and has the ports.
        step: what is checked at once.
        findings: takes what it comes to, also where it then ends half way.
        repair: whether to set right what is wrong.

    Raises:
        OutOfTimeError: there is no time for it; some of it may be done.
    """
    if not step.is_long():
        checker.check(step.hours(), repair=repair, findings=findings)
        return
    long_range = LongRange(checker, step, findings)
    try:
        long_range.check(repair=repair)
    except OutOfTimeError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the other steps go on
        (group,) = groups(step.hours())
        findings.failed.append(group.failure(error))


def stop_in_time(time_left: Callable[[], float]) -> Callable[[Counted], None]:
    """A Checker's `on_page` that stops between two pages when the time is nearly over."""

    def check(_: Counted) -> None:
        if time_left() < SPARE_SECONDS:
            raise OutOfTimeError(TOO_MANY_ROWS)

    return check
