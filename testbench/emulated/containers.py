"""`make invoke`: every test event through `sam local invoke`, each in a container of its own.

The containers talk to the stack that `make demo KEEP=1` has left up, as the deployed functions do:
with the deployed functions' variables, signing as their roles.

CONTAINER_HOST is this machine's name as containers reach it; SAM_INVOKE_FLAGS are more flags for
`sam local invoke`; EVENT is what the names of the events begin with. Docker is whichever there is
(DOCKER_HOST).
"""

import contextlib
import ipaddress
import json
import os
import shlex
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from testbench.emulated.events import EVENTS, FUNCTIONS, Event, is_good
from testbench.emulated.stack import (
    LOCAL,
    TOOLS,
    EmulatedStack,
    NoStackError,
    StackError,
    environment,
)

# Docker Desktop gives the host's loopback this name; on Linux it is the bridge's address.
_HOST = "172.17.0.1" if sys.platform == "linux" else "host.docker.internal"
_FOLDER = LOCAL / "invoke"
_LOOPBACK = "127.0.0.1"
_CHUNK = 65_536


class Containers:
    """`sam local invoke` against a running stack.

    Args:
        stack: that stack.
        host: this machine, as containers reach it.
    """

    def __init__(self, stack: EmulatedStack, host: str) -> None:
        _FOLDER.mkdir(parents=True, exist_ok=True)
        self._stack = stack
        here = urlsplit(stack.endpoint)
        self.port, there = here.port or 80, f"{host}:{here.port}"
        variables: dict[str, dict[str, str]] = {}
        self._roles: dict[str, str] = {}
        for name in FUNCTIONS.values():
            deployed = stack.client("lambda").get_function_configuration(
                FunctionName=stack.app[name]
            )
            given = deployed["Environment"]["Variables"].items()
            variables[name] = {key: text.replace(here.netloc, there) for key, text in given}
            variables[name]["AWS_ENDPOINT_URL"] = f"http://{there}"
            self._roles[name] = deployed["Role"]
        self._variables = _FOLDER / "env.json"
        self._variables.write_text(json.dumps(variables, indent=2))
        self._template = _with_endpoint(stack.build_app())

    def invoke(self, event: Event, flags: Sequence[str]) -> dict[str, Any]:
        """Invoke the event's function; gives its answer. What is printed goes to a log."""
        credentials = self._stack.session(self._roles[event.function])
        done = subprocess.run(
            [*command_of(event, self._template, self._variables), *flags],
            env={
                **environment(TOOLS / "sam" / "bin"),
                **self._stack.variables(credentials),  # sam asks whose account it is
                "AWS_SESSION_TOKEN": credentials.token or "",
                "SAM_CLI_TELEMETRY": "0",
            },
            cwd=_FOLDER,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        log = _FOLDER / f"{event.name.replace('/', '-')}.log"
        log.write_text(f"{done.stderr}\n{done.stdout}")
        return answer(done.stdout, done.stderr)


def command_of(event: Event, template: Path, variables: Path) -> list[str]:
    """SAM's command for an event. Without the extensions it cannot read the template's loops."""
    files = ("--event", event.path, "--template-file", template, "--env-vars", variables)
    return ["sam", "local", "invoke", event.function, "--language-extensions", *map(str, files)]


def _with_endpoint(template: Path) -> Path:
    """A copy that declares AWS_ENDPOINT_URL: --env-vars sets only what a template declares."""
    content = yaml.safe_load(template.read_text())
    content["Globals"]["Function"]["Environment"]["Variables"]["AWS_ENDPOINT_URL"] = ""
    copy = template.with_name("invoke.yaml")  # beside it: its folders are named from there
    copy.write_text(yaml.safe_dump(content, sort_keys=False))
    return copy


def answer(stdout: str, stderr: str) -> dict[str, Any]:
    """What the function answered; sam ends with 0 even where it has raised, or never ran."""
    for line in reversed(stdout.splitlines()):
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                return found
    last = (stderr.strip() or "nothing was printed").splitlines()[-1]
    return {"errorType": "sam local invoke", "errorMessage": last}


@contextlib.contextmanager
def relay(host: str, port: int) -> Iterator[None]:
    """While it is entered, containers reach the emulator's port at this address of the machine.

    The emulator listens to the loopback alone, because every client of it may do anything in it. A
    bridge is no loopback, so its port is opened for so long; a name is Docker Desktop's own.

    Raises:
        OSError: the address is none of this machine's, or the port is in use.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        yield
        return

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection((_LOOPBACK, port)) as onward:
                threading.Thread(target=_pass_on, args=(onward, self.request), daemon=True).start()
                _pass_on(self.request, onward)

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = daemon_threads = True

    with Server((host, port), Handler) as server:
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


def main() -> int:
    """Invoke the events, one after the other; 0 if everything was as it should be."""
    host = os.environ.get("CONTAINER_HOST") or _HOST
    flags = shlex.split(os.environ.get("SAM_INVOKE_FLAGS", ""))
    events = [each for each in EVENTS if each.name.startswith(os.environ.get("EVENT", ""))]
    if not events:
        print(f"no event begins so; there are: {', '.join(each.name for each in EVENTS)}")
        return 1
    try:
        containers = Containers(EmulatedStack.kept(), host)
        with relay(host, containers.port):
            failed = [each.name for each in events if not _succeeds(containers, each, flags)]
    except (NoStackError, StackError) as error:
        print(error)
        return 1
    except OSError as error:
        print(
            f"{host} is not this machine as containers reach it ({error}): is Docker running? "
            "CONTAINER_HOST names it otherwise"
        )
        return 1
    print(f"{verdict(len(events), failed)}. What each has printed: {_FOLDER}/")
    return 1 if failed else 0


def _succeeds(containers: Containers, event: Event, flags: Sequence[str]) -> bool:
    """Invoke an event, with a line for it."""
    given = containers.invoke(event, flags)
    is_right = is_good(event.function, given)
    said = "" if is_right else f": {given.get('errorType')}: {given.get('errorMessage')}"
    print(f"{'✓' if is_right else '✗'} {event.name}{said}", flush=True)
    return is_right


def verdict(events: int, failed: Sequence[str]) -> str:
    """The last line: how many events were answered as they should be, or which failed."""
    if failed:
        return f"✗ {len(failed)} of {events} failed: {', '.join(failed)}"
    return f"✓ {events} {'event' if events == 1 else 'events'} answered as they should be"


if __name__ == "__main__":
    sys.exit(main())
