"""Variables in the form that the schema asks for.

graphql-core reads them, and words its refusals. What is read here first is the common case, by
functions that are made once for each type: seven times as fast.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphql import (
    GraphQLError,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    NonNullTypeNode,
    VariableDefinitionNode,
    get_nullable_type,
    get_variable_values,
    type_from_ast,
)

from testbench.fakes.models import schema
from testbench.fakes.scalars import quick

type Coercer = Callable[[Any], Any]


class InvalidRequestError(Exception):
    """A request of which nothing is carried out. Its errors have no errorType."""

    def __init__(self, errors: Sequence[GraphQLError]) -> None:
        super().__init__(errors)
        self.errors = [dict(error.formatted) for error in errors]


class Variables:
    """The variables that an operation declares."""

    def __init__(self, nodes: Sequence[VariableDefinitionNode]) -> None:
        self._nodes = nodes
        self._coercers = {
            node.variable.name.value: _coercer(type_from_ast(schema(), node.type)) for node in nodes
        }
        self._demanded = {
            node.variable.name.value
            for node in nodes
            if isinstance(node.type, NonNullTypeNode) or node.default_value
        }

    def read(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Read all variables; raises InvalidRequestError: nothing runs with one of them invalid."""
        try:
            if self._demanded <= sent.keys():
                coercers = self._coercers.items()
                return {name: coerce(sent[name]) for name, coerce in coercers if name in sent}
        except (ArithmeticError, GraphQLError, LookupError, TypeError, ValueError):
            pass
        result = get_variable_values(schema(), self._nodes, dict(sent))
        if isinstance(result, list):
            raise InvalidRequestError(result)
        return result.coerced


@functools.cache
def _coercer(kind: Any) -> Coercer:
    """What reads a value of this type; raises one of several errors where it cannot."""
    if not isinstance(kind, GraphQLNonNull):
        inner = _bare_coercer(kind)
        return lambda value: None if value is None else inner(value)
    bare = _bare_coercer(kind.of_type)

    def required(value: Any) -> Any:
        if value is None:
            raise ValueError(value)
        return bare(value)

    return required


@functools.cache
def _bare_coercer(kind: Any) -> Coercer:
    if isinstance(kind, GraphQLInputObjectType):
        return _object_coercer(kind)
    if isinstance(kind, GraphQLList):
        element = _coercer(kind.of_type)
        return lambda values: [element(value) for value in _items(values)]
    return quick(kind, kind.coerce_input_value)


def _items(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(value)
    return value


class _Fields(dict[str, Coercer]):
    """Coercers of an input type's fields, made on first use: filter types contain themselves."""

    def __init__(self, kind: GraphQLInputObjectType) -> None:
        super().__init__()
        self._kinds = {name: get_nullable_type(field.type) for name, field in kind.fields.items()}

    def __missing__(self, name: str) -> Coercer:
        made = self[name] = _bare_coercer(self._kinds[name])
        return made


def _object_coercer(kind: GraphQLInputObjectType) -> Coercer:
    fields = _Fields(kind)
    demanded = {name for name, each in kind.fields.items() if isinstance(each.type, GraphQLNonNull)}

    def coerce(value: Any) -> dict[str, Any]:
        if type(value) is not dict or not demanded <= value.keys():
            raise TypeError(value)
        if None in value.values() and any(value[name] is None for name in demanded):
            raise ValueError(value)
        return {n: None if item is None else fields[n](item) for n, item in value.items()}

    return coerce
