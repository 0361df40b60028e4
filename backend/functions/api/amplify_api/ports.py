"""What the operations need of a model's table: DynamoDB's (`dynamodb`), or one in memory."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from amplify_api.models import Index, Model

type Key = tuple[Any, ...]
type Values = Mapping[str, Any]
type Condition = Mapping[str, Any]
"""A `Model…ConditionInput` or `Model…FilterInput`; an empty one always holds."""


class Span(NamedTuple):
    """A condition on a sort key: GraphQL's operator, such as `beginsWith`, and its operands."""

    operator: str
    values: tuple[Any, ...]


class PageRequest(NamedTuple):
    """What is asked of a page.

    Attributes:
        key: the index to read, or the primary key.
        hash_value: the partition; None for all of the table.
        span: a condition on the sort key.
        condition: a filter, judged after the limit.
        limit: how many rows are read, at most.
        start: the position that the page before ended at.
        descending: newest first.
    """

    key: Index
    hash_value: str | None
    span: Span | None
    condition: Condition
    limit: int
    start: Any
    descending: bool


class Page[Record](NamedTuple):
    """A page: the records, and the position (in JSON's types) to go on from, if more may follow."""

    records: list[Record]
    next: Any


class Table[Record](Protocol):
    """The table of one model. Every method raises ResolverError for what DynamoDB refuses."""

    model: Model

    def get(self, key: Key) -> Record | None:
        """The record of that key, or None."""

    def put(self, values: Values, condition: Condition) -> Record:
        """Put a record whose key is absent, and give it back."""

    def update(self, key: Key, changes: Values, condition: Condition) -> Record:
        """Change the record, which is there, and give it back; None removes an attribute."""

    def delete(self, key: Key, condition: Condition) -> Record:
        """Delete the record, which is there, and give back what it was."""

    def page(self, request: PageRequest) -> Page[Record]:
        """Read one page."""
