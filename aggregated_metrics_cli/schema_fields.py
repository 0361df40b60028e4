"""Whether an API's schema has every field that this project asks for."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from aggregated_metrics.core.record_types import MODELS, own_models
from aggregated_metrics.core.source_models import Model
from botocore.exceptions import ClientError

from aggregated_metrics_cli import documents
from aggregated_metrics_cli.findings import COUNTS, Finding, unless_denied

OPERATIONS = ("listAggregatedMetrics", "createAggregatedMetrics", "updateAggregatedMetrics")
"""What the functions call on AggregatedMetrics: every model has them unless it forgoes them."""
QUERIES = (
    "listAggregatedMetricsByAccountIdAndRecordTypeAndTimeRangeStart",
    "listAggregatedMetricsByAccountIdAndTimeRangeStartAndRecordType",
)
"""What readers through model.py call on it: the queries of its indexes."""
_NO_SCHEMA = {"GraphQLSchemaException", "NotFoundException"}


def fields(
    appsync: Any, api_id: str, sent: list[documents.Document], tables: Mapping[str, str]
) -> list[Finding]:
    """Whether the schema takes every document; a note if it may not be read."""
    what = "API: schema"
    found: list[Finding] = []
    with unless_denied(found, what, "appsync"):
        try:
            answer = appsync.get_introspection_schema(apiId=api_id, format="SDL")["schema"]
            text = (answer.read() if hasattr(answer, "read") else bytes(answer)).decode()
        except ClientError as error:
            if error.response["Error"]["Code"] not in _NO_SCHEMA:
                raise
            text = ""
        try:
            schema = documents.schema_of(text)
        except ValueError as error:  # graphql-core's TypeError and GraphQLError are apart
            return [Finding(what, "wrong", f"it cannot be read ({error})", "deploy the API")]
        if schema.query_type is None:
            return [Finding(what, "wrong", "the API has no schema", "deploy it")]
        named = set(schema.query_type.fields)
        named |= set(schema.mutation_type.fields) if schema.mutation_type else set()
        found += _missing(named, sent)
        found += _own(text, tables)
        known = [each for each in sent if documents.fields_of(each.text) <= named]
        found += documents.validated(schema, known)
    return found


def _missing(named: set[str], sent: list[documents.Document]) -> Iterator[Finding]:
    wanted = set().union(*(documents.fields_of(each.text) for each in sent))
    operations = sorted(wanted & set(OPERATIONS) - named)
    if operations:
        remedy = f"take them out of {COUNTS}' disableOperations, and deploy it"
        said = f"the schema has no {', '.join(operations)}"
        yield Finding("API: fields", "wrong", said, remedy)
    queries = sorted(wanted - set(OPERATIONS) - named)
    if queries:
        remedy = "give the index this queryField (get…: no disableOperations), and deploy it"
        said = f"the schema has no {', '.join(queries)}"
        yield Finding("API: fields", "wrong", said, remedy)


def _own(schema: str, tables: Mapping[str, str]) -> Iterator[Finding]:
    """Whether the types of declared models have every attribute that their declarations read."""
    for name in own_models():
        if name in tables:
            yield attributes(MODELS[name], schema)


def attributes(model: Model, schema: str) -> Finding:
    """Whether the type of a declared model has every attribute that its declaration reads."""
    body = re.search(rf"\btype\s+{model.name}\b[^{{]*{{([^}}]*)}}", schema)
    fields = set(re.findall(r"^\s*(\w+)\s*[:(]", body[1], re.MULTILINE)) if body else set()
    what = f"{model.name}: fields"
    if missing := [name for name in model.attributes if name not in fields]:
        return Finding(
            what,
            "wrong",
            f"the schema's type has no {', '.join(missing)}",
            "correct the declaration in own_models.py, or the application's schema",
        )
    return Finding(what, "good", f"the schema has all {len(model.attributes)}")
