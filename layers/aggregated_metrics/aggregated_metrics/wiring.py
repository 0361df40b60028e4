"""Builds what the handlers call, from the environment; what is costly lives with the process."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from os import environ
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from aggregated_metrics.aggregation import Aggregator
from aggregated_metrics.appsync import AppSyncClient, SigV4, open_session
from aggregated_metrics.hours import HourId
from aggregated_metrics.pending import PendingHours
from aggregated_metrics.quarantine import Quarantine
from aggregated_metrics.settings import Settings
from aggregated_metrics.store import HourStore
from aggregated_metrics.sweeping import Sweeper

if TYPE_CHECKING:
    import requests
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

_CONFIG = Config(
    connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 4}
)


def now() -> datetime:
    """The time now, in UTC."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Process:
    """What one Lambda process keeps from invocation to invocation."""

    settings: Settings
    session: "requests.Session"
    dynamodb: "DynamoDBClient"
    sqs: "SQSClient"
    clock: Callable[[], datetime] = now
    remembered: dict[HourId, int] = field(default_factory=dict)

    def client(self, time_left: Callable[[], float]) -> AppSyncClient:
        """The API's client for one invocation."""
        return AppSyncClient(self.settings.GRAPHQL_ENDPOINT, self.session, time_left)

    def store(self, time_left: Callable[[], float]) -> HourStore:
        """The hours, for one invocation."""
        return HourStore(
            self.client(time_left),
            clock=self.clock,
            grace=self.settings.GRACE_SECONDS,
            time_left=time_left,
        )

    def pending(self) -> PendingHours:
        """The table of pending hours."""
        return PendingHours(
            self.dynamodb,
            self.settings.PENDING_HOURS_TABLE,
            clock=self.clock,
            grace=self.settings.GRACE_SECONDS,
            remembered=self.remembered,
        )

    def aggregator(self, context: Any) -> Aggregator:
        """For one invocation of stream_aggregator."""
        return Aggregator(
            store=self.store(time_left(context)),
            pending=self.pending(),
            quarantine=Quarantine(self.sqs, self.settings.QUARANTINE_QUEUE_URL, clock=self.clock),
            source_tables=self.settings.SOURCE_TABLES,
            clock=self.clock,
            grace=self.settings.GRACE_SECONDS,
        )

    def sweeper(self, context: Any) -> Sweeper:
        """For one invocation of bucket_sweeper."""
        return Sweeper(
            store=self.store(time_left(context)),
            pending=self.pending(),
            clock=self.clock,
            grace=self.settings.GRACE_SECONDS,
            time_left=time_left(context),
        )


@lru_cache(maxsize=1)
def process() -> Process:
    """This process's own.

    Raises:
        SettingsError: the environment is not usable.
    """
    settings = Settings.from_environment(environ)
    session = boto3.Session()
    return Process(
        settings=settings,
        session=open_session(SigV4(session.get_credentials(), settings.region)),
        dynamodb=session.client("dynamodb", config=_CONFIG),
        sqs=session.client("sqs", config=_CONFIG),
    )


def time_left(context: Any) -> Callable[[], float]:
    """Seconds until Lambda ends the invocation, from its context."""
    return lambda: context.get_remaining_time_in_millis() / 1000
