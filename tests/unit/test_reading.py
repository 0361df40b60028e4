"""Reading right: few requests, finer buckets where coarse ones do not tell, and freshness."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import aggregated_metrics
import pytest
from aggregated_metrics import Summary, breakdowns, complete_until, cover, summarize, timeline
from aggregated_metrics.adapters import bucket_reader
from aggregated_metrics.adapters.appsync import AppSyncClient, body_of, open_session
from aggregated_metrics.adapters.bucket_reader import BucketReader
from aggregated_metrics.core import buckets
from aggregated_metrics.core.cover import Tile
from aggregated_metrics.core.errors import (
    ArgumentError,
    ContentionError,
    GraphQLError,
    ThrottledError,
    TransportError,
)
from aggregated_metrics.core.measures import INT_MAX, ZERO, Measures, total
from aggregated_metrics.core.series import Series

from testbench.counted import FakeClient, Minutes, every, keep_up, minute, store, streams_record
from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.endpoint import Answer, refusal
from testbench.fakes.signatures import Request
from testbench.world import World

NOW = datetime(2026, 11, 22, 10, 6, 40, tzinfo=UTC)
ITEMS = Series("acct-1", "items")
ONE = Measures(1, 2, 0, 0, 0, 1)
_DAY = datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def reader(counted: Minutes, series: Series = ITEMS, now: datetime = NOW) -> FakeClient:
    client = FakeClient()
    store(client.api, series, counted, now)
    keep_up(client.api, now)
    return client


def summary(client: FakeClient, start: str, end: str) -> Summary:
    return summarize(client, "acct-1", at(start), at(end), "items", now=NOW)


def points(client: FakeClient, start: str, end: str, **named: object) -> list[Summary]:
    return timeline(client, "acct-1", at(start), at(end), "items", now=NOW, **named)  # type: ignore[arg-type]


# cover


def test_a_day_is_24_buckets_and_what_hangs_over_is_finer() -> None:
    assert [size for _, size in cover(at("2026-11-21"), at("2026-11-22"))] == [60] * 24
    sizes = [size for _, size in cover(at("2026-11-21 09:58"), at("2026-11-21 11:21"))]
    assert sizes == [1, 1, 60, 15, 5, 1]


def test_a_minute_belongs_to_the_range_in_which_it_begins() -> None:
    split = at("2026-11-21 10:00:30")
    before, after = cover(at("2026-11-21 10:00"), split), cover(split, at("2026-11-21 10:02"))
    assert [[moment.minute for moment, _ in part] for part in (before, after)] == [[0], [1]]


@pytest.mark.parametrize("call", [cover, lambda a, b: summarize(FakeClient(), "a", a, b, "items")])
def test_a_range_that_ends_before_it_begins_and_a_naive_time_are_refused(call: object) -> None:
    with pytest.raises(ArgumentError, match="before the start"):
        call(NOW, NOW - timedelta(minutes=1))  # type: ignore[operator]
    with pytest.raises(ArgumentError, match="no time zone"):
        call(NOW.replace(tzinfo=None), NOW)  # type: ignore[operator]


# requests


@pytest.mark.parametrize(
    ("start", "end", "gets"),
    [
        ("2026-11-20 10:00", "2026-11-20 10:01", [1]),
        ("2026-11-20 10:00", "2026-11-20 11:00", [1]),
        ("2026-11-20", "2026-11-21", [24]),
        ("2026-10-21", "2026-11-20", [120] * 6),
        ("2025-11-20", "2026-11-20", [120] * 73),
        ("2026-11-20", "2026-11-20", [0]),
    ],
)
def test_a_complete_range_takes_a_get_for_each_bucket_of_its_cover(
    start: str, end: str, gets: list[int]
) -> None:
    client = reader({})
    summary(client, start, end)
    assert client.fields == gets


def test_a_request_stays_far_below_appsyncs_limits() -> None:
    sent: list[int] = []

    class Measuring(FakeClient):
        def execute(self, query: str, variables: dict[str, object] | None = None) -> dict:  # type: ignore[type-arg]
            sent.append(len(json.dumps({"query": query, "variables": variables})))
            return super().execute(query, variables)

    client = Measuring()
    series = Series("a" * 36, "evaluationScoreResultsByScorecard", "c" * 36)
    start = at("2026-10-21")
    summarize(client, series.account_id, start, start + timedelta(days=30), *series[1:], now=NOW)
    assert max(sent) < 50_000


def test_an_hour_of_which_many_buckets_are_wanted_is_one_query() -> None:
    client = reader(every("2026-11-20 10:00", "2026-11-20 12:00", ONE))
    found = points(client, "2026-11-20 10:00", "2026-11-20 12:00", step=timedelta(minutes=1))
    assert [point.measures for point in found] == [ONE] * 120
    assert client.fields == [2]


# finer buckets


def test_the_running_hour_is_read_by_its_finer_buckets() -> None:
    counted = every("2026-11-22 10:00", "2026-11-22 10:07", ONE)
    client = FakeClient()
    store(client.api, ITEMS, counted, NOW, left_out=lambda write: write.bucket.size > 1)
    found = summary(client, "2026-11-22 00:00", "2026-11-22 11:00")
    assert found.measures.count == 7
    assert not found.complete
    assert client.fields == [11]  # two hours of them whole, what is stored of them or not


def test_a_coarse_bucket_that_is_behind_its_minutes_is_not_believed_while_it_is_open() -> None:
    client = reader(every("2026-11-22 10:00", "2026-11-22 10:03", ONE))
    late = every("2026-11-22 10:00", "2026-11-22 10:07", ONE)
    store(client.api, ITEMS, late, NOW, left_out=lambda write: write.bucket.size > 1)
    assert summary(client, "2026-11-22 10:00", "2026-11-22 11:00").measures.count == 7


def test_a_quiet_past_costs_nothing_more() -> None:
    client = reader({})
    assert summary(client, "2026-11-20", "2026-11-22").measures == ZERO
    assert len(client.queries) == 1


def test_a_sum_beyond_32_bits_is_exact() -> None:
    large = Measures(1, INT_MAX - 1)
    client = reader(every("2026-11-20 10:00", "2026-11-20 11:00", large, step=20))
    assert summary(client, "2026-11-20", "2026-11-21").measures == Measures(3, 3 * (INT_MAX - 1))


def test_a_minute_beyond_32_bits_is_exact() -> None:
    client = reader({minute("2026-11-20 10:07"): Measures(1, 5 * INT_MAX)})
    assert summary(client, "2026-11-20", "2026-11-21").measures == Measures(1, 5 * INT_MAX)
    found = summary(client, "2026-11-20 10:07", "2026-11-20 10:08")
    assert found.measures == Measures(1, 5 * INT_MAX)


def test_a_bucket_that_outlives_its_parts_speaks_for_them() -> None:
    client = reader(every("2026-11-22 10:00", "2026-11-22 10:07", ONE))
    for row in client.api.rows("AggregatedMetrics"):
        if row["numberOfMinutes"] < 60:
            client.api.remove("AggregatedMetrics", "acct-1", row["compositeKey"])
    assert summary(client, "2026-11-22 10:00", "2026-11-22 11:00").measures.count == 7


# completeness


@pytest.mark.parametrize(
    ("end", "complete"),
    [("2026-11-22 10:03", True), ("2026-11-22 10:04", True), ("2026-11-22 10:05", False)],
)
def test_a_range_is_complete_when_it_is_over_and_none_of_its_buckets_is_open(
    end: str, complete: bool
) -> None:
    client = reader(every("2026-11-22 10:00", "2026-11-22 10:07", ONE))
    assert summary(client, "2026-11-22 10:00", end).complete is complete


# as of


def test_numbers_are_complete_up_to_the_first_open_minute() -> None:
    client = reader(every("2026-11-22 09:00", "2026-11-22 10:03", ONE), now=at("2026-11-22 10:02"))
    keep_up(client.api, NOW)
    assert complete_until(client, "acct-1", now=NOW) == at("2026-11-22 10:00")


def test_numbers_are_complete_as_far_as_streams_are_applied_where_nothing_is_open() -> None:
    client = reader({})
    assert complete_until(client, "acct-1", now=NOW) == at("2026-11-22 10:04")
    keep_up(client.api, NOW, wait=20)
    assert complete_until(client, "acct-1", now=NOW) == at("2026-11-22 10:06")


def test_the_least_of_all_record_types_counts() -> None:
    client = reader({})
    texts = {"items": "2026-11-22T10:06:40Z", "tasks": "2026-11-22T07:01:00Z"}
    streams_record(client.api, {"asOf": texts, "completeAfter": 0})
    assert complete_until(client, "acct-1", now=NOW) == at("2026-11-22 07:01")
    streams_record(client.api, {"asOf": texts | {"tasks": None}, "completeAfter": 0})
    assert complete_until(client, "acct-1", now=NOW) is None


def test_a_minute_that_nothing_completed_holds_the_others_back() -> None:
    tasks = Series("acct-1", "tasks")
    counted = every("2026-11-21 20:30", "2026-11-21 20:32", ONE)
    client = reader(counted, tasks, at("2026-11-21 20:31"))
    keep_up(client.api, NOW)
    assert complete_until(client, "acct-1", now=NOW) == at("2026-11-21 20:30")
    assert complete_until(client, "acct-2", now=NOW) == at("2026-11-22 10:04")


def test_complete_until_takes_a_handful_of_requests() -> None:
    client = reader(every("2026-11-21 09:00", "2026-11-22 10:07", ONE))
    complete_until(client, "acct-1", now=NOW)
    assert len(client.queries) <= 4


@pytest.mark.parametrize("kind", ["summary", "timeline"])
def test_a_stream_that_stands_still_is_not_complete_and_not_zero_for_sure(kind: str) -> None:
    """Three hours without delivery: the buckets that were not written look like quiet ones."""
    client = reader(every("2026-11-22 06:00", "2026-11-22 07:00", ONE), now=at("2026-11-22 08:00"))
    keep_up(client.api, at("2026-11-22 07:02"))
    if kind == "summary":
        found = [summary(client, "2026-11-22 06:00", "2026-11-22 10:00")]
        expected = [(60, False)]
    else:
        hour = timedelta(hours=1)
        found = points(client, "2026-11-22 06:00", "2026-11-22 10:00", step=hour)
        expected = [(60, True), (0, False), (0, False), (0, False)]
    assert [(point.measures.count, point.complete) for point in found] == expected
    assert {point.as_of for point in found} == {at("2026-11-22 07:02")}
    assert found[0].as_json()["asOf"] == "2026-11-22T07:02:00+00:00"


def test_one_request_gives_the_counts_and_as_of_when_they_are() -> None:
    client = reader(every("2026-11-20 10:00", "2026-11-20 11:00", ONE))
    assert summary(client, "2026-11-20", "2026-11-21").as_of == NOW
    assert len(client.queries) == 1


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "text",
        [1],
        {},
        {"asOf": None},
        {"asOf": [["items", "2026-11-22T10:06:00Z"]]},
        {"asOf": {"items": "yesterday"}, "completeAfter": 120},
        {"asOf": {"items": None}, "completeAfter": 120},
    ],
)
def test_where_it_is_not_known_how_far_streams_are_applied_nothing_is_complete(stored: Any) -> None:
    client = reader(every("2026-11-20 10:00", "2026-11-20 11:00", ONE))
    streams_record(client.api, stored)
    found = summary(client, "2026-11-20", "2026-11-21")
    assert (found.measures.count, found.complete, found.as_of) == (60, False, None)
    assert complete_until(client, "acct-1", now=NOW) is None


class Refusing(FakeClient):
    """Another library's client: raises for any error, without what went through."""

    def __init__(self, api: FakeAppSync, *refused: str, most: int = 1000) -> None:
        super().__init__(api)
        self.refused, self.most = refused, most

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        if any(text in query for text in self.refused) or query.count("Metrics(") > self.most:
            self.queries.append(query)
            raise RuntimeError("refused")
        return super().execute(query, variables)


