"""Get and list. A list reads by key or index wherever Amplify's does; only a bare list scans."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from amplify_api.errors import InvalidArgumentsError, ResolverError
from amplify_api.expressions import (
    KeyCondition,
    Placeholders,
    condition_expression,
    equals,
    key_expression,
    sort_key_condition,
)
from amplify_api.models import Index
from amplify_api.table import Table
from amplify_api.values import answered, stored

DEFAULT_LIMIT = 100


def get(table: Table, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of that key, or None."""
    return table.get({name: stored(arguments[name]) for name in table.model.key})


def list_index(table: Table, index: Index, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A page of an index: `{"items": […], "nextToken": text or None}`."""
    parts = index.sort if len(index.sort) > 1 else ()
    keys = {index.hash_key: equals(arguments[index.hash_key])}
    if index.sort_argument and index.sort_attribute and arguments.get(index.sort_argument):
        wanted = sort_key_condition(index.sort_argument, arguments[index.sort_argument], parts)
        keys |= {index.sort_attribute: wanted} if wanted else {}
    return _page_by_key(table, keys, arguments, {"IndexName": table.model.index_name(index)})


def list_all(table: Table, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A page of the table: by its key if the partition is given, else by a scan.

    Raises:
        InvalidArgumentsError: for a sort key or a direction without the partition key.
    """
    model = table.model
    if not model.sort_key or arguments.get(model.hash_key) is None:
        for argument in (model.sort_key, "sortDirection"):
            if argument and arguments.get(argument) is not None:
                raise InvalidArgumentsError(
                    f"When providing argument '{argument}' "
                    f"you must also provide arguments {model.hash_key}"
                )
        return _page(table.scan, {}, arguments, Placeholders())
    keys = {model.hash_key: equals(arguments[model.hash_key])}
    if arguments.get(model.sort_key):
        wanted = sort_key_condition(model.sort_key, arguments[model.sort_key], ())
        keys |= {model.sort_key: wanted} if wanted else {}
    return _page_by_key(table, keys, arguments, {})


def _page_by_key(
    table: Table,
    keys: Mapping[str, KeyCondition],
    arguments: Mapping[str, Any],
    request: dict[str, Any],
) -> dict[str, Any]:
    """A page of a partition.

    KeyConditions and KeyConditionExpression say the same, but emulators parse an expression for
    each row of the partition: 57 microseconds instead of 2. Only with a filter it has to be one,
    because DynamoDB does not mix the two forms.
    """
    marks = Placeholders()
    if arguments.get("filter"):
        request["KeyConditionExpression"] = key_expression(keys, marks)
    else:
        request["KeyConditions"] = keys
    request["ScanIndexForward"] = arguments.get("sortDirection") != "DESC"
    return _page(table.query, request, arguments, marks)


def _page(
    read: Any, request: dict[str, Any], arguments: Mapping[str, Any], marks: Placeholders
) -> dict[str, Any]:
    wanted = condition_expression(arguments.get("filter"), marks)
    if wanted:
        request["FilterExpression"] = wanted
    if arguments.get("nextToken"):
        request["ExclusiveStartKey"] = _start_key(arguments["nextToken"])
    limit = arguments.get("limit")
    answer = read(request | {"Limit": DEFAULT_LIMIT if limit is None else limit}, marks)
    return {
        "items": [answered(item) for item in answer["Items"]],
        "nextToken": _token(answer.get("LastEvaluatedKey")),
    }


def _token(last: Mapping[str, Any] | None) -> str | None:
    return base64.urlsafe_b64encode(json.dumps(last).encode()).decode() if last else None


def _start_key(token: str) -> dict[str, Any]:
    try:
        key: dict[str, Any] = json.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError) as error:
        raise ResolverError(
            "Invalid pagination token given.", "DynamoDB:InvalidPaginationTokenException"
        ) from error
    return key
