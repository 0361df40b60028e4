"""A client in one line."""

from pathlib import Path

import boto3
import pytest
import requests
from aggregated_metrics import connect
from aggregated_metrics.adapters.appsync import AppSyncClient
from aggregated_metrics.core.errors import SettingsError
from moto import mock_aws

from testbench.local import KEY, SECRET

ENDPOINT = "https://x.appsync-api.eu-west-1.amazonaws.com/graphql"
TEMPLATE = """
{"Parameters": {"GraphQLEndpoint": {"Type": "String"},
                "MaxRequestBytes": {"Type": "Number", "Default": 0}},
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


CREDENTIALS = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}


def client_of(*args: str, **named: str) -> AppSyncClient:
    client = connect(*args, **named)
    client._session.close()
    return client


def where(*args: str, **named: str) -> tuple[str, str]:
    """The endpoint, and the region that a request is signed for."""
    client = client_of(*args, **named)
    signed = client._session.prepare_request(requests.Request("POST", client._endpoint))
    return client._endpoint, signed.headers["Authorization"].split("/")[2]


def test_an_endpoint_says_its_own_region() -> None:
    assert where(ENDPOINT) == where(ENDPOINT, region="us-east-1") == (ENDPOINT, "eu-west-1")


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
@pytest.mark.parametrize("size", ["0", "8000"])
def test_a_stacks_limit_of_request_sizes_holds_for_its_readers(size: str) -> None:
    given = {"GraphQLEndpoint": ENDPOINT, "MaxRequestBytes": size}
    boto3.client("cloudformation").create_stack(
        StackName="counts",
        TemplateBody=TEMPLATE,
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()],
    )
    assert client_of(stack="counts").request_bytes == int(size)


def put_stack(region: str) -> None:
    """A stack whose API's own domain shows no region."""
    custom = "https://counts.example.com/graphql"
    boto3.client("cloudformation", region_name=region).create_stack(
        StackName="counts", TemplateBody=AMPLIFY.replace(ENDPOINT, custom)
    )


PROFILE = """
[profile staging]
region = eu-central-1
aws_access_key_id = AKIDEXAMPLE
aws_secret_access_key = secret
"""


@mock_aws
@pytest.mark.parametrize(
    ("environment", "named", "region"),
    [
        ({}, {}, "eu-central-1"),
        ({"AWS_REGION": "eu-north-1"}, {}, "eu-north-1"),
        ({"AWS_DEFAULT_REGION": "eu-north-1"}, {}, "eu-north-1"),
        ({"AWS_REGION": "eu-north-1", "AWS_DEFAULT_REGION": "us-west-2"}, {}, "eu-north-1"),
        ({"AWS_REGION": "us-west-2"}, {"region": "eu-north-1"}, "eu-north-1"),
    ],
)
@pytest.mark.parametrize("by", ["argument", "AWS_PROFILE"])
def test_one_region_finds_the_stack_and_signs(
    environment: dict[str, str],
    named: dict[str, str],
    region: str,
    by: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The profile's own, unless the call or the environment names another."""
    (tmp_path / "config").write_text(PROFILE)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if by == "AWS_PROFILE":
        monkeypatch.setenv("AWS_PROFILE", "staging")
    else:
        named = named | {"profile": "staging"}
    put_stack(region)
    assert where(stack="counts", **named) == ("https://counts.example.com/graphql", region)


@mock_aws
def test_a_stack_that_is_not_there_or_names_none_is_said_by_its_name() -> None:
    with pytest.raises(SettingsError, match="'counts' cannot be described in us-east-1"):
        connect(stack="counts")
    boto3.client("cloudformation").create_stack(StackName="other", TemplateBody=NOTHING)
    with pytest.raises(SettingsError, match="the stack 'other' has no parameter or output"):
        connect(stack="other")


def test_what_is_missing_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for both in ({}, {"endpoint": ENDPOINT, "stack": "counts"}):
        with pytest.raises(SettingsError, match="exactly one"):
            connect(**both)
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
