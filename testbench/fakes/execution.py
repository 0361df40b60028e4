"""Carries documents out with graphql-core, and words its errors as AppSync does."""

import contextlib
import functools
import json
from collections.abc import Callable
from typing import Any, cast

from amplify_api.errors import ResolverError
from amplify_api.ports import Page
from graphql import (
    Executor,
    FieldNode,
    GraphQLError,
    GraphQLResolveInfo,
    GraphQLSchema,
    OperationType,
    get_nullable_type,
    get_operation_ast,
    is_non_null_type,
)
from graphql.execution.collect_fields import GroupedFieldSet, collect_fields
from graphql.execution.execute import assume_not_async_iterable, assume_not_awaitable

from testbench.fakes.models import document, schema
from testbench.fakes.signatures import Request
from testbench.fakes.tables import Row

type Resolve = Callable[[str, str, dict[str, Any]], Row | Page[Row] | None]
"""Answers a field of the API: its alias, its name and its arguments."""


def fields_of(request: Request) -> dict[str, str]:
    """The fields by alias that a request asks for, carried out or not; {} if it cannot say."""
    try:
        asked = json.loads(request.body)
        operation = get_operation_ast(document(asked["query"]), asked.get("operationName"))
    except (ValueError, TypeError, KeyError, GraphQLError):
        return {}
    nodes = operation.selection_set.selections if operation else ()
    return {
        (node.alias or node.name).value: node.name.value
        for node in nodes
        if isinstance(node, FieldNode)
    }


def execute(body: bytes, resolve: Resolve) -> dict[str, Any]:
    """Carry out a valid document: the response, without `errors` if there are none."""
    prepared = _prepared(body, schema())
    result = prepared.run(resolve) if isinstance(prepared, _Executor) else (None, prepared)
    response: dict[str, Any] = {"data": result[0]}
    if result[1]:
        response["errors"] = [_error(error) for error in result[1]]
    return response


class _Executor(Executor[Any]):
    """Completes a version of a row once for each selection, and quickly where nothing is wrong."""

    @functools.cached_property
    def _fields(self) -> GroupedFieldSet:
        root = self.schema.get_root_type(self.operation.operation)
        assert root is not None
        return collect_fields(
            self.schema, self.fragments, self.variable_values, root, self.operation, False
        ).grouped_field_set

    def run(self, resolve: Resolve) -> tuple[dict[str, Any] | None, list[GraphQLError] | None]:
        """The data and the errors; may be asked for any number of times."""
        kind, fields = self.operation.operation, self._fields
        root: Any = self.schema.get_root_type(kind)
        once = self.build_per_event_executor(resolve)
        serially = kind is OperationType.MUTATION
        data: Any = once.execute_root_grouped_field_set(root, resolve, fields, serially, None)
        return data, once.collected_errors.errors

    def execute_collected_subfields(
        self, parent_type: Any, source_value: Any, path: Any, grouped_field_set: Any, *rest: Any
    ) -> Any:
        if isinstance(source_value, Row):
            asked = [(key, found[0].node.name.value) for key, found in grouped_field_set.items()]
            with contextlib.suppress(AttributeError, GraphQLError, KeyError, TypeError):
                return _completed(parent_type, source_value, tuple(asked))
        return super().execute_collected_subfields(
            parent_type, source_value, path, grouped_field_set, *rest
        )


@functools.lru_cache(maxsize=128)
def _prepared(body: bytes, schema: GraphQLSchema) -> _Executor | list[GraphQLError]:
    """What a request asks for; a test often makes the same one in many orders."""
    asked = json.loads(body)
    found = _Executor.build(
        schema,
        document(asked["query"]),
        raw_variable_values=asked.get("variables"),
        operation_name=asked.get("operationName"),
        field_resolver=_resolve,
        is_awaitable=assume_not_awaitable,
        is_async_iterable=assume_not_async_iterable,
    )
    return cast("_Executor | list[GraphQLError]", found)


def _completed(parent_type: Any, row: Row, asked: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """What is asked of a row's scalars; raises one of several errors for anything else."""
    found = row.completed.get(asked)
    if found is None:
        get, fields = row.attributes.get, parent_type.fields
        found = {key: _scalar(fields[name].type, get(name)) for key, name in asked}
        row.completed[asked] = found
    return found


def _scalar(kind: Any, value: Any) -> Any:
    if value is None:
        if is_non_null_type(kind):
            raise TypeError(value)
        return None
    return get_nullable_type(kind).coerce_output_value(value)


def _resolve(source: Any, info: GraphQLResolveInfo[Any], **arguments: Any) -> Any:
    """A field of a row, of a page, or of the API."""
    if isinstance(source, Row):
        return source.attributes.get(info.field_name)
    if isinstance(source, dict):
        return source[info.field_name]
    given = {name: value for name, value in arguments.items() if value is not None}
    result = source(info.path.key, info.field_name, given)
    if isinstance(result, Page):
        return {"items": result.records, "nextToken": result.next}
    return result


def _error(error: GraphQLError) -> dict[str, Any]:
    cause = error.original_error
    if error.path is None:
        return dict(error.formatted)
    found = {"message": error.message, "path": error.path, "locations": None}
    if isinstance(cause, ResolverError):
        return found | {"errorType": cause.error_type, "data": None, "errorInfo": None}
    if isinstance(cause, GraphQLError):
        found["message"] = f"Can't serialize value ({_text(error.path)}) : {error.message}"
    return found


def _text(path: list[str | int]) -> str:
    """A path as messages have it: `/listTasks/items[0]/createdAt`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f"/{part}" for part in path)
