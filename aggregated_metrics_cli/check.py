"""verify, repair and backfill: what the reconciler does, day by day, without a time-out."""

import json
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from aggregated_metrics import wiring
from aggregated_metrics.adapters.source_rows import Counted
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import EventError
from aggregated_metrics.core.ranges import Range, parse_range
from aggregated_metrics.jobs.checker import Checker, Findings
from aggregated_metrics.jobs.reconciler import Reconciler, hours_of_batch, result
from aggregated_metrics.wiring import Process

_HOURS = 1e9
"""More seconds than anybody waits: a laptop has no time-out."""


class Watch(Protocol):
    """Who is told how a check goes on."""

    def begin(self, days: int) -> None:
        """So many days are going to be checked."""

    def page(self, counted: Counted) -> None:
        """A page of source rows was read."""

    def day(self, day: Range, found: Findings) -> None:
        """A day is done."""


@dataclass(frozen=True, slots=True)
class Work:
    """What one command has to do: a range, the hours of a lost batch, or the closed hours."""

    asked: Range | None
    batch: Any
    repair: bool


def work_of(options: Namespace, read: Callable[[str], str]) -> Work:
    """What the options ask for.

    Args:
        options: of verify, repair or backfill.
        read: gives the text of a file or of an s3:// object.

    Raises:
        EventError: the range is incomplete, or what was read is not a batch.
    """
    repair = options.command != "verify"
    place = getattr(options, "on_failure", None)
    if place:
        try:
            return Work(None, json.loads(read(place)), repair)
        except ValueError as error:
            raise EventError(f"{place} is not JSON ({error})") from error
    if options.account is None and options.start is None and options.end is None:
        return Work(None, None, repair)
    return Work(
        parse_range(
            {
                "accountId": options.account,
                "start": options.start,
                "end": options.end,
                "recordTypes": options.record_types,
            }
        ),
        None,
        repair,
    )


def read_text(process: Process, place: str) -> str:
    """The text of a file, or of an object such as s3://bucket/key.

    Raises:
        EventError: it cannot be read.
    """
    try:
        if place.startswith("s3://"):
            bucket, _, key = place.removeprefix("s3://").partition("/")
            answer = process.aws("s3").get_object(Bucket=bucket, Key=key)
            return str(answer["Body"].read().decode())
        return Path(place).read_text(encoding="utf-8")
    except Exception as error:
        # whatever keeps it from being read, the one who named the place has to look at it
        raise EventError(f"{place} cannot be read: {error}") from error


def check_days(
    checker: Checker, asked: Range, *, repair: bool, watch: Watch
) -> Iterator[tuple[Range, Findings]]:
    """Check a range day by day, the newest first; each day is done when it is given out."""
    days = list(asked.days())
    watch.begin(len(days))
    for day in days:
        found = checker.check(day.hours(), repair=repair)
        watch.day(day, found)
        yield day, found


def run(work: Work, process: Process, watch: Watch) -> Findings:
    """Do it; gives back what was found.

    Raises:
        Stopped: somebody interrupted it; says where to go on.
        AggregatedMetricsError: something could not be done; what was repaired is valid.
    """
    checker = wiring.checker(process, lambda: _HOURS, on_page=watch.page)
    if work.asked is not None:
        return _run_days(checker, work, work.asked, watch)
    watch.begin(1)
    if work.batch is not None:
        ids = hours_of_batch(work.batch, process.settings.SOURCE_TABLES)
        return checker.check(ids, repair=work.repair)
    reconciler = Reconciler(
        checker, process.pending(), process.settings.SOURCE_TABLES, lambda: _HOURS
    )
    return reconciler.check_closed(repair=work.repair)[0]


def _run_days(checker: Checker, work: Work, asked: Range, watch: Watch) -> Findings:
    findings = Findings()
    end = asked.end
    try:
        for day, found in check_days(checker, asked, repair=work.repair, watch=watch):
            findings.add(found)
            end = day.start
    except KeyboardInterrupt:
        raise Stopped(findings, buckets.iso(end)) from None
    return findings


class Stopped(Exception):  # noqa: N818 - nothing went wrong: somebody wanted it
    """Interrupted between or within days.

    Attributes:
        findings: what the days before came to.
        end: `--end` to go on with.
    """

    def __init__(self, findings: Findings, end: str) -> None:
        super().__init__(f"stopped; go on with --end {end}")
        self.findings = findings
        self.end = end


def as_json(findings: Findings, *, repair: bool) -> dict[str, Any]:
    """All that was found, nothing left out."""
    return {
        **result(findings, None, repair=repair),
        "drift": [drift.as_json() for drift in findings.drift],
        "moving": [drift.as_json() for drift in findings.moving],
    }


def left(findings: Findings) -> int:
    """How many wrong buckets are still wrong, as far as is known."""
    return len(findings.drift) - len(findings.repaired)
