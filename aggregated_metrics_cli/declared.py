"""The models that a user declares, compared with the application's schema and completed from it."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from aggregated_metrics.core.declarations import Declaration, Document
from aggregated_metrics.core.models import BUILT_IN, UPDATED, Model
from aggregated_metrics.core.rows import DELETED
from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    get_named_type,
    is_non_null_type,
    is_scalar_type,
)

from aggregated_metrics_cli.diagnostics import COUNTS, Diagnostic

_TEXTS = ("String", "ID")
_TIMES = ("AWSDateTime", "String")
_NUMBERS = ("Int", "Float", "String", "AWSTimestamp")
_SORT_KEY = "ModelStringKeyConditionInput"
_JSON = "AWSJSON"

type _Fields = Mapping[str, GraphQLField]


class _Use(NamedTuple):
    """What a key of a declaration reads.

    Attributes:
        key: such as `measures.cost`.
        path: the attribute, and keys into it.
        kinds: the types that it may have; any scalar or enum without one.
        values: those that it is compared with.
    """

    key: str
    path: str
    kinds: Sequence[str] = ()
    values: Sequence[str] = ()


def completed(document: Document, schema: GraphQLSchema) -> tuple[Document, list[Diagnostic]]:
    """The declarations with what the schema knows of them, and what is wrong with them.

    A declaration's `required` and `types` are the schema's, whatever the file has; `softDeletes`
    names the built-in models, too.
    """
    findings: list[Diagnostic] = []
    models: list[Declaration] = []
    for declaration in document.models:
        fields = fields_of(schema, declaration.name)
        filled = _filled(declaration, fields)
        findings += _judged(declaration, filled, fields, schema)
        models.append(filled)
    names = (*(model.name for model in BUILT_IN), *(each.name for each in models))
    deleted = tuple(name for name in names if DELETED in fields_of(schema, name))
    return Document(models=tuple(models), softDeletes=deleted), findings


def fields_of(schema: GraphQLSchema, name: str) -> _Fields:
    """The attributes of a type; none where the schema has no such type."""
    found = schema.get_type(name)
    return found.fields if isinstance(found, GraphQLObjectType) else {}


def _filled(declaration: Declaration, fields: _Fields) -> Declaration:
    bare = declaration.model_copy(update={"required": (), "types": {}})
    model = Model(bare)
    read = {name: fields[name].type for name in model.selected if name in fields}
    # Without these a row is not counted at all, or is unindexed anyway.
    sure = {*model.identifier, model.account, *(model.times if len(model.times) == 1 else ())}
    sure |= {model.listing.by} if model.listing else set()
    required = [name for name, kind in read.items() if is_non_null_type(kind) and name not in sure]
    kinds = {name: get_named_type(kind).name for name, kind in read.items()}
    types = {n: kind for n, kind in kinds.items() if kind in {"Int", "Float", "Boolean"}}
    return bare.model_copy(update={"required": tuple(required), "types": types})


def _judged(
    declaration: Declaration, filled: Declaration, fields: _Fields, schema: GraphQLSchema
) -> Iterator[Diagnostic]:
    name = declaration.name
    if not fields:
        models = [each for each in schema.type_map if f"Model{each}Connection" in schema.type_map]
        remedy = f"write {_close(name, models)}"
        yield Diagnostic(f"{name}: name", "wrong", f"the schema has no model {name}", remedy)
        return
    problems = [
        *(_problem(use, name, fields) for use in _uses(declaration)),
        _identifier(declaration, schema),
        _listing(declaration, schema),
    ]
    wrong = [Diagnostic(f"{name}: {key}", *rest) for key, *rest in filter(None, problems)]
    yield from dict.fromkeys(wrong)
    if not any(each.state == "wrong" for each in wrong):
        added = [*filled.required, *(f"{each} {kind}" for each, kind in filled.types.items())]
        text = f"; added: {', '.join(added)}" if added else ""
        yield Diagnostic(f"{name}: declaration", "good", f"the schema has what it reads{text}")


def _uses(declaration: Declaration) -> Iterator[_Use]:
    yield _Use("account", declaration.account, _TEXTS)
    yield from (_Use("time", name, _TIMES) for name in declaration.time)
    for name, values in declaration.split.items():
        yield _Use("split", name, values=list(values))
    for record_type, ids in declaration.breakdowns.items():
        yield from (_Use(f"breakdowns.{record_type}", name) for name in ids)
    for measure, given in declaration.measures.items():
        kinds = _NUMBERS if given.dollars or given.number else ()
        for path in given.paths:
            yield _Use(f"measures.{measure}", path, kinds, given.equals.get(path, ()))


type _Problem = tuple[str, Any, str, str] | None
"""A key, and the rest of a Diagnostic."""


def _problem(use: _Use, model: str, fields: _Fields) -> _Problem:
    name, _, keys = use.path.partition(".")
    if name not in fields:
        found = f"{model} has no attribute {name}"
        return use.key, "wrong", found, f"write {_close(name, fields)}"
    given = fields[name].type
    kind, named = str(given).rstrip("!"), get_named_type(given)
    if kind == _JSON and use.key.startswith("measures"):
        remedy = f'name a key within it, such as "{name}.total"'
        return None if keys else (use.key, "wrong", f"{name} is {_JSON}", remedy)
    if keys:
        remedy = f'write "{name}" alone; only an attribute of {_JSON} has keys'
        return use.key, "wrong", f"{name} is {kind}", remedy
    plain = (is_scalar_type(named) or isinstance(named, GraphQLEnumType)) and kind != _JSON
    if kind != named.name or not plain or (use.kinds and kind not in use.kinds):
        wanted = " or ".join(use.kinds) or "a text, a number, a truth value or an enum"
        return use.key, "wrong", f"{name} is {kind}", f"name an attribute that is {wanted}"
    return _value(use, name, named)


def _value(use: _Use, name: str, kind: Any) -> _Problem:
    """Whether an enum has what it is compared with."""
    possible = list(kind.values) if isinstance(kind, GraphQLEnumType) else use.values
    never = next((value for value in use.values if value not in possible), None)
    if never is None:
        return None
    return use.key, "wrong", f"{name} is never {never!r}", f"write {_close(never, possible)}"


def _identifier(declaration: Declaration, schema: GraphQLSchema) -> _Problem:
    query = fields_of(schema, "Query").get(f"get{declaration.name}")
    names = tuple(query.args) if query else declaration.identifier
    if set(names) == set(declaration.identifier):
        return None
    return (
        "identifier",
        "wrong",
        f"rows are named by {', '.join(names)}",
        (f"write identifier = {list(names)}".replace("'", '"')),
    )


def _listing(declaration: Declaration, schema: GraphQLSchema) -> _Problem:
    """Whether the query exists, with the account and the sort key as its arguments."""
    found = dict(_listings(declaration, fields_of(schema, "Query")))
    given = declaration.index
    if given is not None and found.get(given.query) == given.by:
        return None
    wanted = (declaration.time[0], UPDATED)
    best = sorted(found, key=lambda query: (found[query] not in wanted, found[query] != wanted[0]))
    text = f'write listing = {{ by = "{found[best[0]]}", query = "{best[0]}" }}' if best else ""
    if given is not None:
        missing = f"no query {given.query}({declaration.account}, {given.by}) lists its rows"
        instead = text or "add such an index"
        return "listing", "wrong", missing, f"{instead}, or leave it out: then only a Scan checks"
    return ("listing", "note", "only a Scan checks its counts", text) if text else None


def _listings(declaration: Declaration, queries: _Fields) -> Iterator[tuple[str, str]]:
    """The queries of a model's rows by its account and one text, and which attribute that is."""
    for name, field in queries.items():
        kinds = {each: get_named_type(arg.type).name for each, arg in field.args.items()}
        by = [each for each, kind in kinds.items() if kind == _SORT_KEY]
        is_of_model = get_named_type(field.type).name == f"Model{declaration.name}Connection"
        if is_of_model and declaration.account in kinds and len(by) == 1:
            yield name, by[0]


def _close(name: str, names: Any) -> str:
    """Those of the names that may have been meant; all if none is alike."""
    known = [each for each in names if not each.startswith("_")]
    close = get_close_matches(name, known)
    return " or ".join(close or known[:20])


def conflicts(soft_deletes: Sequence[str], schema: GraphQLSchema) -> Iterator[Diagnostic]:
    """Which models detect conflicts: deletions only mark a row."""
    if "_version" in fields_of(schema, COUNTS):
        yield Diagnostic(
            f"{COUNTS}: conflict detection",
            "wrong",
            "an update without _version fails",
            f"turn conflict detection off for {COUNTS}, and deploy it",
        )
    if soft_deletes:
        found = f"{', '.join(soft_deletes)}: a deletion only sets _deleted"
        remedy = "a row with _deleted: true counts as none"
        yield Diagnostic("conflict detection", "note", found, remedy)