def test_a_reader_who_may_not_ask_as_of_when_is_refused_once() -> None:
    api = reader(every("2026-11-20 10:00", "2026-11-20 11:00", ONE)).api
    client = Refusing(api, "asOf")
    for requests in (2, 3, 4):
        found = summary(client, "2026-11-20", "2026-11-21")
        assert (found.measures.count, found.complete, found.as_of) == (60, False, None)
        assert len(client.queries) == requests
    assert complete_until(client, "acct-1", now=NOW) is None


def test_an_api_that_refuses_the_counts_too_is_asked_once_more() -> None:
    client = Refusing(reader({}).api, "items", "ReadBuckets")
    for requests in (2, 4):
        with pytest.raises(RuntimeError, match="refused"):
            summary(client, "2026-11-20", "2026-11-21")
        assert len(client.queries) == requests


@pytest.mark.parametrize("error", [OSError("reset"), TimeoutError("slow")])
def test_a_connection_that_fails_is_no_refusal(error: Exception) -> None:
    class Broken(FakeClient):
        def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
            self.queries.append(query)
            raise error

    client = Broken()
    with pytest.raises(type(error)):
        summary(client, "2026-11-20", "2026-11-21")
    assert len(client.queries) == 1


def test_an_error_at_the_as_of_record_alone_costs_nothing_else(world: World) -> None:
    """A tenant's own rows are allowed, and those of `_streams` are not."""
    store(world.api, ITEMS, every("2026-11-20 10:00", "2026-11-20 11:00", ONE), NOW)
    answers = []

    def refuse(request: Request) -> Answer | None:
        given = world.api.answer(request)
        body = json.loads(given.body)
        errors = [{"path": ["asOf"], "errorType": "Unauthorized", "message": "Not Authorized"}]
        answers.append(json.dumps({"data": body["data"] | {"asOf": None}, "errors": errors}))
        return given._replace(body=answers[-1].encode())

    world.before = refuse
    for requests in (1, 2):
        found = summarize(world.client(), "acct-1", *_DAY, "items", now=NOW)
        assert (found.measures.count, found.complete, found.as_of) == (60, False, None)
        assert len(answers) == requests


