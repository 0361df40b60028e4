"""What the resolvers that Amplify generates do with a field: defaults, keys, pages, refusals."""

import base64
import binascii
import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

from amplify_api.errors import ResolverError, invalid_arguments
from amplify_api.models import Index, Model
from amplify_api.ports import Key, Page, PageRequest, Span, Table

DEFAULT_LIMIT = 100

type Arguments = Mapping[str, Any]
type Operation[Record] = Callable[[Arguments], Record | Page[Record] | None]


class Operations[Record]:
    """Answers the fields of Query and Mutation over the tables of all models.

    Args:
        tables: one for each model.
        now: gives `createdAt` and `updatedAt` where a client sends none.

    Attributes:
        by_field: field → what answers it, from the field's arguments: a record or None, or a page
            whose `next` is the client's nextToken. Raises ResolverError.
    """

    def __init__(
        self,
        tables: Iterable[Table[Record]],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._now = now
        self.by_field: dict[str, Operation[Record]] = {}
        for table in tables:
            self._add(table)

    def _add(self, table: Table[Record]) -> None:
        model = table.model
        self.by_field |= {
            f"create{model.name}": partial(self._create, table),
            f"update{model.name}": partial(self._update, table),
            f"delete{model.name}": partial(self._delete, table),
            f"get{model.name}": partial(_get, table),
            model.list_query: partial(_list, table),
        }
        for query, index in model.indexes.items():
            self.by_field[query] = partial(_query, table, index)

    def _create(self, table: Table[Record], arguments: Arguments) -> Record:
        model, now = table.model, self._time()
        values = {"createdAt": now, "updatedAt": now} | arguments["input"]
        if model.key == ("id",) and values.get("id") is None:
            values["id"] = str(uuid.uuid4())
        _demand_composite_keys(model, values, "creating")
        # An index has no row without its partition key: a null there is left out, not stored.
        for index in model.indexes.values():
            if values.get(index.hash_key, "") is None:
                del values[index.hash_key]
        return table.put(values, arguments.get("condition") or {})

    def _update(self, table: Table[Record], arguments: Arguments) -> Record:
        changes = arguments["input"]
        if "updatedAt" not in changes:
            changes = {"updatedAt": self._time()} | changes
        _demand_composite_keys(table.model, changes, "updating")
        return table.update(_key(table.model, changes), changes, arguments.get("condition") or {})

    def _delete(self, table: Table[Record], arguments: Arguments) -> Record:
        key, condition = _key(table.model, arguments["input"]), arguments.get("condition") or {}
        if table.model.keeps_deleted:
            return table.update(key, {"_deleted": True, "updatedAt": self._time()}, condition)
        return table.delete(key, condition)

    def _time(self) -> str:
        now = self._now().astimezone(UTC)
        return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _key(model: Model, values: Mapping[str, Any]) -> Key:
    return tuple([values[name] for name in model.key])


def _demand_composite_keys(model: Model, values: Mapping[str, Any], doing: str) -> None:
    """All parts of a composite sort key come together or not at all: they are stored as one."""
    for index in model.composite_indexes:
        missing = [name for name in index.sort_keys if name not in values]
        if missing and len(missing) < len(index.sort_keys):
            raise ResolverError(
                f"When {doing} any part of the composite sort key for @index '{index.name}', "
                f"you must provide all fields for the key. Missing key: '{missing[0]}'."
            )


def _get[Record](table: Table[Record], arguments: Arguments) -> Record | None:
    return table.get(_key(table.model, arguments))


def _list[Record](table: Table[Record], arguments: Arguments) -> Page[Record]:
    """A page of the table: of its key's partition if that is given, else of all of it."""
    index = table.model.primary
    if index.sort_keys and arguments.get(index.hash_key) is not None:
        return _query(table, index, arguments)
    if index.sort_keys and arguments.get(index.argument) is not None:
        raise invalid_arguments(
            f"When providing argument '{index.argument}' you must also provide arguments "
            f"{index.hash_key}"
        )
    if arguments.get("sortDirection") is not None:
        raise invalid_arguments(
            "When providing argument 'sortDirection' you must also provide argument "
            f"'{index.hash_key}'."
        )
    return _page(table, index, None, None, arguments)


def _query[Record](table: Table[Record], index: Index, arguments: Arguments) -> Page[Record]:
    span = _span(index, arguments.get(index.argument) or {})
    return _page(table, index, arguments[index.hash_key], span, arguments)


def _page[Record](
    table: Table[Record],
    index: Index,
    hash_value: str | None,
    span: Span | None,
    arguments: Arguments,
) -> Page[Record]:
    limit = arguments.get("limit")
    page = table.page(
        PageRequest(
            key=index,
            hash_value=hash_value,
            span=span,
            condition=arguments.get("filter") or {},
            limit=DEFAULT_LIMIT if limit is None else limit,
            start=_position(arguments.get("nextToken")),
            descending=arguments.get("sortDirection") == "DESC",
        )
    )
    return Page(page.records, _token(page.next))


def _token(position: Any) -> str | None:
    return position and base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


def _position(token: str | None) -> Any:
    try:
        return token and json.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError) as error:
        raise ResolverError("Invalid pagination token given.", "BadRequestException") from error


def _span(index: Index, condition: Mapping[str, Any]) -> Span | None:
    """A key condition argument, which has at most one operation."""
    given = [(name, value) for name, value in condition.items() if value is not None]
    if len(given) > 1:
        raise invalid_arguments(
            f"Argument {index.argument} must specify at most one key condition operation."
        )
    for operator, operand in given:
        operands = operand if operator == "between" else [operand]
        if operator == "between" and len(operands) != 2:  # noqa: PLR2004 - the two ends
            raise invalid_arguments(
                f"Argument {index.argument}.between expects exactly 2 elements."
            )
        return Span(operator, tuple(_sort_value(index, each) for each in operands))
    return None


def _sort_value(index: Index, operand: Any) -> str:
    if not isinstance(operand, Mapping):
        return str(operand)
    parts = [operand.get(name) for name in index.sort_keys]
    for position, name in enumerate(index.sort_keys[1:]):
        if parts[position] is None and parts[position + 1] is not None:
            raise invalid_arguments(
                f"When providing argument '{index.argument}.$operation.{name}' you must also "
                f"provide '{index.argument}.$operation.{index.sort_keys[position]}'."
            )
    return "#".join(str(part) for part in parts if part is not None)
