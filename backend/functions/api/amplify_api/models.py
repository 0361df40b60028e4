"""The models and indexes of an API, read from the schema that Amplify generates for it.

Amplify's names say everything: `DeleteXInput` has the primary key, each `listXBy…` is an index with
its hash key as the first argument, and the type of a composite key condition carries the index's
name.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

_DEFINITION = re.compile(r"\b(?:type|input)\s+(\w+)[^{]*\{([^}]*)\}")
_FIELD = re.compile(r"(\w+)\s*(?:\(([^)]*)\))?\s*:\s*([\[\]\w!]+)")
_NO_FIELDS = re.compile(r"#[^\n]*|@\w+(\([^)]*\))?")
_COMPOSITE = "CompositeKeyConditionInput"

type Fields = dict[str, tuple[str, str]]
"""Name of a field → its arguments and its type, as the schema writes them."""


class Index(NamedTuple):
    """A global secondary index, or a table's primary key.

    Attributes:
        name: the index's name on the table; empty for the primary key.
        hash_key: the attribute of the partition key.
        sort_keys: the fields of the sort key; more than one make a composite key.
    """

    name: str
    hash_key: str
    sort_keys: tuple[str, ...] = ()

    @property
    def attribute(self) -> str:
        """The table's attribute of the sort key, such as `status#updatedAt`; empty for none."""
        return "#".join(self.sort_keys)

    @property
    def argument(self) -> str:
        """The query's argument for the sort key, such as `statusUpdatedAt`; empty for none."""
        return _lower("".join(name[:1].upper() + name[1:] for name in self.sort_keys))


@dataclass(frozen=True)
class Model:
    """A type with a table of its own.

    Attributes:
        name: the type, and the first part of its table's name.
        list_query: the query that lists the table.
        primary: the table's key.
        indexes: query → the index that it reads, in the order of the model's definition: Amplify
            demands the parts of composite keys index by index.
        json_fields: the fields of type AWSJSON.
        keeps_deleted: the API resolves conflicts: a deleted record stays, marked `_deleted`.
    """

    name: str
    list_query: str
    primary: Index
    indexes: dict[str, Index]
    json_fields: frozenset[str]
    keeps_deleted: bool

    @cached_property
    def key(self) -> tuple[str, ...]:
        """The attributes of the table's primary key."""
        return (self.primary.hash_key, *self.primary.sort_keys)

    @cached_property
    def composite_indexes(self) -> tuple[Index, ...]:
        """The indexes whose sort key is put together from several fields."""
        return tuple(index for index in self.indexes.values() if len(index.sort_keys) > 1)

    @cached_property
    def key_fields(self) -> tuple[str, ...]:
        """All fields that are part of any key."""
        indexes = (self.primary, *self.indexes.values())
        return tuple(sorted({name for i in indexes for name in (i.hash_key, *i.sort_keys)}))


def read_models(sdl: str) -> dict[str, Model]:
    """Every model of a schema by name.

    Args:
        sdl: the schema as Amplify generates it, with or without directives.
    """
    types: dict[str, Fields] = {}
    for name, body in _DEFINITION.findall(_NO_FIELDS.sub("", sdl)):
        types.setdefault(name, {}).update((f, (a, t)) for f, a, t in _FIELD.findall(body))
    names = [name for name in types if f"Create{name}Input" in types]
    return {name: _model(name, types) for name in names}


def _model(name: str, types: dict[str, Fields]) -> Model:
    indexes = dict(_indexes(name, types))
    listed = f"Model{name}Connection"
    queries = (query for query, (_, kind) in types["Query"].items() if kind == listed)
    hash_key, *sort_keys = types[f"Delete{name}Input"]
    return Model(
        name=name,
        list_query=next(query for query in queries if query not in indexes),
        primary=Index("", hash_key, tuple(sort_keys)),
        indexes=indexes,
        json_fields=frozenset(f for f, (_, kind) in types[name].items() if kind == "AWSJSON"),
        keeps_deleted="_deleted" in types[name],
    )


def _indexes(model: str, types: dict[str, Fields]) -> Iterator[tuple[str, Index]]:
    """The queries of a model whose first argument, the hash key, is demanded."""
    for query, (arguments, kind) in types["Query"].items():
        (hash_key, _, hash_kind), *others = _FIELD.findall(arguments)
        if kind != f"Model{model}Connection" or not hash_kind.endswith("!"):
            continue
        sort, _, sort_kind = others[0]
        if sort_kind.endswith(_COMPOSITE):
            name = sort_kind.removeprefix(f"Model{model}").removesuffix(_COMPOSITE)
            parts = types[sort_kind]["eq"][1].rstrip("!")
            yield query, Index(_lower(name), hash_key, tuple(types[parts]))
        else:
            plural = model if model.endswith("s") else f"{model}s"
            name = _lower(plural) + query.removeprefix(f"list{model}")
            yield query, Index(name, hash_key, () if sort == "sortDirection" else (sort,))


def _lower(name: str) -> str:
    return name[:1].lower() + name[1:]
