"""`make invoke`: every test event through `sam local invoke`, each in a container of its own.

The containers talk to the stack that `make demo KEEP=1` has left up, as the deployed functions do:
with the deployed functions' variables, signing as their roles.

CONTAINER_HOST is this machine's name as containers reach it; SAM_INVOKE_FLAGS are more flags for
`sam local invoke`; EVENT is what the names of the events begin with. Docker is whichever there is
(DOCKER_HOST).
"""

import ipaddress
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml
from boto3.dynamodb.types import TypeDeserializer

from testbench import oracle
from testbench.emulated import check
from testbench.emulated.events import EVENTS, FOLDER, FUNCTIONS, Event, is_good
from testbench.emulated.relay import relay
from testbench.emulated.stack import (
    LOCAL,
    ROOT_CREDENTIALS,
    TOOLS,
    EmulatedStack,
    NoStackError,
    StackError,
    environment,
)

# Docker Desktop gives the host's loopback this name; on Linux it is the bridge's address.
_HOST = "172.17.0.1" if sys.platform == "linux" else "host.docker.internal"
_INSERT = FOLDER / "stream_aggregator" / "insert.json"
_DURATION = re.compile(r"\tDuration: ([\d.]+) ms")
_SAID = (
    *("records", "deltas", "written", "quarantined"),  # stream_aggregator
    *("swept", "completed", "waiting"),  # bucket_sweeper
    *("hours", "rows", "drift", "repaired", "inFlux"),  # reconciler
)
_deserialize = TypeDeserializer().deserialize


class Invoked(NamedTuple):
    """An event's result: the answer or the error, what the function logged, its time."""

    answer: dict[str, Any]
    line: dict[str, Any]
    milliseconds: float | None

    @property
    def text(self) -> str:
        """The error, or the numbers that the function logged."""
        if error := self.answer.get("errorType"):
            return f"{error}: {self.answer.get('errorMessage')}"
        said = (f"{name} {self.line[name]}" for name in _SAID if self.line.get(name))
        return ", ".join(said) or "nothing to do"


