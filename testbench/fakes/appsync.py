"""FakeAppSync: an API in memory that answers as the one that Amplify generates.

It answers the recorded exchanges (tests/contract) in the same way, and quickly: documents are
compiled once, rows are rendered once per version and selection, and keys are kept in order.
"""

import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from amplify_api.errors import ResolverError
from amplify_api.operations import Operations
from graphql import GraphQLSyntaxError, execute_sync

from testbench.fakes.documents import Document, Documents, Field, Operation
from testbench.fakes.endpoint import CALM, Answer, Disturbance, refusal
from testbench.fakes.models import models, schema
from testbench.fakes.rendering import Errors, render
from testbench.fakes.scalars import Json, encode
from testbench.fakes.signatures import AccessDeniedError, Request, Signatures
from testbench.fakes.tables import Attributes, Behaviour, Table, attributes_of
from testbench.fakes.variables import InvalidRequestError


def _utc_now() -> datetime:
    return datetime.now(UTC)


_DOCUMENTS = Documents()
"""A large document takes 50 ms to compile, so it is compiled once."""


class FakeAppSync:
    """The API.

    Args:
        clock: gives `createdAt` and `updatedAt` where a client sends none.
        monotonic: tells a row's age in seconds, for stale reads.
        seed: of generated ids and request ids.
        equal_put_succeeds: AppSync's documented rule that a failed condition is a success if the
            stored item already equals the one to be written. The recordings have it off.
        signatures: who may call; None lets everybody.
        pause: called between the fields of a request, where another request can come in.
        documents: compiled documents; by default those of all APIs of this process.

    Attributes:
        resolvers: what answers each field, under a lock, and only a field: two requests interleave
            between their fields.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] = _utc_now,
        monotonic: Callable[[], float] = time.monotonic,
        seed: int = 0,
        equal_put_succeeds: bool = False,
        signatures: Signatures | None = None,
        pause: Callable[[], None] | None = None,
        documents: Documents | None = None,
    ) -> None:
        self.documents = documents or _DOCUMENTS
        self.monotonic = monotonic
        self.pause = pause
        self._behaviour = Behaviour(monotonic, equal_put_succeeds)
        self._tables = {name: Table(model, self._behaviour) for name, model in models().items()}
        ids = random.Random(seed)
        self.resolvers = Operations(
            self._tables.values(),
            now=clock,
            new_id=lambda: str(uuid.UUID(int=ids.getrandbits(128), version=4)),
        ).by_field
        self._lock = threading.Lock()
        self._signatures = signatures

    def execute(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Answer a document without a transport: the parsed response, `errors` included."""
        body = json.dumps({"query": query, "variables": variables or {}}).encode()
        answer = self._answer_body(body, CALM)
        response: dict[str, Any] = json.loads(answer.body)
        return response

    def rows(self, model: str) -> list[Attributes]:
        """All rows of a model as plain values, AWSJSON parsed, in the order of their keys."""
        table = self._tables[model]
        with self._lock:
            found = [row.attributes for _, row in sorted(table.rows.items())]
        return [_row(attributes) for attributes in found]

    def keys(self, model: str) -> list[tuple[str, ...]]:
        """The primary keys of all rows of a model."""
        with self._lock:
            return list(self._tables[model].rows)

    def row(self, model: str, *key: str) -> Attributes | None:
        """One row as plain values, by its primary key; None if there is none."""
        with self._lock:
            row = self._tables[model].rows.get(key)
        return None if row is None else _row(row.attributes)

    def put(self, model: str, *rows: Mapping[str, Any]) -> None:
        """Store plain rows, AWSJSON as any value, past all checks, as a table takes them."""
        table = self._tables[model]
        for row in rows:
            attributes = attributes_of(table.model, row)
            key = tuple(row[name] for name in table.model.key)
            with self._lock:
                table.write(key, attributes)

    def remove(self, model: str, *key: str) -> None:
        """Remove a row past all checks, by its primary key."""
        with self._lock:
            self._tables[model].remove(key)

    def fields_of(self, request: Request) -> Mapping[str, str]:
        """The fields by alias that a request asks for, carried out or not; {} if it cannot say."""
        try:
            asked = json.loads(request.body)
            operation = self.documents.read(asked["query"]).choose(asked.get("operationName"))
        except (ValueError, TypeError, KeyError, GraphQLSyntaxError, InvalidRequestError):
            return {}
        return {field.alias: field.name for field in operation.fields}

    def answer(self, request: Request, disturbance: Disturbance = CALM) -> Answer:
        """Answer an HTTP request."""
        if self._signatures is not None:
            try:
                self._signatures.check(request)
            except AccessDeniedError as error:
                return refusal(error.status, error.error_type, error.message)
        return self._answer_body(request.body, disturbance)

    def _answer_body(self, body: bytes, disturbance: Disturbance) -> Answer:
        if not body:
            return refusal(400, "MalformedHttpRequestException", "Request body is empty.")
        try:
            asked = json.loads(body)
            text = asked["query"]
        except (ValueError, TypeError, KeyError):
            return refusal(400, "MalformedHttpRequestException", "Unable to parse request body.")
        try:
            document = self.documents.read(text)
        except GraphQLSyntaxError:
            return refusal(400, "MalformedHttpRequestException", "Unable to parse GraphQL query.")
        try:
            operation = document.choose(asked.get("operationName"))
            if operation.introspects:
                return _introspect(document, asked)
            variables = operation.variables.read(asked.get("variables") or {})
        except InvalidRequestError as error:
            return _json_answer({"data": None, "errors": error.errors}, error.errors)
        return self._run(operation, variables, disturbance)

    def _run(
        self, operation: Operation, variables: Mapping[str, Any], disturbance: Disturbance
    ) -> Answer:
        errors: Errors = []
        data = []
        for number, field in enumerate(operation.fields):
            if number and self.pause is not None:
                self.pause()
            text = self._field(field, variables, disturbance, errors)
            data.append(f'"{field.alias}":{text}')
        body = '{"data":{' + ",".join(data) + "}"
        body += f',"errors":{encode(errors)}}}' if errors else "}"
        return Answer(
            200,
            body.encode(),
            {},
            {field.alias: field.name for field in operation.fields},
            tuple(error.get("errorType") for error in errors),
        )

    def _field(
        self,
        field: Field,
        variables: Mapping[str, Any],
        disturbance: Disturbance,
        errors: Errors,
    ) -> str:
        try:
            disturbance.check(field.alias)
            arguments = field.arguments_of(variables)
            with self._lock:
                self._behaviour.stale = disturbance.stale
                result = self.resolvers[field.name](arguments)
        except ResolverError as error:
            errors.append(_field_error(field, error))
            return "null"
        return render(result, field, errors)


def _row(attributes: Mapping[str, Any]) -> Attributes:
    return {name: _plain(value) for name, value in attributes.items()}


def _plain(value: Any) -> Any:
    return value.parsed() if isinstance(value, Json) else value


def _json_answer(response: Mapping[str, Any], errors: Errors) -> Answer:
    return Answer(200, json.dumps(response).encode(), {}, {}, (None,) * len(errors))


def _introspect(document: Document, asked: Mapping[str, Any]) -> Answer:
    result = execute_sync(
        schema(),
        document.node,
        variable_values=asked.get("variables"),
        operation_name=asked.get("operationName"),
    )
    return _json_answer(dict(result.formatted), [])


def _field_error(field: Field, error: ResolverError) -> dict[str, Any]:
    return {
        "message": error.message,
        "errorType": error.error_type,
        "data": None,
        "errorInfo": None,
        "path": [field.alias],
        "locations": [field.location],
    }
