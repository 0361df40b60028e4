"""A client of the API in one line: where it is, and who asks."""

import os
from collections.abc import Mapping
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


_REQUEST_BYTES = "MaxRequestBytes"


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
        stack: instead, a CloudFormation stack that names it: this application's, or Amplify's. Its
            `MaxRequestBytes` holds for the client's readers, too.
        region: AWS region; otherwise AWS_REGION, AWS_DEFAULT_REGION, or the profile's own, in this
            order. It is where the stack is; requests are signed for the endpoint's own region,
            unless the endpoint does not show one.
        profile: AWS profile; otherwise AWS_PROFILE, or the environment's credentials.

    Raises:
        SettingsError: there is no such endpoint, stack, region or credentials; says what to do.
    """
    if (endpoint is None) == (stack is None):
        raise SettingsError("pass either connect(endpoint) or connect(stack=…), exactly one")
    named: Mapping[str, str] = {}
    try:
        session = botocore.session.Session(profile=profile)
        where = _region(session, region)
        if stack is not None:
            named = _described(session, stack, where)
            endpoint = _endpoint_of(stack, named)
        credentials = session.get_credentials()
    except BotoCoreError as error:
        raise SettingsError(f"{error}; check the profile and the region") from error
    if credentials is None:
        raise SettingsError(
            "there are no AWS credentials: sign in, or choose some with profile= or AWS_PROFILE"
        )
    url, signed_for = _checked(str(endpoint), None if stack else region, where)
    http = open_session(SigV4(credentials, signed_for))
    return AppSyncClient(url, http, request_bytes=int(named.get(_REQUEST_BYTES) or 0))


def _region(session: Any, region: str | None) -> str | None:
    """As the AWS CLI: botocore itself does not read AWS_REGION."""
    own: str | None = session.get_config_variable("region")
    return region or os.environ.get("AWS_REGION") or own


def _checked(endpoint: str, asked: str | None, found: str | None) -> tuple[str, str]:
    """The endpoint, and the region to sign for."""
    if not is_safe(endpoint):
        raise SettingsError(f"{endpoint!r} is not the https:// URL of a GraphQL API")
    own = region_of(endpoint)
    if own and asked and own != asked:
        raise SettingsError(f"{urlsplit(endpoint).hostname} is in {own}, not in {asked}")
    signed_for = own or found
    if signed_for is None:
        raise SettingsError(
            f"{urlsplit(endpoint).hostname} does not say its region: pass region=, or set "
            "AWS_REGION"
        )
    return endpoint, signed_for


def _described(session: Any, stack: str, region: str | None) -> Mapping[str, str]:
    """A stack's parameters and outputs, by name."""
    try:
        cloudformation = session.create_client("cloudformation", region_name=region, config=_CONFIG)
        described = cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        raise SettingsError(
            f"the stack {stack!r} cannot be described in {region} ({error}); check its name, the "
            "region and the credentials"
        ) from error
    outputs = {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", ())}
    parameters = described.get("Parameters", ())
    return outputs | {each["ParameterKey"]: each["ParameterValue"] for each in parameters}


def _endpoint_of(stack: str, named: Mapping[str, str]) -> str:
    for name in ENDPOINTS:
        if name in named:
            return named[name]
    raise SettingsError(
        f"the stack {stack!r} has no parameter or output {', '.join(ENDPOINTS)}: pass the endpoint"
    )
