"""Where the deployment is: options, then the stack's own description, then the environment."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from aggregated_metrics.adapters.appsync import SigV4, open_session
from aggregated_metrics.adapters.settings import Settings
from aggregated_metrics.core.errors import SettingsError
from aggregated_metrics.wiring import Process
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from aggregated_metrics_cli.identity import RegionError, acting_on, session_of

type Variables = dict[str, str]

PARAMETERS: Mapping[str, str] = {
    "GraphQLEndpoint": "GRAPHQL_ENDPOINT",
    "StreamArns": "STREAM_ARNS",
    "GraceSeconds": "GRACE_SECONDS",
    "SettleSeconds": "SETTLE_SECONDS",
    "SourceTables": "SOURCE_TABLES",
    "SourceLifetimeDays": "SOURCE_LIFETIME_DAYS",
    "Breakdowns": "BREAKDOWNS",
}
"""template.yaml's parameters, and the setting that each becomes."""
OUTPUTS: Mapping[str, str] = {
    "PendingHoursTable": "PENDING_HOURS_TABLE",
    "QuarantineQueueUrl": "QUARANTINE_QUEUE_URL",
    "FailedBatchesQueueUrl": "FAILED_BATCHES_QUEUE_URL",
}
"""template.yaml's outputs, and the setting that each becomes."""
FAILED_BATCHES = "FAILED_BATCHES_QUEUE_URL"
"""The one setting that no function has."""
_OPTIONS: Mapping[str, str] = {
    "GRAPHQL_ENDPOINT": "endpoint",
    "PENDING_HOURS_TABLE": "pending_table",
    "QUARANTINE_QUEUE_URL": "quarantine_queue",
    FAILED_BATCHES: "failed_batches_queue",
    "SETTLE_SECONDS": "settle",
}
_UNUSED = {"PENDING_HOURS_TABLE": "not-needed"}
"""What stands for a setting that a command does without."""
_TIMEOUTS = Config(connect_timeout=5, read_timeout=120, retries={"total_max_attempts": 3})


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a command works with.

    Attributes:
        process: the settings, and everything that talks.
        failed_batches_queue: the queue's URL; empty where it is not known.
        knows_pending: whether the table of pending hours is known.
        acts_on: the account and the region, for people; empty where no stack was named.
    """

    process: Process
    failed_batches_queue: str = ""
    knows_pending: bool = True
    acts_on: str = ""


def needed(options: Namespace) -> tuple[str, ...]:
    """The settings that a command cannot do without."""
    repairing = ("GRAPHQL_ENDPOINT", "PENDING_HOURS_TABLE")
    queued = (*repairing, "QUARANTINE_QUEUE_URL")
    match options.command:
        case "show" | "report":
            return ("GRAPHQL_ENDPOINT",)
        case "verify" if options.account:
            return ("GRAPHQL_ENDPOINT",)
        case "redrive":
            return queued
        case "repair-batches":
            return queued if options.places else (*queued, FAILED_BATCHES)
        case _:
            return repairing


def variables_of(
    options: Namespace, environment: Mapping[str, str], described: Mapping[str, str]
) -> Variables:
    """The settings for one command, all those that are known.

    Args:
        options: from `arguments.parse`.
        environment: the process's variables.
        described: what the stack says; empty without one.

    Raises:
        SettingsError: one is missing; the message says how to give it.
    """
    given = {name: getattr(options, option, None) for name, option in _OPTIONS.items()}
    known = dict(environment) | dict(described)
    known |= {name: str(value) for name, value in given.items() if value is not None}
    for name in needed(options):
        if not known.get(name):
            raise SettingsError(
                f"{name} is not known: give --{_OPTIONS[name].replace('_', '-')}, set the "
                "variable, or name the deployment with --stack"
            )
    return {name: value for name, value in known.items() if value}


def settings_of(variables: Mapping[str, str]) -> Settings:
    """The layer's settings.

    Raises:
        SettingsError: one is wrong; the message names it.
    """
    return Settings.from_environment({**_UNUSED, **variables})


def describe(cloudformation: Any, stack: str) -> Variables:
    """The settings that a stack's parameters and outputs say.

    Raises:
        SettingsError: there is no such stack, or it may not be described.
    """
    try:
        answer = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    except (BotoCoreError, ClientError) as error:
        raise SettingsError(
            f"the stack {stack!r} cannot be described ({error}); check --stack, --region and the "
            "credentials"
        ) from error
    found = {
        PARAMETERS[entry["ParameterKey"]]: entry["ParameterValue"]
        for entry in answer.get("Parameters", ())
        if entry["ParameterKey"] in PARAMETERS
    }
    return found | {
        OUTPUTS[entry["OutputKey"]]: entry["OutputValue"]
        for entry in answer.get("Outputs", ())
        if entry["OutputKey"] in OUTPUTS
    }


def connect(options: Namespace, environment: Mapping[str, str]) -> Deployment:
    """What a command works with, made from the credentials of boto3's default chain.

    Raises:
        SettingsError: a setting is missing or wrong, or there are no credentials.
    """
    try:
        session = session_of(options.profile, options.region, environment)
    except (BotoCoreError, RegionError) as error:
        raise SettingsError(f"{error}; check --profile") from error
    aws: Callable[[str], Any] = lru_cache(lambda service: session.client(service, config=_TIMEOUTS))
    environment = {**environment, "AWS_REGION": session.region_name}
    described = describe(aws("cloudformation"), options.stack) if options.stack else {}
    variables = variables_of(options, environment, described)
    settings = settings_of(variables)
    credentials = session.get_credentials()
    if credentials is None:
        raise SettingsError(
            "there are no AWS credentials: sign in, or choose some with --profile or AWS_PROFILE"
        )
    return Deployment(
        Process(settings, open_session(SigV4(credentials, settings.region)), aws),
        failed_batches_queue=variables.get(FAILED_BATCHES, ""),
        knows_pending="PENDING_HOURS_TABLE" in variables,
        acts_on=acting_on(session) if options.stack else "",
    )
