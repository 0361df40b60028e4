"""Variables, brought into the form that the schema asks for: compiled once per input type."""

import functools
from collections.abc import Callable
from typing import Any, NoReturn

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    Undefined,
    get_nullable_type,
    is_non_null_type,
)

from testbench.fakes.scalars import READERS, InvalidValueError

type Coercer = Callable[[Any], Any]


def coercer(kind: Any) -> Coercer:
    """What turns a JSON value into one of the type `kind`, or raises InvalidValueError."""
    if isinstance(kind, GraphQLNonNull):
        return _required(coercer(kind.of_type), str(kind))
    inner = _bare_coercer(kind)
    return lambda value: None if value is None else inner(value)


def _required(inner: Coercer, name: str) -> Coercer:
    def coerce(value: Any) -> Any:
        return _raise_null(name) if value is None else inner(value)

    return coerce


def _raise_null(kind: object) -> NoReturn:
    raise InvalidValueError(None, f'Expected non-nullable type "{kind}" not to be null.')


@functools.cache
def _bare_coercer(kind: Any) -> Coercer:
    if isinstance(kind, GraphQLScalarType):
        return READERS[kind.name]
    if isinstance(kind, GraphQLEnumType):
        return _enum_coercer(kind)
    if isinstance(kind, GraphQLList):
        return _list_coercer(coercer(kind.of_type))
    assert isinstance(kind, GraphQLInputObjectType)
    return _object_coercer(kind)


def _enum_coercer(kind: GraphQLEnumType) -> Coercer:
    def coerce(value: Any) -> Any:
        if value in kind.values:
            return value
        raise InvalidValueError(value, f'Value does not exist in "{kind.name}" enum.')

    return coerce


def _list_coercer(element: Coercer) -> Coercer:
    # GraphQL takes a single value for a list of one.
    return lambda value: (
        [element(item) for item in value] if isinstance(value, list) else [element(value)]
    )


class _Fields(dict[str, Coercer]):
    """Coercers of an input type's fields, made on first use: filter types contain themselves."""

    def __init__(self, kind: GraphQLInputObjectType) -> None:
        super().__init__()
        self._kind = kind

    def __missing__(self, name: str) -> Coercer:
        field = self._kind.fields.get(name)
        if field is None:
            raise InvalidValueError(
                None, f'Field "{name}" is not defined by type "{self._kind.name}".'
            )
        made = self[name] = _bare_coercer(get_nullable_type(field.type))
        return made


def _object_coercer(kind: GraphQLInputObjectType) -> Coercer:
    fields = _Fields(kind)
    types = {name: field.type for name, field in kind.fields.items()}
    not_null = frozenset(name for name, type_ in types.items() if is_non_null_type(type_))
    required = frozenset(n for n in not_null if kind.fields[n].default_value is Undefined)

    def coerce(value: Any) -> Any:
        if type(value) is not dict:
            raise InvalidValueError(value, f'Expected type "{kind.name}" to be an object.')
        result = {}
        name = ""
        try:
            for name, item in value.items():
                read = fields[name]
                if item is None and name in not_null:
                    _raise_null(types[name])
                result[name] = None if item is None else read(item)
        except InvalidValueError as error:
            error.path.append(name)
            raise
        if not required <= value.keys():
            missing = min(required - value.keys())
            raise InvalidValueError(
                value, f'Field "{missing}" of required type "{types[missing]}" was not provided.'
            )
        return result

    return coerce
