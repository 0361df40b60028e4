"""GraphQL documents, parsed, validated and compiled once per document string.

What is compiled is only what Amplify's API can be asked: operations whose fields return a row or a
page of rows. Introspection is handed to graphql-core as it is.
"""

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLInputType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    InlineFragmentNode,
    ListValueNode,
    Node,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    parse,
    type_from_ast,
    validate,
    value_from_ast,
)

from testbench.fakes.coercion import coercer
from testbench.fakes.models import schema
from testbench.fakes.plans import (
    ABSENT,
    Field,
    InvalidRequestError,
    Operation,
    PageSelection,
    Selection,
    Thunk,
    Variable,
    Writer,
)
from testbench.fakes.scalars import WRITERS

_MAX_DOCUMENTS = 4096


class Document(NamedTuple):
    """A valid document, or the errors of one that is not."""

    node: DocumentNode
    operations: tuple[Operation, ...]
    errors: list[dict[str, Any]]

    def choose(self, name: str | None) -> Operation:
        """The operation to run, by its name; raises InvalidRequestError if there is none."""
        if self.errors:
            raise InvalidRequestError(self.errors)
        found = [o for o in self.operations if name is None or o.name == name]
        if len(found) != 1:
            raise InvalidRequestError([{"message": f"Unknown operation named '{name}'."}])
        return found[0]


class Documents:
    """A cache of compiled documents. `parsed` counts how many had to be read.

    Args:
        validated: so many documents are validated, the later ones only compiled; None for all. For
            long runs whose documents differ only in their numbers of aliases.
    """

    def __init__(self, validated: int | None = None) -> None:
        self.parsed = 0
        self._validated = validated
        self._known: dict[str, Document] = {}

    def read(self, text: str) -> Document:
        """The document; raises GraphQLSyntaxError for what is no GraphQL."""
        known = self._known.get(text)
        if known is None:
            self.parsed += 1
            if len(self._known) >= _MAX_DOCUMENTS:
                self._known.clear()
            checks = self._validated is None or self.parsed <= self._validated
            known = self._known[text] = _compile(parse(text), checks=checks)
        return known


def _compile(node: DocumentNode, *, checks: bool) -> Document:
    errors = [
        {
            "message": error.message,
            "locations": [place._asdict() for place in error.locations or []],
        }
        for error in (validate(schema(), node) if checks else ())
    ]
    if errors:
        return Document(node, (), errors)
    fragments = {d.name.value: d for d in node.definitions if isinstance(d, FragmentDefinitionNode)}
    operations = [d for d in node.definitions if isinstance(d, OperationDefinitionNode)]
    return Document(node, tuple(_operation(o, fragments) for o in operations), [])


type _Fragments = dict[str, FragmentDefinitionNode]


def _operation(node: OperationDefinitionNode, fragments: _Fragments) -> Operation:
    kind = schema().get_root_type(node.operation)
    assert kind is not None
    chosen = _collect(node.selection_set, fragments)
    introspects = any(nodes[0].name.value.startswith("__") for nodes in chosen.values())
    fields = () if introspects else tuple(_fields(kind, chosen, fragments))
    return Operation(
        name=node.name.value if node.name else None,
        is_mutation=node.operation.value == "mutation",
        variables=() if introspects else tuple(_variables(node)),
        fields=fields,
        introspects=introspects,
    )


def _variables(node: OperationDefinitionNode) -> Iterator[Variable]:
    for definition in node.variable_definitions or ():
        kind = type_from_ast(schema(), definition.type)
        default = definition.default_value
        yield Variable(
            name=definition.variable.name.value,
            coerce=coercer(kind),
            required=str(kind) if isinstance(kind, GraphQLNonNull) and default is None else None,
            default=value_from_ast(default, cast("GraphQLInputType", kind)) if default else ABSENT,
            location=_location(definition),
        )


def _location(node: Node) -> dict[str, Any]:
    # From the token: get_location would read the document again up to here, for every field.
    assert node.loc is not None
    token = node.loc.start_token
    return {"line": token.line, "column": token.column}


