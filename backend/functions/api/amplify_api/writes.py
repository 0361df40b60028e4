"""Create, update and delete, each under the condition that Amplify's templates put on it."""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from amplify_api.errors import ResolverError
from amplify_api.expressions import Placeholders, absent, both, condition_expression, exists
from amplify_api.models import Model
from amplify_api.table import Table
from amplify_api.values import answered, stored


def create(table: Table, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Puts a record whose key must be absent; `id`, createdAt and updatedAt have defaults.

    Raises:
        ResolverError: for a part of a composite sort key without the others, or as `Table`.
    """
    model = table.model
    now = _now()
    record: dict[str, Any] = {"createdAt": now, "updatedAt": now, **arguments["input"]}
    if "id" in model.key:
        record["id"] = record.get("id") or str(uuid.uuid4())
    record |= {"__typename": model.name, **_composite_keys(model, record, "creating")}
    # an index has no row without its partition key: a null there is left out, not stored
    hash_keys = {index.hash_key for index in model.indexes}
    item = {f: stored(v) for f, v in record.items() if not (v is None and f in hash_keys)}
    marks = Placeholders()
    condition = condition_expression(arguments.get("condition"), marks)
    table.put(item, both(absent(model.key, marks), condition), marks)
    return answered(item)


def update(table: Table, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Sets the fields that are given in a record that must be there; a null removes the field.

    Raises:
        ResolverError: as for `create`.
    """
    model = table.model
    changes: dict[str, Any] = {"updatedAt": _now(), **arguments["input"]}
    changes |= {"__typename": model.name, **_composite_keys(model, changes, "updating")}
    key = {name: changes.pop(name) for name in model.key}
    marks = Placeholders()
    expression = both(
        exists(model.key, marks), condition_expression(arguments.get("condition"), marks)
    )
    sets = [f"{marks.name(f)} = {marks.value(v)}" for f, v in changes.items() if v is not None]
    removes = [marks.name(field) for field, value in changes.items() if value is None]
    actions = f"SET {', '.join(sets)}"
    if removes:
        actions += f" REMOVE {', '.join(removes)}"
    return table.update(_stored_key(key), actions, expression, marks)


def delete(table: Table, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Removes a record that must be there, and answers what it was.

    Raises:
        ResolverError: as `Table`.
    """
    key = {name: arguments["input"][name] for name in table.model.key}
    marks = Placeholders()
    condition = condition_expression(arguments.get("condition"), marks)
    return table.delete(_stored_key(key), both(exists(table.model.key, marks), condition), marks)


def _composite_keys(model: Model, values: Mapping[str, Any], doing: str) -> dict[str, str]:
    """The composite sort keys of the record.

    A null counts as missing: Amplify's templates would write the name of the variable instead.
    """
    keys = {}
    for index in model.indexes:
        given = [field for field in index.sort if values.get(field) is not None]
        if not index.composite or not given:
            continue
        for field in index.sort:
            if field not in given:
                raise ResolverError(
                    f"When {doing} any part of the composite sort key for @index "
                    f"'{model.index_name(index)}', you must provide all fields for the key. "
                    f"Missing key: '{field}'."
                )
        keys[index.sort_attribute] = "#".join(str(values[field]) for field in index.sort)
    return keys


def _stored_key(key: Mapping[str, Any]) -> dict[str, Any]:
    return {name: stored(value) for name, value in key.items()}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
