"""An API that does what it is asked to, but whose answers come to no end."""

import contextlib
import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

DROPS = 600
"""Blanks before each answer; a minute's worth, where they come one by one."""


@contextmanager
def drip_after(endpoint: str, mutations: int) -> Iterator[str]:
    """Passes requests on to the endpoint; after so many mutations answers come drop by drop.

    No read of such an answer times out, so whoever waits for it is stopped from outside.
    Requests go on as they came, with the Host that was signed, so signatures stay valid.
    """
    target = urlsplit(endpoint)
    left = [mutations]
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            connection = http.client.HTTPConnection(target.netloc, timeout=30)
            try:
                connection.putrequest("POST", self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    connection.putheader(name, value)
                connection.endheaders(body)
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
            left[0] -= b'"mutation ' in body
            with contextlib.suppress(OSError):  # the caller is gone
                self.send_response(answer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content) + DROPS))
                self.end_headers()
                for _ in range(DROPS):
                    self.wfile.write(b" ")
                    if left[0] < 0:
                        over.wait(0.1)
                self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}{target.path}"
    finally:
        over.set()
        server.shutdown()
        thread.join()
        server.server_close()
