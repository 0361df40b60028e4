"""What Amplify's generated resolvers do with one field: checks, defaults, keys, pages, errors."""

import functools
import random
import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from testbench.fakes.arguments import (
    Arguments,
    ResolverError,
    invalid_arguments,
    key_range,
    page_limit,
    page_start,
)
from testbench.fakes.filters import matches
from testbench.fakes.models import Index, Model, models
from testbench.fakes.tables import Attributes, Key, Page, Row, Staleness, Table

type Resolver = Callable[[Arguments, Staleness | None], Row | Page | None]


class Resolvers:
    """The resolvers over all tables, by field name.

    Each field runs under a lock, and only a field: two requests interleave between their fields.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float],
        seed: int,
        equal_put_succeeds: bool,
    ) -> None:
        self.tables = {name: Table(model) for name, model in models().items()}
        self.lock = threading.Lock()
        self._clock = clock
        self._monotonic = monotonic
        self._random = random.Random(seed)
        self._equal_put_succeeds = equal_put_succeeds
        self.by_field: dict[str, Resolver] = {}
        for table in self.tables.values():
            self._add(table)

    def _add(self, table: Table) -> None:
        name, bind = table.model.name, functools.partial
        self.by_field |= {
            f"create{name}": bind(self._create, table),
            f"update{name}": bind(self._update, table),
            f"delete{name}": bind(self._delete, table),
            f"get{name}": bind(self._get, table),
            table.model.list_query: bind(self._list, table),
        }
        for query, index in table.model.indexes.items():
            self.by_field[query] = bind(self._query, table, index)

    def resolve(self, field: str, arguments: Arguments, stale: Staleness | None) -> Any:
        with self.lock:
            return self.by_field[field](arguments, stale)

    def _create(self, table: Table, arguments: Arguments, _: Staleness | None) -> Row:
        model, now = table.model, self._now()
        attributes = {"createdAt": now, "updatedAt": now} | arguments["input"]
        if model.key == ("id",) and "id" not in attributes:
            attributes["id"] = self._new_id()
        _demand_composite_keys(model, attributes, "creating")
        for index in model.indexes.values():
            if attributes.get(index.hash_key, "") is None:
                del attributes[index.hash_key]
        _check_keys(model, attributes)
        key = _key(model, attributes)
        old = table.rows.get(key)
        # A condition is asked in addition to the key's absence: a create can never overwrite.
        if old is not None or not matches(arguments.get("condition", {}), {}):
            return self._conditional_failure(old, attributes)
        return table.write(key, attributes, self._monotonic())

    def _update(self, table: Table, arguments: Arguments, _: Staleness | None) -> Row:
        model = table.model
        changes = arguments["input"]
        if "updatedAt" not in changes:
            changes = {"updatedAt": self._now()} | changes
        _demand_composite_keys(model, changes, "updating")
        _check_keys(model, {name: value for name, value in changes.items() if value is not None})
        key = _key(model, changes)
        old = table.rows.get(key)
        if old is None:
            return self._conditional_failure(None, changes)
        attributes = old.attributes | changes
        for name, value in changes.items():
            if value is None:
                del attributes[name]
        if not matches(arguments.get("condition", {}), old.attributes):
            return self._conditional_failure(old, attributes)
        return table.write(key, attributes, self._monotonic())

    def _delete(self, table: Table, arguments: Arguments, _: Staleness | None) -> Row:
        key = _key(table.model, arguments["input"])
        old = table.rows.get(key)
        if old is None or not matches(arguments.get("condition", {}), old.attributes):
            return self._conditional_failure(None, {})
        return table.remove(key)

    def _conditional_failure(self, stored: Row | None, wanted: Attributes) -> Row:
        if self._equal_put_succeeds and stored is not None and stored.attributes == wanted:
            return stored
        raise ResolverError(
            f"The conditional request failed ({self._service()})",
            "DynamoDB:ConditionalCheckFailedException",
        )

    def _get(self, table: Table, arguments: Arguments, stale: Staleness | None) -> Row | None:
        return table.get(_key(table.model, arguments), stale)

    def _list(self, table: Table, arguments: Arguments, stale: Staleness | None) -> Page:
        index = table.primary
        if index.argument and arguments.get(index.hash_key) is not None:
            return self._query(table, index, arguments, stale)
        if index.argument and arguments.get(index.argument) is not None:
            raise invalid_arguments(
                f"When providing argument '{index.argument}' you must also provide arguments "
                f"{index.hash_key}"
            )
        if arguments.get("sortDirection") is not None:
            raise invalid_arguments(
                "sortDirection is not supported for List operations without a Sort key defined."
            )
        page = table.scan(limit=page_limit(arguments), after=page_start(arguments), stale=stale)
        return _filtered(page, arguments)

    def _query(
        self, table: Table, index: Index, arguments: Arguments, stale: Staleness | None
    ) -> Page:
        condition = arguments.get(index.argument) if index.argument else None
        page = table.query(
            index,
            arguments[index.hash_key],
            key_range(index, condition or {}),
            limit=page_limit(arguments),
            after=page_start(arguments),
            descending=arguments.get("sortDirection") == "DESC",
            stale=stale,
        )
        return _filtered(page, arguments)

    def _now(self) -> str:
        now = self._clock().astimezone(UTC)
        return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _new_id(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def _service(self) -> str:
        return f"Service: DynamoDb, Status Code: 400, Request ID: {self._new_id().upper()}"


def _key(model: Model, values: Mapping[str, Any]) -> Key:
    return tuple(values[name] for name in model.key)


def _demand_composite_keys(model: Model, values: Attributes, doing: str) -> None:
    """All parts of a composite sort key come together or not at all: they are stored as one."""
    for index in model.composite_indexes:
        missing = [name for name in index.sort_keys if name not in values]
        if missing and len(missing) < len(index.sort_keys):
            raise ResolverError(
                f"When {doing} any part of the composite sort key for @index '{index.name}', "
                f"you must provide all fields for the key. Missing key: '{missing[0]}'."
            )


def _check_keys(model: Model, values: Attributes) -> None:
    """Refuse what DynamoDB refuses as a key: null, and the empty string."""
    for name in model.key_fields:
        value = values.get(name, "-")
        if value is None:
            raise ResolverError("Invalid attribute value type", "DynamoDB:ValidationException")
        if value == "":
            raise ResolverError(
                "One or more parameter values are not valid. The AttributeValue for a key "
                f"attribute cannot contain an empty string value. IndexKey: {name}",
                "DynamoDB:ValidationException",
            )


def _filtered(page: Page, arguments: Arguments) -> Page:
    """Filter after the limit, as DynamoDB does: an empty page can have a successor."""
    condition = arguments.get("filter")
    if not condition:
        return page
    return Page([row for row in page.rows if matches(condition, row.attributes)], page.next)
