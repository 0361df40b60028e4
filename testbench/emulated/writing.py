"""Writes traffic to the tables as applications do: BatchWriteItem, UpdateItem, DeleteItem."""

from collections import deque
from collections.abc import Iterable
from typing import Any

from testbench.emulated.stack import EmulatedStack
from testbench.streams import attribute_value, image
from testbench.traffic import Traffic, Write

_ROWS_PER_REQUEST = 25


def write(stack: EmulatedStack, traffic: Traffic) -> int:
    """Write everything, minute by minute; returns how many changes the streams carry."""
    dynamodb = stack.client("dynamodb")
    for minute in traffic.minutes():
        put_all(dynamodb, stack.tables, [each for each in minute if each.is_new])
        for each in minute:
            if not each.is_new:
                change(dynamodb, stack.tables[each.model], each)
    return len(traffic.writes)


def put_all(dynamodb: Any, tables: dict[str, str], writes: Iterable[Write]) -> None:
    """Put new rows, 25 a request, in their order."""
    waiting = deque(
        (tables[each.model], {"PutRequest": {"Item": image(each.row or {})}}) for each in writes
    )
    while waiting:
        request: dict[str, list[Any]] = {}
        for _ in range(min(_ROWS_PER_REQUEST, len(waiting))):
            table, put = waiting.popleft()
            request.setdefault(table, []).append(put)
        left = dynamodb.batch_write_item(RequestItems=request)["UnprocessedItems"]
        waiting.extendleft((table, put) for table, puts in left.items() for put in puts)


def change(dynamodb: Any, table: str, write: Write) -> None:
    """Update or delete one row."""
    key = {"id": {"S": write.id}}
    if write.row is None:
        dynamodb.delete_item(TableName=table, Key=key)
        return
    sets = [name for name, value in write.row.items() if value is not None]
    removes = [name for name, value in write.row.items() if value is None]
    expression = "SET " + ", ".join(f"#{name} = :{name}" for name in sets)
    if removes:
        expression += " REMOVE " + ", ".join(f"#{name}" for name in removes)
    dynamodb.update_item(
        TableName=table,
        Key=key,
        UpdateExpression=expression,
        ExpressionAttributeNames={f"#{name}": name for name in write.row},
        ExpressionAttributeValues={f":{name}": attribute_value(write.row[name]) for name in sets},
    )
