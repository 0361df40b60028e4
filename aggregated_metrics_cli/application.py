"""An application's API as the stack needs it: where it is, and what it lacks. Reads only."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from aggregated_metrics.core.models import Model
from aggregated_metrics.core.record_types import MODELS, own_models
from botocore.exceptions import ClientError

COUNTS = "AggregatedMetrics"
VIEW_TYPE = "NEW_AND_OLD_IMAGES"
OPERATIONS = ("listAggregatedMetrics", "createAggregatedMetrics", "updateAggregatedMetrics")
"""What the functions call on AggregatedMetrics: every model has them unless it forgoes them."""
QUERIES = (
    "listAggregatedMetricsByAccountIdAndRecordTypeAndTimeRangeStart",
    "listAggregatedMetricsByAccountIdAndTimeRangeStartAndRecordType",
)
"""What readers through model.py call on it: the queries of its indexes."""
OWN_SLOTS = 6
"""How many models of your own template.yaml has room for: each is a parameter and a mapping."""
_COUNT_INDEXES = (
    ("accountId", "recordType#timeRangeStart"),
    ("accountId", "timeRangeStart#recordType"),
)
_COUNT_KEYS = ("accountId", "compositeKey")
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedException"}
_NO_SCHEMA = {"GraphQLSchemaException", "NotFoundException"}
_BY_ID = "`make attach API_ID=… REGION=…`"
_HOST = re.compile(r"\.appsync-api\.([a-z0-9-]+)\.amazonaws\.com")

type Aws = Callable[[str], Any]
"""Gives boto3's client for a service."""


class ApplicationError(Exception):
    """The API could not be found; the message says what to pass instead."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: such as `Item: stream`.
        state: `wrong` keeps the stack from counting right; `note` is for somebody to decide.
        said: what was found.
        cure: what to do about it; empty when there is nothing to do.
    """

    what: str
    state: Literal["good", "note", "wrong"]
    said: str
    cure: str = ""


@dataclass(slots=True)
class Application:
    """What was found.

    Attributes:
        endpoint: the GraphQL endpoint's URL.
        arn: the API's ARN.
        region: where it is.
        streams: model → ARN of its table's stream.
        tables: model → its table's name.
        findings: what was looked at, in order.
    """

    endpoint: str
    arn: str
    region: str
    streams: dict[str, str] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def is_ready(self) -> bool:
        """Whether nothing is wrong."""
        return all(finding.state != "wrong" for finding in self.findings)

    def parameters(self) -> dict[str, str]:
        """The parameters of template.yaml that attach the stack to this application."""
        named = {
            table: model
            for model, table in self.tables.items()
            if model in self.streams and table.split("-", 1)[0] != model
        }
        return {
            "GraphQLEndpoint": self.endpoint,
            "GraphQLApiArn": self.arn,
            **{_parameter(model): arn for model, arn in self.streams.items()},
            **({"OwnListings": ",".join(listings)} if (listings := self._own_listings()) else {}),
            **({"SourceTables": json.dumps(named, separators=(",", ":"))} if named else {}),
        }

    def _own_listings(self) -> list[str]:
        """The fields of Query through which the reconciler reads models of your own."""
        models = (MODELS[model] for model in own_models() if model in self.tables)
        return [
            f"{self.arn}/types/Query/fields/{model.listing[0]}"
            for model in models
            if model.listing is not None
        ]


def _parameter(model: str) -> str:
    """The parameter of template.yaml that takes the ARN of a model's stream."""
    own = own_models()
    return f"Own{own.index(model) + 1}StreamArn" if model in own else f"{model}StreamArn"


def region_of(outputs: Path) -> tuple[str, str]:
    """The API's URL and region, as an amplify_outputs.json has them.

    Raises:
        ApplicationError: the file is not there, or names no API.
    """
    try:
        data = json.loads(outputs.read_text())["data"]
        url = str(data["url"])
        region = data.get("aws_region") or _HOST.search(urlsplit(url).netloc)[1]  # type: ignore[index]
    except FileNotFoundError as error:
        raise ApplicationError(
            f"{outputs} is not there: copy the file that `npx ampx generate outputs` writes, "
            f"name it with `make attach APP=…`, or do without: {_BY_ID}"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ApplicationError(
            f"{outputs} names no API ({error!r}): take the file that `npx ampx generate outputs` "
            f"writes, or {_BY_ID}"
        ) from error
    return url, str(region)


@contextmanager
def _reading(service: str) -> Iterator[None]:
    """Whoever may not read something learns which permission lacks.

    Raises:
        ApplicationError: AWS has denied it.
    """
    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] not in _DENIED:
            raise
        raise ApplicationError(
            f"a permission lacks: whoever attaches needs {service}:{error.operation_name} ({error})"
        ) from error


