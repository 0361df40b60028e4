"""A model's DynamoDB table: the requests, and the service's refusals as AppSync words them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from amplify_api.errors import ResolverError
from amplify_api.expressions import Placeholders
from amplify_api.models import Model
from amplify_api.values import answered

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

type Attributes = Mapping[str, Any]


class Table:
    """The table of one model.

    Every method raises `ResolverError` when DynamoDB refuses: `errorType` is `DynamoDB:` and the
    service's code, so a failed condition is `DynamoDB:ConditionalCheckFailedException`.

    Args:
        client: the DynamoDB client.
        model: what the table holds.
        name: the table's name.
    """

    def __init__(self, client: "DynamoDBClient", model: Model, name: str) -> None:
        self.model = model
        self._client = client
        self._name = name

    def get(self, key: Attributes) -> dict[str, Any] | None:
        """The record of that key, or None."""
        found = self._call(self._client.get_item, {"Key": key}).get("Item")
        return answered(found) if found else None

    def put(self, item: Attributes, condition: str, marks: Placeholders) -> None:
        """Puts the item under the condition."""
        request = {"Item": item, "ConditionExpression": condition}
        self._call(self._client.put_item, request, marks)

    def update(
        self, key: Attributes, actions: str, condition: str, marks: Placeholders
    ) -> dict[str, Any]:
        """Updates under the condition and answers the whole record."""
        request = {
            "Key": key,
            "UpdateExpression": actions,
            "ConditionExpression": condition,
            "ReturnValues": "ALL_NEW",
        }
        return answered(self._call(self._client.update_item, request, marks)["Attributes"])

    def delete(self, key: Attributes, condition: str, marks: Placeholders) -> dict[str, Any]:
        """Deletes under the condition and answers what was there."""
        request = {"Key": key, "ConditionExpression": condition, "ReturnValues": "ALL_OLD"}
        return answered(self._call(self._client.delete_item, request, marks)["Attributes"])

    def query(self, request: dict[str, Any], marks: Placeholders) -> dict[str, Any]:
        """One page by key, as DynamoDB answers it."""
        return self._call(self._client.query, request, marks)

    def scan(self, request: dict[str, Any], marks: Placeholders) -> dict[str, Any]:
        """One page of the whole table, as DynamoDB answers it."""
        return self._call(self._client.scan, request, marks)

    def _call(
        self,
        operation: Callable[..., Any],
        request: Mapping[str, Any],
        marks: Placeholders | None = None,
    ) -> dict[str, Any]:
        placeholders = marks.arguments() if marks else {}
        try:
            answer: dict[str, Any] = operation(TableName=self._name, **request, **placeholders)
        except ClientError as error:
            raise _refusal(error) from error
        return answer


def _refusal(error: ClientError) -> ResolverError:
    said = error.response["Error"]
    about = error.response["ResponseMetadata"]
    return ResolverError(
        f"{said.get('Message', said['Code'])} (Service: DynamoDb, "
        f"Status Code: {about.get('HTTPStatusCode')}, Request ID: {about.get('RequestId')})",
        f"DynamoDB:{said['Code']}",
    )
