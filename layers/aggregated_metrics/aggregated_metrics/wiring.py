"""The composition root: builds each function's job from the environment.

What is costly lives with the process. A function pays at its cold start for what it imports, so
each factory imports the job that it makes and no other.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, partial
from os import environ
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.config import Config

from aggregated_metrics.adapters.appsync import AppSyncClient, open_session
from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.adapters.pending_hours import LEASE_SECONDS, PendingHours
from aggregated_metrics.adapters.queues import Queue, failed_batch
from aggregated_metrics.adapters.settings import Settings
from aggregated_metrics.core.errors import SettingsError
from aggregated_metrics.core.metadata import NEVER
from aggregated_metrics.core.series import HourId

if TYPE_CHECKING:
    import requests

    from aggregated_metrics.adapters.consumers import AsOf
    from aggregated_metrics.adapters.observability import Report
    from aggregated_metrics.jobs.aggregator import Aggregator
    from aggregated_metrics.jobs.backfiller import Backfiller
    from aggregated_metrics.jobs.reconciler import Reconciler
    from aggregated_metrics.jobs.recount import Recount
    from aggregated_metrics.jobs.sweeper import Sweeper

_CONFIG = Config(
    connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 4}
)


def now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Process:
    """What one Lambda process keeps from invocation to invocation.

    `aws` gives botocore's client for a service, always the same one; a client costs tens of
    milliseconds, so each is made when it is first needed, by most invocations never.
    """

    settings: Settings
    session: "requests.Session"
    aws: Callable[[str], Any]
    clock: Callable[[], datetime] = now
    sleep: Callable[[float], None] = time.sleep
    remembered: dict[HourId, int] = field(default_factory=dict)

    def client(self, time_left: Callable[[], float]) -> AppSyncClient:
        """The API's client for one invocation."""
        return AppSyncClient(
            self.settings.GRAPHQL_ENDPOINT,
            self.session,
            time_left,
            request_bytes=self.settings.MAX_REQUEST_BYTES,
        )

    def store(self, time_left: Callable[[], float]) -> HourStore:
        """The hours, for one invocation."""
        return HourStore(
            self.client(time_left),
            clock=self.clock,
            models=self.settings.models,
            time_left=time_left,
            sleep=self.sleep,
        )

    def pending(self, lease: Callable[[], float] = lambda: LEASE_SECONDS) -> PendingHours:
        """The table of pending hours, for an invocation that ends within the lease (seconds)."""
        return PendingHours(
            self.aws("dynamodb"),
            self.settings.PENDING_HOURS_TABLE,
            clock=self.clock,
            grace=self.settings.complete_after,
            lease=lease,
            remembered=self.remembered,
            sleep=self.sleep,
        )

    def queue(self, setting: str) -> Queue:
        """The queue that a setting names."""
        return Queue(lambda: self.aws("sqs"), getattr(self.settings, setting), setting)


def aggregator(process: Process, context: Any) -> "Aggregator":
    """stream_aggregator's job, for one invocation."""
    from aggregated_metrics.jobs.aggregator import Aggregator  # noqa: PLC0415 - cold start

    settings = process.settings
    return Aggregator(
        store=process.store(time_left(context)),
        pending=process.pending(),
        quarantine=process.queue("QUARANTINE_QUEUE_URL"),
        models=settings.models,
        source_tables=settings.SOURCE_TABLES,
        clock=process.clock,
        grace=settings.complete_after,
        window=settings.BATCHING_WINDOW_SECONDS,
    )


def ask_streams(process: Process, context: Any, report: "Report") -> "AsOf":
    """Ask how far the streams are applied, and store it for the readers of counts."""
    from aggregated_metrics.adapters import consumers  # noqa: PLC0415 - cold start

    settings = process.settings
    found = consumers.consumers(
        process.aws("lambda"),
        process.aws("dynamodb"),
        settings.STREAM_FUNCTION,
        settings.streams,
    )
    report.update(consumers.not_consumed(found))
    return consumers.update_as_of(
        found,
        process.store(time_left(context)),
        process.pending(),
        settings.models,
        now=process.clock().timestamp(),
        complete_after=settings.complete_after,
        hold_seconds=settings.hold_seconds,
    )


