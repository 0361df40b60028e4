"""The documents that this project sends, validated against the application's own schema."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from aggregated_metrics import breakdowns
from aggregated_metrics.adapters import bucket_reader, hour_documents
from aggregated_metrics.adapters.appsync import Client, operation_name
from aggregated_metrics.adapters.source_rows import hours_condition, index_pages
from aggregated_metrics.core.buckets import HOUR
from aggregated_metrics.core.hour import Bucket, Write
from aggregated_metrics.core.models import Models
from aggregated_metrics.core.series import HourId, Series
from aggregated_metrics.model import AggregatedMetrics
from botocore.exceptions import ClientError
from graphql import GraphQLError, GraphQLSchema, build_schema, parse, validate

from aggregated_metrics_cli.diagnostics import COUNTS, Diagnostic
from aggregated_metrics_cli.errors import CommandError

NOBODY = "aggregated-metrics-attach"
"""An account that has no rows: what is asked of it reads nothing."""
_HOUR = HourId(Series(NOBODY, "items"), 0)
_WHEN = datetime(2000, 1, 1, tzinfo=UTC)
_NO_SCHEMA = {"GraphQLSchemaException", "NotFoundException"}
_PAGES = 20
_ANY = """query AnyBuckets($token: String) {
  listAggregatedMetrics(limit: 1000, nextToken: $token) { items { recordType } nextToken }
}"""
_SCALARS = ("Date", "Time", "DateTime", "Timestamp", "Email", "JSON", "URL", "Phone", "IPAddress")


class _Recorder:
    """A client that keeps what it is asked to carry out, and finds nothing."""

    def __init__(self) -> None:
        self.asked = [_ANY]

    def execute(
        self,
        query: str,
        variables: dict[str, Any] | None = None,  # noqa: ARG002 - only documents are looked at
    ) -> dict[str, Any]:
        self.asked.append(query)
        return defaultdict(lambda: {"items": [], "nextToken": None})


def documents(models: Models) -> list[str]:
    """Every document that functions and readers send to an API with these models."""
    condition = {"updatedAt": {"eq": "2000-01-01T00:00:00.000000Z"}}
    writes = [
        Write(_HOUR, Bucket(0, 1), {}, is_new=True, condition=None),
        Write(_HOUR, Bucket(1, 1), {}, is_new=False, condition=condition),
    ]
    asks = [bucket_reader.AS_OF, (_HOUR.series, 0, HOUR), (_HOUR.series, 0, bucket_reader.WHOLE)]
    made = (
        hour_documents.load_document([_HOUR]),
        hour_documents.save_document(writes),
        hour_documents.find_document([(NOBODY, "items", 0, HOUR, None)]),
        bucket_reader.document(asks),
    )
    recorder = _Recorder()
    for record_type in ("items", None):
        AggregatedMetrics.list_by_time_range(recorder, NOBODY, _WHEN, _WHEN, record_type)
    breakdowns(recorder, NOBODY, *models.breakdowns)
    for model in models:
        if model.listing is not None:
            list(index_pages(recorder.execute, model, NOBODY, hours_condition(0, 0)))
    return [*(text for text, _ in made), *recorder.asked]


def schema_of(appsync: Any, api_id: str) -> GraphQLSchema:
    """An API's schema.

    Raises:
        CommandError: the API has none.
    """
    try:
        answer = appsync.get_introspection_schema(
            apiId=api_id, format="SDL", includeDirectives=True
        )["schema"]
        return built((answer.read() if hasattr(answer, "read") else bytes(answer)).decode())
    except ClientError as error:
        if error.response["Error"]["Code"] not in _NO_SCHEMA:
            raise
        raise CommandError(f"the API has no schema ({error}): deploy it") from error
    except (ValueError, GraphQLError, TypeError) as error:
        raise CommandError(f"the API's schema cannot be read ({error}): deploy it") from error


def built(text: str) -> GraphQLSchema:
    """A schema of its text as AppSync gives it: its own scalars and directives are left out.

    Raises:
        ValueError: it has no queries.
    """
    missing = "\n".join(
        f"scalar AWS{name}" for name in _SCALARS if f"scalar AWS{name}\n" not in f"{text}\n"
    )
    schema = build_schema(f"{text}\n{missing}", assume_valid=True)
    if schema.query_type is None:
        raise ValueError("it has no queries")
    return schema


def validated(schema: GraphQLSchema, sent: Iterable[str]) -> Iterator[Diagnostic]:
    """A finding for each document that the schema refuses, and for rules wider than reading."""
    what, refused = "API: documents", 0
    for text in sent:
        if errors := validate(schema, parse(text)):
            refused += 1
            said = "; ".join(dict.fromkeys(error.message for error in errors[:3]))
            yield Diagnostic(what, "wrong", f"{operation_name(text)}: {said}", _REFUSED)
    if not refused:
        yield Diagnostic(what, "good", "the schema takes every document")
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


def _rules(schema: GraphQLSchema) -> Iterator[Diagnostic]:
    """Who may write counts besides IAM roles, by the directives of the mutations."""
    fields = schema.mutation_type.fields if schema.mutation_type else {}
    named = {
        directive.name.value
        for name in (f"{verb}{COUNTS}" for verb in ("create", "update", "delete"))
        if name in fields and (node := fields[name].ast_node)
        for directive in node.directives or ()
    }
    if who := sorted({text for name, text in _SIGNED_IN.items() if name in named}):
        yield Diagnostic(
            f"{COUNTS}: rules",
            "note",
            f"{' and '.join(who)} may be allowed to write counts",
            "end the model's rules with .to(['read']), by owner or group where possible",
        )


def stored_breakdowns(client: Client, models: Models) -> list[str]:
    """The breakdowns of which the API has buckets, by a signed query.

    Only the first pages are read: a breakdown that is used fills a share of them.

    Raises:
        ApiError: the API refused, or did not answer.
    """
    found: set[str] = set()
    token = None
    for _ in range(_PAGES):
        page = client.execute(_ANY, {"token": token})["listAggregatedMetrics"]
        found |= {item["recordType"] for item in page["items"] if item}
        token = page.get("nextToken")
        if token is None:
            break
    return [name for name in models.breakdowns if name in found]
