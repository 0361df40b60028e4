"""`attach`: what it finds, what it says is missing, what it writes."""

import hashlib
import io
import json
import re
import tomllib
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
import tomlkit
from aggregated_metrics.core.declarations import Document
from aggregated_metrics.core.errors import TransportError
from aggregated_metrics.core.models import BUILT_IN
from botocore.exceptions import ClientError
from graphql import FieldNode, parse

from aggregated_metrics_cli import declared as declarations
from aggregated_metrics_cli import documents
from aggregated_metrics_cli.application import Application, find_api, inspect, outputs_of
from aggregated_metrics_cli.diagnostics import DEEPEST
from aggregated_metrics_cli.errors import CommandError
from aggregated_metrics_cli.main import main
from aggregated_metrics_cli.model_file import as_variable
from testbench.fakes.models import SCHEMA_PATH
from testbench.templates import template
from tests import reviews

API, SCHEMA = "abcdefgh", SCHEMA_PATH.read_text() + reviews.SDL
MODELS = ("Item", "ScoreResult", "Task", "Evaluation", "AggregatedMetrics", "Review")
URL = "https://abc.appsync-api.us-east-1.amazonaws.com/graphql"
ARN = f"arn:aws:appsync:us-east-1:123456789012:apis/{API}"
WRITES = re.compile(r"((?:create|update|delete)AggregatedMetrics\((?:[^()]*)\): \w+)[^\n]*")


def table(model: str, view: str = "NEW_AND_OLD_IMAGES") -> dict[str, Any]:
    name = f"{model}-{API}-NONE"
    stream = {"StreamEnabled": True, "StreamViewType": view} if view else {}
    arn = f"arn:aws:dynamodb:us-east-1:123456789012:table/{name}/stream/2026"
    return {"TableName": name, "StreamSpecification": stream, "LatestStreamArn": arn}


class Account:
    """An application as Amplify makes it, and what AWS says of it; a test changes it first.

    It is every client of boto3's, and the API's.

    Attributes:
        expiring: the models whose tables have a time-to-live.
        refused: method to the code of AWS's error.
        record_types: of the stored buckets, a page each.
    """

    def __init__(self, **changes: Any) -> None:
        self.api: dict[str, Any] = {
            "arn": ARN,
            "apiId": API,
            "uris": {"GRAPHQL": URL},
            "authenticationType": "API_KEY",
            "additionalAuthenticationProviders": [{"authenticationType": "AWS_IAM"}],
        }
        self.schema, self.executions = SCHEMA, 1000
        self.tables = {model: table(model) for model in MODELS}
        self.has_sources = True
        self.expiring: set[str] = set()
        self.refused = {"get_api_cache": "NotFoundException"}
        self.record_types: list[str] = []
        for name, change in changes.items():
            old = getattr(self, name)
            setattr(self, name, old | change if isinstance(old, dict) else change)

    def client(self, service: str, **_: Any) -> Any:
        del service
        return self

    def get_paginator(self, method: str) -> Any:
        return SimpleNamespace(paginate=lambda **_: [getattr(self, method)()])

    def __getattr__(self, method: str) -> Any:
        def ask(**asked: Any) -> Any:
            if self.refused.get(method) or asked.get("apiId", API) != API:
                code = self.refused.get(method, "NotFoundException")
                raise ClientError({"Error": {"Code": code, "Message": "no"}}, method)
            return self._answers(asked.get("TableName", ""))[method]

        return ask

    def _answers(self, table: str) -> dict[str, Any]:
        names = {model: each["TableName"] for model, each in self.tables.items()}
        kind = {"type": "AMAZON_DYNAMODB"}
        sources = [
            kind | {"name": f"{model}Table", "dynamodbConfig": {"tableName": name}}
            for model, name in names.items()
        ]
        expires = "ENABLED" if table.partition("-")[0] in self.expiring else "DISABLED"
        given = {"TimeToLiveStatus": expires, "AttributeName": "expiresAt"}
        described = [each for each in self.tables.values() if each["TableName"] == table]
        return {
            "get_caller_identity": {"Account": "123456789012"},
            "get_graphql_api": {"graphqlApi": self.api},
            "list_graphql_apis": {"graphqlApis": [self.api]},
            "get_api_cache": {"apiCache": {"apiCachingBehavior": "FULL_REQUEST_CACHING"}},
            "get_introspection_schema": {"schema": io.BytesIO(self.schema.encode())},
            "list_data_sources": {
                "dataSources": [{"type": "NONE"}, *sources][: None if self.has_sources else 1]
            },
            "list_tables": {"TableNames": [*names.values()]},
            "describe_table": {"Table": next(iter(described), None)},
            "describe_time_to_live": {"TimeToLiveDescription": given},
            "get_account_settings": {
                "AccountLimit": {"UnreservedConcurrentExecutions": self.executions}
            },
        }

    def execute(self, query: str, variables: Any = None) -> Any:
        assert query.startswith("query")
        if "execute" in self.refused:
            raise TransportError("no answer", operation="AnyBuckets")
        at = int(variables["token"] or 0)
        items = [{"recordType": name} for name in self.record_types[at : at + 1]]
        more = str(at + 1) if at + 1 < len(self.record_types) else None
        return {"listAggregatedMetrics": {"items": items, "nextToken": more}}

    def inspect(self, document: Document | None = None) -> Application:
        return inspect(self.client, API, lambda _: self, document)