# record types that nothing counts


@pytest.mark.parametrize("name", ["item", "Items", "scoreResult", "", "_streams"])
def test_a_record_type_that_nothing_counts_is_refused_with_those_that_are(name: str) -> None:
    client = reader({})
    keep_up(client.api, NOW, "tasks", "items")
    for read in (summarize, partial(timeline, step=timedelta(hours=1))):
        with pytest.raises(ArgumentError, match=f"{name!r}.* counted are items, tasks"):
            read(client, "acct-1", *_DAY, name, now=NOW)


def test_what_is_stored_is_read_whatever_is_counted() -> None:
    """A breakdown that was switched off, or another writer's record type."""
    card = Series("acct-1", "itemsByScorecard", "card")
    client = reader(every("2026-11-20 10:00", "2026-11-20 10:03", ONE), card)
    keep_up(client.api, NOW, "items")
    found = summarize(client, "acct-1", *_DAY, "itemsByScorecard", "card", now=NOW)
    assert (found.measures.count, found.complete, found.as_of) == (3, False, None)
    with pytest.raises(ArgumentError, match="itemsByScorecard"):
        summarize(client, "acct-1", _DAY[1], NOW, "itemsByScorecard", "card", now=NOW)


@pytest.mark.parametrize("time", ["2026-11-20", _DAY[0].date(), 1_800_000_000, None])
def test_what_is_no_datetime_is_refused(time: Any) -> None:
    for span in ((time, NOW), (_DAY[0], time)):
        with pytest.raises(ArgumentError, match="is no datetime: pass an aware one"):
            summarize(FakeClient(), "acct-1", span[0], span[1], "items")