@dataclass
class Containers:
    """`sam local invoke` against a running stack.

    Attributes:
        stack: that stack.
        host: this machine, as containers reach it.
        flags: more flags for `sam local invoke`.
    """

    stack: EmulatedStack
    host: str
    flags: list[str] = field(default_factory=list)
    folder: Path = LOCAL / "invoke"

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._address = urlsplit(self.stack.endpoint)
        functions = self.stack.client("lambda")
        self._deployed = {
            name: functions.get_function_configuration(FunctionName=self.stack.app[name])
            for name in FUNCTIONS.values()
        }
        self._variables = self.folder / "env.json"
        variables = {name: self._variables_of(name) for name in self._deployed}
        self._variables.write_text(json.dumps(variables, indent=2))
        self._template = _with_endpoint(self.stack.build_app())

    def reachable(self) -> AbstractContextManager[None]:
        """While it is entered, containers reach the emulator.

        It listens to the loopback alone, because whoever reaches it may do anything in it. A bridge
        is no loopback, so there its port is opened too, for so long; Docker Desktop needs nothing.
        """
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return nullcontext()
        return relay(self.host, self._address.port or 80)

    def invoke(self, event: Event) -> Invoked:
        """Invoke the event's function with it; everything that is printed goes to a log."""
        credentials = self.stack.session(self._deployed[event.function]["Role"])
        command = ["sam", "local", "invoke", event.function, "--event", str(event.path)]
        command += ["--template-file", str(self._template), "--env-vars", str(self._variables)]
        done = subprocess.run(
            [*command, *self.flags],
            env={
                **environment(TOOLS / "sam" / "bin"),
                **self.stack.variables(credentials),  # sam asks whose account it is
                "AWS_SESSION_TOKEN": credentials.token or "",
                "SAM_CLI_TELEMETRY": "0",
            },
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        log = self.folder / f"{event.name.replace('/', '-')}.log"
        log.write_text(f"{done.stderr}\n{done.stdout}")
        return read(done.stdout, done.stderr)

    def _variables_of(self, function: str) -> dict[str, str]:
        ours = f"{self.host}:{self._address.port}"
        variables = self._deployed[function]["Environment"]["Variables"]
        there = {
            name: value.replace(self._address.netloc, ours) for name, value in variables.items()
        }
        return there | {"AWS_ENDPOINT_URL": f"http://{ours}"}


def _with_endpoint(template: Path) -> Path:
    """A copy that declares AWS_ENDPOINT_URL: --env-vars sets only what a template declares."""
    content = yaml.safe_load(template.read_text())
    content["Globals"]["Function"]["Environment"]["Variables"]["AWS_ENDPOINT_URL"] = ""
    copy = template.with_name("invoke.yaml")  # beside it: its folders are named from there
    copy.write_text(yaml.safe_dump(content, sort_keys=False))
    return copy


def read(stdout: str, stderr: str) -> Invoked:
    """What `sam local invoke` has printed; it ends with 0 even where a function has raised."""
    answers = [_document(line) for line in stdout.splitlines()]
    answer = next((each for each in reversed(answers) if each is not None), None)
    if answer is None:
        last = (stderr.strip() or "nothing was printed").splitlines()[-1]
        answer = {"errorType": "sam local invoke", "errorMessage": last}
    printed = [_document(line) for line in (stderr + stdout).splitlines()]
    line = next((each for each in printed if each and "requestId" in each), {})
    duration = _DURATION.search(stderr)
    return Invoked(answer, line, float(duration[1]) if duration else None)


def _document(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def main() -> int:
    """Invoke the events, one after the other; 0 if everything was as it should be."""
    host = os.environ.get("CONTAINER_HOST") or _HOST
    flags = shlex.split(os.environ.get("SAM_INVOKE_FLAGS", ""))
    events = [each for each in EVENTS if each.name.startswith(os.environ.get("EVENT", ""))]
    if not events:
        print(f"no event begins so; there are: {', '.join(each.name for each in EVENTS)}")
        return 1
    with ExitStack() as leaving:
        try:
            containers = Containers(EmulatedStack.kept(), host, flags)
            leaving.enter_context(containers.reachable())
        except (NoStackError, StackError) as error:
            print(error)
            return 1
        except OSError as error:
            print(
                f"{host} is not this machine as containers reach it ({error}): is Docker running? "
                "CONTAINER_HOST names it otherwise"
            )
            return 1
        failed = _invoke_all(containers, events)
        print(verdict(len(events), failed))
        print(f"what each has printed: {containers.folder}/")
        return 1 if failed else 0


def _invoke_all(containers: Containers, events: Sequence[Event]) -> list[str]:
    """Invoke them, with a line for each; gives the names of those that failed."""
    failed: list[str] = []
    before = _inserted(containers.stack)
    for event in events:
        invoked = containers.invoke(event)
        text, is_right = invoked.text, is_good(event.function, invoked.answer)
        if is_right and event.path == _INSERT:
            # what was counted by an earlier run is not counted again
            is_right = _inserted(containers.stack) == _counted() | before
            text += "; the API's buckets are " + ("exact" if is_right else "wrong")
        if not is_right:
            failed.append(event.name)
        took = "-" if invoked.milliseconds is None else f"{invoked.milliseconds:,.0f} ms"
        print(f"{'✓' if is_right else '✗'} {event.name:<36} {took:>8}  {text}", flush=True)
        if invoked.milliseconds is None:
            break  # there was no container, and there will be none
    return failed


def verdict(events: int, failed: Sequence[str]) -> str:
    """The last line: how many events were answered as they should be, or which failed."""
    if failed:
        return f"✗ {len(failed)} of {events} failed: {', '.join(failed)}"
    return f"✓ {events} {'event' if events == 1 else 'events'} answered as they should be"


def _counted() -> dict[oracle.Key, tuple[int, ...]]:
    """A group-by of the insert event's rows."""
    rows = []
    for record in json.loads(_INSERT.read_text())["Records"]:
        model = record["eventSourceARN"].split("/")[1].partition("-")[0]
        image = record["dynamodb"]["NewImage"]
        rows.append((model, {name: _deserialize(value) for name, value in image.items()}))
    return oracle.buckets_of(rows)


def _inserted(stack: EmulatedStack) -> dict[oracle.Key, tuple[int, ...]]:
    """What the API holds of those buckets."""
    counted = _counted()
    found = check.stored(check.api_client(stack, ROOT_CREDENTIALS), {key[0] for key in counted})
    return {key: check.measures_of(found[key]) for key in counted if key in found}


if __name__ == "__main__":
    sys.exit(main())
