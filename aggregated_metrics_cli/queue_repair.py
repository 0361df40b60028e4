"""Repair of the hours that a message of a queue names, as the truth tests do it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from aggregated_metrics import wiring
from aggregated_metrics.core.changes import Reject
from aggregated_metrics.core.findings import Findings
from aggregated_metrics.core.groups import groups
from aggregated_metrics.core.hours import HourId
from aggregated_metrics.core.listing import Listed
from aggregated_metrics.jobs.checker import Checker
from aggregated_metrics.wiring import Process

type Body = Mapping[str, Any] | None
"""A message's JSON object; None where it is none."""


class QueueMessage(NamedTuple):
    """One message, received and hidden from others for a while."""

    message_id: str
    receipt: str
    body: Body


@dataclass(frozen=True, slots=True)
class Job:
    """What one message asks for, and what has become of it.

    Attributes:
        message: the message; None where somebody named the object by hand.
        name: what is shown of it.
        hours: those to be checked and set right.
        listed: their rows that are listed outside their own ranges.
        rejects: its records that cannot be counted: they go into quarantine.
        left: why it is not done; None when it is, or can be.
    """

    message: QueueMessage | None
    name: str = ""
    hours: frozenset[HourId] = frozenset()
    listed: Mapping[HourId, Collection[Listed]] = field(default_factory=dict)
    rejects: Sequence[Reject] = ()
    left: str | None = None


_MOVING = "its hour is moving: run this again in a few minutes"
_UNDECIDED = (
    "its hour differs from its rows, but not all of them can be read through the API: correct "
    "those (updatedAt, required fields), or let a backfill read the whole table, and run this again"
)


@dataclass(slots=True)
class Repaired:
    """What repairing came to.

    Attributes:
        findings: of the hours that could be checked.
        failed: a line for each group of hours that could not.
        unsettled: hours that are not right yet, and why.
    """

    findings: Findings = field(default_factory=Findings)
    failed: list[str] = field(default_factory=list)
    unsettled: dict[HourId, str] = field(default_factory=dict)

    def after(self, job: Job) -> Job:
        """What has become of a job."""
        left = job.left
        for hour in sorted(job.hours & self.unsettled.keys()):
            left = left or self.unsettled[hour]
        return replace(job, left=left)


def repair(process: Process, jobs: Sequence[Job]) -> Repaired:
    """Check the hours of all jobs, with one wait for all, and set them right."""
    repaired = Repaired()
    hours = {hour for job in jobs for hour in job.hours}
    listed: dict[HourId, set[Listed]] = {}
    for job in jobs:
        for hour, texts in job.listed.items():
            listed.setdefault(hour, set()).update(texts)
    checker = wiring.checker(process, lambda: 1e9, on_page=lambda _: None)
    repaired.findings = checker.check(hours, repair=True, listed=listed)
    if repaired.findings.failed:
        _apart(checker, hours, listed, repaired)
    repaired.unsettled |= dict.fromkeys(repaired.findings.undecided, _UNDECIDED)
    for drift in repaired.findings.moving:
        repaired.unsettled[drift.hour] = _MOVING
    return repaired


def _apart(
    checker: Checker,
    hours: set[HourId],
    listed: Mapping[HourId, Collection[Listed]],
    repaired: Repaired,
) -> None:
    """Find out which groups it is: only their messages stay. What is right needs no second look."""
    for group in groups(hours):
        found = checker.check(group.hours, repair=True, listed=listed)
        repaired.findings.drift += found.drift
        repaired.findings.repaired += found.repaired
        repaired.findings.moving += found.moving
        repaired.findings.undecided |= found.undecided
        repaired.failed += found.failed
        if found.failed:
            why = f"its hour could not be checked: {found.failed[0]}"
            repaired.unsettled |= dict.fromkeys(group.hours, why)
