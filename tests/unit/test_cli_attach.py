"""`make attach`: what it finds, what it says is missing, what it writes."""

import io
import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
import tomlkit
from aggregated_metrics.core.errors import AuthorizationError
from aggregated_metrics.core.record_types import MODELS as COUNTED
from botocore.exceptions import ClientError
from moto import mock_aws

from aggregated_metrics_cli import attach, documents
from aggregated_metrics_cli.application import Application, find_api, inspect, outputs_of
from aggregated_metrics_cli.findings import ApplicationError
from aggregated_metrics_cli.main import main
from testbench.templates import resources, template

MODELS = ("Item", "ScoreResult", "Task", "Evaluation", "AggregatedMetrics")
SCHEMA = (Path(__file__).parents[2] / "testbench" / "amplify" / "schema.graphql").read_bytes()
GEN2 = """#if( $util.authType() == "IAM Authorization" && \
$util.isNull($ctx.identity.cognitoIdentityPoolId) ) #set( $isAuthorized = true ) #end"""
"""What Gen 2 generates, in short."""
GEN1 = """#foreach( $adminRole in $ctx.stash.adminRoles )
#if( $ctx.identity.userArn.contains($adminRole) ) #return($util.toJson({})) #end #end"""
CONFIG = """\
version = 0.1

# how staging is deployed
[staging.deploy.parameters]
capabilities = ["CAPABILITY_IAM"] # roles of its own
parameter_overrides = "GraceSeconds=300 StreamArns=old"
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

    def get_resolver(self, apiId: str, typeName: str, fieldName: str) -> dict[str, Any]:
        assert (typeName, fieldName) == ("Query", "listAggregatedMetrics")
        return {"resolver": {"pipelineConfig": {"functions": ["auth"]}} | self.given.get("ttl", {})}

    def get_function(self, apiId: str, functionId: str) -> dict[str, Any]:
        template = self.given.get("template", GEN2)
        return {"functionConfiguration": {"requestMappingTemplate": template}}

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


class Others:
    """What Lambda, KMS and WAF say."""

    def __init__(self, world: "World") -> None:
        self.world = world

    def get_paginator(self, name: str) -> Pages:
        assert name == "list_event_source_mappings"
        arn = "arn:aws:lambda:us-east-1:123456789012:function:{}"
        mappings = [{"FunctionArn": arn.format(name)} for name in self.world.readers]
        return Pages({"EventSourceMappings": mappings})

    def describe_key(self, KeyId: str) -> dict[str, Any]:
        return {"KeyMetadata": self.world.key}

    def get_web_acl(self, Name: str, Id: str, Scope: str) -> dict[str, Any]:
        assert (Name, Id, Scope) == ("app-acl", "0f-1", "REGIONAL")
        return {"WebACL": self.world.acl}


class World:
    """An application as Amplify makes it; a test takes something away first."""

    def __init__(self, clients: Callable[[str], Any]) -> None:
        self.appsync, self.dynamodb, self.sts = map(clients, ("appsync", "dynamodb", "sts"))
        self.given: dict[str, Any] = {}
        self.api_id = ""
        self.readers: list[str] = []
        self.key: dict[str, Any] = {"KeyManager": "AWS", "Enabled": True}
        self.acl: dict[str, Any] = {}
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
                client = Others(self)
        return Refusing(client, self.refused)

    def inspect(self) -> Application:
        return inspect(self.aws, self.api_id)


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


def find_and_inspect(world: World) -> Application:
    url = world.appsync.get_graphql_api(apiId=world.api_id)["graphqlApi"]["uris"]["GRAPHQL"]
    return inspect(world.aws, find_api(world.aws("appsync"), url))


def wrong(found: Application) -> dict[str, str]:
    return {f.what: f.remedy for f in found.findings if f.state == "wrong"}


def test_an_application_of_amplifys_form_is_ready(world: World) -> None:
    world.make()
    found = world.inspect()
    assert wrong(found) == {}
    assert found.is_ready
    parameters = found.parameters()
    assert parameters["GraphQLApiArn"].endswith(f"apis/{world.api_id}")
    streams = parameters["StreamArns"].split(",")
    assert parameters["TableArns"].split(",") == [arn.split("/stream/")[0] for arn in streams]
    tables = [arn.split("/")[1] for arn in streams]
    assert sorted(tables) == sorted(f"{model}-{world.api_id}-NONE" for model in MODELS[:-1])
    fields = [arn.rpartition("/")[2] for arn in parameters["ListingFieldArns"].split(",")]
    listings = [COUNTED[table.split("-")[0]].listing for table in tables]
    assert fields == [listing[0] for listing in listings if listing]
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
def test_what_is_missing_is_named_with_its_remedy(
    world: World, changes: dict[str, Any], what: str, remedy: str
) -> None:
    world.make(**changes)
    bad = wrong(world.inspect())
    assert list(bad) == [what]
    assert remedy in bad[what]


def test_a_query_of_another_name_is_found_in_the_schema(world: World) -> None:
    world.make()
    world.given["schema"] = SCHEMA.replace(b"listTaskByAccountIdAndUpdatedAt", b"tasksByUpdate")
    bad = [f for f in world.inspect().findings if f.state == "wrong"]
    assert [f.said for f in bad] == ["the schema has no listTaskByAccountIdAndUpdatedAt"]
    assert "queryField" in bad[0].remedy


def test_a_missing_mutation_has_a_remedy_of_its_own(world: World) -> None:
    world.make()
    world.given["schema"] = SCHEMA.replace(b"createAggregatedMetrics(", b"putAggregatedMetrics(")
    bad = [f for f in world.inspect().findings if f.state == "wrong"]
    assert [f.said for f in bad] == ["the schema has no createAggregatedMetrics"]
    assert "disableOperations" in bad[0].remedy
    assert "queryField" not in bad[0].remedy


@pytest.mark.parametrize("code", ["", "GraphQLSchemaException", "NotFoundException"])
def test_an_api_without_a_schema_is_to_be_deployed(world: World, code: str) -> None:
    world.make()
    world.given["schema"] = b""
    if code:
        world.refused["get_introspection_schema"] = code
    bad = [f for f in world.inspect().findings if f.state == "wrong"]
    assert [(f.said, f.remedy) for f in bad] == [("the API has no schema", "deploy it")]


def test_a_schema_that_may_not_be_read_is_a_note(world: World) -> None:
    world.make()
    world.refused["get_introspection_schema"] = "AccessDeniedException"
    found = world.inspect()
    assert found.is_ready
    assert any("GetIntrospectionSchema" in f.remedy for f in found.findings if f.state == "note")


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
def test_what_may_not_be_read_names_the_permission_that_is_missing(
    world: World, method: str, code: str, action: str
) -> None:
    world.make()
    world.refused[method] = code
    if method == "list_tables":
        world.sources = {}
    with pytest.raises(ApplicationError, match=f"a permission is missing: .* {action} ") as refused:
        find_and_inspect(world)
    assert "the region" not in str(refused.value)


def test_a_time_to_live_is_pointed_out(world: World) -> None:
    world.make()
    world.dynamodb.update_time_to_live(
        TableName=world.sources["Item"],
        TimeToLiveSpecification={"Enabled": True, "AttributeName": "expiresAt"},
    )
    notes = {f.what: f.remedy for f in world.inspect().findings if f.state == "note"}
    assert "SourceLifetimeDays" in notes["Item: expiry"]


def test_the_api_is_found_by_amplifys_outputs(world: World, tmp_path: Path) -> None:
    api_id = world.make()
    url = world.appsync.get_graphql_api(apiId=api_id)["graphqlApi"]["uris"]["GRAPHQL"]
    outputs = tmp_path / "amplify_outputs.json"
    outputs.write_text(json.dumps({"data": {"url": url, "aws_region": "us-east-1"}}))
    assert outputs_of(outputs) == (url, "us-east-1", None)
    custom = {"aggregatedMetrics": {"apiId": api_id}}
    outputs.write_text(
        json.dumps(
            {
                "data": {"url": "https://own.example.com", "aws_region": "us-east-1"},
                "custom": custom,
            }
        )
    )
    assert outputs_of(outputs).api_id == api_id
    assert find_api(world.aws("appsync"), url) == api_id


def run(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "160")
        code = main(["attach", *arguments], environment={}, out=out, err=out)
    return code, out.getvalue()


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
    monkeypatch.setattr(boto3.Session, "client", lambda _, service, **__: world.aws(service))
    api_id = world.make(views=dict.fromkeys(MODELS, ""))
    config = tmp_path / "samconfig.toml"
    config.write_text(CONFIG)
    asked = ("--api-id", api_id, "--region", "us-east-1", "--env", "staging")
    code, said = run(*asked, "--config", str(config))
    assert code == 1
    assert "update-table" in said
    assert "parameter_overrides of staging written" in said
    overrides = tomlkit.parse(config.read_text()).unwrap()["staging"]["global"]["parameters"]
    assert 'StreamArns=""' in overrides["parameter_overrides"]  # the form that SAM takes
    code, said = run(*asked, "--config", str(config), "--dry-run")
    assert code == 1
    assert "written" not in said


def test_overrides_are_merged_and_comments_kept(tmp_path: Path) -> None:
    config = tmp_path / "samconfig.toml"
    config.write_text(CONFIG)
    parameters = {"StreamArns": "arn:new,arn:old", "SourceTables": '{"work-orders":"Task"}'}
    attach.write(config, "staging", "eu-central-1", parameters)
    text = config.read_text()
    assert "# how staging is deployed" in text
    assert "# roles of its own" in text
    staging = tomlkit.parse(text).unwrap()["staging"]
    assert staging["deploy"]["parameters"] == {"capabilities": ["CAPABILITY_IAM"]}
    shared = staging["global"]["parameters"]  # the build reads the architecture there
    assert shared["region"] == "eu-central-1"
    assert shared["parameter_overrides"] == [
        "StreamArns=arn:new,arn:old",
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
    assert read["prod"]["global"]["parameters"]["parameter_overrides"] == [
        "GraphQLEndpoint=https://x"
    ]
    assert read["staging"]["deploy"]["parameters"]["capabilities"] == ["CAPABILITY_IAM"]


API = "arn:aws:wafv2:us-east-1:123456789012:regional/webacl/app-acl/0f-1"
COMMON = {"ManagedRuleGroupStatement": {"Name": "AWSManagedRulesCommonRuleSet"}}


@pytest.mark.parametrize(
    ("given", "what"),
    [
        ({"api": {"visibility": "PRIVATE"}}, "API: visibility"),
        ({"api": {"resolverCountLimit": 49}}, "API: resolver limit"),
        ({"api": {"queryDepthLimit": 2}}, "API: query depth"),
        ({"cache": "FULL_REQUEST_CACHING"}, "API: cache"),
        ({"cache": "PER_RESOLVER_CACHING", "ttl": {"cachingConfig": {"ttl": 60}}}, "API: cache"),
        ({"template": GEN1}, "API: resolvers"),
        ({"versioned": True}, "API: conflict detection"),
    ],
)
def test_a_setting_that_would_fail_a_batch_is_wrong(
    world: World, given: dict[str, Any], what: str
) -> None:
    world.make()
    world.given = given
    assert list(wrong(world.inspect())) == [what]


@pytest.mark.parametrize(
    "given",
    [
        {"api": {"visibility": "GLOBAL", "resolverCountLimit": 50, "queryDepthLimit": 75}},
        {"api": {"resolverCountLimit": 0, "queryDepthLimit": 0}},
        {"cache": "PER_RESOLVER_CACHING"},
        {"template": GEN2 + GEN1},
        {"versioned": False},
    ],
)
def test_a_setting_that_fails_no_batch_is_not_wrong(world: World, given: dict[str, Any]) -> None:
    world.make()
    world.given = given
    assert wrong(world.inspect()) == {}


def test_a_firewall_that_blocks_large_bodies_makes_requests_small(world: World) -> None:
    world.make()
    assert "MaxRequestBytes" not in world.inspect().parameters()
    world.given = {"api": {"wafWebAclArn": API}}
    world.acl = {"Rules": [{"Statement": COMMON, "OverrideAction": {"None": {}}}]}
    assert world.inspect().parameters()["MaxRequestBytes"] == "8000"
    world.acl = {"Rules": [{"Statement": COMMON, "OverrideAction": {"Count": {}}}]}
    assert "MaxRequestBytes" not in world.inspect().parameters()
    world.refused["get_web_acl"] = "AccessDeniedException"
    assert world.inspect().parameters()["MaxRequestBytes"] == "8000"


def test_a_customers_key_becomes_a_parameter(world: World) -> None:
    world.make()
    arn = "arn:aws:kms:us-east-1:123456789012:key/1"
    world.tables["Item"] = {"SSEDescription": {"KMSMasterKeyArn": arn}}
    assert "SourceKeyArns" not in world.inspect().parameters()
    world.key["KeyManager"] = "CUSTOMER"
    assert world.inspect().parameters()["SourceKeyArns"] == arn
    world.key["Enabled"] = False
    assert "Item: key" in wrong(world.inspect())


@pytest.mark.parametrize(
    ("readers", "replicas", "state"),
    [
        (["aggregated-metrics-StreamAggregatorFunction-1"], [], None),
        (["search-index"], [], "note"),
        (["search-index"], [{"RegionName": "eu-west-1"}], "wrong"),
        (["search-index", "audit"], [], "wrong"),
    ],
)
def test_other_readers_of_a_stream_are_counted(
    world: World, readers: list[str], replicas: list[Any], state: str | None
) -> None:
    world.make()
    world.readers = readers
    world.tables["Item"] = {"Replicas": replicas}
    found = [f.state for f in world.inspect().findings if f.what == "Item: readers"]
    assert found == ([state] if state else [])


def put(world: World, *rows: dict[str, str]) -> None:
    for number, row in enumerate(rows):
        item = {name: {"S": value} for name, value in row.items()} | {"id": {"S": str(number)}}
        world.dynamodb.put_item(TableName=world.sources["Item"], Item=item)


def test_sampled_rows_tell_whether_rows_can_be_counted(world: World) -> None:
    good = {"accountId": "a", "createdAt": "2026-11-22T10:00:00Z"}
    bad = {"accountId": "a", "createdAt": "yesterday, at Ann's"}
    world.make()
    put(world, good, bad)
    (sampled,) = [f for f in world.inspect().findings if f.what == "Item: rows"]
    assert sampled.state == "note"
    assert "1 of 2" in sampled.said
    assert "Ann" not in sampled.said
    put(world, bad, bad)
    assert "Item: rows" in wrong(world.inspect())


def test_a_field_of_another_type_is_found_before_a_batch_fails(world: World) -> None:
    world.make()
    world.given["schema"] = SCHEMA.replace(b"decisionCount: Int", b"decisions: Int")
    (document, *_) = [f for f in world.inspect().findings if f.state == "wrong"]
    assert document.what == "API: documents"
    assert "decisionCount" in document.said


class Probe:
    """A client that keeps what it carries out."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.asked = error, list[str]()

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        self.asked.append(query)
        if self.error:
            raise self.error
        return {}


