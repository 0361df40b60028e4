"""What a reader of counts asks: requests and buckets for a minute, an hour, a day, a month, a year.

The ranges end with the minute that is running, as a dashboard's do; a year is one of an account
that has counted in every hour of it.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from aggregated_metrics import summarize, timeline
from aggregated_metrics.adapters.appsync import AppSyncClient, Client, open_session
from aggregated_metrics.core import buckets
from aggregated_metrics.core.hours import Series
from aggregated_metrics.core.measures import Measures

from benchmarks import workloads
from benchmarks.measuring import Line
from benchmarks.serving import Server, serving
from testbench.counted import FakeClient, Minutes, brute_force, measured, store

GROUP = "reading"
NOW = datetime(2026, 11, 22, 10, 6, 40, tzinfo=UTC)
RECORD_TYPE = "scoreResults"
ROWS = measured(RECORD_TYPE, 12, 34_567, 11, 12, 3, 1)
"""What each of those minutes has counted."""
RANGES = {
    "a minute": timedelta(minutes=1),
    "an hour": timedelta(hours=1),
    "a day": timedelta(days=1),
    "30 days": timedelta(days=30),
    "a year": timedelta(days=365),
}
BARS = {"a minute": 3, "an hour": 3, "a day": 3, "30 days": 10, "a year": 80}
"""Requests at most: a handful for a month."""
_PUT = 5_000
_DELAY = 0.02


class Counting:
    """A client that counts the requests and fields of another."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.requests = self.fields = 0

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        self.requests += 1
        self.fields += query.count("AggregatedMetrics(") - query.count("asOf: get")
        return self._client.execute(query, variables)


def run(*, quick: bool) -> list[Line]:
    ranges = {name: span for name, span in RANGES.items() if not quick or name != "a year"}
    counted = minutes(max(ranges.values()))
    with serving(_DELAY) as server:
        _fill(server, counted)
        session = open_session(None)
        client = AppSyncClient(f"{server.url}/graphql", session)
        lines = [line for name, span in ranges.items() for line in summaries(client, name, span)]
        lines += chart(client)
        session.close()
    return lines


def minutes(span: timedelta) -> dict[int, Measures]:
    """A minute with rows in each hour, up to the one that is running."""
    first, last = (buckets.to_minute(moment) for moment in (NOW - span, NOW))
    return dict.fromkeys([*range(first, last, buckets.HOUR), last], ROWS)


def _fill(server: Server, counted: Minutes) -> None:
    local = FakeClient()
    store(local.api, Series(workloads.ACCOUNT, RECORD_TYPE), counted, NOW)
    rows = local.api.rows("AggregatedMetrics")
    for first in range(0, len(rows), _PUT):
        server.post("/put", rows[first : first + _PUT])


def summaries(client: Client, name: str, span: timedelta) -> list[Line]:
    end = NOW.replace(second=0) + timedelta(minutes=1)
    counting = Counting(client)
    found = summarize(counting, workloads.ACCOUNT, end - span, end, RECORD_TYPE, now=NOW)
    if found.measures != brute_force(minutes(span + timedelta(hours=1)), end - span, end):
        raise AssertionError(f"{name}: {found}")
    began = time.perf_counter()
    summarize(client, workloads.ACCOUNT, end - span, end, RECORD_TYPE, now=NOW)
    took = (time.perf_counter() - began) * 1000
    return [
        Line(GROUP, f"summarize {name}: requests", counting.requests, "", bar=BARS[name]),
        Line(GROUP, f"summarize {name}: buckets and hours asked for", counting.fields, ""),
        Line(GROUP, f"summarize {name}: wall, answers of 20 ms", took, "ms"),
    ]


def chart(client: Client) -> list[Line]:
    end = NOW.replace(minute=0, second=0) + timedelta(hours=1)
    counting = Counting(client)
    day, step = timedelta(days=1), timedelta(minutes=5)
    timeline(counting, workloads.ACCOUNT, end - day, end, RECORD_TYPE, step=step, now=NOW)
    return [Line(GROUP, "a day's timeline by 5 minutes: requests", counting.requests, "", bar=5)]
