"""Get and list. A list reads by key or index wherever Amplify's does; only a bare list scans."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from amplify_api.errors import InvalidArgumentsError, ResolverError
from amplify_api.expressions import Placeholders, condition_expression, sort_key_expression
from amplify_api.models import Index
from amplify_api.table import Table
from amplify_api.values import answered, stored

DEFAULT_LIMIT = 100


def get(table: Table, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of that key, or None."""
    return table.get({name: stored(arguments[name]) for name in table.model.key})


def list_index(table: Table, index: Index, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A page of an index: `{"items": […], "nextToken": text or None}`."""
    marks = Placeholders()
    request = {
        "IndexName": table.model.index_name(index),
        "KeyConditionExpression": _key_condition(
            index.hash_key,
            arguments[index.hash_key],
            _sort_condition(
                index.sort_attribute, index.sort_argument, index.sort, arguments, marks
            ),
            marks,
        ),
        "ScanIndexForward": arguments.get("sortDirection") != "DESC",
    }
    return _page(table.query, request, arguments, marks)


def list_all(table: Table, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """A page of the table: by its key if the partition is given, else by a scan.

    Raises:
        InvalidArgumentsError: for a sort key or a direction without the partition key.
    """
    model = table.model
    marks = Placeholders()
    if not model.sort_key or arguments.get(model.hash_key) is None:
        for argument in (model.sort_key, "sortDirection"):
            if argument and arguments.get(argument) is not None:
                raise InvalidArgumentsError(
                    f"When providing argument '{argument}' "
                    f"you must also provide arguments {model.hash_key}"
                )
        return _page(table.scan, {}, arguments, marks)
    sort = _sort_condition(model.sort_key, model.sort_key, (), arguments, marks)
    request = {
        "KeyConditionExpression": _key_condition(
            model.hash_key, arguments[model.hash_key], sort, marks
        ),
        "ScanIndexForward": arguments.get("sortDirection") != "DESC",
    }
    return _page(table.query, request, arguments, marks)


def _sort_condition(
    attribute: str,
    argument: str,
    parts: tuple[str, ...],
    arguments: Mapping[str, Any],
    marks: Placeholders,
) -> str:
    condition = arguments.get(argument) if argument else None
    if condition is None:
        return ""
    composite = parts if len(parts) > 1 else ()
    return sort_key_expression(attribute, argument, condition, composite, marks)


def _key_condition(hash_key: str, value: Any, sort: str, marks: Placeholders) -> str:
    partition = f"{marks.name(hash_key)} = {marks.value(value)}"
    return f"{partition} AND {sort}" if sort else partition


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
