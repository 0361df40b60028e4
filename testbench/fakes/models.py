"""The models and indexes that the schema implies, read from the schema itself.

Amplify's generated names say everything: `DeleteXInput` has the primary key, each `listXBy…` is an
index with its hash key as the first argument, and the type of a composite key condition carries
the index's name.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from graphql import (
    GraphQLArgument,
    GraphQLInputObjectType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    build_schema,
    get_named_type,
)

from testbench.fakes.scalars import READERS, InvalidValueError

SCHEMA_PATH = Path(__file__).parents[1] / "amplify" / "schema.graphql"
_further: list[str] = []

# What AppSync defines for every API, and Amplify's schema therefore leaves out.
_PRELUDE = """
scalar AWSJSON
scalar AWSDateTime
directive @aws_api_key on OBJECT | FIELD_DEFINITION
directive @aws_iam on OBJECT | FIELD_DEFINITION
directive @aws_cognito_user_pools on OBJECT | FIELD_DEFINITION
directive @aws_subscribe(mutations: [String!]!) on FIELD_DEFINITION
"""

_COMPOSITE = "CompositeKeyConditionInput"


class Index(NamedTuple):
    """A secondary index, or a table's primary key: a hash key and the parts of its sort key."""

    name: str
    hash_key: str
    sort_keys: tuple[str, ...]
    argument: str | None

    @property
    def is_composite(self) -> bool:
        return len(self.sort_keys) > 1


class Model(NamedTuple):
    """A model: its key, its indexes by the query that reads them, its list query.

    `key_fields` are all fields that are part of any key.
    """

    name: str
    key: tuple[str, ...]
    indexes: dict[str, Index]
    list_query: str
    json_fields: frozenset[str]
    composite_indexes: tuple[Index, ...]
    key_fields: tuple[str, ...]


def extend(*sdl: str) -> None:
    """Let the schema have these further definitions, and no others that it was given before."""
    _further[:] = sdl
    for read in (schema, models):
        read.cache_clear()


@functools.cache
def schema() -> GraphQLSchema:
    """Parse the schema; literals in documents are then checked as AppSync checks variables."""
    built = build_schema("".join((_PRELUDE, SCHEMA_PATH.read_text(), *_further)), assume_valid=True)
    for name in ("AWSJSON", "AWSDateTime"):
        scalar = built.type_map[name]
        assert isinstance(scalar, GraphQLScalarType)
        scalar.parse_value = _plain_errors(name)  # type: ignore[assignment, method-assign]
    return built


def _plain_errors(name: str) -> Callable[[object], object]:
    def read(value: object) -> object:
        try:
            return READERS[name](value)
        except InvalidValueError as error:
            raise ValueError(error.reason) from error

    return read


def _index_name(model: str, query: str, argument: GraphQLArgument | None) -> str:
    kind = get_named_type(argument.type).name if argument is not None else ""
    if kind.endswith(_COMPOSITE):
        name = kind.removeprefix(f"Model{model}").removesuffix(_COMPOSITE)
    else:
        name = query.removeprefix(f"list{model}")
        model = model if model.endswith("s") else model + "s"
        return model[0].lower() + model[1:] + name
    return name[0].lower() + name[1:]


def _sort_keys(name: str, argument: GraphQLArgument) -> tuple[str, ...]:
    condition = get_named_type(argument.type)
    assert isinstance(condition, GraphQLInputObjectType)
    if not condition.name.endswith(_COMPOSITE):
        return (name,)
    parts = get_named_type(condition.fields["eq"].type)
    assert isinstance(parts, GraphQLInputObjectType)
    return tuple(parts.fields)


def _index(model: str, query: str, arguments: dict[str, GraphQLArgument]) -> Index:
    names = list(arguments)
    sort = names[1] if names[1] != "sortDirection" else None
    argument = arguments[sort] if sort else None
    return Index(
        name=_index_name(model, query, argument),
        hash_key=names[0],
        sort_keys=_sort_keys(sort, argument) if sort and argument else (),
        argument=sort,
    )


def _model(name: str) -> Model:
    types = schema().type_map
    key_input, row, queries = types[f"Delete{name}Input"], types[name], schema().query_type
    assert isinstance(key_input, GraphQLInputObjectType)
    assert isinstance(row, GraphQLObjectType)
    assert queries is not None
    indexes: dict[str, Index] = {}
    list_query = ""
    for query, field in queries.fields.items():
        if get_named_type(field.type).name != f"Model{name}Connection":
            continue
        if isinstance(next(iter(field.args.values())).type, GraphQLNonNull):
            indexes[query] = _index(name, query, field.args)
        else:
            list_query = query
    json_fields = (n for n, f in row.fields.items() if get_named_type(f.type).name == "AWSJSON")
    key = tuple(key_input.fields)
    keys = {field for i in indexes.values() for field in (i.hash_key, *i.sort_keys)} | {*key}
    return Model(
        name=name,
        key=key,
        indexes=indexes,
        list_query=list_query,
        json_fields=frozenset(json_fields),
        composite_indexes=tuple(index for index in indexes.values() if index.is_composite),
        key_fields=tuple(sorted(keys)),
    )


@functools.cache
def models() -> dict[str, Model]:
    """Every model of the schema by name."""
    names = (name for name in schema().type_map if f"Create{name}Input" in schema().type_map)
    return {name: _model(name) for name in names}
