"""A client in one line."""

from pathlib import Path
from typing import Any

import pytest
import requests
from aggregated_metrics import connect
from aggregated_metrics.adapters.appsync import AppSyncClient
from aggregated_metrics.core.errors import SettingsError
from botocore.exceptions import ClientError

from testbench.local import KEY, SECRET

ENDPOINT = "https://x.appsync-api.eu-west-1.amazonaws.com/graphql"
OWN_DOMAIN = "https://counts.example.com/graphql"
APPLICATION = {
    "Parameters": [
        {"ParameterKey": "GraphQLEndpoint", "ParameterValue": ENDPOINT},
        {"ParameterKey": "MaxRequestBytes", "ParameterValue": "8000"},
    ]
}
STAGING = {"profile": "staging"}
type Stacks = dict[str, dict[str, Any]]
PROFILE = f"""
[profile staging]
region = eu-central-1
aws_access_key_id = {KEY}
aws_secret_access_key = secret
"""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }.items():
        monkeypatch.setenv(name, value)


def client_of(*args: str, **named: str) -> AppSyncClient:
    client = connect(*args, **named)
    client._session.close()
    return client


def where(*args: str, **named: str) -> tuple[str, str]:
    """The endpoint, and the region that a request is signed for."""
    client = client_of(*args, **named)
    signed = client._session.prepare_request(requests.Request("POST", client._endpoint))
    return client._endpoint, signed.headers["Authorization"].split("/")[2]


@pytest.fixture
def stacks(monkeypatch: pytest.MonkeyPatch) -> Stacks:
    """By region, how CloudFormation describes the stack `counts`."""
    found: Stacks = {}

    def call(client: Any, operation: str, asked: dict[str, Any]) -> Any:
        region = client.meta.region_name
        if asked != {"StackName": "counts"} or region not in found:
            raise ClientError({"Error": {"Code": "ValidationError"}}, operation)
        return {"Stacks": [found[region]]}

    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", call)
    return found


def amplify(endpoint: str) -> dict[str, Any]:
    return {"Outputs": [{"OutputKey": "awsAppsyncApiEndpoint", "OutputValue": endpoint}]}


@pytest.mark.parametrize(
    ("endpoint", "own"), [(ENDPOINT, "eu-west-1"), (OWN_DOMAIN, ""), ("http://localhost:45/", "")]
)
def test_an_endpoint_says_its_region_or_the_caller_or_the_environment(
    endpoint: str, own: str
) -> None:
    assert where(endpoint) == (endpoint, own or "us-east-1")
    assert where(endpoint, region="eu-north-1") == (endpoint, own or "eu-north-1")


@pytest.mark.parametrize(("stack", "most"), [(APPLICATION, 8000), (amplify(ENDPOINT), 0)])
def test_a_stack_names_the_endpoint_and_the_limit_of_request_sizes(
    stacks: Stacks, stack: dict[str, Any], most: int
) -> None:
    stacks["us-east-1"] = stack
    assert where(stack="counts") == (ENDPOINT, "eu-west-1")
    assert client_of(stack="counts").request_bytes == most


@pytest.mark.parametrize(
    ("environment", "named", "region"),
    [
        ({}, STAGING, "eu-central-1"),
        ({"AWS_PROFILE": "staging"}, {}, "eu-central-1"),
        ({"AWS_PROFILE": "staging", "AWS_REGION": "eu-north-1"}, {}, "eu-north-1"),
        ({"AWS_DEFAULT_REGION": "eu-north-1"}, STAGING, "eu-north-1"),
        ({"AWS_REGION": "eu-north-1", "AWS_DEFAULT_REGION": "us-west-2"}, STAGING, "eu-north-1"),
        ({"AWS_REGION": "us-west-2"}, STAGING | {"region": "eu-north-1"}, "eu-north-1"),
    ],
)
def test_one_region_finds_the_stack_and_signs(
    environment: dict[str, str],
    named: dict[str, str],
    region: str,
    stacks: Stacks,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The profile's own, unless the call or the environment names another."""
    (tmp_path / "config").write_text(PROFILE)
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    stacks[region] = amplify(OWN_DOMAIN)
    assert where(stack="counts", **named) == (OWN_DOMAIN, region)


@pytest.mark.parametrize(
    ("named", "missing", "says"),
    [
        ({}, "", "exactly one"),
        ({"endpoint": ENDPOINT, "stack": "counts"}, "", "exactly one"),
        ({"endpoint": "http://counts.example.com/graphql"}, "", "is not the https:// URL"),
        ({"endpoint": ENDPOINT, "profile": "nobody"}, "", "check the profile"),
        ({"endpoint": OWN_DOMAIN}, "AWS_DEFAULT_REGION", "does not say its region"),
        ({"endpoint": ENDPOINT}, "AWS_ACCESS_KEY_ID", "there are no AWS credentials"),
        ({"stack": "other"}, "", "'other' cannot be described in us-east-1"),
        ({"stack": "counts"}, "", "the stack 'counts' has no parameter or output"),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(
    stacks: Stacks,
    named: dict[str, str],
    missing: str,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stacks["us-east-1"] = {}
    if missing:
        monkeypatch.delenv(missing)
    with pytest.raises(SettingsError, match=says):
        connect(**named)
