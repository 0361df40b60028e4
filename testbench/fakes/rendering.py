"""Rows and pages as JSON text, as a selection asks for them."""

from typing import Any

from testbench.fakes.arguments import next_token
from testbench.fakes.plans import Field, PageSelection, Selection
from testbench.fakes.scalars import InvalidValueError, encode
from testbench.fakes.tables import Page, Row

type Errors = list[dict[str, Any]]


def render_row(row: Row, selection: Selection, path: list[str | int], errors: Errors) -> str:
    """A row as JSON, as far as it can be given.

    A value that its type cannot serialize is null, with an error at its path; where a field must
    not be null the row is.
    """
    text = row.rendered.get(selection.id)
    if text is not None:
        return text
    get = row.attributes.get
    values: dict[str, Any] = {}
    flaws: Errors = []
    lost = False
    for (key, name), write in zip(selection.fields, selection.writers, strict=True):
        value, flaw = get(name), None
        if value is not None:
            try:
                value = write(value)
            except InvalidValueError as error:
                where = _written([*path, key])
                value, flaw = None, f"Can't serialize value ({where}) : {error.reason}"
        if value is None and key in selection.required:
            lost = True
            where = f"{selection.typename}.{name}"
            flaw = flaw or f"Cannot return null for non-nullable field: '{where}'"
        if flaw:
            flaws.append({"message": flaw, "path": [*path, key], "locations": None})
        values[key] = value
    for key in selection.typename_keys:
        values[key] = selection.typename
    text = "null" if lost else encode(values)
    if flaws:
        errors += flaws  # every answer says so: only a flawless row is kept as text
    else:
        row.rendered[selection.id] = text
    return text


def _written(path: list[str | int]) -> str:
    """A path as messages have it: `/listTasks/items[0]/createdAt`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f"/{part}" for part in path)


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
