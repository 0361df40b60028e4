"""`make attach`: what it finds, what it says lacks, what it writes."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import tomlkit
from botocore.exceptions import ClientError
from moto import mock_aws
from rich.console import Console

from aggregated_metrics_cli import attach
from aggregated_metrics_cli.application import (
    Application,
    ApplicationError,
    find_api,
    inspect,
    region_of,
)
from testbench.templates import resources, template

MODELS = ("Item", "ScoreResult", "Task", "Evaluation", "AggregatedMetrics")
SCHEMA = (Path(__file__).parents[2] / "testbench" / "amplify" / "schema.graphql").read_bytes()
CONFIG = """\
version = 0.1

# how staging is deployed
[staging.deploy.parameters]
capabilities = ["CAPABILITY_IAM"] # roles of its own
parameter_overrides = "GraceSeconds=300 ItemStreamArn=old"
"""


class Pages:
    """A paginator over one page."""

    def __init__(self, page: dict[str, Any]) -> None:
        self.page = page

    def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
        yield self.page


class Refusing:
    """A client that AWS refuses some calls: method → the error's code."""

    def __init__(self, client: Any, refused: dict[str, str]) -> None:
        self.client, self.refused = client, refused

    def __getattr__(self, name: str) -> Any:
        self._refuse(name)
        return getattr(self.client, name)

    def get_paginator(self, name: str) -> Any:
        self._refuse(name)
        return self.client.get_paginator(name)

    def _refuse(self, method: str) -> None:
        if code := self.refused.get(method):
            operation = self.client.meta.method_to_api_mapping.get(method, method)
            raise ClientError({"Error": {"Code": code, "Message": "no"}}, operation)


class AppSync:
    """moto's AppSync, with the three calls that it lacks."""

    def __init__(self, client: Any, sources: dict[str, str], schema: bytes = SCHEMA) -> None:
        self.client, self.sources, self.schema = client, sources, schema

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    def get_paginator(self, name: str) -> Pages:
        if name == "list_graphql_apis":
            return Pages(self.client.list_graphql_apis())
        assert name == "list_data_sources"
        sources = [
            {
                "name": f"{model}Table",
                "type": "AMAZON_DYNAMODB",
                "dynamodbConfig": {"tableName": table},
            }
            for model, table in self.sources.items()
        ]
        return Pages({"dataSources": [{"name": "NONE_DS", "type": "NONE"}, *sources]})

    def get_introspection_schema(self, **_: Any) -> dict[str, Any]:
        return {"schema": io.BytesIO(self.schema)}


class World:
    """An application as Amplify makes it; a test takes something away first."""

    def __init__(self) -> None:
        self.appsync = boto3.client("appsync", region_name="us-east-1")
        self.dynamodb = boto3.client("dynamodb", region_name="us-east-1")
        self.schema = SCHEMA
        self.api_id = ""
        self.sources: dict[str, str] = {}
        self.refused: dict[str, str] = {}

    def make(self, *, iam: bool = True, without: tuple[str, ...] = (), **changes: Any) -> str:
        extra = [{"authenticationType": "AWS_IAM"}] if iam else []
        api = self.appsync.create_graphql_api(
            name="app", authenticationType="API_KEY", additionalAuthenticationProviders=extra
        )["graphqlApi"]
        self.api_id = api["apiId"]
        templates = resources("backend/template.yaml", "AWS::DynamoDB::Table")
        for model in MODELS:
            if model not in without:
                self._table(model, templates[f"{model}Table"]["Properties"], changes)
        return self.api_id

    def _table(self, model: str, properties: dict[str, Any], changes: dict[str, Any]) -> None:
        name = changes.get("names", {}).get(model, f"{model}-{self.api_id}-NONE")
        view = changes.get("views", {}).get(model, "NEW_AND_OLD_IMAGES")
        streamed = view and model != "AggregatedMetrics"
        stream = {"StreamEnabled": True, "StreamViewType": view} if streamed else None
        indexes = [
            index
            for index in properties["GlobalSecondaryIndexes"]
            if index["IndexName"] not in changes.get("lost", ())
        ]
        used = {
            key["AttributeName"]
            for keys in (properties["KeySchema"], *(index["KeySchema"] for index in indexes))
            for key in keys
        }
        self.dynamodb.create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=properties["KeySchema"],
            GlobalSecondaryIndexes=indexes,
            AttributeDefinitions=[
                attribute
                for attribute in properties["AttributeDefinitions"]
                if attribute["AttributeName"] in used
            ],
            **({"StreamSpecification": stream} if stream else {}),
        )
        self.sources[model] = name

    def aws(self, service: str) -> Any:
        if service == "dynamodb":
            return Refusing(self.dynamodb, self.refused)
        return Refusing(AppSync(self.appsync, self.sources, self.schema), self.refused)

    def inspect(self) -> Application:
        return inspect(self.aws, self.api_id)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "made-up-for-tests")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        yield World()


