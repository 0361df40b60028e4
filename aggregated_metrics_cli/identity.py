"""Whose account and which region a command acts on: found in one way, and always said."""

import os
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError


class RegionError(Exception):
    """Nobody says which region is meant."""


def session_of(
    profile: str | None, region: str | None, environment: Mapping[str, str] = os.environ
) -> boto3.Session:
    """A session: the region asked for, else AWS_REGION or AWS_DEFAULT_REGION, else the profile's.

    boto3 itself does not read AWS_REGION, which the AWS CLI and the SAM CLI prefer.

    Raises:
        RegionError: none of them names a region.
    """
    region = region or environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    session = boto3.Session(profile_name=profile, region_name=region or None)
    if not session.region_name:
        raise RegionError(
            "no region is named: pass --region (make: REGION=…), set AWS_REGION, or give the "
            "profile one"
        )
    return session


def acting_on(session: boto3.Session, sts: Any | None = None) -> str:
    """Such as `account 123456789012, eu-central-1`; without credentials it says so."""
    try:
        account = (sts or session.client("sts")).get_caller_identity()["Account"]
    except (BotoCoreError, ClientError) as error:
        return f"account unknown ({error}), {session.region_name}"
    return f"account {account}, {session.region_name}"
