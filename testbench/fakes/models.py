"""The schema that Amplify generates, and the models and the valid documents that it implies."""

import functools
from pathlib import Path
from typing import Any

from amplify_api.models import Model, read_models
from graphql import DocumentNode, GraphQLError, GraphQLSchema, build_schema, parse, validate

from testbench.fakes.scalars import SCALARS

SCHEMA_PATH = Path(__file__).parents[1] / "amplify" / "schema.graphql"
_further: list[str] = []

# What AppSync defines for every API, and Amplify's schema therefore leaves out.
PRELUDE = """
scalar AWSJSON
scalar AWSDateTime
directive @aws_api_key on OBJECT | FIELD_DEFINITION
directive @aws_iam on OBJECT | FIELD_DEFINITION
directive @aws_cognito_user_pools on OBJECT | FIELD_DEFINITION
directive @aws_subscribe(mutations: [String!]!) on FIELD_DEFINITION
"""


def extend(*sdl: str) -> None:
    """Let the schema have these further definitions, and no others that it was given before."""
    _further[:] = sdl
    for read in (schema, models, mistakes):
        read.cache_clear()


def _sdl() -> str:
    return "".join((SCHEMA_PATH.read_text(), *_further))


@functools.cache
def schema() -> GraphQLSchema:
    """Parse the schema; its scalars read and write values as AppSync does."""
    built = build_schema(PRELUDE + _sdl(), assume_valid=True)
    for name, (read, write) in SCALARS.items():
        scalar: Any = built.type_map[name]
        scalar.coerce_input_value = scalar.parse_value = read
        scalar.coerce_output_value = scalar.serialize = write
    return built


@functools.cache
def models() -> dict[str, Model]:
    """Every model of the schema by name."""
    return read_models(_sdl())


@functools.lru_cache(maxsize=4096)
def document(text: str) -> DocumentNode:
    """Parse a document; raises GraphQLSyntaxError for no GraphQL."""
    return parse(text, no_location=True)


@functools.lru_cache(maxsize=4096)
def mistakes(text: str) -> list[GraphQLError]:
    """Everything that makes a document invalid."""
    return validate(schema(), document(text))
