"""The port between transports and APIs: a request, an answer, and who turns one into the other."""

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from amplify_api.errors import ResolverError

from testbench.fakes.signatures import Request
from testbench.fakes.tables import Staleness


class Answer(NamedTuple):
    """An HTTP answer.

    `error_types` has the errorType of each error, None for those that have none (an invalid
    request, or a check of a resolver's template).
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = {}
    error_types: tuple[str | None, ...] = ()


class Disturbance(NamedTuple):
    """What goes wrong inside one request: aliases not carried out, rows read as they were."""

    throttles: Callable[[str], bool] | None = None
    stale: Staleness | None = None

    def check(self, alias: str) -> None:
        """Raise ResolverError if the field under this alias is throttled."""
        if self.throttles is not None and self.throttles(alias):
            raise ResolverError("Rate exceeded", "DynamoDB:ThrottlingException")


CALM = Disturbance()


class ConnectionDroppedError(Exception):
    """The connection ends without an answer, and the client does not learn what was carried out."""


class Endpoint(Protocol):
    """What a transport can be put in front of: an API, or an API with faults around it."""

    def answer(self, request: Request) -> Answer: ...


def refusal(status: int, error_type: str, message: str) -> Answer:
    """An answer to a request that was not carried out, with AppSync's body for it."""
    body = json.dumps({"errors": [{"errorType": error_type, "message": message}]}).encode()
    return Answer(status, body, {"x-amzn-ErrorType": error_type}, (error_type,))