def sweeper(process: Process, context: Any, as_of: "AsOf") -> "Sweeper":
    """bucket_sweeper's job, for one invocation."""
    from aggregated_metrics.jobs.sweeper import Sweeper  # noqa: PLC0415 - cold start

    left = time_left(context)
    return Sweeper(
        store=process.store(left),
        pending=process.pending(),
        models=process.settings.models,
        clock=process.clock,
        grace=process.settings.complete_after,
        time_left=left,
        complete_until=_complete_until(as_of),
        hold_seconds=process.settings.hold_seconds,
    )


def reconciler(process: Process, context: Any) -> "Reconciler":
    """Reconciler's job, for one invocation."""
    from aggregated_metrics.jobs.reconciler import Reconciler  # noqa: PLC0415 - cold start

    settings, left = process.settings, time_left(context)
    return Reconciler(
        recount=recount(process, left),
        pending=process.pending(left),
        quarantine=process.queue("QUARANTINE_QUEUE_URL"),
        failed_batches=process.queue("FAILED_BATCHES_QUEUE_URL"),
        failed_batch=lambda note: failed_batch(process.aws("s3"), note),
        models=settings.models,
        source_tables=settings.SOURCE_TABLES,
        clock=process.clock,
        time_left=left,
        grace=settings.complete_after,
        rows_limit=settings.CHECK_ROWS_LIMIT,
    )


def backfiller(process: Process, context: Any) -> "Backfiller":
    """Backfiller's job, for one invocation."""
    from aggregated_metrics.adapters.run_files import RunFiles  # noqa: PLC0415 - cold start
    from aggregated_metrics.adapters.source_rows import TableRows  # noqa: PLC0415 - cold start
    from aggregated_metrics.jobs.backfiller import Backfiller  # noqa: PLC0415 - cold start

    settings, left = process.settings, time_left(context)
    if not settings.BACKFILL_BUCKET:
        raise SettingsError("BACKFILL_BUCKET is empty: name the bucket that template.yaml makes")
    return Backfiller(
        rows=TableRows(process.aws("dynamodb"), settings.streams),
        files=RunFiles(process.aws("s3"), settings.BACKFILL_BUCKET),
        recount=recount(process, left),
        pending=process.pending(left),
        models=settings.models,
        clock=process.clock,
        time_left=left,
        read_units=settings.BACKFILL_READ_UNITS,
        concurrency=settings.BACKFILL_CONCURRENCY,
    )


def recount(process: Process, left: Callable[[], float]) -> "Recount":
    """What counts again, compares and repairs, for one invocation."""
    from aggregated_metrics.adapters.consumers import load_as_of  # noqa: PLC0415 - cold start
    from aggregated_metrics.adapters.source_rows import index_pages  # noqa: PLC0415 - cold start
    from aggregated_metrics.jobs.recount import Recount  # noqa: PLC0415 - cold start

    settings, store = process.settings, process.store(left)
    as_of = lru_cache(maxsize=1)(partial(load_as_of, store))

    def complete_until(record_type: str) -> float:
        return _complete_until(as_of())(record_type)

    return Recount(
        store=store,
        pages=partial(index_pages, store.execute),
        pending=process.pending(left),
        models=settings.models,
        clock=process.clock,
        sleep=process.sleep,
        time_left=left,
        grace=settings.complete_after,
        settle_seconds=settings.SETTLE_SECONDS,
        complete_until=complete_until,
        lifetimes=settings.SOURCE_LIFETIME_DAYS,
    )


def _complete_until(as_of: "AsOf") -> Callable[[str], float]:
    """Until when a record type's buckets may be completed; never, where that is not known."""
    known = {name: until for name, until in as_of.items() if until is not None}
    return lambda record_type: known.get(record_type, NEVER)


@lru_cache(maxsize=1)
def process() -> Process:
    """This process's own."""
    settings = Settings.from_environment(environ)
    session = botocore.session.get_session()  # boto3's own, without what boto3 imports beside it
    credentials = session.get_credentials()
    if credentials is None:
        raise SettingsError(
            "there are no AWS credentials to sign with: a function has its role's; elsewhere set "
            "AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return Process(
        settings=settings,
        session=open_session(credentials, settings.region),
        aws=lru_cache(lambda service: session.create_client(service, config=_CONFIG)),
    )


def time_left(context: Any) -> Callable[[], float]:
    """Seconds until Lambda ends the invocation, from its context."""
    return lambda: context.get_remaining_time_in_millis() / 1000
