"""`make invoke`: every test event through `sam local invoke`, each in a container of its own.

The containers talk to the stack that `make demo KEEP=1` has left up, with the deployed functions'
variables.

CONTAINER_HOST is this machine's name as containers reach it; SAM_INVOKE_FLAGS are more flags for
`sam local invoke`; EVENT is what the names of the events begin with. Docker is whichever there is
(DOCKER_HOST).
"""

import contextlib
import json
import os
import shlex
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from testbench.emulated.stack import APP_STACK, BUILDS, LOCAL, EmulatedStack, StepError
from testbench.templates import ROOT

EVENTS = ROOT / "events"
FUNCTIONS = {
    "stream_aggregator": "StreamAggregatorFunction",
    "bucket_sweeper": "BucketSweeperFunction",
    "reconciler": "ReconcilerFunction",
}
"""Folder in events/ → the function's name in template.yaml, in the order that makes sense."""
NAMES = [f"{folder}/{p.stem}" for folder in FUNCTIONS for p in sorted(EVENTS.glob(f"{folder}/*"))]

# Docker Desktop gives the host's loopback this name; on Linux it is the bridge's address.
_HOST = "172.17.0.1" if sys.platform == "linux" else "host.docker.internal"
_FOLDER = LOCAL / "invoke"
_LOOPBACK = "127.0.0.1"
_CHUNK = 65_536


def invoke(stack: EmulatedStack, host: str, template: Path, name: str) -> dict[str, Any]:
    """Invoke an event's function; gives its answer. What is printed goes to a log."""
    function, variables = FUNCTIONS[name.partition("/")[0]], _FOLDER / "env.json"
    variables.write_text(json.dumps({function: _variables(stack, host, function)}, indent=2))
    # without the extensions it cannot read the template's loops
    command = ["sam", "local", "invoke", function, "--language-extensions"]
    command += ["--event", str(EVENTS / f"{name}.json"), "--env-vars", str(variables)]
    command += ["--template-file", str(template)]
    done = subprocess.run(
        command + shlex.split(os.environ.get("SAM_INVOKE_FLAGS", "")),
        env=stack.sam_environment,
        cwd=_FOLDER,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    log = _FOLDER / f"{name.replace('/', '-')}.log"
    log.write_text(f"{done.stderr}\n{done.stdout}")
    return answer(done.stdout, done.stderr)


def _variables(stack: EmulatedStack, host: str, function: str) -> dict[str, str]:
    """A deployed function's variables, with the emulator as containers reach it."""
    deployed = stack.client("lambda").get_function_configuration(FunctionName=stack.app[function])
    variables = deployed["Environment"]["Variables"] | {"AWS_ENDPOINT_URL": stack.endpoint}
    here = urlsplit(stack.endpoint).netloc
    there = here.replace("localhost", host)
    return {name: text.replace(here, there) for name, text in variables.items()}


def _template(built: Path) -> Path:
    """A copy that declares AWS_ENDPOINT_URL: --env-vars sets only what a template declares."""
    content = yaml.safe_load(built.read_text())
    content["Globals"]["Function"]["Environment"]["Variables"]["AWS_ENDPOINT_URL"] = ""
    copy = built.with_name("invoke.yaml")  # beside it: its folders are named from there
    copy.write_text(yaml.safe_dump(content, sort_keys=False))
    return copy


def answer(stdout: str, stderr: str) -> dict[str, Any]:
    """What the function answered; sam ends with 0 even where it has raised, or never ran."""
    with contextlib.suppress(ValueError, IndexError):
        found: dict[str, Any] = json.loads(stdout.splitlines()[-1])
        return found
    last = (stderr.strip() or "nothing was printed").splitlines()[-1]
    return {"errorType": "sam local invoke", "errorMessage": last}


def is_good(given: Mapping[str, Any]) -> bool:
    """Whether the function did what an event asked for: no test event is meant to fail."""
    return not any(given.get(name) for name in ("errorType", "failedHours", "failed"))


@contextlib.contextmanager
def relay(host: str, port: int) -> Iterator[None]:
    """While it is entered, containers reach the emulator's port at this address of the machine.

    The emulator listens to the loopback alone, because every client of it may do anything in it. A
    bridge is no loopback, so its port is opened for so long; a name is Docker Desktop's own.

    Raises:
        OSError: the address is none of this machine's, or the port is in use.
    """
    if not host[0].isdigit():
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
    names = [name for name in NAMES if name.startswith(os.environ.get("EVENT", ""))]
    good = 0
    _FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        stack = EmulatedStack.kept()
        stack.build(APP_STACK)
        template = _template(BUILDS[APP_STACK])
        with relay(host, urlsplit(stack.endpoint).port or 80):
            for name in names:
                given = invoke(stack, host, template, name)
                good += is_good(given)
                said = "✓" if is_good(given) else f"✗ {json.dumps(given)}:"
                print(f"{said} {name}", flush=True)
    except StepError as error:
        print(error)
        return 1
    except OSError as error:
        print(
            f"{host} is not this machine as containers reach it ({error}): is Docker running? "
            "CONTAINER_HOST names it otherwise"
        )
        return 1
    print(f"{good} of {len(names)} events were answered as they should be: {_FOLDER}/ has the logs")
    return 0 if 0 < good == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())