# limits


def test_a_request_is_no_larger_than_the_client_says() -> None:
    sent: list[int] = []

    class Walled(FakeClient):
        request_bytes = 8_000

        def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
            sent.append(len(body_of(query, variables)))
            return super().execute(query, variables)

    client = Walled(reader(every("2026-11-01 10:00", "2026-11-01 11:00", ONE)).api)
    assert summary(client, "2026-10-21", "2026-11-20").measures.count == 60
    by_minute = points(client, "2026-10-31", "2026-11-02", step=timedelta(minutes=1))
    assert total(point.measures for point in by_minute).count == 60
    complete_until(client, "acct-1", now=NOW)
    assert max(sent) <= 8_000
    assert len(sent) < 60


def test_an_api_with_a_limit_of_resolvers_is_asked_for_less_from_then_on() -> None:
    client = Refusing(reader(every("2026-11-01 10:00", "2026-11-01 11:00", ONE)).api, most=60)
    for _ in range(2):
        before = len(client.queries)
        found = summary(client, "2026-10-21", "2026-11-20")
        assert (found.measures.count, found.complete, found.as_of) == (60, True, NOW)
    assert max(client.fields[before:]) < 60
    assert len(client.fields[before:]) == 15


def test_this_packages_client_is_asked_for_less_too(world: World) -> None:
    def refuse(request: Request) -> Answer | None:
        fields = len(world.api.fields_of(request))
        return refusal(400, "BadRequestException", "too many resolvers") if fields > 60 else None

    store(world.api, ITEMS, every("2026-11-01 10:00", "2026-11-01 11:00", ONE), NOW)
    keep_up(world.api, NOW)
    world.before = refuse
    month = at("2026-10-21"), at("2026-11-20")
    found = summarize(world.client(), "acct-1", *month, "items", now=NOW)
    assert found.measures.count == 60


# records that the API cannot give


