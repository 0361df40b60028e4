"""Rows and pages as JSON text, as a selection asks for them."""

from typing import Any

from testbench.fakes.arguments import next_token
from testbench.fakes.plans import Field, PageSelection, Selection
from testbench.fakes.scalars import encode
from testbench.fakes.tables import Page, Row

type Errors = list[dict[str, Any]]


def render_row(row: Row, selection: Selection, path: list[str | int], errors: Errors) -> str:
    """A row as JSON; null, with an error, if a field that must not be null is."""
    text = row.rendered.get(selection.id)
    if text is not None:
        return text
    attributes = row.attributes
    for key, name in selection.required:
        if attributes.get(name) is None:
            message = f"Cannot return null for non-nullable field: '{selection.typename}.{name}'"
            errors.append({"message": message, "path": [*path, key], "locations": None})
            return "null"
    get = attributes.get
    values = {key: get(name) for key, name in selection.fields}
    for key in selection.typename_keys:
        values[key] = selection.typename
    text = row.rendered[selection.id] = encode(values)
    return text


def render_page(page: Page, field: Field, selection: PageSelection, errors: Errors) -> str:
    """A page as JSON: its rows, and the token for the next."""
    parts = []
    for key, name, rows in selection.fields:
        if rows is not None:
            path = [field.alias, key]
            texts = [
                render_row(row, rows, [*path, place], errors) for place, row in enumerate(page.rows)
            ]
            value = "[" + ",".join(texts) + "]"
        elif name == "nextToken":
            value = encode(next_token(page.next)) if page.next is not None else "null"
        else:
            value = encode(selection.typename)
        parts.append(f'"{key}":{value}')
    return "{" + ",".join(parts) + "}"
