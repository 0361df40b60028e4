"""The reference back end behind the Fake API's GraphQL.

What runs is the resolver function's own handler, on tables made from backend/template.yaml itself,
so that the template's keys and indexes are what is tested.
"""

import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import boto3
import pytest
from amplify_api.errors import ResolverError
from amplify_api.models import Model
from amplify_api.ports import Page
from moto import mock_aws

from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.models import models
from testbench.fakes.scalars import Json
from testbench.fakes.tables import Row, attributes_of
from testbench.templates import resources

BACKEND = Path(__file__).parents[2] / "backend"
SUFFIX = "abcdefghijklmnopqrstuvwxyz-test"

type Handler = Callable[[Any, Any], dict[str, Any]]


@contextmanager
def deployed(**variables: str) -> Iterator[Handler]:
    """The handler with further environment variables, and empty tables."""
    environment = {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "TABLE_SUFFIX": SUFFIX,
    }
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name, value in (environment | variables).items():
            patch.setenv(name, value)
        client = boto3.client("dynamodb")
        for model, definition in tables().items():
            client.create_table(TableName=f"{model}-{SUFFIX}", **definition)
        app = module()
        app._operations.cache_clear()
        yield app.lambda_handler


@contextmanager
def backend_api(api: FakeAppSync) -> Iterator[FakeAppSync]:
    """The Fake API, answered by the handler instead of its own tables."""
    with deployed() as handler:
        api.resolvers = {
            field: partial(_resolve, handler, field, model)
            for model in models().values()
            for field in (*_verbs(model), model.list_query, *model.indexes)
        }
        yield api


@cache
def module() -> Any:
    """The function's module."""
    path = BACKEND / "functions" / "api" / "app.py"
    spec = importlib.util.spec_from_file_location("backend_app", path)
    assert spec is not None
    assert spec.loader is not None
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    return app


def tables() -> dict[str, dict[str, Any]]:
    """The template's tables by model, as CreateTable takes them."""
    names = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")
    return {
        resource["Properties"]["TableName"]["!Sub"].split("-")[0]: {
            name: resource["Properties"][name] for name in names
        }
        for resource in resources("backend/template.yaml", "AWS::DynamoDB::Table").values()
    }


def _verbs(model: Model) -> list[str]:
    return [f"{verb}{model.name}" for verb in ("create", "update", "delete", "get")]


def _resolve(
    handler: Handler, field: str, model: Model, arguments: Mapping[str, Any]
) -> Row | Page[Row] | None:
    # through JSON, as between AppSync and Lambda
    event = {"field": field, "arguments": _parsed(arguments)}
    answer = json.loads(json.dumps(handler(json.loads(json.dumps(event)), None)))
    if "error" in answer:
        raise ResolverError(answer["error"]["message"], answer["error"]["type"])
    data = answer["data"]
    if data is None or "items" not in data:
        return data and Row(attributes_of(model, data))
    return Page([Row(attributes_of(model, item)) for item in data["items"]], data["nextToken"])


def _parsed(value: Any) -> Any:
    """AWSJSON as AppSync hands it to a resolver."""
    if isinstance(value, dict):
        return {name: _parsed(each) for name, each in value.items()}
    return value.parsed() if isinstance(value, Json) else value