def poisoned(size: int, counted: Minutes | None = None, **changes: Any) -> FakeClient:
    """An hour of which the first bucket of a size has these values, put past the API."""
    client = reader(counted or every("2026-11-20 10:00", "2026-11-20 11:00", ONE))
    key = f"items#2026-11-20T10:00:00Z#{size}"
    (row,) = (r for r in client.api.rows("AggregatedMetrics") if r["compositeKey"] == key)
    client.api.put(
        "AggregatedMetrics", {k: v for k, v in (row | changes).items() if v is not REMOVED}
    )
    return client


REMOVED = object()
POISON: list[dict[str, Any]] = [
    {"count": 3.5},
    {"complete": REMOVED},
    {"complete": None},
    {"cost": 2**31},
    {"count": REMOVED},
    {"errorCount": 0.5},
]


class Tolerant(FakeClient):
    """Raises as this package's client does."""

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        self.queries.append(query)
        response = self.api.execute(query, variables)
        if errors := response.get("errors"):
            raise GraphQLError("No.", operation="Read", errors=errors, data=response["data"])
        data: dict[str, Any] = response["data"]
        return data


@pytest.mark.parametrize("poison", POISON)
@pytest.mark.parametrize("size", [5, 15, 60])
@pytest.mark.parametrize("step", [60, 5, 1])
def test_a_rollup_that_the_api_cannot_give_is_replaced_by_finer_buckets(
    poison: dict[str, Any], size: int, step: int
) -> None:
    client = Tolerant(poisoned(size, **poison).api)
    length = timedelta(minutes=step)
    found = points(client, "2026-11-20 09:00", "2026-11-20 12:00", step=length)
    assert total(point.measures for point in found) == Measures(60, 120, 0, 0, 0, 60)
    assert all(point.complete for point in found)


@pytest.mark.parametrize("poison", POISON)
@pytest.mark.parametrize("step", [60, 1])
def test_a_minute_that_the_api_cannot_give_is_named_where_it_is_needed(
    poison: dict[str, Any], step: int
) -> None:
    client = Tolerant(poisoned(1, **poison).api)
    if step == 60:
        assert summary(client, "2026-11-20 10:00", "2026-11-20 11:00").measures.count == 60
        return
    named = r"items#2026-11-20T10:00:00Z#1 of acct-1 \(.*(count|complete|cost|errorCount)"
    with pytest.raises(GraphQLError, match=named):
        points(client, "2026-11-20 10:00", "2026-11-20 11:00", step=timedelta(minutes=1))
    rest = points(client, "2026-11-20 10:01", "2026-11-20 11:00", step=timedelta(minutes=1))
    assert len(rest) == 59
    with pytest.raises(GraphQLError, match=named):
        summary(client, "2026-11-20 10:00", "2026-11-20 10:01")


def test_a_rollup_without_parts_that_the_api_cannot_give_is_named() -> None:
    client = Tolerant(poisoned(60, count=3.5).api)
    for row in client.api.rows("AggregatedMetrics"):
        if row["recordType"] == "items" and row["numberOfMinutes"] < 60:
            client.api.remove("AggregatedMetrics", "acct-1", row["compositeKey"])
    with pytest.raises(GraphQLError, match="items#2026-11-20T10:00:00Z#60"):
        summary(client, "2026-11-20", "2026-11-21")
    assert summary(client, "2026-11-20 11:00", "2026-11-21").measures == ZERO


def test_a_field_that_readers_do_not_need_costs_nothing() -> None:
    client = Tolerant(poisoned(60, updatedAt=REMOVED, timeRangeEnd="soon").api)
    assert summary(client, "2026-11-20", "2026-11-21").measures.count == 60
    assert len(client.queries) == 1


def test_a_minute_that_cannot_be_read_is_not_complete() -> None:
    counted = every("2026-11-22 08:00", "2026-11-22 08:30", ONE)
    client = reader(counted)
    for row in client.api.rows("AggregatedMetrics"):
        if row["compositeKey"] in {f"items#2026-11-22T08:00:00Z#{n}" for n in (1, 60)}:
            client.api.put("AggregatedMetrics", row | {"count": 3.5})
    assert complete_until(Tolerant(client.api), "acct-1", now=NOW) == at("2026-11-22 08:00")


