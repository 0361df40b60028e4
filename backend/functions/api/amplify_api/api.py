"""Which field of the schema is which operation on which table."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from amplify_api import reads, writes
from amplify_api.errors import ResolverError
from amplify_api.models import MODELS, Model
from amplify_api.table import Table
from amplify_api.values import json_text, parse_json

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

type Operation = Callable[[Mapping[str, Any]], dict[str, Any] | None]
type JsonForm = Literal["parsed", "text"]


class Api:
    """Answers the fields of Query and Mutation.

    Args:
        client: the DynamoDB client.
        table_suffix: what follows `<Model>-` in the tables' names.
        json_form: how AWSJSON reaches and leaves a resolver. AppSync parses it and writes it out
            again (`parsed`); an emulator that hands the text through needs `text`.
    """

    def __init__(
        self, client: "DynamoDBClient", table_suffix: str, json_form: JsonForm = "parsed"
    ) -> None:
        self._as_text = json_form == "text"
        self._operations: dict[str, tuple[Model, Operation]] = {}
        for model in MODELS:
            table = Table(client, model, f"{model.name}-{table_suffix}")
            for field, operation in _operations(table).items():
                self._operations[field] = (model, operation)

    @property
    def fields(self) -> frozenset[str]:
        """The names of all fields that it answers."""
        return frozenset(self._operations)

    def answer(self, field: str, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        """What the field answers.

        Args:
            field: a field of Query or Mutation, such as `updateItem`.
            arguments: the field's arguments.

        Raises:
            ResolverError: with what the client is to see.
        """
        if field not in self._operations:
            raise ResolverError(
                f"No resolver for {field}: add its model or index to models.py.", "UnknownField"
            )
        model, operation = self._operations[field]
        if not self._as_text:
            return operation(arguments)
        answer = operation(_with_parsed_json(model, arguments))
        if answer and "items" in answer:
            return answer | {"items": [_with_json_texts(model, each) for each in answer["items"]]}
        return answer and _with_json_texts(model, answer)


def _operations(table: Table) -> dict[str, Operation]:
    model = table.model
    operations: dict[str, Operation] = {
        f"get{model.name}": partial(reads.get, table),
        f"list{model.plural}": partial(reads.list_all, table),
        f"create{model.name}": partial(writes.create, table),
        f"update{model.name}": partial(writes.update, table),
        f"delete{model.name}": partial(writes.delete, table),
    }
    for index in model.indexes:
        operations[model.index_query(index)] = partial(reads.list_index, table, index)
    return operations


def _with_parsed_json(model: Model, arguments: Mapping[str, Any]) -> dict[str, Any]:
    given = arguments.get("input") or {}
    parsed = {field: parse_json(given[field]) for field in given.keys() & model.json_fields}
    return {**arguments, "input": {**given, **parsed}}


def _with_json_texts(model: Model, record: dict[str, Any]) -> dict[str, Any]:
    return record | {f: json_text(record[f]) for f in record.keys() & model.json_fields}