def _collect(
    selections: SelectionSetNode,
    fragments: _Fragments,
    into: dict[str, list[FieldNode]] | None = None,
) -> dict[str, list[FieldNode]]:
    """The fields by response key, with fragments put in place: every type here is concrete."""
    found: dict[str, list[FieldNode]] = {} if into is None else into
    for node in selections.selections:
        if node.directives:
            raise NotImplementedError("this API's stand-in knows no directives in documents")
        if isinstance(node, FieldNode):
            key = node.alias.value if node.alias else node.name.value
            found.setdefault(key, []).append(node)
        elif isinstance(node, FragmentSpreadNode):
            _collect(fragments[node.name.value].selection_set, fragments, found)
        elif isinstance(node, InlineFragmentNode):
            _collect(node.selection_set, fragments, found)
    return found


def _collect_below(nodes: list[FieldNode], fragments: _Fragments) -> dict[str, list[FieldNode]]:
    found: dict[str, list[FieldNode]] = {}
    for node in nodes:
        if node.selection_set is not None:
            _collect(node.selection_set, fragments, found)
    return found


def _fields(
    kind: GraphQLObjectType, chosen: dict[str, list[FieldNode]], fragments: _Fragments
) -> Iterator[Field]:
    for alias, nodes in chosen.items():
        node = nodes[0]
        definition = kind.fields[node.name.value]
        given = {argument.name.value: argument.value for argument in node.arguments or ()}
        below = _collect_below(nodes, fragments)
        returned = get_named_type(definition.type)
        assert isinstance(returned, GraphQLObjectType)
        yield Field(
            alias=alias,
            name=node.name.value,
            arguments=tuple(
                (name, _thunk(given[name], argument.type))
                for name, argument in definition.args.items()
                if name in given
            ),
            selection=_returned(returned, below, fragments),
            location=_location(node) | {"sourceName": "GraphQL request"},
        )


def _returned(
    kind: GraphQLObjectType, below: dict[str, list[FieldNode]], fragments: _Fragments
) -> Selection | PageSelection:
    if not kind.name.endswith("Connection"):
        return _row_selection(kind, below)
    row = get_named_type(kind.fields["items"].type)
    assert isinstance(row, GraphQLObjectType)
    fields = [
        (
            key,
            nodes[0].name.value,
            _row_selection(row, _collect_below(nodes, fragments))
            if nodes[0].name.value == "items"
            else None,
        )
        for key, nodes in below.items()
    ]
    return PageSelection(tuple(fields), kind.name)


_numbers = itertools.count()
_selections: dict[tuple[str, tuple[tuple[str, str], ...]], Selection] = {}


def _row_selection(kind: GraphQLObjectType, below: dict[str, list[FieldNode]]) -> Selection:
    # Equal selections are one object, so that a row rendered for a mutation serves a query too.
    fields = tuple((key, nodes[0].name.value) for key, nodes in below.items())
    known = _selections.get((kind.name, fields))
    if known is None:
        required = frozenset(
            key
            for key, name in fields
            if name in kind.fields and isinstance(kind.fields[name].type, GraphQLNonNull)
        )
        typename_keys = tuple(key for key, name in fields if name == "__typename")
        writers = tuple(_writer(kind, name) for _, name in fields)
        known = Selection(next(_numbers), fields, writers, required, kind.name, typename_keys)
        _selections[kind.name, fields] = known
    return known


def _writer(kind: GraphQLObjectType, name: str) -> Writer:
    """What serializes a field; lists and enums are given as the table has them."""
    definition = kind.fields.get(name)
    bare = get_nullable_type(definition.type) if definition is not None else None
    return WRITERS[bare.name] if isinstance(bare, GraphQLScalarType) else lambda value: value


def _thunk(node: ValueNode, kind: Any) -> Thunk:
    """How to get an argument's value once the variables are known."""
    if isinstance(node, VariableNode):
        name = node.name.value
        return lambda variables: variables.get(name, ABSENT)
    kind = kind.of_type if isinstance(kind, GraphQLNonNull) else kind
    if isinstance(node, ObjectValueNode):
        parts = {f.name.value: _thunk(f.value, kind.fields[f.name.value].type) for f in node.fields}
        return lambda variables: {
            name: value
            for name, thunk in parts.items()
            if (value := thunk(variables)) is not ABSENT
        }
    if isinstance(node, ListValueNode):
        elements = [_thunk(value, kind.of_type) for value in node.values]
        return lambda variables: [thunk(variables) for thunk in elements]
    constant = value_from_ast(node, kind)
    return lambda _: constant