@pytest.mark.parametrize("size", [1, 60])
def test_an_hour_that_comes_in_pages_is_read_whole(size: int) -> None:
    """A page ends where DynamoDB has read a megabyte, and what it lacks is found page by page."""

    class Paging(Tolerant):
        def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
            return super().execute(query.replace("limit: 100", "limit: 9"), variables)

    client = Paging(poisoned(size, count=3.5).api)
    minute_by_minute = partial(points, client, end="2026-11-20 11:00", step=timedelta(minutes=1))
    assert total(p.measures for p in minute_by_minute("2026-11-20 10:01")).count == 59
    if size == 1:
        with pytest.raises(GraphQLError, match="items#2026-11-20T10:00:00Z#1 of acct-1"):
            minute_by_minute("2026-11-20 10:00")
    else:
        assert summary(client, "2026-11-20", "2026-11-21").measures.count == 60


def test_a_null_that_no_error_explains_is_no_zero() -> None:
    """Another library's client may swallow errors."""

    class Swallowing(FakeClient):
        def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
            data: dict[str, Any] = self.api.execute(query, variables)["data"]
            return data

    client = Swallowing(poisoned(1, count=3.5).api)
    with pytest.raises(GraphQLError, match=r"items#2026-11-20T10:00:00Z#1 of .*\(null\)"):
        points(client, "2026-11-20 10:00", "2026-11-20 11:00", step=timedelta(minutes=1))


@pytest.mark.parametrize("lost", ["alias", "page"])
def test_an_answer_that_lacks_something_is_no_zero(lost: str) -> None:
    class Cut(FakeClient):
        def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
            data = super().execute(query, variables)
            return data | {"b0": None} if lost == "page" else {"asOf": data["asOf"]}

    client = Cut(reader(every("2026-11-20 10:00", "2026-11-20 11:00", ONE)).api)
    with pytest.raises(TransportError, match="lacks b0"):
        points(client, "2026-11-20 10:00", "2026-11-20 11:00", step=timedelta(minutes=1))


# timelines


def test_where_nothing_was_counted_a_point_is_zero() -> None:
    client = reader({minute("2026-11-20 10:07"): ONE})
    found = points(client, "2026-11-20 09:00", "2026-11-20 12:00", step=timedelta(hours=1))
    assert [point.measures for point in found] == [ZERO, ONE, ZERO]
    assert [point.start.hour for point in found] == [9, 10, 11]


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-01", 24)]
)
def test_a_day_has_as_many_hours_as_the_zones_clock(day: str, hours: int) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime.fromisoformat(day).replace(tzinfo=berlin)
    end = datetime.fromordinal(start.toordinal() + 1).replace(tzinfo=berlin)
    first = minute(f"{start.astimezone(UTC):%Y-%m-%d %H:%M}")
    client = reader(dict.fromkeys(range(first, first + hours * 60, 60), ONE), now=at("2026-12-01"))
    for step, wanted in ((timedelta(days=1), [hours]), (timedelta(hours=1), [1] * hours)):
        found = timeline(
            client, "acct-1", start, end, "items", step=step, zone=berlin, now=at("2026-12-01")
        )
        assert [point.measures.count for point in found] == wanted
        assert (found[0].start, found[-1].end) == (start, end)


def test_months_are_the_calendars_and_the_first_and_last_are_cut_to_the_range() -> None:
    found = points(reader({}), "2025-12-15", "2026-03-10", step="month")
    assert [point.start for point in found] == [
        at(day) for day in ("2025-12-15", "2026-01-01", "2026-02-01", "2026-03-01")
    ]
    assert found[-1].end == at("2026-03-10")


@pytest.mark.parametrize(
    ("named", "weekday"),
    [
        ({"step": "week"}, "Mon"),
        ({"step": "week", "week_start": "sunday"}, "Sun"),
        ({"step": timedelta(days=7)}, "Thu"),
    ],
)
def test_weeks_begin_on_monday_or_sunday_whatever_the_range(named: Any, weekday: str) -> None:
    found = points(reader({}), "2026-11-05 10:00", "2026-11-26", **named)
    assert {f"{point.start:%a}" for point in found[1:]} == {weekday}
    assert found[0].start == at("2026-11-05 10:00")
    assert {point.end - point.start for point in found[1:-1]} == {timedelta(days=7)}


def test_a_week_that_starts_on_another_day_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"monday.*sunday"):
        points(FakeClient(), "2026-11-05", "2026-11-26", step="week", week_start="friday")


