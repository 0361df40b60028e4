"""Makes a port of the loopback reachable at one other address of this machine."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_CHUNK = 65_536
_LOOPBACK = "127.0.0.1"


@contextmanager
def relay(address: str, port: int) -> Iterator[None]:
    """Pass on what comes to this address to the same port of the loopback.

    The bytes stay as they are, so a signed Host stays the one that was signed.

    Raises:
        OSError: the address is none of this machine's, or the port is taken.
    """

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((_LOOPBACK, port)) as onward:
                back = threading.Thread(target=_pass_on, args=(onward, self.request), daemon=True)
                back.start()
                _pass_on(self.request, onward)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server((address, port), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):  # either side may leave at any time
        while chunk := source.recv(_CHUNK):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
