"""An application's API, its tables and their streams: found, and reported. Reads only."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from aggregated_metrics.adapters.appsync import Client, region_of
from aggregated_metrics.adapters.settings import ALL
from aggregated_metrics.core.declarations import Document
from aggregated_metrics.core.errors import ApiError
from aggregated_metrics.core.models import BUILT_IN, Models
from botocore.exceptions import ClientError

from aggregated_metrics_cli import declared, diagnostics, documents
from aggregated_metrics_cli.diagnostics import COUNTS, Diagnostic
from aggregated_metrics_cli.errors import CommandError
from aggregated_metrics_cli.model_file import as_variable

_CLEARED = {"SourceTables", "Breakdowns"}
"""Parameters that name models: what nothing counts any more may not stay in them."""
_BY_ID = "`make attach API_ID=… REGION=…`"


@dataclass(slots=True)
class Application:
    """What was found.

    Attributes:
        endpoint: the GraphQL endpoint's URL.
        arn: the API's ARN.
        streams: model → ARN of its table's stream.
        tables: model → its table's name.
        keys: ARNs of the KMS keys of the tables.
        request_bytes: how large a request may be; 0 for any size.
        breakdowns: the breakdowns that are stored already.
        document: the declarations for the functions.
        models: what may be counted.
        findings: what was looked at, in order.
    """

    endpoint: str
    arn: str
    streams: dict[str, str] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    request_bytes: int = 0
    breakdowns: list[str] = field(default_factory=list)
    document: Document = field(default_factory=Document)
    models: Models = BUILT_IN
    findings: list[Diagnostic] = field(default_factory=list)

    @property
    def is_ready(self) -> bool:
        """Whether nothing is wrong."""
        return all(finding.state != "wrong" for finding in self.findings)

    def parameters(self, before: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
        """The parameters of template.yaml that attach the stack to this application.

        The lists are there when they are empty, too: SAM keeps the value of a parameter that it is
        not given, so a stream that was removed would stay. `before` has those of an earlier attach.
        """
        named = {
            table: model
            for model, table in self.tables.items()
            if model in self.streams and table.split("-", 1)[0] != model
        }
        listings = [self.models[model].listing for model in self.streams]
        optional = {
            "SourceTables": json.dumps(named, separators=(",", ":")) if named else "",
            "SourceKeyArns": _list(sorted(self.keys)),
            "MaxRequestBytes": str(self.request_bytes or ""),
            "Breakdowns": self._breakdowns(before.get("Breakdowns", "")),
        }
        return {
            "GraphQLEndpoint": self.endpoint,
            "GraphQLApiArn": self.arn,
            "StreamArns": _list(self.streams.values()),
            "TableArns": _list(arn.split("/stream/")[0] for arn in self.streams.values()),
            "ListingFieldArns": _list(
                f"{self.arn}/types/Query/fields/{each.query}" for each in listings if each
            ),
            "Models": "" if self.document == Document() else as_variable(self.document),
            **{
                name: text
                for name, text in optional.items()
                if text or name in _CLEARED & {*before}
            },
        }

    def _breakdowns(self, before: str) -> str:
        """Those that are stored, and those that are on; what nothing counts any more is off."""
        if before == ALL:
            return before
        on = {*before.split(","), *self.breakdowns}
        return _list(name for name in self.models.breakdowns if name in on)


def _list(values: Iterable[str]) -> str:
    """A parameter of several values, each once: a loop over one twice would be refused."""
    return ",".join(dict.fromkeys(values))


def outputs_of(file: Path) -> tuple[str, str | None, str | None]:
    """The API's endpoint, its region and, if the back end exports it (docs/amplify.md), its id.

    Raises:
        CommandError: the file is not there, or names no API.
    """
    try:
        content = json.loads(file.read_text("utf-8"))
        data = content["data"]
        url = str(data["url"])
        region = data.get("aws_region") or region_of(url)
        exported = (content.get("custom") or {}).get("aggregatedMetrics") or {}
        return url, region, exported.get("apiId")
    except FileNotFoundError as error:
        raise CommandError(
            f"{file} is not there: copy the file that `npx ampx generate outputs` writes, "
            f"name it with `make attach APP=…`, or do without: {_BY_ID}"
        ) from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CommandError(
            f"{file} names no API ({error!r}): take the file that `npx ampx generate outputs` "
            f"writes, or {_BY_ID}"
        ) from error


def find_api(appsync: Any, url: str) -> str:
    """The id of the API at that URL.

    Raises:
        CommandError: this account and region have none.
    """
    for page in appsync.get_paginator("list_graphql_apis").paginate():
        for api in page["graphqlApis"]:
            if api.get("uris", {}).get("GRAPHQL") == url:
                return str(api["apiId"])
    raise CommandError(
        f"no API of this account and region answers at {url}: check the profile and the region, "
        f"or {_BY_ID} (an API with a domain name of its own is found only so)"
    )


def inspect(
    aws: Callable[[str], Any],
    api_id: str,
    connect: Callable[[str], Client],
    document: Document | None = None,
) -> Application:
    """Look at the API, its tables and their streams.

    Args:
        aws: gives boto3's client for a service.
        api_id: the API's id.
        connect: gives what carries out signed documents at a URL.
        document: the models that the user declares.

    Raises:
        CommandError: there is no such API, or it has no schema.
        SettingsError: two models share a name or a record type.
    """
    appsync = aws("appsync")
    api = _described(appsync, api_id)
    found = Application(api["uris"]["GRAPHQL"], api["arn"])
    found.request_bytes = diagnostics.FIREWALL_BYTES if api.get("wafWebAclArn") else 0
    schema = documents.schema_of(appsync, api_id)
    found.findings += [*diagnostics.settings(api), *diagnostics.cache(appsync, api_id)]
    found.document, judged = declared.completed(document or Document(), schema)
    found.findings += diagnostics.declarations(found.document)
    found.models = BUILT_IN.declaring(found.document)
    found.tables = _tables(aws, api_id, [*(model.name for model in found.models), COUNTS])
    counted = Models(model for model in found.models if model.name in found.tables)
    found.findings += [*judged, *documents.validated(schema, documents.documents(counted))]
    found.findings += declared.conflicts(found.document.softDeletes, schema)
    for model in found.models:
        found.findings += _source(aws("dynamodb"), found, model.name)
    found.findings += diagnostics.concurrency(aws("lambda"), len(found.streams))
    if found.is_ready:  # otherwise what is wrong is known already
        found.findings += _tried(connect(found.endpoint), found)
    return found


def _described(appsync: Any, api_id: str) -> Mapping[str, Any]:
    try:
        found: dict[str, Any] = appsync.get_graphql_api(apiId=api_id)["graphqlApi"]
    except ClientError as error:
        raise CommandError(
            f"the API {api_id} cannot be read ({error}): check its id, the profile and the region"
        ) from error
    return found


def _tried(client: Client, found: Application) -> Iterator[Diagnostic]:
    """One signed query, which also finds the breakdowns that are stored."""
    try:
        found.breakdowns = documents.stored_breakdowns(client, found.models)
    except ApiError as error:
        yield Diagnostic("API: a signed query", "wrong", str(error), "do what it says")
        return
    yield Diagnostic("API: a signed query", "good", "it is answered")
    if found.breakdowns:
        names = ", ".join(found.breakdowns)
        yield Diagnostic("breakdowns", "good", f"stored, so switched on: {names}")


def _tables(aws: Callable[[str], Any], api_id: str, wanted: Collection[str]) -> dict[str, str]:
    """Model → table: by the API's data sources, else by Amplify's form of names."""
    tables = {
        source["name"].removesuffix("Table").removesuffix("_"): source["dynamodbConfig"]
        for page in aws("appsync").get_paginator("list_data_sources").paginate(apiId=api_id)
        for source in page["dataSources"]
        if source["type"] == "AMAZON_DYNAMODB"
    }
    found = {model: str(source["tableName"]) for model, source in tables.items()}
    if not found.keys() & set(wanted):
        for page in aws("dynamodb").get_paginator("list_tables").paginate():
            for name in page["TableNames"]:
                model, _, rest = name.partition("-")
                if rest.startswith(f"{api_id}-"):
                    found[model] = name
    return {model: found[model] for model in wanted if model in found}


def _source(dynamodb: Any, found: Application, model: str) -> Iterator[Diagnostic]:
    name = found.tables.get(model)
    if name is None and model in BUILT_IN:
        yield Diagnostic(model, "note", "the API has no such model: it is not counted")
    elif name is None:
        yield Diagnostic(model, "wrong", "its table is not found", "deploy the model, or remove it")
    else:
        yield from _table(dynamodb, found, model, dynamodb.describe_table(TableName=name)["Table"])


def _table(
    dynamodb: Any, found: Application, model: str, table: Mapping[str, Any]
) -> Iterator[Diagnostic]:
    stream = diagnostics.stream(model, table)
    yield stream
    if stream.state == "good":
        found.streams[model] = table["LatestStreamArn"]
    if key := (table.get("SSEDescription") or {}).get("KMSMasterKeyArn"):
        found.keys.append(key)
    yield from diagnostics.expiry(dynamodb, model, table)
