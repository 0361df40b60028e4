"""The documents that this project sends, held against the application's own schema."""

from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aggregated_metrics.adapters.appsync import Client, operation_name
from aggregated_metrics.adapters.hour_documents import day_document, load_document, save_document
from aggregated_metrics.adapters.source_rows import SourceRows
from aggregated_metrics.core.errors import ApiError
from aggregated_metrics.core.hours import Bucket, HourId, Series, Write
from aggregated_metrics.core.record_types import MODELS
from aggregated_metrics.model import AggregatedMetrics
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

from aggregated_metrics_cli.findings import Finding

NOBODY = "aggregated-metrics-attach"
"""An account that has no rows: what is asked of it reads nothing."""
_WHEN = datetime(2000, 1, 1, tzinfo=UTC)
_SCALARS = ("Date", "Time", "DateTime", "Timestamp", "Email", "JSON", "URL", "Phone", "IPAddress")


class Document(NamedTuple):
    """One document with the variables of a request."""

    text: str
    variables: dict[str, Any]

    @property
    def name(self) -> str:
        """The operation's name, and for a listing its model's."""
        return operation_name(self.text)

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return self.text.startswith("query")


class _Recorder:
    """A client that keeps what it is asked to carry out."""

    def __init__(self) -> None:
        self.asked: list[Document] = []

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        self.asked.append(Document(query, variables or {}))
        empty: dict[str, Any] = {"items": [], "nextToken": None}
        return {"row": None, "page": empty} | dict.fromkeys(fields_of(query), empty)


def documents(models: Collection[str]) -> list[Document]:
    """Every document that is sent to an API with these source models: load, save, every query."""
    hour = HourId(Series(NOBODY, "items"), 0)
    writes = [
        Write(hour, Bucket(0, 1), {}, None),
        Write(hour, Bucket(1, 1), {}, {"updatedAt": {"eq": "2000-01-01T00:00:00.000000Z"}}),
    ]
    recorder = _Recorder()
    for record_type in ("items", None):
        AggregatedMetrics.list_by_time_range(recorder, NOBODY, _WHEN, _WHEN, record_type)
    source = SourceRows(recorder, clock=lambda: _WHEN)
    for name in models:
        source.count(MODELS[name], NOBODY, [0], [("2000-01-01T00", "2000-01-01T01")])
        source.row(MODELS[name], NOBODY)
    stored = load_document([hour]), save_document(writes), day_document([(hour.series, 0)], [None])
    return [*(Document(*each) for each in stored), *recorder.asked]


def schema_of(text: str) -> GraphQLSchema:
    """An API's schema as AppSync gives it, whose own scalars and directives it need not declare.

    Raises:
        GraphQLError: it is none.
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


def validated(schema: GraphQLSchema, sent: Iterable[Document]) -> Iterator[Finding]:
    """A finding for each document that the schema refuses; one if it takes them all."""
    what, checked, refused = "API: documents", 0, 0
    for document in sent:
        checked += 1
        errors: list[GraphQLError] = validate(schema, parse(document.text))
        if errors:
            refused += 1
            said = "; ".join(dict.fromkeys(error.message for error in errors[:3]))
            yield Finding(
                what,
                "wrong",
                f"{document.name} is refused: {said}",
                "give the model these fields with these types (docs/counting.md), and deploy it",
            )
    if not refused:
        yield Finding(what, "good", f"the schema takes all {checked} documents")


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


def tried(client: Client, sent: Iterable[Document]) -> Iterator[Finding]:
    """Each query carried out for an account that has no rows; nothing is written."""
    what, count = "API: a signed query", 0
    for document in sent:
        if not document.reads:
            continue
        try:
            client.execute(document.text, document.variables)
        except ApiError as error:
            yield Finding(
                what,
                "wrong",
                str(error),
                "do what it says; a refusal may also mean that whoever attaches has no "
                "appsync:GraphQL on this field, which AttachPolicy has (docs/operations.md)",
            )
            return
        count += 1
    yield Finding(what, "good", f"{count} queries are answered")