def test_the_queries_are_tried_signed_and_nothing_is_written(world: World) -> None:
    world.make()
    probe = Probe()
    found = inspect(world.aws, world.api_id, lambda _: probe)
    assert found.is_ready
    assert len(probe.asked) > len(MODELS)
    assert all(query.startswith("query") for query in probe.asked)
    refused = Probe(AuthorizationError("HTTP 403: no", operation="LoadHours"))
    found = inspect(world.aws, world.api_id, lambda _: refused)
    assert list(wrong(found)) == ["API: a signed query"]


def test_no_cure_is_a_command_that_replaces_more_than_it_says(world: World) -> None:
    world.make(iam=False, views={"Item": "", "Task": "KEYS_ONLY"})
    for finding in world.inspect().findings:
        assert "update-graphql-api" not in finding.remedy


def test_a_stream_that_is_off_is_turned_on_in_amplifys_own_way_too(world: World) -> None:
    world.make(views={"Item": ""})
    remedy = wrong(world.inspect())["Item: stream"]
    assert "amplifyDynamoDbTables['Item'].streamSpecification" in remedy
    assert "docs/amplify.md" in remedy
    snippet = (Path(__file__).parents[2] / "docs" / "amplify.md").read_text()
    assert "amplifyDynamoDbTables[model].streamSpecification" in snippet


def test_the_command_names_the_account_and_the_region(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boto3.Session, "client", lambda _, service, **__: world.aws(service))
    config = str(tmp_path / "samconfig.toml")
    _, said = run("--api-id", world.make(), "--region", "us-east-1", "--config", config)
    assert said.startswith("attach: account 123456789012, us-east-1")
