"""Rows and pages as JSON text, as a selection asks for them."""

from typing import Any

from amplify_api.ports import Page
from graphql import GraphQLError

from testbench.fakes.documents import Field, Selection
from testbench.fakes.scalars import encode
from testbench.fakes.tables import Row

type Errors = list[dict[str, Any]]
type Path = list[str | int]


def render(result: Row | Page[Row] | None, field: Field, errors: Errors) -> str:
    """What a field answers, as JSON; what cannot be given is added to the errors."""
    if isinstance(result, Page):
        return _render_page(result, field, errors)
    return "null" if result is None else _render_row(result, field.rows, [field.alias], errors)


def _render_row(row: Row, selection: Selection, path: Path, errors: Errors) -> str:
    """A row as far as it can be given; every answer names what cannot be given."""
    if text := row.rendered.get(selection.number):
        return text
    get = row.attributes.get
    try:
        values = {
            key: None if (value := get(name)) is None else write(value)
            for key, name, write, _ in selection.fields
        }
    except GraphQLError:
        return _render_flawed(row, selection, path, errors)
    values |= selection.typenames
    if None in values.values() and any(values[key] is None for key in selection.required):
        return _render_flawed(row, selection, path, errors)
    text = row.rendered[selection.number] = encode(values)
    return text


def _render_flawed(row: Row, selection: Selection, path: Path, errors: Errors) -> str:
    """A value that cannot be serialized is null; where it must not be, the row is."""
    values: dict[str, Any] = dict(selection.typenames)
    for key, name, write, required in selection.fields:
        value, reason = row.attributes.get(name), None
        if value is None and required:
            reason = f"Cannot return null for non-nullable field: '{selection.typename}.{name}'"
        try:
            value = None if value is None else write(value)
        except GraphQLError as error:
            value, reason = None, f"Can't serialize value ({_text([*path, key])}) : {error.message}"
        if reason:
            errors.append({"message": reason, "path": [*path, key], "locations": None})
        values.setdefault(key, value)
    lost = any(values[key] is None for key in selection.required)
    return "null" if lost else encode(values)


def _text(path: Path) -> str:
    """A path as messages have it: `/listTasks/items[0]/createdAt`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f"/{part}" for part in path)


def _render_page(page: Page[Row], field: Field, errors: Errors) -> str:
    parts = []
    for key, name in field.page or ():
        if name == "items":
            texts = [
                row.rendered.get(field.rows.number)
                or _render_row(row, field.rows, [field.alias, key, place], errors)
                for place, row in enumerate(page.records)
            ]
            value = "[" + ",".join(texts) + "]"
        else:
            value = encode(
                page.next if name == "nextToken" else f"Model{field.rows.typename}Connection"
            )
        parts.append(f'"{key}":{value}')
    return "{" + ",".join(parts) + "}"