def find_api(appsync: Any, url: str) -> str:
    """The id of the API at that URL.

    Raises:
        ApplicationError: this account and region have none, or it may not be looked for.
    """
    with _reading("appsync"):
        for page in appsync.get_paginator("list_graphql_apis").paginate():
            for api in page["graphqlApis"]:
                if api.get("uris", {}).get("GRAPHQL") == url:
                    return str(api["apiId"])
    raise ApplicationError(
        f"no API of this account and region answers at {url}: check the profile and the region, "
        f"or {_BY_ID} (an API with a domain name of its own is found only so)"
    )


def inspect(aws: Aws, api_id: str) -> Application:
    """Look at the API, its tables and their streams.

    Raises:
        ApplicationError: there is no such API, or something may not be read.
    """
    appsync = aws("appsync")
    try:
        with _reading("appsync"):
            api = appsync.get_graphql_api(apiId=api_id)["graphqlApi"]
    except ClientError as error:
        raise ApplicationError(
            f"there is no API {api_id} here ({error}): check the profile and the region"
        ) from error
    found = Application(api["uris"]["GRAPHQL"], api["arn"], api["arn"].split(":")[3])
    found.findings.append(_iam_mode(api))
    found.tables = _tables(aws, api_id)
    dynamodb = aws("dynamodb")
    with _reading("dynamodb"):
        for model in MODELS:
            found.findings += _source(dynamodb, found, model)
        found.findings += _counts(dynamodb, found.tables.get(COUNTS))
    found.findings += _fields(appsync, api_id, found)
    return found


def _iam_mode(api: Mapping[str, Any]) -> Finding:
    modes = [api["authenticationType"]] + [
        provider["authenticationType"]
        for provider in api.get("additionalAuthenticationProviders") or ()
    ]
    if "AWS_IAM" in modes:
        return Finding("API: IAM", "good", "requests signed with IAM are accepted")
    return Finding(
        "API: IAM",
        "wrong",
        f"only {', '.join(modes)}",
        "Amplify Gen 2 always enables IAM: deploy the back end again. Otherwise add the mode: "
        f"aws appsync update-graphql-api --api-id {api['apiId']} --name {api['name']} "
        f"--authentication-type {api['authenticationType']} "
        "--additional-authentication-providers authenticationType=AWS_IAM",
    )


def _tables(aws: Aws, api_id: str) -> dict[str, str]:
    """Model → table: by the API's data sources, else by Amplify's form of names."""
    tables: dict[str, str] = {}
    with _reading("appsync"):
        for page in aws("appsync").get_paginator("list_data_sources").paginate(apiId=api_id):
            for source in page["dataSources"]:
                if source["type"] == "AMAZON_DYNAMODB":
                    model = source["name"].removesuffix("Table").removesuffix("_")
                    tables[model] = source["dynamodbConfig"]["tableName"]
    wanted = [*MODELS, COUNTS]
    if not tables.keys() & set(wanted):
        with _reading("dynamodb"):
            for page in aws("dynamodb").get_paginator("list_tables").paginate():
                for name in page["TableNames"]:
                    model, _, rest = name.partition("-")
                    if rest.startswith(f"{api_id}-"):
                        tables[model] = name
    return {model: tables[model] for model in wanted if model in tables}


def _source(dynamodb: Any, found: Application, model: str) -> Iterator[Finding]:
    name = found.tables.get(model)
    if name is None:
        yield Finding(model, "note", "the API has no such model: it is not counted")
        return
    table = dynamodb.describe_table(TableName=name)["Table"]
    stream = _stream(model, table)
    if stream.state == "good":
        found.streams[model] = table["LatestStreamArn"]
    yield stream
    yield _listing(MODELS[model], table)
    with suppress(ClientError):
        expiry = dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        if expiry.get("TimeToLiveStatus") == "ENABLED":
            yield Finding(
                f"{model}: expiry",
                "note",
                f"rows expire by {expiry.get('AttributeName')}",
                f'set SourceLifetimeDays, such as {{"{model}": 90}}: older hours are then never '
                "lowered by a repair",
            )


def _listing(model: Model, table: Mapping[str, Any]) -> Finding:
    if model.listing is None:
        return Finding(
            f"{model.name}: index",
            "note",
            "own_models.py names no listing: its counts are checked only by reading whole tables",
        )
    query, key = model.listing
    return _index(
        f"{model.name}: index",
        table,
        (model.account, key),
        f"index('{model.account}').sortKeys(['{key}']).queryField('{query}')",
        "verifying and repairing read the rows through it",
    )