@pytest.fixture(scope="module", autouse=True)
def _schemas() -> Iterator[None]:
    """What differs between the tests is around the schema: building it takes longer than a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "built", cache(documents.built))
        yield


@pytest.fixture
def account() -> Account:
    return Account()


def said(found: Application, state: str) -> dict[str, str]:
    return {f.what: f"{f.found}; {f.remedy}" for f in found.findings if f.state == state}


wrong, notes = partial(said, state="wrong"), partial(said, state="note")


@pytest.mark.parametrize("has_sources", [True, False])
def test_an_application_of_amplifys_form_is_ready(account: Account, has_sources: bool) -> None:
    account.has_sources = has_sources
    found = account.inspect()
    assert wrong(found) == {}
    parameters = found.parameters()
    assert parameters["GraphQLApiArn"] == ARN
    for model in MODELS[:4]:
        assert f"table/{model}-{API}-NONE/stream/" in parameters["StreamArns"]
        assert f"table/{model}-{API}-NONE" in parameters["TableArns"]
    assert parameters["ListingFieldArns"].count("/types/Query/fields/list") == 4
    assert "Review" not in str(parameters)
    assert "SourceTables" not in parameters
    assert parameters["Models"] == ""


def test_the_parameters_are_the_templates(account: Account) -> None:
    account.tables["Item"] |= {
        "TableName": "things",
        "SSEDescription": {"KMSMasterKeyArn": "arn:key"},
    }
    account.api["wafWebAclArn"] = "arn:acl"
    account.record_types = ["scoreResultsByScore"]
    found = account.inspect().parameters()
    assert found.keys() == {
        *("GraphQLEndpoint", "GraphQLApiArn", "StreamArns", "TableArns", "ListingFieldArns"),
        *("Models", "SourceTables", "SourceKeyArns", "MaxRequestBytes", "Breakdowns"),
    }
    assert found.keys() <= template("template.yaml")["Parameters"].keys()
    assert found["MaxRequestBytes"] == "8000"
    assert found["SourceTables"] == '{"things":"Item"}'
    assert found["SourceKeyArns"] == "arn:key"


def test_nothing_to_count_empties_the_lists() -> None:
    """SAM keeps the deployed value of a parameter that is left out."""
    account = Account(tables={model: table(model, "") for model in MODELS})
    parameters = account.inspect().parameters()
    assert {parameters[name] for name in ("StreamArns", "TableArns", "ListingFieldArns")} == {""}


@pytest.mark.parametrize(
    ("before", "stored", "after"),
    [
        ({}, "tasksByScore", None),
        ({}, "feedbackItemsByScorecard", "feedbackItemsByScorecard"),
        ({"Breakdowns": "scoreResultsByScore"}, "items", "scoreResultsByScore"),
        ({"Breakdowns": "all"}, "feedbackItemsByScorecard", "all"),
        ({"Breakdowns": "reviewsByScore"}, "items", ""),
    ],
)
def test_breakdowns_that_are_stored_are_switched_on_and_only_unknown_ones_off(
    account: Account, before: dict[str, str], stored: str, after: str | None
) -> None:
    account.record_types = ["items", stored, "tasks"]
    assert account.inspect().parameters(before).get("Breakdowns") == after


@pytest.mark.parametrize(
    ("changes", "what", "remedy"),
    [
        ({"api": {"additionalAuthenticationProviders": []}}, "API: IAM", "authorization modes"),
        ({"api": {"visibility": "PRIVATE"}}, "API: visibility", "global"),
        ({"api": {"resolverCountLimit": 20}}, "API: resolverCountLimit", "50"),
        ({"api": {"queryDepthLimit": 2}}, "API: queryDepthLimit", "3"),
        ({"refused": {"get_api_cache": ""}}, "API: cache", "PER_RESOLVER"),
        ({"tables": {"Item": table("Item", "")}}, "Item: stream", "StreamViewType=NEW_AND_OLD"),
        ({"tables": {"Task": table("Task", "KEYS_ONLY")}}, "Task: stream", "StreamEnabled=false"),
        ({"refused": {"execute": "any"}}, "API: a signed query", "do what it says"),
        (
            {"schema": SCHEMA.replace("decisionCount: Int", "decisionCount: Int _version: Int", 1)},
            *("AggregatedMetrics: conflict detection", ""),
        ),
        *(
            ({"schema": SCHEMA.replace(name, f"my{name}")}, "API: documents", name)
            for name in (
                "listTaskByAccountIdAndUpdatedAt",
                "createAggregatedMetrics",
                "decisionCount",
            )
        ),
    ],
)
def test_what_would_fail_a_batch_is_wrong_and_has_a_remedy(
    changes: dict[str, Any], what: str, remedy: str
) -> None:
    bad = [each for each in Account(**changes).inspect().findings if each.state == "wrong"]
    assert {each.what for each in bad} == {what}
    assert any(remedy in f"{each.found}; {each.remedy}" for each in bad)


def test_no_document_selects_deeper_than_the_limit_that_attach_demands() -> None:
    def depth(node: Any) -> int:
        selected = node.selection_set.selections if node.selection_set else ()
        below = max((depth(each) for each in selected if isinstance(each, FieldNode)), default=0)
        return below + (1 if not selected or below else 2)  # a fragment stands for its fields

    for text in documents.documents(BUILT_IN):
        (operation, *_) = parse(text).definitions
        fields: Any = operation
        assert max(map(depth, fields.selection_set.selections)) <= DEEPEST


@pytest.mark.parametrize("code", ["", "GraphQLSchemaException", "NotFoundException"])
def test_an_api_without_a_schema_is_to_be_deployed(account: Account, code: str) -> None:
    account.schema = ""
    account.refused |= {"get_introspection_schema": code} if code else {}
    with pytest.raises(CommandError, match="deploy it"):
        account.inspect()


def test_rules_wider_than_reading_are_a_line(account: Account) -> None:
    for directives, says in (
        ("@aws_iam @aws_cognito_user_pools", "signed-in users may"),
        ("@aws_iam @aws_api_key", "anyone with the API key may"),
        ("@aws_iam", ""),
        ("", ""),
    ):
        account.schema = WRITES.sub(rf"\1 {directives}", SCHEMA)
        found = notes(account.inspect()).get("AggregatedMetrics: rules", "")
        assert (says in found, bool(found)) == (True, bool(says))


def test_expiry_replicas_and_too_little_concurrency_are_a_line_each() -> None:
    what = {"Item: expiry", "Item: replicas", "Lambda: concurrency"}
    assert not what & notes(Account(executions=16).inspect()).keys()
    replicated = table("Item") | {"Replicas": [{"RegionName": "eu-west-1"}]}
    account = Account(expiring={"Item"}, executions=10, tables={"Item": replicated})
    found = notes(account.inspect())
    assert "SourceLifetimeDays" in found["Item: expiry"]
    assert "subtracted" in found["Item: replicas"]
    assert "higher quota" in found["Lambda: concurrency"]


def declared(**changes: Any) -> Document:
    """The declaration of docs/custom-models.md, with changes."""
    content = json.loads(as_variable(reviews.document()))
    model = content["models"][0] | changes
    kept = {name: value for name, value in model.items() if value is not None}
    return Document.of_variable(json.dumps({"models": [kept]}))


def test_a_declared_model_is_attached_like_a_built_in_one(account: Account) -> None:
    account.record_types = ["reviewsByScore"]
    found = account.inspect(declared())
    assert wrong(found) == {}
    parameters = found.parameters()
    assert f"table/Review-{API}-NONE/stream/" in parameters["StreamArns"]
    assert f"{ARN}/types/Query/fields/listReviewByTenantIdAndUpdatedAt" in (
        parameters["ListingFieldArns"].split(",")
    )
    assert parameters["Breakdowns"] == "reviewsByScore"
    assert Document.of_variable(parameters["Models"]) == declared()


def test_attach_fills_in_what_the_schema_knows(account: Account) -> None:
    """Whatever the file says of it."""
    account.schema = SCHEMA.replace(
        "state: String", "state: String!\n  rating: Float!\n  seen: Boolean", 1
    ).replace("createdAt: AWSDateTime updatedAt", "createdAt: AWSDateTime! updatedAt", 1)
    measures = {
        "cost": {"dollars": "rating"},
        "errorCount": {"equals": {"state": "BROKEN", "seen": "true"}},
    }
    found = account.inspect(declared(measures=measures, required=["usage"], types={"state": "Int"}))
    (model,) = found.document.models
    assert model.required == ("createdAt", "rating", "state")
    assert model.types == {"rating": "Float", "seen": "Boolean"}


def test_built_in_models_declare_what_attach_would_fill_in() -> None:
    content = [
        model.declaration.model_dump(mode="json", exclude_defaults=True) for model in BUILT_IN
    ]
    document = Document.model_validate({"models": content})
    schema = documents.built(SCHEMA)
    for declaration in declarations.completed(document, schema)[0].models:
        model = BUILT_IN[declaration.name]
        assert {*declaration.required, "createdAt"} == {*model.declaration.required, "createdAt"}
        assert declaration.types == model.declaration.types


def test_models_of_which_deletions_only_mark_rows_are_found(account: Account) -> None:
    account.schema = re.sub(r"(type (Item|Review) [^{]*{)", r"\1 _deleted: Boolean", SCHEMA)
    found = account.inspect(declared())
    assert found.document.softDeletes == ("Item", "Review")
    assert Document.of_variable(found.parameters()["Models"]) == found.document
    assert "Item, Review: a deletion only sets" in notes(found)["conflict detection"]
    assert "_deleted" in found.models["Item"].selected


WORDS = "measures.wordCount"


@pytest.mark.parametrize(
    ("changes", "schema", "key", "says"),
    [
        ('account = "tenant"', "", "account", "has no attribute tenant; write tenantId"),
        ('time = "state"', "state: Int", "time", "state is Int; name an attribute that is AWSDate"),
        ('identifier = "ref"', "", "identifier", 'named by id; write identifier = ["id"]'),
        ("split.usage.a = 'aReviews'", "", "split", "usage is AWSJSON"),
        ("", "scoreId: [String]", "breakdowns.reviewsByScore", "scoreId is [String]"),
        ('measures.cost.dollars = "usage"', "", "measures.cost", "name a key within it"),
        (f'{WORDS}.number = "state.words"', "", WORDS, 'write "state" alone'),
        (f'{WORDS}.number = "state"', "state: Boolean", WORDS, "an attribute that is Int or Float"),
        (f'{WORDS}.equals.state = "BROKE"', "state: State", WORDS, "never 'BROKE'; write BROKEN"),
        ('listing = "createdAt"', "", "listing", "write listing = { by = "),
    ],
)
def test_a_declaration_that_the_schema_contradicts_names_the_key_and_what_to_write(
    account: Account, changes: str, schema: str, key: str, says: str
) -> None:
    plain = f"{schema.partition(':')[0]}: String" if schema else "-"
    account.schema = f"{SCHEMA.replace(plain, schema)} enum State {{ OK BROKEN }}"
    bad = wrong(account.inspect(declared(**tomllib.loads(changes))))
    assert says in bad[f"Review: {key}"]


@pytest.mark.parametrize(("number", "fits"), [(40, True), (90, False)])
def test_declarations_that_are_too_large_for_a_parameter_are_wrong(
    account: Account, number: int, *, fits: bool
) -> None:
    hashes = [hashlib.sha256(f"{n}".encode()).hexdigest() for n in range(number)]
    split = {"state": {text: f"reviews{text[:30]}" for text in hashes}}
    found = account.inspect(declared(split=split))
    assert (len(found.parameters()["Models"]) <= 4_096) is fits
    assert ("Models" not in wrong(found)) is fits


def test_a_declared_model_that_the_schema_does_not_have_is_named(account: Account) -> None:
    bad = wrong(account.inspect(declared(name="Reveiw")))
    assert bad["Reveiw: name"] == "the schema has no model Reveiw; write Review"
    del account.tables["Review"]
    assert list(wrong(account.inspect(declared()))) == ["Review"]


def test_a_model_without_a_listing_is_told_which_one_it_could_have(account: Account) -> None:
    found = account.inspect(declared(listing=None))
    assert wrong(found) == {}
    assert "listReviewByTenantIdAndUpdatedAt" in notes(found)["Review: listing"]


def test_the_api_is_found_by_amplifys_outputs(account: Account, tmp_path: Path) -> None:
    outputs = tmp_path / "amplify_outputs.json"
    outputs.write_text(json.dumps({"data": {"url": URL}}))
    assert outputs_of(outputs) == (URL, "us-east-1", None)
    custom = {"aggregatedMetrics": {"apiId": API}}
    data = {"url": "https://own.example.com", "aws_region": "us-east-1"}
    outputs.write_text(json.dumps({"data": data, "custom": custom}))
    assert outputs_of(outputs)[2] == API
    assert find_api(account, URL) == API


def run(*arguments: str) -> tuple[int, str]:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "160")
        code = main(["attach", *arguments], environment={}, out=out, err=out)
    return code, out.getvalue()


def test_an_outputs_file_without_an_api_says_what_to_pass_and_an_unknown_api_what_to_check(
    asked: tuple[str, ...], tmp_path: Path
) -> None:
    code, said = run(*asked, "--api-id", "nowhere")
    assert (code, "profile and the region" in said) == (2, True)
    (tmp_path / "empty.json").write_text("{}")
    for name, says in (("empty.json", "names no API"), ("[/b]/x.json", "[/b]/x.json is not there")):
        code, said = run(f"{tmp_path}/{name}")
        assert (code, says in said, "make attach API_ID=… REGION=…" in said) == (2, True, True)


@pytest.fixture
def asked(account: Account, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[str, ...]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "made-up-for-tests")
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(boto3.Session, "client", lambda _, service, **__: account.client(service))
    account.tables["Item"] = table("Item", "")
    config = str(tmp_path / "samconfig.toml")
    return ("--api-id", API, "--region", "us-east-1", "--env", "staging", "--config", config)


def written(asked: tuple[str, ...]) -> Any:
    content = tomlkit.parse(Path(asked[-1]).read_text()).unwrap()
    return content["staging"]["global"]["parameters"]["parameter_overrides"]


def test_the_command_reports_and_writes(asked: tuple[str, ...]) -> None:
    code, said = run(*asked)
    assert code == 1
    assert said.startswith("attach: account 123456789012, us-east-1\n")
    assert "update-table" in said
    assert "parameter_overrides of staging written" in said
    assert "/Task-" in written(asked)["StreamArns"]
    Path(asked[-1]).unlink()
    assert run(*asked, "--dry-run")[0] == 1
    assert not Path(asked[-1]).exists()


def test_declared_models_stay_until_a_file_says_otherwise(
    account: Account, asked: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "models.toml"
    file.write_text('[[models]]\nname = "Review"\nrecordType = "reviews"\naccount = "tenantId"\n')
    run(*asked, "--models", str(file))
    first = written(asked)
    assert "Review" in first["Models"]
    assert "/Review-" in first["StreamArns"]
    run(*asked)
    assert written(asked) == first
    file.write_text("")
    account.tables["Review"]["TableName"] = "reviews"
    run(*asked)
    assert written(asked)["SourceTables"] == '{"reviews":"Review"}'
    run(*asked, "--models", str(file))
    assert written(asked)["Models"] == written(asked)["SourceTables"] == ""
    assert "Review" not in str(written(asked))


def test_a_file_that_cannot_be_read_is_named_before_credentials_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boto3, "Session", NotImplementedError)
    models, config = tmp_path / "models.toml", tmp_path / "samconfig.toml"
    given = ("--api-id", API, "--config", str(config), "--models", str(models))
    wrong = {"[[models]]\nname = 1": "model 1: ", "[models": "not TOML", "\xff": "cannot be read"}
    for text, says in {**wrong, "": "No such file"}.items():
        models.write_text(text, "latin-1") if text else models.unlink()
        code, said = run(*given)
        named = [each in said for each in (str(models), says, "custom-models.md")]
        assert (code, all(named)) == (2, True)
    config.write_text("[")
    code, said = run(*given)
    assert (code, f"{config} cannot be read" in said, "repair the file" in said) == (2, True, True)
