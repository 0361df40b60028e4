"""A client of the API in one line: where it is, and who asks."""

from typing import Any
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from aggregated_metrics.adapters.appsync import AppSyncClient, SigV4, open_session
from aggregated_metrics.adapters.endpoints import is_safe, region_of
from aggregated_metrics.core.errors import SettingsError

ENDPOINTS = ("GraphQLEndpoint", "GraphQLApiEndpoint", "awsAppsyncApiEndpoint")
"""How this project's stacks and Amplify's root stack call the endpoint."""
_CONFIG = Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 3})


def connect(
    endpoint: str | None = None,
    *,
    stack: str | None = None,
    region: str | None = None,
    profile: str | None = None,
) -> AppSyncClient:
    """A client that signs with the credentials of boto3's default chain.

    The caller needs `appsync:GraphQL` on the fields of Query that start with `getAggregatedMetrics`
    and `listAggregatedMetrics`, and with `stack` also `cloudformation:DescribeStacks`.

    Args:
        endpoint: the GraphQL API's URL (amplify_outputs.json: data.url).
        stack: instead, a CloudFormation stack that names it: this application's, or Amplify's.
        region: AWS region; else the endpoint's, else the profile's own.
        profile: AWS profile; else AWS_PROFILE, or what the environment gives.

    Raises:
        SettingsError: there is no such endpoint, stack, region or credentials; says what to do.
    """
    session = botocore.session.Session(profile=profile)
    try:
        region = region or session.get_config_variable("region")
        if endpoint is None:
            endpoint = _endpoint_of(session, stack, region)
        credentials = session.get_credentials()
    except BotoCoreError as error:
        raise SettingsError(f"{error}; check the profile and the region") from error
    if not is_safe(endpoint):
        raise SettingsError(f"{endpoint!r} is not the https:// URL of a GraphQL API")
    if credentials is None:
        raise SettingsError(
            "there are no AWS credentials: sign in, or choose some with profile= or AWS_PROFILE"
        )
    signed_for = region_of(endpoint) or region
    if signed_for is None:
        raise SettingsError(
            f"{urlsplit(endpoint).hostname} does not say its region: pass region=, or set "
            "AWS_DEFAULT_REGION"
        )
    return AppSyncClient(endpoint, open_session(SigV4(credentials, signed_for)))


def _endpoint_of(session: Any, stack: str | None, region: str | None) -> str:
    if stack is None:
        raise SettingsError("connect(endpoint) or connect(stack=…): one of them is needed")
    try:
        cloudformation = session.create_client("cloudformation", region_name=region, config=_CONFIG)
        described = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        raise SettingsError(
            f"the stack {stack!r} cannot be described ({error}); check its name, the region and "
            "the credentials"
        ) from error
    named = {entry["OutputKey"]: entry["OutputValue"] for entry in described.get("Outputs", ())}
    named |= {
        entry["ParameterKey"]: entry["ParameterValue"] for entry in described.get("Parameters", ())
    }
    for name in ENDPOINTS:
        if name in named:
            return str(named[name])
    raise SettingsError(
        f"the stack {stack!r} has no parameter or output {', '.join(ENDPOINTS)}: pass the endpoint"
    )
