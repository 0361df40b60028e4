"""Numbers at the edge: large batches, many series, long ledgers, odd times, clocks gone wrong."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from aggregated_metrics.core import buckets
from aggregated_metrics.core.hours import HourId, Series
from aggregated_metrics.core.measures import INT_MAX
from aggregated_metrics.core.metadata import Fence

from testbench import rows
from testbench.counted import measured
from testbench.in_process import Stack
from testbench.streams import Stream, event, window_event

FENCE = Fence(0.0, 0.0, 0.0)
HOUR = buckets.to_minute(datetime(2026, 11, 22, 10, tzinfo=UTC))


def counts(stack: Stack, minutes: int, record_type: str = "items") -> dict[str, int]:
    return {
        row["timeRangeStart"]: row["count"]
        for row in stack.api.rows("AggregatedMetrics")
        if row["numberOfMinutes"] == minutes and row["recordType"] == record_type
    }


def test_a_batch_of_10_000_records_is_counted_in_a_few_requests(stack: Stack) -> None:
    stream = Stream("Item")
    made = [stream.insert(rows.item(f"item-{i}", createdByType=None)) for i in range(10_000)]
    requests = stack.requests(lambda: stack.invoke("stream_aggregator", window_event(*made)))
    assert counts(stack, 60) == {"2026-11-22T10:00:00Z": 10_000}
    assert len(requests) == 2


def test_a_batch_of_6_mb_is_counted(stack: Stack) -> None:
    stream = Stream("ScoreResult")
    text = "x" * 600
    made = [stream.insert(rows.score_result(f"result-{i}", explanation=text)) for i in range(4_000)]
    batch = window_event(*made)
    assert len(json.dumps(batch)) > 6_000_000
    stack.invoke("stream_aggregator", batch)
    assert counts(stack, 60, "scoreResults") == {"2026-11-22T10:00:00Z": 4_000}


def test_a_replay_of_more_shards_than_ever_wrote_at_once_counts_nothing_twice(
    stack: Stack,
) -> None:
    events = [
        window_event(Stream("Item").insert(rows.item(f"item-{i}")), shard_id=f"shardId-{i:08}")
        for i in range(100)
    ]
    for one in (*events, *events):
        stack.invoke("stream_aggregator", one)
    assert counts(stack, 1) == {"2026-11-22T10:05:00Z": 100}
    (minute,) = (
        row
        for row in stack.api.rows("AggregatedMetrics")
        if row["recordType"] == "items" and row["numberOfMinutes"] == 1
    )
    assert len(minute["metadata"]["ledger"]) == 100


def test_a_ledger_forgets_a_shard_when_the_stream_has(stack: Stack) -> None:
    for i in range(3):
        one = window_event(
            Stream("Item").insert(rows.item(f"item-{i}")), shard_id=f"shardId-{i:08}"
        )
        stack.invoke("stream_aggregator", one)
        stack.clock.advance(hours=13)
    (minute,) = (
        row
        for row in stack.api.rows("AggregatedMetrics")
        if row["recordType"] == "items" and row["numberOfMinutes"] == 1
    )
    assert (minute["count"], len(minute["metadata"]["ledger"])) == (3, 2)


def test_an_hour_of_200_score_series_is_saved_and_loaded(stack: Stack) -> None:
    store = stack.process.store(lambda: 60.0)
    ids = [
        HourId(Series("acct-1", "scoreResults", "scorecard-1", f"score-{i}"), HOUR)
        for i in range(200)
    ]
    three = measured("scoreResults", 3)
    store.update(ids, lambda hour: hour.set_minute(HOUR + 5, three, FENCE))
    assert [hour.get(HOUR, 60).measures.count for hour in store.load(ids)] == [3] * 200  # type: ignore[union-attr]
    assert {row["scoreId"] for row in stack.api.rows("AggregatedMetrics")} == {
        hour.series.score_id for hour in ids
    }


@pytest.mark.parametrize(
    ("created", "start", "end"),
    [
        ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "2027-01-01T01:00:00Z"),
        ("2026-12-31T23:59:59.999999999Z", "2026-12-31T23:00:00Z", "2027-01-01T00:00:00Z"),
        ("2028-02-29T23:59:59Z", "2028-02-29T23:00:00Z", "2028-03-01T00:00:00Z"),
        ("1999-12-31T23:30:00-00:30", "2000-01-01T00:00:00Z", "2000-01-01T01:00:00Z"),
        ("1969-12-31T23:59:00Z", "1969-12-31T23:00:00Z", "1970-01-01T00:00:00Z"),
    ],
)
def test_years_and_leap_days_begin_and_end_as_the_calendar_says(
    stack: Stack, created: str, start: str, end: str
) -> None:
    stack.clock.set("2030-01-01T00:00:00+00:00")
    record = Stream("Item").insert(rows.item(createdAt=created), created=stack.clock())
    stack.invoke("stream_aggregator", event(record))
    (hour,) = (
        row
        for row in stack.api.rows("AggregatedMetrics")
        if row["numberOfMinutes"] == 60 and row["recordType"] == "items"
    )
    assert (hour["timeRangeStart"], hour["timeRangeEnd"]) == (start, end)


@pytest.mark.parametrize(
    "created",
    [
        "2026-11-22T10:05Z",
        "2026-11-22T10:05:30Z",
        "2026-11-22T10:05:30.1Z",
        "2026-11-22T10:05:30.123456789Z",
        "2026-11-22T10:05:30+00:00",
        "2026-11-22T15:35:30+05:30",
        "2026-11-21T23:05:30.5-11:00",
        "2026-11-22T10:05:30+00:00:00",
    ],
)
def test_every_form_of_awsdatetime_names_its_minute(stack: Stack, created: str) -> None:
    stack.invoke("stream_aggregator", event(Stream("Item").insert(rows.item(createdAt=created))))
    assert counts(stack, 1) == {"2026-11-22T10:05:00Z": 1}


def test_a_clock_that_goes_backwards_between_two_invocations_loses_nothing(stack: Stack) -> None:
    stream = Stream("Item")
    versions = []
    for i, ahead in enumerate((0, -3600, 5, -86_400)):
        stack.clock.set("2026-11-22T10:06:40+00:00")
        stack.clock.now += timedelta(seconds=ahead)
        stack.invoke("stream_aggregator", window_event(stream.insert(rows.item(f"item-{i}"))))
        versions += [
            row["updatedAt"]
            for row in stack.api.rows("AggregatedMetrics")
            if row["recordType"] == "items" and row["numberOfMinutes"] == 1
        ]
    assert counts(stack, 1) == {"2026-11-22T10:05:00Z": 4}
    assert versions == sorted(set(versions))


def test_parents_beyond_32_bits_stay_the_largest_int_while_minutes_go_on(stack: Stack) -> None:
    stream = Stream("Evaluation")
    for i in range(3):
        row = rows.evaluation(f"evaluation-{i}", cost=1500.0, createdAt=f"2026-11-22T10:0{i}:00Z")
        stack.invoke("stream_aggregator", window_event(stream.insert(row)))
    costs = {
        (row["numberOfMinutes"], row["timeRangeStart"]): row["cost"]
        for row in stack.api.rows("AggregatedMetrics")
    }
    assert costs[60, "2026-11-22T10:00:00Z"] == INT_MAX
    assert [costs[1, f"2026-11-22T10:0{i}:00Z"] for i in range(3)] == [1_500_000_000] * 3
