"""A reader's program without the functions' dependencies: `python tests/readers_smoke.py`.

It stands alone, so that it runs on every Python that readers may have: no pytest, no test bench.
"""

import os
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

FORBIDDEN = ("aws_lambda_powertools", "boto3")
HOUR = datetime(2026, 11, 22, 10, tzinfo=UTC)
END = HOUR + timedelta(hours=2)
ROW = {
    "accountId": "acct-1",
    "compositeKey": "items#2026-11-22T10:00:00Z#60",
    "recordType": "items",
    "timeRangeStart": "2026-11-22T10:00:00Z",
    "timeRangeEnd": "2026-11-22T11:00:00.000Z",
    "numberOfMinutes": 60,
    "count": 7,
    "complete": True,
    "createdAt": "2026-11-22T10:00:09.123456Z",
    "updatedAt": "2026-11-22T11:02:09.123456Z",
}
AS_OF = {
    "compositeKey": "_streams#1970-01-01T00:00:00Z#60",
    "metadata": '{"asOf": {"items": "2026-11-23T00:00:00Z"}, "completeAfter": 120}',
}


class Client:
    """Answers each alias: the hour of ten o'clock, the as-of record, pages of one row."""

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for alias, index, key in re.findall(r"(\w+): listAggregated\w{7}(\w*)\(.*?\$(k\d+)", query):
            asked = (variables or {})[key]
            rows = [row for row in (ROW, AS_OF) if index or asked == row["compositeKey"]]
            data[alias] = {"items": rows[:1]}
        return data | dict.fromkeys(re.findall(r"(\w+): updateAggregated", query), ROW)


def main() -> None:
    from aggregated_metrics import (  # noqa: PLC0415 - after the import is restricted
        AggregatedMetrics,
        breakdowns,
        complete_until,
        connect,
        summarize,
        timeline,
    )

    client = Client()
    whole = summarize(client, "acct-1", HOUR, END, "items")
    assert (whole.measures.count, whole.complete) == (7, True), whole
    zone, step = ZoneInfo("UTC"), timedelta(hours=1)
    points = timeline(client, "acct-1", HOUR, END, "items", step=step, zone=zone)
    assert [point.measures.count for point in points] == [7, 0], points
    assert complete_until(client, "acct-1", now=END) == datetime(2026, 11, 22, 23, 58, tzinfo=UTC)
    assert breakdowns(client, "acct-1", "itemsByScore") == {"itemsByScore": []}
    (record,) = AggregatedMetrics.list_by_time_range(client, "acct-1", HOUR, END, "items", 60)
    assert AggregatedMetrics.create_or_update(client, "acct-1", "items", HOUR, END, 60, 7) == record
    os.environ |= {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret"}
    connect("https://x.appsync-api.eu-west-1.amazonaws.com/graphql")
    loaded = [name for name in FORBIDDEN if sys.modules.get(name) is not None]
    assert not loaded, loaded
    sys.stdout.write(f"{sys.version_info.major}.{sys.version_info.minor}: readers work\n")


if __name__ == "__main__":
    sys.modules.update(dict.fromkeys(FORBIDDEN))  # type: ignore[arg-type] # importing them fails
    main()
