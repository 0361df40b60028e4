"""The reference back end answers Amplify's recorded exchanges, in order.

What runs is the resolver function's own handler, on tables made from backend/template.yaml itself,
so that the template's keys and indexes are what is tested; graphql-core stands for AppSync.
"""

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from amplify_api.api import Api
from amplify_api.models import MODELS
from graphql import (
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    build_schema,
    graphql_sync,
    parse,
    print_ast,
)
from moto import mock_aws

from testbench.templates import resources, template

HERE = Path(__file__).parent
AMPLIFY = HERE.parents[1] / "testbench" / "amplify"
BACKEND = HERE.parents[1] / "backend"
PRELUDE = """
scalar AWSJSON
scalar AWSDateTime
directive @aws_subscribe(mutations: [String!]!) on FIELD_DEFINITION
directive @aws_api_key on FIELD_DEFINITION | OBJECT
directive @aws_iam on FIELD_DEFINITION | OBJECT
directive @aws_cognito_user_pools on FIELD_DEFINITION | OBJECT
"""
SUFFIX = "abcdefghijklmnopqrstuvwxyz-test"

# Exchanges that no resolver takes part in: name → why it is left out.
LEFT_OUT = {
    "auth-api-key": "the back end takes AWS_IAM only",
    "auth-none": "AppSync refuses it before any resolver",
    "auth-api-key-wrong": "AppSync refuses it before any resolver",
    "auth-iam-wrong-secret": "AppSync refuses it before any resolver",
    "auth-iam-unknown-key": "AppSync refuses it before any resolver",
    "auth-iam-wrong-service": "AppSync refuses it before any resolver",
    "http-empty-body": "not GraphQL, AppSync refuses it",
    "http-syntax-error": "not GraphQL, AppSync refuses it",
    "introspection": "AppSync answers from the schema",
}

RECORDED_TIME = re.compile(r"2026-11-22T08:\d\d:\d\d\.\d{3}Z")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def _tables() -> dict[str, dict[str, Any]]:
    """The template's tables by model, as CreateTable takes them."""
    taken = (
        "AttributeDefinitions",
        "KeySchema",
        "GlobalSecondaryIndexes",
        "BillingMode",
    )
    return {
        resource["Properties"]["TableName"]["!Sub"].split("-")[0]: {
            name: resource["Properties"][name] for name in taken
        }
        for resource in resources("backend/template.yaml", "AWS::DynamoDB::Table").values()
    }


class Refused(Exception):  # noqa: N818 - it stands for AppSync's answer, not for a failure
    def __init__(self, message: str, error_type: str | None) -> None:
        super().__init__(message)
        self.error_type = error_type


def _parse_json(value: object) -> Any:
    if not isinstance(value, str):
        raise GraphQLError(f"Unable to parse {value} as valid JSON.")
    try:
        return json.loads(value)
    except ValueError as error:
        raise GraphQLError(f"Unable to parse {value} as valid JSON.") from error


def _parse_time(value: object) -> str:
    wording = f"Unable to parse `{value}` as a valid DateTime Object."
    if not isinstance(value, str) or "T" not in value:
        raise GraphQLError(wording)
    try:
        parsed = datetime.fromisoformat(value)
    except ValueError as error:
        raise GraphQLError(wording) from error
    if parsed.tzinfo is None:
        raise GraphQLError(wording)
    return value


def _schema() -> GraphQLSchema:
    schema = build_schema(PRELUDE + (AMPLIFY / "schema.graphql").read_text())
    awsjson: Any = schema.type_map["AWSJSON"]
    awsjson.coerce_input_value = _parse_json
    awsjson.coerce_output_value = lambda value: json.dumps(
        value, separators=(",", ":"), ensure_ascii=False
    )
    times: Any = schema.type_map["AWSDateTime"]
    times.coerce_input_value = _parse_time
    return schema


def _exchanges() -> list[dict[str, Any]]:
    exchanges: list[dict[str, Any]] = json.loads((AMPLIFY / "exchanges.json").read_text())[
        "exchanges"
    ]
    return exchanges