def find_and_inspect(world: World) -> Application:
    url = world.appsync.get_graphql_api(apiId=world.api_id)["graphqlApi"]["uris"]["GRAPHQL"]
    return inspect(world.aws, find_api(world.aws("appsync"), url))


def wrong(found: Application) -> dict[str, str]:
    return {f.what: f.cure for f in found.findings if f.state == "wrong"}


def test_an_application_of_amplifys_form_is_ready(world: World) -> None:
    world.make()
    found = world.inspect()
    assert wrong(found) == {}
    assert found.is_ready
    parameters = found.parameters()
    assert parameters["GraphQLApiArn"].endswith(f"apis/{world.api_id}")
    for model in MODELS[:-1]:
        assert f"table/{model}-{world.api_id}-NONE/stream/" in parameters[f"{model}StreamArn"]
    assert "SourceTables" not in parameters


def test_the_parameters_are_the_templates(world: World) -> None:
    world.make(names={"Item": "things"})
    assert world.inspect().parameters().keys() <= template("template.yaml")["Parameters"].keys()


def test_a_table_of_another_name_is_named(world: World) -> None:
    world.make(names={"Task": "work-orders"})
    assert world.inspect().parameters()["SourceTables"] == '{"work-orders":"Task"}'


def test_a_model_that_is_not_there_is_left_out(world: World) -> None:
    world.make(without=("Evaluation",))
    found = world.inspect()
    assert found.is_ready
    assert "EvaluationStreamArn" not in found.parameters()


@pytest.mark.parametrize(
    ("changes", "what", "cure"),
    [
        ({"iam": False}, "API: IAM", "authenticationType=AWS_IAM"),
        ({"views": {"Item": ""}}, "Item: stream", "StreamViewType=NEW_AND_OLD_IMAGES"),
        ({"views": {"Task": "KEYS_ONLY"}}, "Task: stream", "StreamEnabled=false"),
        (
            {"lost": ["itemsByAccountIdAndCreatedAt"]},
            "Item: index",
            "queryField('listItemByAccountIdAndCreatedAt')",
        ),
        (
            {"lost": ["scoreResultsByAccountIdAndUpdatedAt"]},
            "ScoreResult: index",
            "sortKeys(['updatedAt'])",
        ),
        (
            {"lost": ["byAccountRecordType"]},
            "AggregatedMetrics: index",
            "sortKeys(['recordType', 'timeRangeStart'])",
        ),
        ({"without": ("AggregatedMetrics",)}, "AggregatedMetrics", "add AggregatedMetrics"),
    ],
)
def test_what_lacks_is_named_with_its_cure(
    world: World, changes: dict[str, Any], what: str, cure: str
) -> None:
    world.make(**changes)
    lacking = wrong(world.inspect())
    assert list(lacking) == [what]
    assert cure in lacking[what]


def test_a_query_of_another_name_is_found_in_the_schema(world: World) -> None:
    world.make()
    world.schema = SCHEMA.replace(b"listTaskByAccountIdAndUpdatedAt", b"tasksByUpdate")
    lacking = [f for f in world.inspect().findings if f.state == "wrong"]
    assert [f.said for f in lacking] == ["the schema lacks listTaskByAccountIdAndUpdatedAt"]
    assert "queryField" in lacking[0].cure


def test_a_missing_mutation_has_a_cure_of_its_own(world: World) -> None:
    world.make()
    world.schema = SCHEMA.replace(b"createAggregatedMetrics(", b"putAggregatedMetrics(")
    lacking = [f for f in world.inspect().findings if f.state == "wrong"]
    assert [f.said for f in lacking] == ["the schema lacks createAggregatedMetrics"]
    assert "disableOperations" in lacking[0].cure
    assert "queryField" not in lacking[0].cure


@pytest.mark.parametrize("code", ["", "GraphQLSchemaException", "NotFoundException"])
def test_an_api_without_a_schema_is_to_be_deployed(world: World, code: str) -> None:
    world.make()
    world.schema = b""
    if code:
        world.refused["get_introspection_schema"] = code
    lacking = [f for f in world.inspect().findings if f.state == "wrong"]
    assert [(f.said, f.cure) for f in lacking] == [("the API has no schema", "deploy it")]


def test_a_schema_that_may_not_be_read_is_a_note(world: World) -> None:
    world.make()
    world.refused["get_introspection_schema"] = "AccessDeniedException"
    found = world.inspect()
    assert found.is_ready
    assert any("cannot be read" in f.said for f in found.findings if f.state == "note")


