"""`make attach`: what it finds, what it says is missing, what it writes."""

import io
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
import tomlkit
from aggregated_metrics.core.errors import TransportError
from botocore.exceptions import ClientError
from moto import mock_aws

from aggregated_metrics_cli import documents
from aggregated_metrics_cli.application import Application, find_api, inspect, outputs_of
from aggregated_metrics_cli.diagnostics import conflicts
from aggregated_metrics_cli.errors import CommandError
from aggregated_metrics_cli.main import main
from testbench.templates import resources, template

MODELS = ("Item", "ScoreResult", "Task", "Evaluation", "AggregatedMetrics")
SCHEMA = (Path(__file__).parents[2] / "testbench" / "amplify" / "schema.graphql").read_bytes()


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
            operation = "".join(part.capitalize() for part in method.split("_"))
            raise ClientError({"Error": {"Code": code, "Message": "no"}}, operation)


def missing(operation: str) -> ClientError:
    return ClientError({"Error": {"Code": "NotFoundException", "Message": "no"}}, operation)


class AppSync:
    """moto's AppSync, with the calls that it does not have; `given` is what they answer."""

    def __init__(self, client: Any, sources: dict[str, str], given: dict[str, Any]) -> None:
        self.client, self.sources, self.given = client, sources, given
        self.schema = given.get("schema", SCHEMA)

    def get_graphql_api(self, apiId: str) -> dict[str, Any]:
        api = self.client.get_graphql_api(apiId=apiId)["graphqlApi"]
        return {"graphqlApi": api | self.given.get("api", {})}

    def get_api_cache(self, apiId: str) -> dict[str, Any]:
        if "cache" not in self.given:
            raise missing("GetApiCache")
        return {"apiCache": {"apiCachingBehavior": self.given["cache"]}}

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
                "dynamodbConfig": {"tableName": table, "versioned": self.given.get("versioned")},
            }
            for model, table in self.sources.items()
        ]
        return Pages({"dataSources": [{"name": "NONE_DS", "type": "NONE"}, *sources]})

    def get_introspection_schema(self, **_: Any) -> dict[str, Any]:
        return {"schema": io.BytesIO(self.schema)}


class Tables:
    """moto's DynamoDB; `changes` is what a table's description has besides."""

    def __init__(self, client: Any, changes: dict[str, dict[str, Any]]) -> None:
        self.client, self.changes = client, changes

    def describe_table(self, TableName: str) -> dict[str, Any]:
        table = self.client.describe_table(TableName=TableName)["Table"]
        return {"Table": table | self.changes.get(TableName.split("-", maxsplit=1)[0], {})}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)


class Functions:
    """What Lambda says of the account."""

    def __init__(self, available: int) -> None:
        self.available = available

    def get_account_settings(self) -> dict[str, Any]:
        return {"AccountLimit": {"UnreservedConcurrentExecutions": self.available}}


class Probe:
    """A client that keeps what it carries out; gives pages of record types."""

    def __init__(self, *pages: list[str], error: Exception | None = None) -> None:
        self.pages, self.error, self.asked = list(pages), error, list[str]()

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        self.asked.append(query)
        if self.error:
            raise self.error
        items = [{"recordType": name} for name in (self.pages.pop(0) if self.pages else ())]
        return {
            "listAggregatedMetrics": {"items": items, "nextToken": (self.pages and "more") or None}
        }


class World:
    """An application as Amplify makes it; a test takes something away first."""

    def __init__(self, clients: Callable[[str], Any]) -> None:
        self.appsync, self.dynamodb, self.sts = map(clients, ("appsync", "dynamodb", "sts"))
        self.given: dict[str, Any] = {}
        self.api_id = ""
        self.probe = Probe()
        self.available = 1000
        self.tables: dict[str, dict[str, Any]] = {}
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
        client: Any
        match service:
            case "dynamodb":
                client = Tables(self.dynamodb, self.tables)
            case "appsync":
                client = AppSync(self.appsync, self.sources, self.given)
            case "sts":
                client = self.sts
            case _:
                client = Functions(self.available)
        return Refusing(client, self.refused)

    def inspect(self) -> Application:
        return inspect(self.aws, self.api_id, lambda _: self.probe)