@pytest.mark.parametrize(
    ("zone", "day"), [("Pacific/Apia", "2011-12-30"), ("Pacific/Kwajalein", "1993-08-21")]
)
@pytest.mark.parametrize("step", [timedelta(days=1), timedelta(days=2), timedelta(hours=6), "week"])
def test_a_date_that_a_zone_skipped_is_no_point(zone: str, day: str, step: object) -> None:
    local = ZoneInfo(zone)
    start = datetime.fromisoformat(day).replace(tzinfo=local) - timedelta(days=3)
    end = start + timedelta(days=6)
    found = timeline(FakeClient(), "a", start, end, "items", step=step, zone=local)  # type: ignore[arg-type]
    assert day not in {point.start.date().isoformat() for point in found}
    assert all(point.start.astimezone(UTC) < point.end.astimezone(UTC) for point in found)


@pytest.mark.parametrize(
    "step",
    [
        *(timedelta(seconds=90), timedelta(0), timedelta(days=32), timedelta(minutes=-5)),
        *(60, 3600.0, None, "day", "weeks", "60", timedelta.max),
    ],
)
def test_a_wrong_step_is_refused_with_the_steps_that_exist(step: object) -> None:
    with pytest.raises(ArgumentError, match=r"is no step: .*whole minutes up to 31 days.*week"):
        points(FakeClient(), "2026-11-20", "2026-11-21", step=step)


@pytest.mark.parametrize("zone", ["Europe/Berlin", None, 2])
def test_a_zone_that_is_none_is_refused(zone: object) -> None:
    with pytest.raises(ArgumentError, match="is no time zone: give a tzinfo"):
        points(FakeClient(), "2026-11-20", "2026-11-21", step="week", zone=zone)


def test_too_many_points_are_refused_before_anything_is_read() -> None:
    client = FakeClient()
    with pytest.raises(ArgumentError, match="larger step"):
        points(client, "2025-11-20", "2026-11-20", step=timedelta(minutes=1))
    assert client.queries == []


# breakdowns of a record type


def test_a_breakdown_is_apart_from_the_others_and_from_the_whole() -> None:
    client = reader(every("2026-11-20 10:00", "2026-11-20 10:10", ONE))
    card = Series("acct-1", "itemsByScorecard", "card")
    store(client.api, card, every("2026-11-20 10:00", "2026-11-20 10:03", ONE), NOW)
    day = at("2026-11-20"), at("2026-11-21")
    assert summarize(client, "acct-1", *day, "items", now=NOW).measures.count == 10
    found = summarize(client, "acct-1", *day, "itemsByScorecard", "card", now=NOW)
    assert found.measures.count == 3


@pytest.mark.parametrize(
    ("record_type", "ids", "says"),
    [
        ("scoreResultsByScore", (), "pass score_id; breakdowns"),
        ("scoreResultsByScore", ("card",), "pass score_id"),
        ("feedbackItemsByScorecard", (), "pass scorecard_id, and no score_id"),
        ("evaluationsByScorecard", ("card", "a"), "and no score_id"),
        ("callsByTeam", (), "pass scorecard_id"),
        ("callsByTeam", ("team", "desk"), "and no score_id"),
        ("callsByDesk", ("team",), "pass score_id"),
    ],
)
def test_a_breakdown_without_its_ids_is_refused_with_what_to_pass(
    record_type: str, ids: tuple[str, ...], says: str
) -> None:
    """No bucket has such a key: the answer would be a zero that looks like a count."""
    client = FakeClient()
    breakdowns = {"callsByTeam": ["teamId"], "callsByDesk": ["teamId", "deskId"]}
    streams_record(client.api, {"asOf": {record_type: None}, "breakdowns": breakdowns})
    for read in (summarize, partial(timeline, step=timedelta(hours=1))):
        with pytest.raises(ArgumentError, match=says):
            read(client, "acct-1", *_DAY, record_type, *ids, now=NOW)


def test_feedbacks_own_measures_are_summed_with_the_others() -> None:
    """They are kept in metadata; a parent's are read from the parent."""
    answers = Measures(3, 0, 0, 0, 0, 0, 2, 1, 0)
    counted = every("2026-11-20 10:00", "2026-11-20 11:10", answers)
    client = reader(counted, Series("acct-1", "feedbackItems"))
    span = at("2026-11-20 10:00"), at("2026-11-20 11:05")
    found = summarize(client, "acct-1", *span, "feedbackItems", now=NOW)
    assert found.sums == Measures(195).named() | {
        "changedCount": 130,
        "unchangedCount": 65,
        "invalidCount": 0,
    }
    assert found.as_json().items() >= found.sums.items()
    assert client.fields == [2], "an hour and five minutes, and not their parts"


