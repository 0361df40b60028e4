"""The emulator's command, quicker where large tables and busy APIs are slow.

**Scan.** Its own Scan sorts and hashes every row of the table again for each page, which makes
reading a table quadratic: a million rows would take hours. Here the keys of each segment are sorted
once, and again only after a row was added. Pages, order and segments are those of the emulator's
own; what a page consumes is told by its size, as DynamoDB does, so that a limited rate can be seen.

**Expressions** are parsed and judged once, not for each row of a partition.

**API.** Each request at once has a process for each of its resolver's sides, and they are started
for a burst and ended after it. On few cores they then start each other to death: clients give up
waiting and ask again. Here a few requests are carried out at once, the others wait, and the
processes stay.

Runs in the emulator's interpreter (`python -P`), which has none of this project's packages.
"""

import sys
import threading
from bisect import bisect_right
from functools import lru_cache
from hashlib import sha1
from typing import Any

from ministack.app import main
from ministack.core import appsync_js
from ministack.services import appsync, dynamodb

_AT_ONCE = 4
_HALF_UNIT = 4096
_OTHER_WAYS = frozenset(
    ("FilterExpression", "ScanFilter", "IndexName", "Limit", "Select", "AttributesToGet")
)

type _Segments = list[list[str]]

_own_scan, _own_set_item = dynamodb._scan, dynamodb._set_item
_own_execute = appsync._execute_graphql
_free = threading.BoundedSemaphore(_AT_ONCE)
_sorted: dict[tuple[str, int], _Segments] = {}
"""Table and number of segments to each segment's keys."""


def _scan(data: dict[str, Any]) -> Any:
    """A page of a segment, if just that is asked for; anything else as the emulator does it."""
    table = dynamodb._tables.get(dynamodb._normalize_table_name(data.get("TableName")))
    total, expression = data.get("TotalSegments"), data.get("ProjectionExpression", "")
    if not table or table["sk_name"] or not total or _OTHER_WAYS & data.keys() or "." in expression:
        return _own_scan(data)
    segments = _sorted.get((table["TableArn"], total))
    if segments is None:
        segments = _sorted[table["TableArn"], total] = _split(table["items"], total)
    keys = segments[data["Segment"]]
    start = data.get("ExclusiveStartKey")
    first = bisect_right(keys, start[table["pk_name"]]["S"]) if start else 0
    page, size, more = [], 0, False
    for key in keys[first:]:
        for item in table["items"].get(key, {}).values():  # gone, if it was deleted since
            size += dynamodb._item_size_bytes(item)
            page.append(item)
        if size >= dynamodb._DDB_PAGE_SIZE_BYTES:
            more = True
            break
    answer: dict[str, Any] = {"Items": page, "Count": len(page), "ScannedCount": len(page)}
    if expression:
        aliases = data.get("ExpressionAttributeNames", {})
        names = [aliases.get(name, name) for name in expression.replace(" ", "").split(",")]
        answer["Items"] = [{name: row[name] for name in names if name in row} for row in page]
    if more:
        answer["LastEvaluatedKey"] = {table["pk_name"]: page[-1][table["pk_name"]]}
    if data.get("ReturnConsumedCapacity", "NONE") != "NONE":
        units = -(-size // _HALF_UNIT) * (1.0 if data.get("ConsistentRead") else 0.5)
        answer["ConsumedCapacity"] = {"TableName": table["TableName"], "CapacityUnits": units}
    return dynamodb.json_response(answer)


def _split(items: dict[str, Any], total: int) -> _Segments:
    segments: _Segments = [[] for _ in range(total)]
    for key in sorted(items):
        digest = sha1(key.encode(), usedforsecurity=False).digest()
        segments[int.from_bytes(digest[:4]) % total].append(key)
    return segments


def _set_item(table: dict[str, Any], key: str, sort_key: str, item: dict[str, Any]) -> Any:
    if key not in table["items"]:
        for place in [place for place in _sorted if place[0] == table["TableArn"]]:
            del _sorted[place]
    return _own_set_item(table, key, sort_key, item)


def _execute(*given: Any) -> Any:
    with _free:
        return _own_execute(*given)


if __name__ == "__main__":
    dynamodb._scan, dynamodb._set_item = _scan, _set_item
    dynamodb._tokenize = lru_cache(4096)(dynamodb._tokenize)
    dynamodb._condition_syntax_error = lru_cache(4096)(dynamodb._condition_syntax_error)
    appsync._execute_graphql, appsync_js._pool.max_idle = _execute, _AT_ONCE
    sys.exit(main())
