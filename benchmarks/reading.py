"""What a reader of counts asks: requests for a minute, an hour, a day, a month, a year.

The ranges end with the minute that is running, as a dashboard's do; a year is one of an account
that has counted in every hour of it.
"""

from datetime import UTC, datetime, timedelta

from aggregated_metrics import summarize, timeline
from aggregated_metrics.core import buckets
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.series import Series

from benchmarks.measuring import Line
from testbench.counted import FakeClient, brute_force, measured, store

ACCOUNT = "acct-1"
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


def run(*, quick: bool) -> list[Line]:
    client = filled(RANGES["30 days" if quick else "a year"])
    lines = [summary(client, name) for name in RANGES if not quick or name != "a year"]
    end, day = NOW.replace(minute=0, second=0) + timedelta(hours=1), timedelta(days=1)
    client.queries.clear()
    timeline(client, ACCOUNT, end - day, end, RECORD_TYPE, step=timedelta(minutes=5), now=NOW)
    what = "a day's timeline by 5 minutes"
    return [*lines, Line("requests to read", what, len(client.queries), bar=5)]


def filled(span: timedelta) -> FakeClient:
    """A client of an API that has counted so far back."""
    client = FakeClient()
    store(client.api, Series(ACCOUNT, RECORD_TYPE), minutes(span), NOW)
    return client


def minutes(span: timedelta) -> dict[int, Measures]:
    """A minute with rows in each hour, up to the one that is running."""
    first, last = (buckets.to_minute(moment) for moment in (NOW - span, NOW))
    return dict.fromkeys([*range(first, last, buckets.HOUR), last], ROWS)


def summary(client: FakeClient, name: str) -> Line:
    """The requests of one range, whose sum must be right."""
    end, span = NOW.replace(second=0) + timedelta(minutes=1), RANGES[name]
    client.queries.clear()
    found = summarize(client, ACCOUNT, end - span, end, RECORD_TYPE, now=NOW)
    if found.measures != brute_force(minutes(span + timedelta(hours=1)), end - span, end):
        raise AssertionError(f"{name}: {found}")
    return Line("requests to read", f"summarize {name}", len(client.queries), bar=BARS[name])
