"""GraphQL documents, parsed and validated by graphql-core, and compiled once per document string.

What is compiled is only what Amplify's API can be asked: operations whose fields return a row or a
page of rows. Introspection is handed to graphql-core as it is. Executing all of it there would take
five microseconds for each field of each row.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    InlineFragmentNode,
    OperationDefinitionNode,
    ValueNode,
    VariableNode,
    get_named_type,
    get_nullable_type,
    parse,
    print_ast,
    validate,
    value_from_ast,
)

from testbench.fakes.models import schema
from testbench.fakes.scalars import quick
from testbench.fakes.variables import InvalidRequestError, Variables

_MAX_DOCUMENTS = 4096

type Values = Mapping[str, Any]
type Thunk = Callable[[Values], Any]
type Writer = Callable[[Any], Any]
type _Fragments = dict[str, FragmentDefinitionNode]
type _Chosen = dict[str, list[FieldNode]]


class Selected(NamedTuple):
    """One field that is asked of each row, under its response key."""

    key: str
    name: str
    write: Writer
    required: bool


class Selection(NamedTuple):
    """What is asked of each row. Equal selections are one object, and have one number.

    Attributes:
        required: the response keys of what must not be null.
        typenames: the response keys of `__typename`, with its value.
    """

    number: int
    fields: tuple[Selected, ...]
    required: tuple[str, ...]
    typenames: dict[str, str]
    typename: str


class Field(NamedTuple):
    """One field of an operation, under its alias.

    Attributes:
        rows: what is asked of the row, or of each row of the page.
        page: the response key and name of what is asked of the page; None for a single row.
    """

    alias: str
    name: str
    arguments: tuple[tuple[str, Thunk], ...]
    rows: Selection
    page: tuple[tuple[str, str], ...] | None
    location: dict[str, Any]

    def arguments_of(self, variables: Values) -> dict[str, Any]:
        return {
            name: value for name, thunk in self.arguments if (value := thunk(variables)) is not None
        }


class Operation(NamedTuple):
    """A compiled operation. `introspects`: it is for graphql-core to answer."""

    name: str | None
    variables: Variables
    fields: tuple[Field, ...]
    introspects: bool


class Document(NamedTuple):
    """A valid document, or the errors of one that is not."""

    node: DocumentNode
    operations: tuple[Operation, ...]
    errors: list[GraphQLError]

    def choose(self, name: str | None) -> Operation:
        """The operation to run, by its name; raises InvalidRequestError if there is none."""
        if self.errors:
            raise InvalidRequestError(self.errors)
        found = [o for o in self.operations if name is None or o.name == name]
        if len(found) != 1:
            raise InvalidRequestError([GraphQLError(f"Unknown operation named '{name}'.")])
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
    errors = validate(schema(), node) if checks else []
    if errors:
        return Document(node, (), errors)
    fragments = {d.name.value: d for d in node.definitions if isinstance(d, FragmentDefinitionNode)}
    operations = [d for d in node.definitions if isinstance(d, OperationDefinitionNode)]
    return Document(node, tuple(_operation(o, fragments) for o in operations), [])


def _operation(node: OperationDefinitionNode, fragments: _Fragments) -> Operation:
    kind = schema().get_root_type(node.operation)
    assert kind is not None
    chosen = _collect([node], fragments)
    introspects = any(nodes[0].name.value.startswith("__") for nodes in chosen.values())
    return Operation(
        name=node.name.value if node.name else None,
        variables=Variables(node.variable_definitions or ()),
        fields=() if introspects else tuple(_fields(kind, chosen, fragments)),
        introspects=introspects,
    )


def _collect(parents: list[Any], fragments: _Fragments) -> _Chosen:
    """The fields by response key, with fragments put in place: every type here is concrete."""
    found: _Chosen = {}
    for node in itertools.chain(*(p.selection_set.selections for p in parents if p.selection_set)):
        if node.directives:
            raise NotImplementedError("this API's stand-in knows no directives in documents")
        if isinstance(node, FieldNode):
            key = node.alias.value if node.alias else node.name.value
            found.setdefault(key, []).append(node)
            continue
        below = fragments[node.name.value] if isinstance(node, FragmentSpreadNode) else node
        assert isinstance(below, (FragmentDefinitionNode, InlineFragmentNode))
        for key, nodes in _collect([below], fragments).items():
            found.setdefault(key, []).extend(nodes)
    return found


def _fields(kind: GraphQLObjectType, chosen: _Chosen, fragments: _Fragments) -> Iterator[Field]:
    for alias, nodes in chosen.items():
        node = nodes[0]
        definition = kind.fields[node.name.value]
        below = _collect(nodes, fragments)
        returned: Any = get_named_type(definition.type)
        page = None
        if returned.name.endswith("Connection"):
            page = tuple((key, asked[0].name.value) for key, asked in below.items())
            returned = get_named_type(returned.fields["items"].type)
            asked = [n for nodes in below.values() for n in nodes if n.name.value == "items"]
            below = _collect(asked, fragments)
        # From the token: get_location would read the document again up to here, for every field.
        assert node.loc is not None
        token = node.loc.start_token
        yield Field(
            alias=alias,
            name=node.name.value,
            arguments=tuple(
                (given.name.value, _thunk(given.value, definition.args[given.name.value].type))
                for given in node.arguments or ()
            ),
            rows=_selection(returned, tuple((k, n[0].name.value) for k, n in below.items())),
            page=page,
            location={"line": token.line, "column": token.column, "sourceName": "GraphQL request"},
        )


_numbers = itertools.count()
_selections: dict[Any, Selection] = {}


def _selection(kind: GraphQLObjectType, chosen: tuple[tuple[str, str], ...]) -> Selection:
    # Equal selections are one object, so that a row rendered for a mutation serves a query too.
    known = _selections.get((kind, chosen))
    if known is None:
        fields = tuple(_selected(kind, key, name) for key, name in chosen)
        known = _selections[kind, chosen] = Selection(
            next(_numbers),
            fields,
            tuple(field.key for field in fields if field.required),
            {field.key: kind.name for field in fields if field.name == "__typename"},
            kind.name,
        )
    return known


def _selected(kind: GraphQLObjectType, key: str, name: str) -> Selected:
    """Lists and enums are given as the table has them."""
    if name == "__typename":
        return Selected(key, name, lambda value: value, required=False)
    definition = kind.fields[name]
    bare = get_nullable_type(definition.type)
    scalar = isinstance(bare, GraphQLScalarType)
    write = quick(bare, bare.coerce_output_value) if scalar else lambda value: value
    return Selected(key, name, write, isinstance(definition.type, GraphQLNonNull))


def _thunk(node: ValueNode, kind: Any) -> Thunk:
    """How to get an argument's value once the variables are known."""
    if isinstance(node, VariableNode):
        name = node.name.value
        return lambda variables: variables.get(name)
    if "$" in print_ast(node):
        return lambda variables: value_from_ast(node, kind, dict(variables))
    constant = value_from_ast(node, kind)
    return lambda _: constant
