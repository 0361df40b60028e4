"""Ways to reach an API in memory: from a requests session in this process, or over HTTP.

Both go through the same port (`Endpoint`), so an API with faults around it is reached in the same
way, and both keep a log of what was asked.
"""

import contextlib
import io
from http.client import RemoteDisconnected
from typing import Any, NamedTuple

import urllib3
from requests import PreparedRequest, Response
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
        self._pools: dict[str, _Pool] = {}
        self._api = api

    def get_connection_with_tls_context(self, request: PreparedRequest, *_: Any, **__: Any) -> Any:
        # The pool gets a path only; what the client calls the host decides about its signature.
        base = "/".join(str(request.url).split("/", 3)[:3])
        pool = self._pools.get(base)
        if pool is None:
            pool = self._pools[base] = _Pool(self._api, self.log, base)
        return pool

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Nothing to verify: no socket is opened."""

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        response = super().build_response(req, resp)
        # Without a socket there is nothing to stream: have the content at once.
        response.content  # noqa: B018
        return response


class _Pool(urllib3.HTTPConnectionPool):
    def __init__(self, api: Endpoint, log: Log, base: str) -> None:
        super().__init__("fake")
        self.api, self.log, self.base = api, log, base

    def _new_conn(self) -> Any:
        return _Connection(self)


class _Connection(urllib3.connection.HTTPConnection):
    def __init__(self, pool: _Pool) -> None:
        super().__init__("fake")
        self._pool = pool
        self._answer: Answer | None = None

    def request(
        self, method: str, url: str, body: Any = None, headers: Any = None, **_: Any
    ) -> None:
        request = Request.of(self._pool.base + url, headers or {}, body)
        try:
            self._answer = carry_out(self._pool.api, request, self._pool.log)
        except ConnectionDroppedError:
            self._answer = None

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]
        if self._answer is None:
            raise RemoteDisconnected("Remote end closed connection without response")
        return urllib3.HTTPResponse(
            body=io.BytesIO(self._answer.body),
            headers={"content-type": "application/json", **self._answer.headers},
            status=self._answer.status,
            preload_content=False,
            request_method="POST",
        )


class ApiServer(Server):
    """An API behind a port of the loopback, and the log of what it was asked."""

    def __init__(self, api: Endpoint) -> None:
        self.log: Log = []
        super().__init__(
            lambda asked: carry_out(
                api, Request.of(self.url + asked.target, asked.headers, asked.body), self.log
            )
        )


def serve(api: Endpoint) -> contextlib.AbstractContextManager[ApiServer]:
    """Serve an API on 127.0.0.1 until the block ends; `ApiServer.url` is its endpoint."""
    return serving(ApiServer(api))
