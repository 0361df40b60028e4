"""The API's resolver: one Lambda data source that answers every field of Query and Mutation."""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from amplify_api.dynamodb import DynamoTable, Record
from amplify_api.errors import ResolverError
from amplify_api.models import read_models
from amplify_api.operations import Operations
from amplify_api.ports import Page

MODELS = read_models((Path(__file__).parent / "schema.graphql").read_text("utf-8"))


@cache
def _operations() -> Operations[Record]:
    dynamodb, suffix = boto3.resource("dynamodb"), os.environ["TABLE_SUFFIX"]
    as_text = os.environ.get("JSON_FORM") == "text"
    return Operations(
        DynamoTable(dynamodb, model, f"{name}-{suffix}", json_as_text=as_text)
        for name, model in MODELS.items()
    )


def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001 - Lambda gives it
    """Answers one field.

    A refusal is a value here, not an exception: only so can the resolver's code give it the
    `errorType` that Amplify's clients decide by (an exception would be `Lambda:Unhandled`).

    Args:
        event: `{"field": name, "arguments": {…}}`, as the resolvers of template.yaml send it.
        context: Lambda's, unused.

    Returns:
        `{"data": …}`, or `{"error": {"message": …, "type": … or None}}`.
    """
    data, error = None, None
    try:
        data = _operations().by_field[event["field"]](event["arguments"])
    except ResolverError as refusal:
        error = {"message": refusal.message, "type": refusal.error_type}
    if isinstance(data, Page):
        data = {"items": data.records, "nextToken": data.next}
    # A field is answered several times as late by an emulator whose function prints nothing.
    print(json.dumps({"field": event["field"], "error": error and error["type"]}), flush=True)
    return {"error": error} if error else {"data": data}
