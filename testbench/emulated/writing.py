"""Writes to the tables as applications do: PutItem, UpdateItem, DeleteItem."""

from collections.abc import Mapping
from typing import Any

from testbench.emulated.stack import EmulatedStack
from testbench.streams import image
from testbench.traffic import Traffic


def write(stack: EmulatedStack, traffic: Traffic) -> int:
    """Write everything in its order; returns how many changes the streams carry."""
    dynamodb = stack.client("dynamodb")
    for each in traffic.writes:
        if each.is_new:
            dynamodb.put_item(TableName=stack.table(each.model), Item=image(each.row or {}))
        else:
            update(dynamodb, stack.table(each.model), {"id": each.id}, each.row)
    return len(traffic.writes)


def update(
    dynamodb: Any, table: str, key: Mapping[str, str], changes: Mapping[str, Any] | None
) -> None:
    """Change a row's attributes, of which those that are None are removed; or delete it."""
    if changes is None:
        dynamodb.delete_item(TableName=table, Key=image(key))
        return
    values = {name: value for name, value in changes.items() if value is not None}
    expression = "SET " + ", ".join(f"#{name} = :{name}" for name in values)
    if removed := changes.keys() - values:
        expression += " REMOVE " + ", ".join(f"#{name}" for name in removed)
    dynamodb.update_item(
        TableName=table,
        Key=image(key),
        UpdateExpression=expression,
        ExpressionAttributeNames={f"#{name}": name for name in changes},
        ExpressionAttributeValues=image({f":{name}": value for name, value in values.items()}),
    )
