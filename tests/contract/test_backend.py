"""The reference back end is put together as its models demand: schema, resolvers, indexes."""

import json
import re
from typing import Any

import boto3
import pytest
from amplify_api.operations import Operations
from graphql import build_schema, parse, print_ast

from testbench import rows
from testbench.fakes.models import PRELUDE, SCHEMA_PATH
from testbench.fakes.tables import Behaviour, Table
from testbench.templates import resources, template
from tests.contract.backend import BACKEND, SUFFIX, deployed, module, tables

SCHEMA = BACKEND / "functions" / "api" / "schema.graphql"


def test_schema_is_amplifys_without_the_models_that_are_not_counted() -> None:
    ours = _definitions(SCHEMA.read_text())
    amplifys = _definitions(SCHEMA_PATH.read_text())
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
    schema = build_schema(PRELUDE + SCHEMA.read_text())
    roots = [schema.query_type, schema.mutation_type]
    fields = {(root.name, field) for root in roots if root for field in root.fields}
    declared = {
        (resource["Properties"]["TypeName"], resource["Properties"]["FieldName"])
        for resource in resources("backend/template.yaml", "AWS::AppSync::Resolver").values()
    }
    assert declared == fields
    models = module().MODELS.values()
    assert Operations(
        Table(model, Behaviour(float, equal_put_succeeds=False)) for model in models
    ).by_field.keys() == {field for _, field in fields}


def test_template_has_the_indexes_of_the_models_and_no_other() -> None:
    declared = {
        (model, index["IndexName"], tuple(key["AttributeName"] for key in index["KeySchema"]))
        for model, table in tables().items()
        for index in table["GlobalSecondaryIndexes"]
    }
    assert declared == {
        (model.name, index.name, tuple(filter(None, (index.hash_key, index.attribute))))
        for model in module().MODELS.values()
        for index in model.indexes.values()
    }


def test_json_as_text_is_stored_as_appsync_stores_it() -> None:
    row = rows.task("as-text", metadata='{"b": 1.0, "a": "\\"{}\\""}')
    with deployed(JSON_FORM="text") as handler:
        created = handler({"field": "createTask", "arguments": {"input": row}}, None)["data"]
        stored = boto3.client("dynamodb").get_item(
            TableName=f"Task-{SUFFIX}", Key={"id": {"S": "as-text"}}
        )["Item"]["metadata"]
        read = handler({"field": "getTask", "arguments": {"id": "as-text"}}, None)["data"]
    assert stored == {"M": {"b": {"N": "1"}, "a": {"S": '"{}"'}}}
    assert json.loads(created["metadata"]) == json.loads(read["metadata"]) == {"b": 1, "a": '"{}"'}


def test_resolver_code_keeps_error_types() -> None:
    code = template("backend/template.yaml")["Mappings"]["Resolver"]["Field"]["Code"]
    assert "util.error(error.message, error.type)" in code


def test_each_field_is_a_line_of_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """Without one the emulator answers several times as late."""
    with deployed() as handler:
        handler({"field": "getTask", "arguments": {"id": "none"}}, None)
    assert json.loads(capsys.readouterr().out) == {"field": "getTask", "error": None}
