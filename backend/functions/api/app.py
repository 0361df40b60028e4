"""The API's resolver: one Lambda data source that answers every field of Query and Mutation."""

import json
import os
import sys
import time
from functools import cache
from typing import Any

import boto3
from amplify_api.api import Api
from amplify_api.errors import ResolverError


@cache
def _api() -> Api:
    form = os.environ.get("JSON_FORM", "parsed")
    return Api(
        boto3.client("dynamodb"),
        os.environ["TABLE_SUFFIX"],
        "text" if form == "text" else "parsed",
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
    began = time.perf_counter()
    error: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    try:
        data = _api().answer(event["field"], event["arguments"])
    except ResolverError as refusal:
        error = {"message": refusal.message, "type": refusal.error_type}
    _log(event["field"], began, error)
    return {"error": error} if error else {"data": data}


def _log(field: str, began: float, error: dict[str, Any] | None) -> None:
    """Writes one line, never a record's contents.

    The line is also why the local stack is quick: its emulator waits 50 ms for a log line after an
    invocation that wrote none.
    """
    line = {
        "level": "INFO",
        "field": field,
        "milliseconds": round((time.perf_counter() - began) * 1000, 1),
        "error": error and error["type"],
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