@pytest.mark.parametrize(
    ("method", "code", "action"),
    [
        ("get_graphql_api", "AccessDeniedException", "appsync:GetGraphqlApi"),
        ("list_graphql_apis", "UnauthorizedException", "appsync:ListGraphqlApis"),
        ("list_data_sources", "AccessDeniedException", "appsync:ListDataSources"),
        ("describe_table", "AccessDeniedException", "dynamodb:DescribeTable"),
        ("list_tables", "AccessDeniedException", "dynamodb:ListTables"),
    ],
)
def test_what_may_not_be_read_names_the_permission_that_lacks(
    world: World, method: str, code: str, action: str
) -> None:
    world.make()
    world.refused[method] = code
    if method == "list_tables":
        world.sources = {}
    with pytest.raises(ApplicationError, match=f"a permission lacks: .* {action} ") as refused:
        find_and_inspect(world)
    assert "the region" not in str(refused.value)


def test_a_time_to_live_is_pointed_out(world: World) -> None:
    world.make()
    world.dynamodb.update_time_to_live(
        TableName=world.sources["Item"],
        TimeToLiveSpecification={"Enabled": True, "AttributeName": "expiresAt"},
    )
    notes = [f.cure for f in world.inspect().findings if f.state == "note" and f.cure]
    assert len(notes) == 1
    assert "SourceLifetimeDays" in notes[0]


def test_the_api_is_found_by_amplifys_outputs(world: World, tmp_path: Path) -> None:
    api_id = world.make()
    url = world.appsync.get_graphql_api(apiId=api_id)["graphqlApi"]["uris"]["GRAPHQL"]
    outputs = tmp_path / "amplify_outputs.json"
    outputs.write_text(json.dumps({"data": {"url": url, "aws_region": "us-east-1"}}))
    assert region_of(outputs) == (url, "us-east-1")
    assert find_api(world.aws("appsync"), url) == api_id


def run(*arguments: str) -> tuple[int, str]:
    console = Console(file=io.StringIO(), width=160)
    code = attach.main(arguments, console=console)
    assert isinstance(console.file, io.StringIO)
    return code, console.file.getvalue()


def test_an_outputs_file_without_an_api_says_what_to_pass(tmp_path: Path) -> None:
    (tmp_path / "empty.json").write_text("{}")
    code, said = run(str(tmp_path / "empty.json"))
    assert code == 2
    assert "names no API" in said
    assert "make attach API_ID=… REGION=…" in said


def test_an_outputs_file_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    code, said = run(str(tmp_path / "nowhere.json"))
    assert code == 2
    assert "nowhere.json is not there" in said
    assert "names no API" not in said
    assert "make attach API_ID=… REGION=…" in said


def test_an_api_that_is_not_there_says_what_to_check(world: World) -> None:
    del world
    code, said = run("--api-id", "nowhere", "--region", "us-east-1")
    assert code == 2
    assert "profile and the region" in said


def test_the_command_reports_and_writes(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boto3.Session, "client", lambda _, service: world.aws(service))
    api_id = world.make(views={"Task": ""})
    config = tmp_path / "samconfig.toml"
    config.write_text(CONFIG)
    asked = ("--api-id", api_id, "--region", "us-east-1", "--env", "staging")
    code, said = run(*asked, "--config", str(config))
    assert code == 1
    assert "update-table" in said
    assert "samconfig.toml was written nevertheless" in said
    assert "TaskStreamArn" not in config.read_text()
    code, said = run(*asked, "--config", str(config), "--dry-run")
    assert code == 1
    assert "written" not in said


def test_overrides_are_merged_and_comments_kept(tmp_path: Path) -> None:
    config = tmp_path / "samconfig.toml"
    config.write_text(CONFIG)
    parameters = {"ItemStreamArn": "arn:new", "SourceTables": '{"work-orders":"Task"}'}
    attach.write(config, "staging", "eu-central-1", parameters)
    text = config.read_text()
    assert "# how staging is deployed" in text
    assert "# roles of its own" in text
    deploy = tomlkit.parse(text).unwrap()["staging"]["deploy"]["parameters"]
    assert deploy["region"] == "eu-central-1"
    assert deploy["parameter_overrides"] == [
        "ItemStreamArn=arn:new",
        'SourceTables="{\\"work-orders\\":\\"Task\\"}"',
        "GraceSeconds=300",
    ]
    attach.write(config, "staging", "eu-central-1", parameters)
    assert config.read_text() == text  # a second run changes nothing


def test_an_environment_that_is_not_there_is_added(tmp_path: Path) -> None:
    config = tmp_path / "samconfig.toml"
    config.write_text(CONFIG)
    attach.write(config, "prod", "us-east-1", {"GraphQLEndpoint": "https://x"})
    read = tomlkit.parse(config.read_text()).unwrap()
    assert read["prod"]["deploy"]["parameters"]["parameter_overrides"] == [
        "GraphQLEndpoint=https://x"
    ]
    assert read["staging"]["deploy"]["parameters"]["capabilities"] == ["CAPABILITY_IAM"]
