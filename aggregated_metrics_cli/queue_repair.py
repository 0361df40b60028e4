"""What redrive and repair-batches share: repairing the hours that the messages of a queue name.

No record is sent to the stream function again: its row may be anywhere by now. The hours in which
it counted or counts are checked against the rows and set right, so neither order nor duplicates nor
ledgers matter, and doing it twice changes nothing. A message is deleted when its hours are right.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from aggregated_metrics.core.changes import Reject
from aggregated_metrics.core.findings import Findings
from aggregated_metrics.core.groups import groups
from aggregated_metrics.core.hours import HourId
from aggregated_metrics.core.listing import Listed
from aggregated_metrics.jobs.checker import Checker
from aggregated_metrics.wiring import Process

from aggregated_metrics_cli.check import checker_of
from aggregated_metrics_cli.exit_codes import DONE, LEFT
from aggregated_metrics_cli.output import Output

HIDDEN_SECONDS = 960
"""So long nobody else is given a message that was received."""
_PER_REQUEST = 10

type Body = Mapping[str, Any] | None
"""A message's JSON object; None where it is none."""


class QueueMessage(NamedTuple):
    """One message, received and hidden from others for a while."""

    message_id: str
    receipt: str
    body: Body


type Delete = Callable[[QueueMessage], None]
"""Takes a message out of its queue."""


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

    def hours_as_json(self) -> list[str]:
        """The hours, as the table of pending hours names them."""
        return sorted(f"{hour.series.account_id}#{hour.prefix}" for hour in self.hours)


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue whose messages are worked through.

    Args:
        sqs: boto3's client.
        url: the queue's.
        wait: seconds that one request waits for a message. SQS asks all of its servers only when
            it may wait: without, an empty answer says nothing.
    """

    sqs: Any
    url: str
    wait: int

    @contextmanager
    def received(self, limit: int) -> Iterator[tuple[list[QueueMessage], Delete]]:
        """At most `limit` messages, and what deletes one; in the end others see the rest again."""
        messages: dict[str, QueueMessage] = {}

        def delete(message: QueueMessage) -> None:
            self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message.receipt)
            del messages[message.message_id]

        try:
            for message in self._receive(limit):
                messages[message.message_id] = message
            yield list(messages.values()), delete
        finally:
            self._release(list(messages.values()))

    def hidden(self) -> int:
        """About how many messages somebody else has received: they may come back."""
        name = "ApproximateNumberOfMessagesNotVisible"
        answer = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=[name])
        return int(answer["Attributes"][name])

    def _receive(self, limit: int) -> Iterator[QueueMessage]:
        seen: set[str] = set()
        while len(seen) < limit:
            answer = self.sqs.receive_message(
                QueueUrl=self.url,
                MaxNumberOfMessages=min(_PER_REQUEST, limit - len(seen)),
                VisibilityTimeout=HIDDEN_SECONDS,
                WaitTimeSeconds=self.wait,
            )
            messages = answer.get("Messages")
            if not messages:
                return
            for given in messages:
                seen.add(given["MessageId"])
                yield QueueMessage(given["MessageId"], given["ReceiptHandle"], _body(given["Body"]))

    def _release(self, kept: Sequence[QueueMessage]) -> None:
        for first in range(0, len(kept), _PER_REQUEST):
            self.sqs.change_message_visibility_batch(
                QueueUrl=self.url,
                Entries=[
                    {"Id": str(i), "ReceiptHandle": message.receipt, "VisibilityTimeout": 0}
                    for i, message in enumerate(kept[first : first + _PER_REQUEST])
                ],
            )


def _body(text: str) -> Body:
    try:
        body = json.loads(text)
    except ValueError:
        return None
    return body if isinstance(body, Mapping) else None


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
    checker = checker_of(process)
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


def work_through(
    process: Process, jobs: Sequence[Job], delete: Delete
) -> tuple[list[Job], Repaired]:
    """Repair the hours of all jobs; those that are done lose their messages.

    Raises:
        QuarantineError: the quarantine did not take a record; its message is still there.
    """
    repaired = repair(process, jobs)
    done = [repaired.after(job) for job in jobs]
    for job in done:
        if job.left is None:
            process.quarantine().send(job.rejects)
            if job.message is not None:
                delete(job.message)
    return done, repaired


def conclude(jobs: Sequence[Job], output: Output, *, hidden: int, limit: int | None) -> int:
    """Say whether anything may be left in the queue; returns the exit code.

    Args:
        jobs: what has become of them.
        output: where to say it.
        hidden: messages that somebody else had received.
        limit: how many were asked for at most; None where none came from the queue.
    """
    if hidden:
        output.say(
            f"about {hidden} messages are with another run, or with one that was cut off: run this "
            f"again in {HIDDEN_SECONDS // 60} minutes"
        )
    more = limit is not None and len(jobs) >= limit
    if more:
        output.say(f"only {limit} messages were looked at: run this again")
    return LEFT if hidden or more or any(job.left for job in jobs) else DONE
