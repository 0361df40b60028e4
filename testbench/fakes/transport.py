"""Ways to reach an API in memory: from a requests session in this process, or over HTTP.

Both go through the same port (`Endpoint`), so an API with faults around it is reached in the same
way, and both keep a log of what was asked.
"""

import contextlib
import io
import socket
import sys
import threading
from collections.abc import Iterator
from http.client import RemoteDisconnected
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, cast

import urllib3
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from testbench.fakes.endpoint import Answer, ConnectionDroppedError, Endpoint
from testbench.fakes.execution import fields_of
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


class Server(ThreadingHTTPServer):
    """An API behind a port of the loopback."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, api: Endpoint) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.api = api
        self.log: Log = []
        self.connections: set[socket.socket] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/graphql"

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that went away is no news: processes are killed here on purpose.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Without it, an answer waits for the acknowledgement of its own head: 40 ms each.
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        server = cast("Server", self.server)
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length)
        if len(body) < length:  # the client died while it was sending
            self.close_connection = True
            return
        url = f"http://{self.headers.get('host', '')}{self.path}"
        request = Request.of(url, dict(self.headers.items()), body)
        try:
            answer = carry_out(server.api, request, server.log)
        except ConnectionDroppedError:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        """Say nothing: the log is `Server.log`."""


@contextlib.contextmanager
def serve(api: Endpoint) -> Iterator[Server]:
    """Serve an API on 127.0.0.1 until the block ends; `Server.url` is its endpoint."""
    server = Server(api)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        for connection in list(server.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        server.server_close()
