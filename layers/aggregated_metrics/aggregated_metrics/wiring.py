"""What every job works with: the settings of its process, and what these make of the adapters.

What is costly lives with the process; a job makes the rest for each invocation.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from os import environ
from typing import Any

import botocore.session
import requests
from botocore.config import Config

from aggregated_metrics.adapters.appsync import AppSyncClient, open_session
from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.adapters.pending_hours import LEASE_SECONDS, PendingHours
from aggregated_metrics.adapters.queues import Queue
from aggregated_metrics.adapters.settings import Settings
from aggregated_metrics.core.series import HourId

type TimeLeft = Callable[[], float]
"""Seconds until Lambda ends the invocation."""

_CONFIG = Config(
    connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 4}
)


@dataclass(slots=True)
class Process:
    """What one Lambda process keeps from invocation to invocation.

    `aws` gives botocore's client for a service, always the same one; a client costs tens of
    milliseconds, so each is made when it is first needed, by most invocations never.
    """

    settings: Settings
    session: requests.Session
    aws: Callable[[str], Any]
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep
    remembered: dict[HourId, int] = field(default_factory=dict)

    def now(self) -> float:
        """Epoch seconds."""
        return self.clock().timestamp()

    def client(self, time_left: TimeLeft) -> AppSyncClient:
        """The API's client for one invocation."""
        return AppSyncClient(
            self.settings.GRAPHQL_ENDPOINT,
            self.session,
            time_left,
            request_bytes=self.settings.MAX_REQUEST_BYTES,
        )

    def store(self, time_left: TimeLeft) -> HourStore:
        """The hours, for one invocation."""
        return HourStore(
            self.client(time_left), self.clock, self.settings.models, time_left, self.sleep
        )

    def pending(self, lease: TimeLeft = lambda: LEASE_SECONDS) -> PendingHours:
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


@lru_cache(maxsize=1)
def process() -> Process:
    """This process's own."""
    settings = Settings.from_environment(environ)
    session = botocore.session.get_session()  # boto3's own, without what boto3 imports beside it
    return Process(
        settings=settings,
        session=open_session(session.get_credentials(), settings.region),
        aws=lru_cache(lambda service: session.create_client(service, config=_CONFIG)),
    )


def time_left(context: Any) -> TimeLeft:
    """From Lambda's context."""
    return lambda: context.get_remaining_time_in_millis() / 1000
