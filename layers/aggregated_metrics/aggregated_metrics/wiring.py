"""The composition root: builds each function's job from the environment.

What is costly lives with the process. A function pays at its cold start for what it imports, so
each factory imports the job that it makes and no other.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from os import environ
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.config import Config

from aggregated_metrics.adapters.appsync import AppSyncClient, SigV4, open_session
from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.adapters.pending_hours import PendingHours
from aggregated_metrics.adapters.quarantine import Quarantine
from aggregated_metrics.adapters.retries import Retries
from aggregated_metrics.adapters.settings import Settings
from aggregated_metrics.core.errors import SettingsError
from aggregated_metrics.core.hours import HourId

if TYPE_CHECKING:
    import requests

    from aggregated_metrics.adapters.source_rows import Counted
    from aggregated_metrics.jobs.aggregator import Aggregator
    from aggregated_metrics.jobs.backfiller import Backfiller
    from aggregated_metrics.jobs.checker import Checker
    from aggregated_metrics.jobs.probe import Probe
    from aggregated_metrics.jobs.reconciler import Reconciler
    from aggregated_metrics.jobs.recovery import Recovery
    from aggregated_metrics.jobs.sweeper import Sweeper

_CONFIG = Config(
    connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 4}
)


def now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


def wait(seconds: float) -> None:
    """Wait, between tries or between the looks of a check."""
    time.sleep(seconds)


@dataclass(slots=True)
class Process:
    """What one Lambda process keeps from invocation to invocation.

    `aws` gives botocore's client for a service, always the same one; a client costs tens of
    milliseconds, so each is made when it is first needed.
    """

    settings: Settings
    session: "requests.Session"
    aws: Callable[[str], Any]
    clock: Callable[[], datetime] = now
    sleep: Callable[[float], None] = wait
    remembered: dict[HourId, int] = field(default_factory=dict)
    probed: dict[str, float] = field(default_factory=dict)

    def aws_on_use(self, service: str) -> Any:
        """A client that is made when it is first called: most invocations never do."""
        return _OnUse(lambda: self.aws(service))

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
            grace=self.settings.GRACE_SECONDS,
            time_left=time_left,
            request_bytes=self.settings.MAX_REQUEST_BYTES,
            sleep=self.sleep,
        )

    def pending(self) -> PendingHours:
        """The table of pending hours."""
        return PendingHours(
            self.aws("dynamodb"),
            self.settings.PENDING_HOURS_TABLE,
            clock=self.clock,
            grace=self.settings.GRACE_SECONDS,
            remembered=self.remembered,
            sleep=self.sleep,
        )

    def quarantine(self) -> Quarantine:
        """The quarantine queue."""
        return Quarantine(
            self.aws_on_use("sqs"), self.settings.QUARANTINE_QUEUE_URL, clock=self.clock
        )


def aggregator(process: Process, context: Any) -> "Aggregator":
    """stream_aggregator's job, for one invocation."""
    from aggregated_metrics.jobs.aggregator import Aggregator  # noqa: PLC0415 - cold start

    settings = process.settings
    return Aggregator(
        store=process.store(time_left(context)),
        pending=process.pending(),
        quarantine=process.quarantine(),
        source_tables=settings.SOURCE_TABLES,
        clock=process.clock,
        grace=settings.GRACE_SECONDS,
        breakdowns=settings.BREAKDOWNS,
    )


def sweeper(process: Process, context: Any) -> "Sweeper":
    """bucket_sweeper's job, for one invocation."""
    from aggregated_metrics.jobs.sweeper import Sweeper  # noqa: PLC0415 - cold start

    left = time_left(context)
    return Sweeper(
        store=process.store(left),
        pending=process.pending(),
        clock=process.clock,
        grace=process.settings.GRACE_SECONDS,
        time_left=left,
    )


def probe(process: Process) -> "Probe":
    """bucket_sweeper's look at the streams, for one invocation."""
    from aggregated_metrics.adapters.consumers import Consumers  # noqa: PLC0415 - cold start
    from aggregated_metrics.jobs.probe import Probe  # noqa: PLC0415 - cold start

    settings = process.settings
    return Probe(
        consumers=Consumers(
            process.aws_on_use("lambda"), process.aws("dynamodb"), settings.STREAM_FUNCTION
        ),
        streams=settings.STREAM_ARNS if settings.STREAM_FUNCTION else (),
        clock=process.clock,
        looked=process.probed,
    )


