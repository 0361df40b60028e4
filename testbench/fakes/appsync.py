"""FakeAppSync: an API in memory that answers as the one that Amplify generates.

It answers the recorded exchanges (tests/contract) in the same way, and quickly: documents are
validated once, rows are completed once per version and selection, and keys are kept in order.
"""

import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from amplify_api.operations import Operations
from amplify_api.ports import Page
from graphql import GraphQLSyntaxError

from testbench.fakes.endpoint import CALM, Answer, Disturbance, refusal
from testbench.fakes.execution import execute
from testbench.fakes.models import document, mistakes, models
from testbench.fakes.scalars import Json
from testbench.fakes.signatures import Request, Signatures
from testbench.fakes.tables import Attributes, Behaviour, Row, Table, attributes_of


class FakeAppSync:
    """The API.

    Args:
        clock: gives `createdAt` and `updatedAt` where a client sends none.
        monotonic: tells a row's age in seconds, for stale reads.
        equal_put_succeeds: AppSync's documented rule that a failed condition is a success if the
            stored item already equals the one to be written. The recordings have it off.
        signatures: who may call; None lets everybody.
        longest: the characters of the longest document that is validated.

    Attributes:
        resolvers: what answers each field, under a lock, and only a field: two requests interleave
            between their fields.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
        equal_put_succeeds: bool = False,
        signatures: Signatures | None = None,
        longest: float = math.inf,
    ) -> None:
        self._longest = longest
        self.monotonic = monotonic
        self._behaviour = Behaviour(monotonic, equal_put_succeeds)
        self._tables = {name: Table(model, self._behaviour) for name, model in models().items()}
        self.resolvers = Operations(self._tables.values(), now=clock).by_field
        self._lock = threading.Lock()
        self._signatures = signatures

    def execute(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Answer a document without a transport: the parsed response, `errors` included."""
        body = json.dumps({"query": query, "variables": variables or {}}).encode()
        return dict(json.loads(self._answer_body(body, CALM).body))

    def rows(self, model: str) -> list[Attributes]:
        """All rows of a model as plain values, AWSJSON parsed, in the order of their keys."""
        return [_row(attributes) for attributes in self.stored(model)]

    def stored(self, model: str) -> list[Mapping[str, Any]]:
        """The same as they are stored, AWSJSON a text: many rows are slow to parse."""
        with self._lock:
            return [row.attributes for _, row in sorted(self._tables[model].rows.items())]

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

    def answer(self, request: Request, disturbance: Disturbance = CALM) -> Answer:
        """Answer an HTTP request."""
        if self._signatures is not None and (denial := self._signatures.denial(request)):
            return refusal(*denial)
        return self._answer_body(request.body, disturbance)

    def _answer_body(self, body: bytes, disturbance: Disturbance) -> Answer:
        if not body:
            return refusal(400, "MalformedHttpRequestException", "Request body is empty.")
        try:
            text = json.loads(body)["query"]
        except (ValueError, TypeError, KeyError):
            return refusal(400, "MalformedHttpRequestException", "Unable to parse request body.")
        try:
            document(text)
            errors = mistakes(text) if len(text) <= self._longest else []
        except GraphQLSyntaxError:
            return refusal(400, "MalformedHttpRequestException", "Unable to parse GraphQL query.")
        response: dict[str, Any] = {"data": None, "errors": [error.formatted for error in errors]}
        if not errors:
            response = execute(body, partial(self._resolve, disturbance))
        content = json.dumps(response, ensure_ascii=False, separators=(",", ":")).encode()
        kinds = tuple(error.get("errorType") for error in response.get("errors", ()))
        return Answer(200, content, error_types=kinds)

    def _resolve(
        self, disturbance: Disturbance, alias: str, name: str, arguments: Mapping[str, Any]
    ) -> Row | Page[Row] | None:
        disturbance.check(alias)
        with self._lock:
            self._behaviour.stale = disturbance.stale
            return self.resolvers[name](arguments)


def _row(attributes: Mapping[str, Any]) -> Attributes:
    return {
        name: value.parsed() if isinstance(value, Json) else value
        for name, value in attributes.items()
    }