@pytest.fixture(scope="module", autouse=True)
def _schemas() -> Iterator[None]:
    """What differs between the tests is around the schema: building it takes longer than a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "schema_of", cache(documents.schema_of))
        yield


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, _clients: Callable[[str], Any]) -> Iterator[World]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "made-up-for-tests")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with mock_aws():
        yield World(_clients)


def notes(found: Application) -> dict[str, str]:
    return {f.what: f"{f.found}; {f.remedy}" for f in found.findings if f.state == "note"}


def wrong(found: Application) -> dict[str, str]:
    return {f.what: f"{f.found}; {f.remedy}" for f in found.findings if f.state == "wrong"}


def test_an_application_of_amplifys_form_is_ready(world: World) -> None:
    world.make()
    found = world.inspect()
    assert wrong(found) == {}
    parameters = found.parameters()
    assert parameters["GraphQLApiArn"].endswith(f"apis/{world.api_id}")
    for model in MODELS[:-1]:
        assert f"table/{model}-{world.api_id}-NONE/stream/" in parameters["StreamArns"]
        assert f"table/{model}-{world.api_id}-NONE" in parameters["TableArns"]
    assert parameters["ListingFieldArns"].count("/types/Query/fields/list") == len(MODELS) - 1
    assert "SourceTables" not in parameters


def test_the_parameters_are_the_templates(world: World) -> None:
    world.make(names={"Item": "things"})
    world.given["api"] = {"wafWebAclArn": "arn:acl"}
    world.probe = Probe(["scoreResultsByScore"])
    found = world.inspect().parameters()
    assert found.keys() <= template("template.yaml")["Parameters"].keys()
    assert found["MaxRequestBytes"] == "8000"


def test_a_table_of_another_name_is_named(world: World) -> None:
    world.make(names={"Task": "work-orders"})
    assert world.inspect().parameters()["SourceTables"] == '{"work-orders":"Task"}'


def test_a_model_that_is_not_there_is_left_out(world: World) -> None:
    world.make(without=("Evaluation",))
    found = world.inspect()
    assert found.is_ready
    assert not any("Evaluation" in value for value in found.parameters().values())


def test_nothing_to_count_empties_the_lists(world: World) -> None:
    """SAM keeps the deployed value of a parameter that is left out."""
    world.make(views=dict.fromkeys(MODELS, ""))
    parameters = world.inspect().parameters()
    assert {parameters[name] for name in ("StreamArns", "TableArns", "ListingFieldArns")} == {""}


def test_a_table_that_two_models_share_is_listed_once(world: World) -> None:
    """A loop over the same stream twice would be refused."""
    world.make()
    found = world.inspect()
    found.streams["Task"] = found.streams["Item"]
    arns = found.parameters()["StreamArns"].split(",")
    assert len(arns) == len(set(arns))


@pytest.mark.parametrize(
    ("changes", "what", "remedy"),
    [
        ({"iam": False}, "API: IAM", "additional authorization modes"),
        ({"views": {"Item": ""}}, "Item: stream", "StreamViewType=NEW_AND_OLD_IMAGES"),
        ({"views": {"Task": "KEYS_ONLY"}}, "Task: stream", "StreamEnabled=false"),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(
    world: World, changes: dict[str, Any], what: str, remedy: str
) -> None:
    world.make(**changes)
    bad = wrong(world.inspect())
    assert list(bad) == [what]
    assert remedy in bad[what]


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"api": {"visibility": "PRIVATE"}}, "API: visibility"),
        ({"api": {"resolverCountLimit": 20}}, "API: resolverCountLimit"),
        ({"api": {"queryDepthLimit": 2}}, "API: queryDepthLimit"),
        ({"cache": "FULL_REQUEST_CACHING"}, "API: cache"),
        ({"versioned": True}, "AggregatedMetrics: conflict detection"),
    ],
)
def test_a_setting_that_would_fail_a_batch_is_wrong(
    world: World, given: dict[str, Any], what: str
) -> None:
    world.make()
    world.given |= given
    assert list(wrong(world.inspect())) == [what]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (b"listTaskByAccountIdAndUpdatedAt", b"tasksByUpdate", "listTaskByAccountIdAndUpdatedAt"),
        (b"createAggregatedMetrics(", b"putAggregatedMetrics(", "createAggregatedMetrics"),
        (b"decisionCount: Int", b"decisions: Int", "decisionCount"),
    ],
)
def test_a_document_that_the_schema_refuses_is_named(
    world: World, old: bytes, new: bytes, says: str
) -> None:
    world.make()
    world.given["schema"] = SCHEMA.replace(old, new)
    found = world.inspect()
    assert list(wrong(found)) == ["API: documents"]
    assert any(says in each.found for each in found.findings if each.state == "wrong")


@pytest.mark.parametrize("code", ["", "GraphQLSchemaException", "NotFoundException"])
def test_an_api_without_a_schema_is_to_be_deployed(world: World, code: str) -> None:
    world.make()
    world.given["schema"] = b""
    if code:
        world.refused["get_introspection_schema"] = code
    assert list(wrong(world.inspect())) == ["API: schema"]


@pytest.mark.parametrize(
    ("method", "action"),
    [
        ("get_graphql_api", "appsync:GetGraphqlApi"),
        ("list_data_sources", "appsync:ListDataSources"),
        ("get_introspection_schema", "appsync:GetIntrospectionSchema"),
        ("describe_table", "dynamodb:DescribeTable"),
        ("list_tables", "dynamodb:ListTables"),
        ("get_account_settings", "lambda:GetAccountSettings"),
    ],
)
def test_what_may_not_be_read_names_the_permission_that_is_missing(
    world: World, method: str, action: str
) -> None:
    world.make()
    world.refused[method] = "AccessDeniedException"
    if method == "list_tables":
        world.sources = {}
    with pytest.raises(CommandError, match=f"a permission is missing: .* {action} "):
        world.inspect()


def test_rules_wider_than_reading_are_a_line(world: World) -> None:
    world.make()
    writes = re.compile(rb"((?:create|update|delete)AggregatedMetrics\((?:[^()]*)\): \w+)[^\n]*")
    world.given["schema"] = writes.sub(rb"\1 @aws_iam @aws_cognito_user_pools", SCHEMA)
    assert "signed-in users may" in notes(world.inspect())["AggregatedMetrics: rules"]
    world.given["schema"] = writes.sub(rb"\1 @aws_iam @aws_api_key", SCHEMA)
    assert "anyone with the API key may" in notes(world.inspect())["AggregatedMetrics: rules"]
    for narrow in (rb"\1 @aws_iam", rb"\1"):
        world.given["schema"] = writes.sub(narrow, SCHEMA)
        assert "AggregatedMetrics: rules" not in notes(world.inspect())


def test_expiry_and_replicas_are_a_line_each(world: World) -> None:
    world.make()
    world.dynamodb.update_time_to_live(
        TableName=world.sources["Item"],
        TimeToLiveSpecification={"Enabled": True, "AttributeName": "expiresAt"},
    )
    assert "SourceLifetimeDays" in notes(world.inspect())["Item: expiry"]
    assert "Item: replicas" not in notes(world.inspect())
    world.tables["Item"] = {"Replicas": [{"RegionName": "eu-west-1"}]}
    assert "subtracted" in notes(world.inspect())["Item: replicas"]


def test_models_that_detect_conflicts_are_a_line() -> None:
    origins: dict[str, Any] = {"Item": {"dynamodbConfig": {"versioned": True}}, "Task": {}}
    (finding,) = conflicts(origins)
    assert finding.state == "note"
    assert finding.found == "Item: a deletion only sets _deleted"


@pytest.mark.parametrize(("available", "said"), [(10, True), (16, False), (1000, False)])
def test_too_little_concurrency_is_a_line(world: World, available: int, said: bool) -> None:
    world.make()
    world.available = available
    assert ("Lambda: concurrency" in notes(world.inspect())) is said


def test_breakdowns_that_are_stored_are_switched_on(world: World) -> None:
    world.make()
    world.probe = Probe(["items"], ["feedbackItemsByScorecard", "tasks"])
    found = world.inspect()
    assert found.parameters()["Breakdowns"] == "feedbackItemsByScorecard"
    assert len(world.probe.asked) == 2
    assert all(query.startswith("query") for query in world.probe.asked)


def test_a_signed_query_that_is_refused_is_wrong(world: World) -> None:
    world.make()
    world.probe = Probe(error=TransportError("no answer", operation="AnyBuckets"))
    assert list(wrong(world.inspect())) == ["API: a signed query"]


def test_a_tables_key_becomes_a_parameter(world: World) -> None:
    world.make()
    world.tables["Item"] = {"SSEDescription": {"KMSMasterKeyArn": "arn:key"}}
    assert world.inspect().parameters()["SourceKeyArns"] == "arn:key"


def test_the_api_is_found_by_amplifys_outputs(world: World, tmp_path: Path) -> None:
    api_id = world.make()
    url = world.appsync.get_graphql_api(apiId=api_id)["graphqlApi"]["uris"]["GRAPHQL"]
    outputs = tmp_path / "amplify_outputs.json"
    outputs.write_text(json.dumps({"data": {"url": url, "aws_region": "us-east-1"}}))
    assert outputs_of(outputs) == (url, "us-east-1", None)
    custom = {"aggregatedMetrics": {"apiId": api_id}}
    data = {"url": "https://own.example.com", "aws_region": "us-east-1"}
    outputs.write_text(json.dumps({"data": data, "custom": custom}))
    assert outputs_of(outputs).api_id == api_id
    assert find_api(world.aws("appsync"), url) == api_id


def run(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "160")
        code = main(["attach", *arguments], environment={}, out=out, err=out)
    return code, out.getvalue()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("empty.json", "names no API"),
        ("nowhere.json", "nowhere.json is not there"),
        ("[locale]/x.json", "[locale]/x.json is not there"),
        ("[/beta]/x.json", "[/beta]/x.json is not there"),
    ],
)
def test_an_outputs_file_without_an_api_says_what_to_pass(
    tmp_path: Path, name: str, says: str
) -> None:
    (tmp_path / "empty.json").write_text("{}")
    code, said = run(f"{tmp_path}/{name}")
    assert code == 2
    assert says in said
    assert "make attach API_ID=… REGION=…" in said


def test_an_api_that_is_not_there_says_what_to_check(world: World) -> None:
    del world
    code, said = run("--api-id", "nowhere", "--region", "us-east-1")
    assert code == 2
    assert "profile and the region" in said


def test_the_command_reports_and_writes(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boto3.Session, "client", lambda _, service, **__: world.aws(service))
    api_id = world.make(views=dict.fromkeys(MODELS, ""))
    config = tmp_path / "samconfig.toml"
    asked = ("--api-id", api_id, "--region", "us-east-1", "--env", "staging")
    code, said = run(*asked, "--config", str(config))
    assert code == 1
    assert said.startswith("attach: account 123456789012, us-east-1\n")
    assert "update-table" in said
    assert "parameter_overrides of staging written" in said
    shared = tomlkit.parse(config.read_text()).unwrap()["staging"]["global"]["parameters"]
    assert shared["parameter_overrides"]["StreamArns"] == ""
    config.unlink()
    code, said = run(*asked, "--config", str(config), "--dry-run")
    assert code == 1
    assert not config.exists()