def _stream(model: str, table: Mapping[str, Any]) -> Finding:
    what = f"{model}: stream"
    given = table.get("StreamSpecification") or {}
    turn_on = (
        f"aws dynamodb update-table --table-name {table['TableName']} "
        f"--stream-specification StreamEnabled=true,StreamViewType={VIEW_TYPE} "
        f"(with Amplify: in amplify/backend.ts set streamSpecification of the {model} table)"
    )
    if not given.get("StreamEnabled") or not table.get("LatestStreamArn"):
        return Finding(what, "wrong", "the table has no stream", turn_on)
    if given["StreamViewType"] != VIEW_TYPE:
        return Finding(
            what,
            "wrong",
            f"it carries {given['StreamViewType']}",
            "updates and removals need both images. Turn it off "
            "(--stream-specification StreamEnabled=false), then: " + turn_on,
        )
    return Finding(what, "good", table["LatestStreamArn"].rsplit("/", 1)[1])


def _counts(dynamodb: Any, name: str | None) -> Iterator[Finding]:
    if name is None:
        yield Finding(
            COUNTS,
            "wrong",
            "the API has no such model",
            "add AggregatedMetrics to the application's schema (README: the model) and deploy it",
        )
        return
    table = dynamodb.describe_table(TableName=name)["Table"]
    keys = _keys(table["KeySchema"])
    if keys != _COUNT_KEYS:
        yield Finding(
            f"{COUNTS}: key",
            "wrong",
            f"it is {' and '.join(keys)}",
            "give the model identifier(['accountId', 'compositeKey'])",
        )
    for index in _COUNT_INDEXES:
        parts = index[1].split("#")
        yield _index(
            f"{COUNTS}: index",
            table,
            index,
            f"index('{index[0]}').sortKeys({parts})",
            "dashboards read ranges through it",
        )


def _index(
    what: str, table: Mapping[str, Any], keys: tuple[str, str], definition: str, use: str
) -> Finding:
    for index in table.get("GlobalSecondaryIndexes") or ():
        if _keys(index["KeySchema"]) == keys:
            return Finding(what, "good", index["IndexName"])
    return Finding(
        what,
        "wrong",
        f"none on {keys[0]} and {keys[1]}",
        f"{use}: add {definition} to the model's secondaryIndexes and deploy it",
    )


def _fields(appsync: Any, api_id: str, found: Application) -> Iterator[Finding]:
    """Whether the schema has the fields that documents name; a note if it cannot be read."""
    what = "API: fields"
    try:
        answer = appsync.get_introspection_schema(apiId=api_id, format="SDL")["schema"]
        schema = (answer.read() if hasattr(answer, "read") else bytes(answer)).decode()
    except ClientError as error:
        if error.response["Error"]["Code"] not in _NO_SCHEMA:
            yield Finding(what, "note", f"the schema cannot be read ({error})")
            return
        schema = ""
    if not re.search(r"\btype\s+Query\b", schema):
        yield Finding(what, "wrong", "the API has no schema", "deploy it")
        return
    listings = (model.listing for model in MODELS.values() if model.name in found.tables)
    queries = [*QUERIES, *(listing[0] for listing in listings if listing is not None)]
    for kind, wanted, cure in (
        ("operations", OPERATIONS, f"take them out of {COUNTS}' disableOperations, and deploy it"),
        ("queries", queries, "give the index this queryField, and deploy it"),
    ):
        missing = [name for name in wanted if not re.search(rf"\b{name}\s*\(", schema)]
        if missing:
            yield Finding(what, "wrong", f"the schema lacks {', '.join(missing)}", cure)
        else:
            yield Finding(what, "good", f"the schema has all {len(wanted)} {kind}")
    for name in own_models():
        if name in found.tables:
            yield _attributes(MODELS[name], schema)
    if len(own_models()) > OWN_SLOTS:
        yield Finding(
            "own_models.py",
            "wrong",
            f"it declares {len(own_models())} models; template.yaml has room for {OWN_SLOTS}",
            f"give template.yaml what Own{OWN_SLOTS} has once more, and OWN_SLOTS another number",
        )


def _attributes(model: Model, schema: str) -> Finding:
    """Whether a declared model's type has every attribute that its declaration reads."""
    body = re.search(rf"\btype\s+{model.name}\b[^{{]*{{([^}}]*)}}", schema)
    fields = set(re.findall(r"^\s*(\w+)\s*[:(]", body[1], re.MULTILINE)) if body else set()
    what = f"{model.name}: fields"
    if missing := [name for name in model.attributes if name not in fields]:
        return Finding(
            what,
            "wrong",
            f"the schema's type lacks {', '.join(missing)}",
            "correct the declaration in own_models.py, or the application's schema",
        )
    return Finding(what, "good", f"the schema has all {len(model.attributes)}")


def _keys(schema: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    ordered = sorted(schema, key=lambda key: key["KeyType"] != "HASH")
    return tuple(key["AttributeName"] for key in ordered)
