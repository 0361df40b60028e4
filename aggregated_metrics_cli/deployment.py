"""Where the deployment is: one session for account and region, and what the stack's outputs say."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

import boto3
from aggregated_metrics.adapters.appsync import AppSyncClient, open_session
from aggregated_metrics.adapters.settings import Settings
from aggregated_metrics.wiring import Process
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from aggregated_metrics_cli.errors import CommandError

SETTINGS: Mapping[str, str] = {
    "GraphQLEndpoint": "GRAPHQL_ENDPOINT",
    "MaxRequestBytes": "MAX_REQUEST_BYTES",
    "Models": "MODELS",
    "PendingHoursTable": "PENDING_HOURS_TABLE",
}
"""template.yaml's parameters and outputs, and the setting that each becomes."""
_DEFAULTS = {"PENDING_HOURS_TABLE": "unknown", "BREAKDOWNS": "all"}
"""Most commands need no table; breakdowns that were switched off are still stored."""
REQUEST_SECONDS = 240.0
"""What one request to the API may take, tries included: each may wait as long as AppSync does."""
_CONFIG = Config(connect_timeout=5, read_timeout=60, retries={"total_max_attempts": 3})


@dataclass
class Deployment:
    """What a command works with.

    Attributes:
        session: boto3's; the region and the credentials of everything that the command does.
        stack: the stack's parameters and outputs by name; empty without one.
        environment: the process's variables.
        acts_on: stack, account and region, for people.
    """

    session: boto3.Session
    stack: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    acts_on: str = ""

    def __post_init__(self) -> None:
        self.aws: Callable[[str], Any] = lru_cache(
            lambda service: self.session.client(service, config=_CONFIG)
        )

    @cached_property
    def process(self) -> Process:
        """The settings, and what reads the API.

        Raises:
            CommandError: the API is not known, or there are no credentials.
            SettingsError: a setting is wrong; the message names it.
        """
        given = {name: self.stack[key] for key, name in SETTINGS.items() if key in self.stack}
        region = {"AWS_REGION": self.session.region_name}
        variables = {**_DEFAULTS, **self.environment, **region, **given}
        if not variables.get("GRAPHQL_ENDPOINT"):
            raise CommandError(
                "the API is not known: name the stack with --stack, or the API with --endpoint"
            )
        settings = Settings.from_environment(variables)
        http = open_session(self.session.get_credentials(), settings.region)
        return Process(settings, http, self.aws)

    @cached_property
    def client(self) -> AppSyncClient:
        """The API's client."""
        return self.process.client(lambda: REQUEST_SECONDS)

    def needs(self, output: str) -> str:
        """An output of the stack.

        Raises:
            CommandError: the stack does not have it.
        """
        if output in self.stack:
            return self.stack[output]
        raise CommandError(f"the stack has no output {output}: name this project's with --stack")


def session_of(
    profile: str | None, region: str | None, environment: Mapping[str, str]
) -> boto3.Session:
    """A session: the region asked for, else AWS_REGION or AWS_DEFAULT_REGION, else the profile's.

    boto3 itself does not read AWS_REGION, which the AWS CLI and the SAM CLI prefer.

    Raises:
        CommandError: none of them names a region, there is no such profile, or no credentials.
    """
    region = region or environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    try:
        session = boto3.Session(profile_name=profile, region_name=region or None)
    except BotoCoreError as error:
        raise CommandError(f"{error}; check --profile") from error
    if not session.region_name:
        raise CommandError(
            "no region is named: pass --region (make: REGION=…), set AWS_REGION, or give the "
            "profile one"
        )
    if session.get_credentials() is None:
        raise CommandError("there are no AWS credentials: sign in, or choose some with --profile")
    return session


def acting_on(session: boto3.Session, sts: Any | None = None) -> str:
    """Such as `account 123456789012, eu-central-1`; it says where that is not known."""
    try:
        account = (sts or session.client("sts", config=_CONFIG)).get_caller_identity()["Account"]
    except (BotoCoreError, ClientError) as error:
        return f"account unknown ({error}), {session.region_name}"
    return f"account {account}, {session.region_name}"


def describe(cloudformation: Any, stack: str) -> dict[str, str]:
    """A stack's parameters and outputs by name.

    Raises:
        CommandError: there is no such stack, or it may not be described.
    """
    try:
        answer = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    except (BotoCoreError, ClientError) as error:
        raise CommandError(
            f"the stack {stack!r} cannot be described ({error}); check --stack, --region and the "
            "credentials"
        ) from error
    parameters = answer.get("Parameters", ())
    return {each["ParameterKey"]: each["ParameterValue"] for each in parameters} | {
        each["OutputKey"]: each["OutputValue"] for each in answer.get("Outputs", ())
    }


def connect(options: Namespace, environment: Mapping[str, str]) -> Deployment:
    """What a command works with, made from the credentials of boto3's default chain.

    Raises:
        CommandError: no region is named, there is no such stack, or there are no credentials.
    """
    stack = getattr(options, "stack", None)
    session = session_of(options.profile, options.region, environment)
    made = Deployment(session, {}, environment, acting_on(session))
    if stack:
        made.acts_on = f"{stack}, {made.acts_on}"
        made.stack = describe(made.aws("cloudformation"), stack)
    if endpoint := getattr(options, "endpoint", None):
        made.stack = {**made.stack, "GraphQLEndpoint": endpoint}
    return made
