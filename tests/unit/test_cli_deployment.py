"""Where the command line finds a deployment."""

from argparse import Namespace
from typing import Any

import boto3
import pytest
from aggregated_metrics.adapters.settings import Settings
from aggregated_metrics.core.errors import SettingsError
from botocore.stub import Stubber

from aggregated_metrics_cli.arguments import parse
from aggregated_metrics_cli.deployment import (
    FAILED_BATCHES,
    OUTPUTS,
    PARAMETERS,
    connect,
    describe,
    needed,
    settings_of,
    variables_of,
)
from testbench.templates import template

ENDPOINT = "https://x.appsync-api.eu-west-1.amazonaws.com/graphql"
KNOWN = {
    "GRAPHQL_ENDPOINT": ENDPOINT,
    "PENDING_HOURS_TABLE": "pending",
    "QUARANTINE_QUEUE_URL": "https://queue",
    FAILED_BATCHES: "https://failed",
}


def _options(*given: str) -> Namespace:
    return parse(given)


def test_an_option_goes_before_the_stack_and_the_stack_before_the_environment() -> None:
    options = _options("repair", "--pending-table", "option", "--settle", "15")
    described = {"PENDING_HOURS_TABLE": "stack", "QUARANTINE_QUEUE_URL": "stack"}
    settings = settings_of(variables_of(options, KNOWN | {"SETTLE_SECONDS": "90"}, described))
    assert (settings.PENDING_HOURS_TABLE, settings.QUARANTINE_QUEUE_URL) == ("option", "stack")
    assert (settings.GRAPHQL_ENDPOINT, settings.SETTLE_SECONDS) == (ENDPOINT, 15)


@pytest.mark.parametrize(
    ("command", "missing", "option"),
    [
        (
            "show --account a --record-type items --start 2026-11-22",
            "GRAPHQL_ENDPOINT",
            "--endpoint",
        ),
        ("verify", "PENDING_HOURS_TABLE", "--pending-table"),
        ("repair", "PENDING_HOURS_TABLE", "--pending-table"),
        ("repair-batches", FAILED_BATCHES, "--failed-batches-queue"),
        ("repair-batches x.json", "QUARANTINE_QUEUE_URL", "--quarantine-queue"),
        ("redrive", "QUARANTINE_QUEUE_URL", "--quarantine-queue"),
    ],
)
def test_a_missing_setting_is_named_with_its_cures(command: str, missing: str, option: str) -> None:
    known = {name: value for name, value in KNOWN.items() if name != missing}
    with pytest.raises(SettingsError, match=f"{missing} is not known: give {option}, .* --stack"):
        variables_of(_options(*command.split()), known, {})


def test_a_command_does_without_what_it_does_not_need() -> None:
    options = _options("redrive")
    settings = settings_of(
        variables_of(options, {name: KNOWN[name] for name in needed(options)}, {})
    )
    assert settings.QUARANTINE_QUEUE_URL == "https://queue"
    show = ["show", "--account", "a", "--record-type", "items", "--start", "2026-11-22"]
    known = variables_of(_options(*show), {"GRAPHQL_ENDPOINT": ENDPOINT}, {})
    assert settings_of(known).region == "eu-west-1"
    assert FAILED_BATCHES not in needed(_options("repair-batches", "x.json"))


def test_a_wrong_setting_is_refused_as_the_functions_refuse_it() -> None:
    with pytest.raises(SettingsError, match="GRAPHQL_ENDPOINT"):
        settings_of(KNOWN | {"GRAPHQL_ENDPOINT": "http://example.com/graphql"})


@pytest.fixture
def cloudformation() -> Any:
    return boto3.client(
        "cloudformation", "us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )


def test_a_stack_is_described_by_its_parameters_and_outputs(cloudformation: Any) -> None:
    stack = {
        "StackName": "counts",
        "CreationTime": "2026-11-22T10:00:00Z",
        "StackStatus": "CREATE_COMPLETE",
        "Parameters": [
            {"ParameterKey": "GraphQLEndpoint", "ParameterValue": ENDPOINT},
            {"ParameterKey": "Architecture", "ParameterValue": "arm64"},
            {"ParameterKey": "StreamArns", "ParameterValue": "arn-of-items,arn-of-tasks"},
        ],
        "Outputs": [
            {"OutputKey": "PendingHoursTable", "OutputValue": "pending"},
            {"OutputKey": "Dashboard", "OutputValue": "x"},
        ],
    }
    with Stubber(cloudformation) as stub:
        stub.add_response("describe_stacks", {"Stacks": [stack]}, {"StackName": "counts"})
        found = describe(cloudformation, "counts")
    assert found == {
        "GRAPHQL_ENDPOINT": ENDPOINT,
        "PENDING_HOURS_TABLE": "pending",
        "STREAM_ARNS": "arn-of-items,arn-of-tasks",  # a range means what is attached
    }


def test_a_stack_that_is_not_there_is_a_settings_error(cloudformation: Any) -> None:
    with Stubber(cloudformation) as stub:
        stub.add_client_error("describe_stacks", "ValidationError", "Stack x does not exist")
        with pytest.raises(SettingsError, match="--stack, --region and the credentials"):
            describe(cloudformation, "x")


def test_the_template_has_the_parameters_and_outputs_that_are_read() -> None:
    assert template("template.yaml")["Parameters"].keys() >= PARAMETERS.keys()
    assert template("template.yaml")["Outputs"].keys() >= OUTPUTS.keys()
    known = {*PARAMETERS.values(), *OUTPUTS.values()} - {FAILED_BATCHES}
    assert Settings.model_fields.keys() >= known


def test_connecting_signs_for_the_endpoints_region(environment: dict[str, str]) -> None:
    deployment = connect(_options("repair", "--endpoint", ENDPOINT), environment | KNOWN)
    process = deployment.process
    assert deployment.knows_pending
    assert deployment.failed_batches_queue == KNOWN[FAILED_BATCHES]
    assert process.settings.region == "eu-west-1"
    assert process.aws("sqs") is process.aws("sqs")
    process.session.close()


def test_a_table_of_pending_hours_that_nobody_named_is_not_known(
    environment: dict[str, str],
) -> None:
    show = ("show", "--account", "a", "--record-type", "items", "--start", "2026-11-22")
    known = {name: value for name, value in environment.items() if name != "PENDING_HOURS_TABLE"}
    deployment = connect(_options(*show), known)
    assert not deployment.knows_pending
    deployment.process.session.close()


def test_an_unknown_profile_is_a_settings_error(environment: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="--profile"):
        connect(_options("verify", "--profile", "nobody-has-this"), environment)


def test_no_credentials_is_a_settings_error(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boto3.Session, "get_credentials", lambda _: None)
    with pytest.raises(SettingsError, match="no AWS credentials"):
        connect(_options("verify"), environment)
