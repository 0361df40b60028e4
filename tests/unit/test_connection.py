"""A client in one line."""

from pathlib import Path

import boto3
import pytest
from aggregated_metrics import connect
from aggregated_metrics.core.errors import SettingsError
from moto import mock_aws

from testbench.in_process import CREDENTIALS

ENDPOINT = "https://x.appsync-api.eu-west-1.amazonaws.com/graphql"
TEMPLATE = """
{"Parameters": {"GraphQLEndpoint": {"Type": "String"}},
 "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}
"""
AMPLIFY = f"""
{{"Resources": {{"Queue": {{"Type": "AWS::SQS::Queue"}}}},
  "Outputs": {{"awsAppsyncApiEndpoint": {{"Value": "{ENDPOINT}"}}}}}}
"""
NOTHING = '{"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}'


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def where(*args: str, **named: str) -> tuple[str, str]:
    client = connect(*args, **named)
    client._session.close()
    return client._endpoint, client._session.auth._signer.region  # type: ignore[union-attr]


def test_an_endpoint_says_its_own_region() -> None:
    assert where(ENDPOINT) == (ENDPOINT, "eu-west-1")


@pytest.mark.parametrize("endpoint", ["https://counts.example.com/graphql", "http://localhost:45/"])
def test_any_other_host_is_signed_for_the_given_region_or_the_environments(endpoint: str) -> None:
    assert where(endpoint) == (endpoint, "us-east-1")
    assert where(endpoint, region="eu-north-1") == (endpoint, "eu-north-1")


@mock_aws
@pytest.mark.parametrize("template", [TEMPLATE, AMPLIFY])
def test_a_stack_names_the_endpoint_by_its_parameters_or_outputs(template: str) -> None:
    given = [{"ParameterKey": "GraphQLEndpoint", "ParameterValue": ENDPOINT}]
    boto3.client("cloudformation").create_stack(
        StackName="counts",
        TemplateBody=template,
        Parameters=given if template is TEMPLATE else [],
    )
    assert where(stack="counts") == (ENDPOINT, "eu-west-1")


@mock_aws
def test_a_stack_that_is_not_there_or_names_none_is_said_by_its_name() -> None:
    with pytest.raises(SettingsError, match="the stack 'counts' cannot be described"):
        connect(stack="counts")
    boto3.client("cloudformation").create_stack(StackName="other", TemplateBody=NOTHING)
    with pytest.raises(SettingsError, match="the stack 'other' has no parameter or output"):
        connect(stack="other")


def test_what_is_missing_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="one of them is needed"):
        connect()
    with pytest.raises(SettingsError, match="is not the https:// URL"):
        connect("http://counts.example.com/graphql")
    with pytest.raises(SettingsError, match="check the profile"):
        connect(ENDPOINT, profile="nobody")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    with pytest.raises(SettingsError, match="does not say its region"):
        connect("https://counts.example.com/graphql")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(SettingsError, match="there are no AWS credentials"):
        connect(ENDPOINT)
