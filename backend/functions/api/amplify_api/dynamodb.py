"""A model's table in DynamoDB, as the operations need it."""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.conditions import Attr
from botocore.exceptions import ClientError

from amplify_api.conditions import all_of, condition_of, key_condition
from amplify_api.errors import dynamodb_refusal
from amplify_api.models import Model
from amplify_api.ports import Condition, Key, Page, PageRequest, Values
from amplify_api.values import exact, plain

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBServiceResource

type Record = dict[str, Any]


class DynamoTable:
    """The table of one model.

    Besides the record's fields it stores what Amplify does: `__typename` and, for the indexes, the
    composite sort keys.

    Args:
        dynamodb: boto3's resource.
        model: what the table holds.
        name: the table's name.
        json_as_text: AWSJSON reaches and leaves a resolver as a text. AppSync parses it and writes
            it out again; an emulator may hand the text through.
    """

    def __init__(
        self,
        dynamodb: "DynamoDBServiceResource",
        model: Model,
        name: str,
        *,
        json_as_text: bool = False,
    ) -> None:
        self.model = model
        self._json_texts = model.json_fields if json_as_text else frozenset()
        self._table = dynamodb.Table(name)

    def get(self, key: Key) -> Record | None:
        """The record of that key, or None."""
        found = _call(self._table.get_item, Key=self._key(key)).get("Item")
        return self._record(found) if found else None

    def put(self, values: Values, condition: Condition) -> Record:
        """Put a record whose key is absent, and give it back."""
        item = self._stored(values)
        absent = all_of(Attr(name).not_exists() for name in self.model.key)
        _call(self._table.put_item, Item=item, ConditionExpression=_both(absent, condition))
        return self._record(item)

    def update(self, key: Key, changes: Values, condition: Condition) -> Record:
        """Change the record, which is there, and give it back; None removes an attribute."""
        changed = self._stored(changes)
        names = {f"#c{n}": name for n, name in enumerate(changed) if name not in self.model.key}
        sets = {mark: name for mark, name in names.items() if changed[name] is not None}
        actions = "SET " + ", ".join(f"{mark} = :{mark[1:]}" for mark in sets)
        if removes := names.keys() - sets.keys():
            actions += " REMOVE " + ", ".join(removes)
        answer = _call(
            self._table.update_item,
            Key=self._key(key),
            UpdateExpression=actions,
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={
                f":{mark[1:]}": changed[name] for mark, name in sets.items()
            },
            ConditionExpression=_both(self._exists(), condition),
            ReturnValues="ALL_NEW",
        )
        return self._record(answer["Attributes"])

    def delete(self, key: Key, condition: Condition) -> Record:
        """Delete the record, which is there, and give back what it was."""
        answer = _call(
            self._table.delete_item,
            Key=self._key(key),
            ConditionExpression=_both(self._exists(), condition),
            ReturnValues="ALL_OLD",
        )
        return self._record(answer["Attributes"])

    def page(self, request: PageRequest) -> Page[Record]:
        """Read one page."""
        wanted: dict[str, Any] = {"Limit": request.limit}
        if request.start:
            wanted["ExclusiveStartKey"] = request.start
        if found := condition_of(request.condition):
            wanted["FilterExpression"] = found
        read: Callable[..., Any] = self._table.scan
        if request.hash_value is not None:
            read = self._table.query
            wanted |= _partition(request)
        answer = _call(read, **wanted)
        return Page([*map(self._record, answer["Items"])], answer.get("LastEvaluatedKey"))

    def _key(self, key: Key) -> dict[str, Any]:
        return dict(zip(self.model.key, key, strict=True))

    def _exists(self) -> Any:
        return all_of(Attr(name).exists() for name in self.model.key)

    def _stored(self, values: Values) -> dict[str, Any]:
        """Values as they are stored; a composite key of which a part is None is None."""
        found = {**values, "__typename": self.model.name}
        for name in self._json_texts & values.keys():
            found[name] = values[name] and json.loads(values[name])
        for index in self.model.composite_indexes:
            if not values.keys().isdisjoint(index.sort_keys):
                parts = [values[name] for name in index.sort_keys]
                found[index.attribute] = None if None in parts else "#".join(map(str, parts))
        return {name: exact(value) for name, value in found.items()}

    def _record(self, item: Values) -> Record:
        found = {name: plain(value) for name, value in item.items()}
        for name in self._json_texts & found.keys():
            if found[name] is not None:
                found[name] = json.dumps(found[name], separators=(",", ":"), ensure_ascii=False)
        return found


def _both(first: Any, condition: Condition) -> Any:
    second = condition_of(condition)
    return first & second if second else first


def _partition(request: PageRequest) -> dict[str, Any]:
    """A query of a partition.

    KeyConditions and KeyConditionExpression say the same, but emulators parse an expression for
    each row of the partition: 57 microseconds instead of 2. Only with a filter it has to be one,
    because DynamoDB does not mix the two forms.
    """
    index, span = request.key, request.span
    found: dict[str, Any] = {"ScanIndexForward": not request.descending}
    if index.name:
        found["IndexName"] = index.name
    keys = (index.hash_key, request.hash_value, index.attribute, span)
    if request.condition:
        return found | {"KeyConditionExpression": key_condition(*keys)}
    conditions = {index.hash_key: _legacy("eq", (request.hash_value,))}
    if span:
        conditions[index.attribute] = _legacy(*span)
    return found | {"KeyConditions": conditions}


def _legacy(operator: str, values: tuple[Any, ...]) -> dict[str, Any]:
    name = {"beginsWith": "BEGINS_WITH"}.get(operator, operator.upper())
    return {"ComparisonOperator": name, "AttributeValueList": list(values)}


def _call(operation: Callable[..., Any], **request: Any) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = operation(**request)
    except ClientError as error:
        reported: Mapping[str, Any] = error.response["Error"]
        about: Mapping[str, Any] = error.response["ResponseMetadata"]
        raise dynamodb_refusal(
            reported["Code"],
            reported.get("Message", reported["Code"]),
            str(about.get("RequestId")),
            about.get("HTTPStatusCode", 400),
        ) from error
    return answer
