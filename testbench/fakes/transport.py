"""Ways to reach an API in memory: from a requests session in this process, or over HTTP.

Both go through the same port (`Endpoint`), so an API with faults around it is reached in the same
way, and both keep a log of what was asked.
"""

import contextlib
import io
from functools import partial
from http.client import RemoteDisconnected
from typing import Any, NamedTuple

import urllib3
from requests import PreparedRequest
from requests.adapters import HTTPAdapter

from testbench.fakes.endpoint import Answer, ConnectionDroppedError, Endpoint
from testbench.fakes.execution import fields_of
from testbench.fakes.serving import Server, serving
from testbench.fakes.signatures import Request

NO_ANSWER = 0


class Exchange(NamedTuple):
    """One request in a log; `status` is NO_ANSWER if the connection was dropped."""

    fields: dict[str, str]
    status: int
    error_types: tuple[str | None, ...]
    body: bytes

    @property
    def operations(self) -> list[str]:
        """The schema's fields in order, aliases taken off: `["listAggregatedMetrics", …]`."""
        return list(self.fields.values())


type Log = list[Exchange]
"""What was asked, in order of the answers."""


def carry_out(api: Endpoint, request: Request, log: Log) -> Answer:
    """Have an API answer, and keep in a log what was asked."""
    answer = Answer(NO_ANSWER, b"")
    try:
        answer = api.answer(request)
    finally:
        log.append(Exchange(fields_of(request), answer.status, answer.error_types, request.body))
    return answer


class FakeAdapter(HTTPAdapter):
    """A requests adapter that sends into an API in this process.

    Only the socket is replaced: urllib3's own retries (`max_retries`) do what they do elsewhere.

        session.mount("https://", FakeAdapter(api))
    """

    def __init__(self, api: Endpoint, *, max_retries: urllib3.Retry | int = 0) -> None:
        super().__init__(max_retries=max_retries)
        self.log: Log = []
        self._api = api

    def get_connection_with_tls_context(self, request: PreparedRequest, *_: Any, **__: Any) -> Any:
        return _Pool(self._api, self.log, str(request.url))


class _Pool(urllib3.HTTPConnectionPool):
    def __init__(self, api: Endpoint, log: Log, url: str) -> None:
        super().__init__("fake")
        self._api, self._log, self._url = api, log, url

    def _make_request(  # type: ignore[override]
        self, *_: Any, body: Any, headers: Any, **__: Any
    ) -> urllib3.HTTPResponse:
        try:
            answer = carry_out(self._api, Request.of(self._url, headers, body), self._log)
        except ConnectionDroppedError as error:
            raise RemoteDisconnected("Remote end closed connection without response") from error
        return urllib3.HTTPResponse(
            body=io.BytesIO(answer.body),
            headers={"content-type": "application/json", **answer.headers},
            status=answer.status,
            preload_content=False,
        )


class ApiServer(Server):
    """An API behind a port of the loopback, and the log of what it was asked."""

    def __init__(self, api: Endpoint) -> None:
        self.log: Log = []
        super().__init__(partial(carry_out, api, log=self.log))


def serve(api: Endpoint) -> contextlib.AbstractContextManager[ApiServer]:
    """Serve an API on 127.0.0.1 until the block ends; `ApiServer.url` is its endpoint."""
    return serving(ApiServer(api))