def reconciler(process: Process, context: Any) -> "Reconciler":
    """Reconciler's job, for one invocation."""
    from aggregated_metrics.jobs.range_check import stop_in_time  # noqa: PLC0415 - cold start
    from aggregated_metrics.jobs.reconciler import Reconciler  # noqa: PLC0415 - cold start

    left = time_left(context)
    return Reconciler(
        checker=checker(process, left, on_page=stop_in_time(left)),
        pending=process.pending(),
        quarantine=process.quarantine(),
        source_tables=process.settings.SOURCE_TABLES,
        time_left=left,
        clock=process.clock,
        rows_limit=process.settings.CHECK_ROWS_LIMIT,
        breakdowns=process.settings.BREAKDOWNS,
        counted=process.settings.record_types,
    )


def recovery(process: Process, context: Any) -> "Recovery":
    """Reconciler's repair of lost batches, for one invocation."""
    from aggregated_metrics.adapters.lost_batches import LostBatches  # noqa: PLC0415 - cold start
    from aggregated_metrics.jobs.recovery import Recovery  # noqa: PLC0415 - cold start

    settings = process.settings
    return Recovery(
        lost=LostBatches(
            process.aws_on_use("sqs"), process.aws_on_use("s3"), settings.FAILED_BATCHES_QUEUE_URL
        ),
        reconciler=reconciler(process, context),
        settle=settings.SETTLE_SECONDS,
        time_left=time_left(context),
    )


def backfiller(process: Process, context: Any) -> "Backfiller":
    """Backfiller's job, for one invocation.

    Raises:
        SettingsError: the bucket, or the table of a stream, is not known.
    """
    from aggregated_metrics.adapters.run_files import RunFiles  # noqa: PLC0415 - cold start
    from aggregated_metrics.adapters.table_rows import TableRows  # noqa: PLC0415 - cold start
    from aggregated_metrics.jobs.backfiller import Backfiller  # noqa: PLC0415 - cold start

    settings, left = process.settings, time_left(context)
    if not settings.BACKFILL_BUCKET:
        raise SettingsError("BACKFILL_BUCKET is empty: name the bucket that template.yaml makes")
    return Backfiller(
        rows=TableRows(process.aws("dynamodb"), settings.tables),
        files=RunFiles(process.aws("s3"), settings.BACKFILL_BUCKET),
        checker=checker(process, left, on_page=lambda _: None),
        clock=process.clock,
        time_left=left,
        read_units=settings.BACKFILL_READ_UNITS,
        concurrency=settings.BACKFILL_CONCURRENCY,
        breakdowns=settings.BREAKDOWNS,
    )


def checker(
    process: Process, time_left: Callable[[], float], *, on_page: Callable[["Counted"], None]
) -> "Checker":
    """What compares hours with the source rows, as a process's settings say."""
    from aggregated_metrics.adapters.source_rows import SourceRows  # noqa: PLC0415 - cold start
    from aggregated_metrics.jobs.checker import Checker  # noqa: PLC0415 - cold start

    settings = process.settings
    return Checker(
        store=process.store(time_left),
        source=SourceRows(
            process.client(time_left),
            clock=process.clock,
            retries=Retries(time_left, process.sleep),
        ),
        pending=process.pending(),
        clock=process.clock,
        grace=settings.GRACE_SECONDS,
        settle=settings.SETTLE_SECONDS,
        sleep=process.sleep,
        lifetimes={
            model: timedelta(days=days) for model, days in settings.SOURCE_LIFETIME_DAYS.items()
        },
        on_page=on_page,
    )


@lru_cache(maxsize=1)
def process() -> Process:
    """This process's own.

    Raises:
        SettingsError: the environment is not usable.
    """
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
        session=open_session(SigV4(credentials, settings.region)),
        aws=lru_cache(lambda service: session.create_client(service, config=_CONFIG)),
    )


class _OnUse:
    """Stands for what `make` gives, and asks for it only when it is used."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make

    def __getattr__(self, name: str) -> Any:
        return getattr(self._make(), name)


def time_left(context: Any) -> Callable[[], float]:
    """Seconds until Lambda ends the invocation, from its context."""
    return lambda: context.get_remaining_time_in_millis() / 1000
