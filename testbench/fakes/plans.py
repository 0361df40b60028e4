"""What a document is compiled to: operations, their fields, and what is selected of each row."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from testbench.fakes.coercion import Coercer
from testbench.fakes.scalars import InvalidValueError

type Variables = Mapping[str, Any]
type Thunk = Callable[[Variables], Any]
type Writer = Callable[[Any], Any]

ABSENT = object()


class InvalidRequestError(Exception):
    """A request of which nothing is carried out. Its errors have no errorType."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(errors)
        self.errors = errors


class Selection(NamedTuple):
    """What is asked of each row: (response key, field).

    `writers` has what puts a field's value into an answer; `required` are the response keys of
    those that must not be null.
    """

    id: int
    fields: tuple[tuple[str, str], ...]
    writers: tuple[Writer, ...]
    required: frozenset[str]
    typename: str
    typename_keys: tuple[str, ...]


class PageSelection(NamedTuple):
    """What is asked of a page: (response key, "items" | "nextToken" | "__typename", rows)."""

    fields: tuple[tuple[str, str, Selection | None], ...]
    typename: str


class Field(NamedTuple):
    """One field of an operation, under its alias."""

    alias: str
    name: str
    arguments: tuple[tuple[str, Thunk], ...]
    selection: Selection | PageSelection
    location: dict[str, Any]

    def arguments_of(self, variables: Variables) -> dict[str, Any]:
        found = {}
        for name, thunk in self.arguments:
            value = thunk(variables)
            if value is not ABSENT and value is not None:
                found[name] = value
        return found


class Variable(NamedTuple):
    """A declared variable: how it is read, and what it is without being sent."""

    name: str
    coerce: Coercer
    required: str | None
    default: Any
    location: dict[str, int]


class Operation(NamedTuple):
    """A compiled operation. `introspects`: it is for graphql-core to answer."""

    name: str | None
    is_mutation: bool
    variables: tuple[Variable, ...]
    fields: tuple[Field, ...]
    introspects: bool

    def coerce(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Read all variables; raises InvalidRequestError: nothing runs with one of them invalid."""
        values: dict[str, Any] = {}
        for variable in self.variables:
            name = variable.name
            if name not in sent:
                if variable.required is not None:
                    raise _refusal(variable, f"of required type {variable.required} was not sent.")
                if variable.default is not ABSENT:
                    values[name] = variable.default
                continue
            try:
                values[name] = variable.coerce(sent[name])
            except InvalidValueError as error:
                place = ".".join([name, *reversed(error.path)])
                value = repr(error.value)
                raise _refusal(
                    variable, f'got invalid value {value} at "{place}"; {error.reason}'
                ) from error
        return values


def _refusal(variable: Variable, reason: str) -> InvalidRequestError:
    return InvalidRequestError(
        [{"message": f'Variable "${variable.name}" {reason}', "locations": [variable.location]}]
    )
