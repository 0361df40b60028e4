"""The documents that this project sends, held against the application's own schema."""

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aggregated_metrics.adapters.appsync import Client, operation_name
from aggregated_metrics.adapters.hour_documents import (
    BREAKDOWN_HOURS,
    day_document,
    keys_document,
    load_document,
    save_document,
)
from aggregated_metrics.adapters.index_rows import IndexRows, hours_condition
from aggregated_metrics.adapters.retries import Retries
from aggregated_metrics.core.errors import ApiError
from aggregated_metrics.core.hour import Bucket, Write
from aggregated_metrics.core.models import BUILT_IN, Model
from aggregated_metrics.core.series import HourId, Series
from aggregated_metrics.model import AggregatedMetrics
from botocore.exceptions import ClientError
from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLSchema,
    Node,
    OperationDefinitionNode,
    build_schema,
    parse,
    validate,
)
from graphql.language import DocumentNode, FragmentDefinitionNode, FragmentSpreadNode

from aggregated_metrics_cli.findings import COUNTS, Finding

OPERATIONS = ("listAggregatedMetrics", "createAggregatedMetrics", "updateAggregatedMetrics")
"""What the functions call on AggregatedMetrics."""
QUERIES = (
    "listAggregatedMetricsByAccountIdAndRecordTypeAndTimeRangeStart",
    "listAggregatedMetricsByAccountIdAndTimeRangeStartAndRecordType",
)
"""What readers call on it besides: the queries of its indexes."""
NOBODY = "aggregated-metrics-attach"
"""An account that has no rows: what is asked of it reads nothing."""
_WHEN = datetime(2000, 1, 1, tzinfo=UTC)
_NO_SCHEMA = {"GraphQLSchemaException", "NotFoundException"}
_PAGES = 20
_ANY = """query AnyBuckets($token: String) {
  listAggregatedMetrics(limit: 1000, nextToken: $token) { items { recordType } nextToken }
}"""
_SCALARS = ("Date", "Time", "DateTime", "Timestamp", "Email", "JSON", "URL", "Phone", "IPAddress")


class Document(NamedTuple):
    """One document with the variables of a request."""

    text: str
    variables: dict[str, Any]

    @property
    def name(self) -> str:
        """The operation's name, and for a listing its model's."""
        return operation_name(self.text)


class _Recorder:
    """A client that keeps what it is asked to carry out."""

    def __init__(self) -> None:
        self.asked: list[Document] = []

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        self.asked.append(Document(query, variables or {}))
        empty: dict[str, Any] = {"items": [], "nextToken": None}
        return {"row": None, "page": empty} | dict.fromkeys(fields_of(query), empty)


def documents(models: Collection[Model]) -> list[Document]:
    """Every document that is sent to an API with these source models: load, save, every query."""
    hour = HourId(Series(NOBODY, "items"), 0)
    writes = [
        Write(hour, Bucket(0, 1), {}, is_new=True, condition=None),
        Write(
            hour,
            Bucket(1, 1),
            {},
            is_new=False,
            condition={"updatedAt": {"eq": "2000-01-01T00:00:00.000000Z"}},
        ),
    ]
    recorder = _Recorder()
    for record_type in ("items", None):
        AggregatedMetrics.list_by_time_range(recorder, NOBODY, _WHEN, _WHEN, record_type)
    rows = IndexRows(recorder, Retries())
    for model in models:
        if model.listing is not None:
            list(rows.pages(model, NOBODY, hours_condition(0, 0)))
    stored: tuple[tuple[str, dict[str, Any]], ...] = (
        load_document([hour]),
        keys_document(hour),
        save_document(writes),
        day_document([(hour.series, 0)], [None]),
        (BREAKDOWN_HOURS, {}),
    )
    return [*(Document(*each) for each in stored), *recorder.asked, Document(_ANY, {})]


def schema_text(appsync: Any, api_id: str) -> str:
    """An API's schema with its directives; empty where it has none."""
    try:
        answer = appsync.get_introspection_schema(
            apiId=api_id, format="SDL", includeDirectives=True
        )["schema"]
    except ClientError as error:
        if error.response["Error"]["Code"] not in _NO_SCHEMA:
            raise
        return ""
    return (answer.read() if hasattr(answer, "read") else bytes(answer)).decode()


