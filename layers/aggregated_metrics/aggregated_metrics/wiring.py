"""Builds what the handlers call, from the environment; what is costly lives with the process."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from os import environ
from typing import TYPE_CHECKING, Any

import botocore.session
from botocore.config import Config

from aggregated_metrics.appsync import AppSyncClient, SigV4, open_session
from aggregated_metrics.errors import SettingsError
from aggregated_metrics.hours import HourId
from aggregated_metrics.pending import PendingHours
from aggregated_metrics.settings import Settings
from aggregated_metrics.store import HourStore

if TYPE_CHECKING:
    import requests

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
    milliseconds, so each is made when it is first needed.
    """

    settings: Settings
    session: "requests.Session"
    aws: Callable[[str], Any]
    clock: Callable[[], datetime] = now
    remembered: dict[HourId, int] = field(default_factory=dict)

    def aws_on_use(self, service: str) -> Any:
        """A client that is made when it is first called: most invocations never do."""
        return _OnUse(lambda: self.aws(service))

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
            self.aws("dynamodb"),
            self.settings.PENDING_HOURS_TABLE,
            clock=self.clock,
            grace=self.settings.GRACE_SECONDS,
            remembered=self.remembered,
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