def test_the_series_of_a_breakdown_are_found_without_reading_their_buckets() -> None:
    client = reader(every("2026-11-20 10:00", "2026-11-20 10:10", ONE))
    cards = ["b", "a-long-one", "ä", "a"]
    for card in cards:
        counted = every("2026-11-20 10:00", "2026-11-20 11:00", ONE)
        store(client.api, Series("acct-1", "itemsByScorecard", card), counted, NOW)
        score = Series("acct-1", "itemsByScore", card, f"{card}-1")
        store(client.api, score, {minute("2026-11-20 10:00"): ONE}, NOW)
    found = breakdowns(
        client, "acct-1", "itemsByScorecard", "itemsByScore", "tasksByScore", "items"
    )
    assert sorted(each.scorecard_id or "" for each in found["itemsByScorecard"]) == sorted(cards)
    assert {(each.scorecard_id, each.score_id) for each in found["itemsByScore"]} == {
        (card, f"{card}-1") for card in cards
    }
    assert found["tasksByScore"] == found["items"] == []
    assert len(client.queries) == len(cards) + 1


@pytest.mark.parametrize(
    "changes",
    [
        *({"scoreId": None}, {"scoreId": ""}, {"scorecardId": None}),
        *({"scorecardId": "z", "scoreId": "z"}, {"scorecardId": None, "scoreId": None}),
    ],
)
def test_a_record_whose_ids_were_changed_ends_no_search_and_hides_no_other(changes: Any) -> None:
    client = FakeClient()
    counted = {minute("2026-11-20 10:00"): ONE}
    for score in ("a", "b", "c"):
        store(client.api, Series("acct-1", "itemsByScore", "card", score), counted, NOW)
    for row in client.api.rows("AggregatedMetrics"):
        if row["scoreId"] == "b":
            client.api.put("AggregatedMetrics", row | changes)
    (found,) = breakdowns(client, "acct-1", "itemsByScore").values()
    assert [each.score_id for each in found if each.score_id != "b"] == ["a", "c"]
    assert len(client.queries) == 4


def test_a_key_of_another_form_ends_its_own_search_only() -> None:
    client = FakeClient()
    counted = {minute("2026-11-20 10:00"): ONE}
    for name in ("itemsByScore", "tasksByScore"):
        store(client.api, Series("acct-1", name, "card", "s"), counted, NOW)
    row = client.api.rows("AggregatedMetrics")[0]
    client.api.put("AggregatedMetrics", row | {"compositeKey": "itemsByScore#"})
    found = breakdowns(client, "acct-1", "itemsByScore", "tasksByScore")
    assert [each.score_id for each in found["tasksByScore"]] == ["s"]
    assert len(client.queries) <= 3


# clients


def test_a_throttled_reading_waits_and_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Busy(FakeClient):
        left = 2

        def execute(self, query: str, variables: dict[str, object] | None = None) -> dict:  # type: ignore[type-arg]
            if self.left:
                self.left -= 1
                raise ThrottledError("slowly", operation="Read", errors=[], data=None)
            return super().execute(query, variables)

    waits: list[float] = []
    wanted = {ITEMS: [Tile(minute("2026-11-20 10:00"), 60)]}
    BucketReader(Busy(), sleep=waits.append).read(wanted, buckets.to_minute(NOW))
    assert len(waits) == 2
    monkeypatch.setattr(bucket_reader, "SECONDS", 1.0)
    with pytest.raises(ContentionError, match=r"the time is over.*read again later") as raised:
        BucketReader(Busy(), sleep=waits.append).read(wanted, buckets.to_minute(NOW))
    assert "saved" not in str(raised.value)


def test_only_this_packages_client_is_used_by_several_threads() -> None:
    session = open_session(None, "")
    assert BucketReader(AppSyncClient("https://x", session))._is_ours
    assert not BucketReader(FakeClient())._is_ours
    session.close()


# the package


def test_everything_that_a_reader_needs_is_exported() -> None:
    assert set(aggregated_metrics.__all__) == {
        *("AggregatedMetrics", "Summary", "breakdowns", "complete_until", "connect", "cover"),
        *("summarize", "timeline"),
    }
    assert dir(aggregated_metrics) == sorted(aggregated_metrics.__all__)
    for name in aggregated_metrics.__all__:
        assert getattr(aggregated_metrics, name).__module__.startswith("aggregated_metrics.")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = aggregated_metrics.nothing


def test_importing_the_package_imports_nothing_else_of_it() -> None:
    script = (
        "import sys, aggregated_metrics; "
        "print([n for n in sys.modules if n.startswith('aggregated_metrics.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"