def schema_of(text: str) -> GraphQLSchema:
    """An API's schema as AppSync gives it, whose own scalars and directives it need not declare.

    Raises:
        ValueError: it is none.
    """
    missing = "\n".join(
        f"scalar AWS{name}" for name in _SCALARS if f"scalar AWS{name}\n" not in f"{text}\n"
    )
    return build_schema(f"{text}\n{missing}", assume_valid=True)


def fields_of(text: str) -> set[str]:
    """The fields of Query and Mutation that a document calls."""
    return {
        node.name.value
        for definition in parse(text).definitions
        if isinstance(definition, OperationDefinitionNode)
        for node in definition.selection_set.selections
        if isinstance(node, FieldNode)
    }


def validated(text: str, sent: Iterable[Document]) -> Iterator[Finding]:
    """A finding for each document that the schema refuses, and for rules wider than reading."""
    what, refused = "API: documents", 0
    try:
        schema = schema_of(text)
    except (ValueError, GraphQLError, TypeError) as error:
        yield Finding("API: schema", "wrong", f"it cannot be read ({error})", "deploy the API")
        return
    if schema.query_type is None:
        yield Finding("API: schema", "wrong", "the API has no schema", "deploy it")
        return
    for document in sent:
        if errors := validate(schema, parse(document.text)):
            refused += 1
            said = "; ".join(dict.fromkeys(error.message for error in errors[:3]))
            yield Finding(what, "wrong", f"{document.name}: {said}", _REFUSED)
    if not refused:
        yield Finding(what, "good", "the schema takes every document")
    yield from _rules(schema)


_REFUSED = (
    "give the model these fields with these types, its indexes these queryFields, and remove "
    "disableOperations (docs/counting.md); deploy it"
)
_SIGNED_IN = {
    "aws_api_key": "anyone with the API key",
    "aws_cognito_user_pools": "signed-in users",
    "aws_oidc": "signed-in users",
    "aws_lambda": "callers that a Lambda authorizer lets in",
}


def _rules(schema: GraphQLSchema) -> Iterator[Finding]:
    """Who may write counts besides IAM roles, by the directives of the mutations."""
    fields = schema.mutation_type.fields if schema.mutation_type else {}
    named = {
        directive.name.value
        for name in (f"{verb}{COUNTS}" for verb in ("create", "update", "delete"))
        if name in fields and (node := fields[name].ast_node)
        for directive in node.directives or ()
    }
    if who := sorted({text for name, text in _SIGNED_IN.items() if name in named}):
        yield Finding(
            f"{COUNTS}: rules",
            "note",
            f"{' and '.join(who)} may be allowed to write counts",
            "end the model's rules with .to(['read']), by owner or group where possible",
        )


def stored_breakdowns(client: Client) -> tuple[str, list[str]]:
    """Why the API refuses a signed query (empty if not), and which breakdowns it has stored.

    Only the first pages are read: a breakdown that is used fills a share of them.
    """
    found: set[str] = set()
    token = None
    try:
        for _ in range(_PAGES):
            page = client.execute(_ANY, {"token": token})["listAggregatedMetrics"]
            found |= {item["recordType"] for item in page["items"] if item}
            token = page.get("nextToken")
            if token is None:
                break
    except ApiError as error:
        return str(error), []
    return "", [name for name in BUILT_IN.breakdowns if name in found]


def depth(sent: Iterable[Document]) -> int:
    """How deep the deepest document selects."""
    return max(_depth(parse(document.text)) for document in sent)


def _depth(document: DocumentNode) -> int:
    fragments = {
        definition.name.value: definition
        for definition in document.definitions
        if isinstance(definition, FragmentDefinitionNode)
    }

    def below(node: Node) -> int:
        if isinstance(node, FragmentSpreadNode):
            return below(fragments[node.name.value])
        chosen = getattr(node, "selection_set", None)
        inner = max((below(each) for each in chosen.selections), default=0) if chosen else 0
        return inner + isinstance(node, FieldNode)

    return max(
        below(definition)
        for definition in document.definitions
        if isinstance(definition, OperationDefinitionNode)
    )