class Backend:
    """AppSync with the back end's resolvers, in process."""

    def __init__(self, handler: Any) -> None:
        self._schema = _schema()
        self._handler = handler

    def post(self, request: Mapping[str, Any]) -> dict[str, Any]:
        result = graphql_sync(
            self._schema,
            request["query"],
            variable_values=request.get("variables"),
            operation_name=request.get("operationName"),
            field_resolver=self._resolve,
        )
        errors = [
            {
                "errorType": getattr(error.original_error, "error_type", None),
                "path": error.path,
                "message": error.message,
            }
            for error in result.errors or []
        ]
        return {"data": result.data, "errors": errors}

    def _resolve(self, source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
        if info.path.prev is not None:
            return source.get(info.field_name)
        # through JSON, as between AppSync and Lambda
        event = json.loads(json.dumps({"field": info.field_name, "arguments": arguments}))
        answer = json.loads(json.dumps(self._handler(event, None)))
        if "error" in answer:
            raise Refused(answer["error"]["message"], answer["error"]["type"])
        return answer["data"]


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    spec = importlib.util.spec_from_file_location(
        "backend_app", BACKEND / "functions" / "api" / "app.py"
    )
    assert spec is not None
    assert spec.loader is not None
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("TABLE_SUFFIX", SUFFIX)
        patch.delenv("JSON_FORM", raising=False)
        client = boto3.client("dynamodb")
        for model, definition in _tables().items():
            client.create_table(TableName=f"{model}-{SUFFIX}", **definition)
        yield Backend(app.lambda_handler)


def _same(recorded: Any, answered: Any) -> bool:
    """Whether an answer is the recorded one, but for what every run makes anew."""
    match recorded, answered:
        case dict(), dict():
            return recorded.keys() == answered.keys() and all(
                _same_token(value, answered[name])
                if name == "nextToken"
                else _same(value, answered[name])
                for name, value in recorded.items()
            )
        case list(), list():
            return len(recorded) == len(answered) and all(map(_same, recorded, answered))
        case str(), str() if RECORDED_TIME.fullmatch(recorded):
            return TIME.fullmatch(answered) is not None
        case str(), str() if UUID4.fullmatch(recorded):
            return UUID4.fullmatch(answered) is not None
        case str(), str() if recorded.startswith("{"):
            # AWSJSON: only the order of the members is AppSync's own
            return _sorted_members(recorded) == _sorted_members(answered)
        case _:
            return bool(recorded == answered)


def _sorted_members(text: str) -> str:
    return json.dumps(json.loads(text), sort_keys=True)


def _same_token(recorded: str | None, answered: str | None) -> bool:
    return (recorded is None) == (answered is None)


def _with_token(exchange: dict[str, Any], tokens: Mapping[str, str]) -> dict[str, Any]:
    request: dict[str, Any] = exchange["request"]
    if "next_token_of" not in exchange:
        return request
    return request | {"variables": request["variables"] | {"t": tokens[exchange["next_token_of"]]}}


def _where(error: Mapping[str, Any]) -> tuple[Any, Any]:
    return error.get("errorType"), error.get("path")


def _wordings(errors: list[dict[str, Any]]) -> list[str]:
    """The texts that are the resolvers' own: DynamoDB and graphql-core have theirs."""
    return [
        error["message"]
        for error in errors
        if error.get("path") and not (error.get("errorType") or "").startswith("DynamoDB:")
    ]


def test_resolvers_answer_the_recorded_exchanges(backend: Backend) -> None:
    tokens: dict[str, str] = {}
    replayed = 0
    for number, exchange in enumerate(_exchanges()):
        if exchange["name"] in LEFT_OUT:
            continue
        answer = backend.post(_with_token(exchange, tokens))
        recorded = exchange["response"]
        said = f"exchange {number} ({exchange['name']}): {answer} instead of {recorded}"
        assert _same(recorded["data"], answer["data"]), said
        expected = recorded.get("errors", [])
        assert [*map(_where, answer["errors"])] == [*map(_where, expected)], said
        assert _wordings(answer["errors"]) == _wordings(expected), said
        replayed += 1
        for field in (answer["data"] or {}).values():
            if isinstance(field, dict) and field.get("nextToken"):
                tokens[exchange["name"]] = field["nextToken"]
    assert replayed == len(_exchanges()) - len(LEFT_OUT)


def test_schema_is_amplifys_without_the_models_that_are_not_counted() -> None:
    ours = _definitions((BACKEND / "schema.graphql").read_text())
    amplifys = _definitions((AMPLIFY / "schema.graphql").read_text())
    assert ours.items() <= amplifys.items()
    for left in amplifys.keys() - ours.keys():
        assert re.search(r"Account|AmplifyAI", left), left


def _definitions(sdl: str) -> dict[str, str]:
    """Every field and enum value by `Type.name`, without who may read it."""
    found = {}
    for definition in parse(sdl).definitions:
        of: Any = definition
        for each in getattr(of, "fields", None) or of.values:
            text = re.sub(r" @aws_(api_key|iam|cognito_user_pools)", "", print_ast(each))
            found[f"{of.name.value}.{each.name.value}"] = text
    return found


def test_every_field_has_a_resolver_and_a_resource() -> None:
    schema = build_schema(PRELUDE + (BACKEND / "schema.graphql").read_text())
    roots = [schema.query_type, schema.mutation_type]
    fields = {(root.name, field) for root in roots if root for field in root.fields}
    declared = {
        (resource["Properties"]["TypeName"], resource["Properties"]["FieldName"])
        for resource in resources("backend/template.yaml", "AWS::AppSync::Resolver").values()
    }
    api = Api(boto3.client("dynamodb", region_name="us-east-1"), SUFFIX)
    assert declared == fields
    assert api.fields == {field for _, field in fields}


def test_template_has_the_indexes_of_the_models_and_no_other() -> None:
    declared = {
        (model, index["IndexName"], tuple(key["AttributeName"] for key in index["KeySchema"]))
        for model, table in _tables().items()
        for index in table["GlobalSecondaryIndexes"]
    }
    assert declared == {
        (
            model.name,
            model.index_name(index),
            tuple(filter(None, (index.hash_key, index.sort_attribute))),
        )
        for model in MODELS
        for index in model.indexes
    }


def test_json_as_text_is_stored_as_appsync_stores_it(backend: Backend) -> None:
    assert backend
    api = Api(boto3.client("dynamodb"), SUFFIX, "text")
    created = api.answer(
        "createTask",
        {
            "input": {
                "id": "as-text",
                "accountId": "a",
                "type": "t",
                "status": "s",
                "target": "x",
                "command": "c",
                "metadata": '{"b": 1.0, "a": "\\"{}\\""}',
            }
        },
    )
    stored = boto3.client("dynamodb").get_item(
        TableName=f"Task-{SUFFIX}", Key={"id": {"S": "as-text"}}
    )["Item"]["metadata"]
    assert stored == {"M": {"b": {"N": "1"}, "a": {"S": '"{}"'}}}
    assert created is not None
    read = api.answer("getTask", {"id": "as-text"})
    assert read is not None
    assert json.loads(read["metadata"]) == {"b": 1, "a": '"{}"'}


def test_resolver_code_keeps_error_types() -> None:
    code = template("backend/template.yaml")["Mappings"]["Resolver"]["Field"]["Code"]
    assert "util.error(error.message, error.type)" in code
