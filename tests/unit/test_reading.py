"""Reading right: few requests, finer buckets where coarse ones do not tell, and freshness."""

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import aggregated_metrics
import pytest
from aggregated_metrics import Summary, breakdowns, complete_until, cover, summarize, timeline
from aggregated_metrics.adapters import bucket_reader
from aggregated_metrics.adapters.appsync import AppSyncClient, body_of
from aggregated_metrics.core.errors import (
    ArgumentError,
    ContentionError,
    GraphQLError,
    ThrottledError,
    TransportError,
)
from aggregated_metrics.core.measures import ZERO, Measures, total
from aggregated_metrics.core.series import Series

from testbench.counted import FakeClient, Minutes, every, keep_up, minute, store, streams_record
from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.endpoint import Answer, refusal
from testbench.fakes.execution import fields_of
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


@pytest.mark.parametrize("call", [cover, lambda a, b: summarize(FakeClient(), "a", a, b, "items")])
@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        (NOW, NOW - timedelta(minutes=1), "before the start"),
        (NOW.replace(tzinfo=None), NOW, "no time zone"),
        *((time, NOW, "is no datetime: pass") for time in ("2026-11-20", NOW.date(), 1e9, None)),
        (NOW, "2026-11-20", "is no datetime: pass"),
    ],
)
def test_a_range_that_is_none_is_refused(call: Any, start: Any, end: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        call(start, end)


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


@pytest.mark.parametrize(("most", "requests", "largest"), [(0, 6, 50_000), (8_000, 60, 8_000)])
def test_a_request_is_no_larger_than_the_api_takes(most: int, requests: int, largest: int) -> None:
    sent: list[int] = []

    class Measuring(FakeClient):
        request_bytes = most

        def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
            sent.append(len(body_of(query, variables)))
            return super().execute(query, variables)

    series = Series("a" * 36, "evaluationScoreResultsByScorecard", "c" * 36)
    client = Measuring(reader(every("2026-11-01 10:00", "2026-11-01 11:00", ONE), series).api)
    month, read = (at("2026-10-21"), at("2026-11-20")), partial(summarize, client, series[0])
    assert read(*month, *series[1:3], now=NOW).measures.count == 60
    assert max(sent) <= largest
    assert len(sent) <= requests


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
    keep_up(client.api, at("2026-11-22 12:00"))
    found = summary(client, "2026-11-22 00:00", "2026-11-22 11:00")
    assert found.measures.count == 7
    assert not found.complete
    assert client.fields == [11]  # two hours of them whole, what is stored of them or not


@pytest.mark.parametrize("now", [NOW, NOW + timedelta(hours=2)])
def test_a_rollup_that_outlives_its_minutes_speaks_for_them(now: datetime) -> None:
    client = reader(every("2026-11-22 10:00", "2026-11-22 10:07", ONE), now=now)
    for row in client.api.rows("AggregatedMetrics"):
        if row["numberOfMinutes"] < 60:
            client.api.remove("AggregatedMetrics", "acct-1", row["compositeKey"])
    found = summary(client, "2026-11-22 10:00", "2026-11-22 11:00")
    assert (found.measures.count, found.complete) == (7, now > NOW)


# as of


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
    assert len(client.queries) <= 5


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


# limits


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
        fields = len(fields_of(request))
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
            return data | {"b1": None} if lost == "page" else {"asOf": data["asOf"]}

    client = Cut(reader(every("2026-11-20 10:00", "2026-11-20 11:00", ONE)).api)
    with pytest.raises(TransportError, match="lacks b1"):
        points(client, "2026-11-20 10:00", "2026-11-20 11:00", step=timedelta(minutes=1))


# timelines


STEPS = r"is no step: .*whole minutes up to 31 days.*week"


@pytest.mark.parametrize(
    ("named", "says"),
    [
        *(({"step": timedelta(**n)}, STEPS) for n in ({"seconds": 90}, {}, {"days": 32})),
        *(({"step": timedelta(minutes=n)}, STEPS) for n in (-5, 31 * 1440 + 1)),
        *(({"step": n}, STEPS) for n in (60, 3600.0, None, "day", "60", timedelta.max)),
        *(({"zone": zone}, "is no time zone: give a") for zone in ("Europe/Berlin", None, 2)),
        ({"week_start": "friday"}, r"monday.*sunday"),
    ],
)
def test_a_wrong_step_or_zone_is_refused_with_what_to_give(named: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        points(FakeClient(), "2026-11-20", "2026-11-21", **({"step": "week"} | named))


def test_too_many_points_are_refused_before_anything_is_read() -> None:
    client = FakeClient()
    with pytest.raises(ArgumentError, match="larger step"):
        points(client, "2025-11-20", "2026-11-20", step=timedelta(minutes=1))
    assert client.queries == []


# breakdowns of a record type


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
    assert found.as_json()["asOf"] == NOW.isoformat()
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

        def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
            if self.left:
                self.left -= 1
                raise ThrottledError("slowly", operation="Read")
            return super().execute(query, variables)

    waits: list[float] = []
    read = partial(bucket_reader.read, wanted={ITEMS: [(0, 60)]}, now=60, sleep=waits.append)
    read(Busy())
    assert len(waits) == 2
    monkeypatch.setattr(bucket_reader, "SECONDS", 1.0)
    with pytest.raises(ContentionError, match=r"the time is over.*read again later") as raised:
        read(Busy())
    assert "saved" not in str(raised.value)


def test_only_this_packages_client_is_used_by_several_threads() -> None:
    threads: set[threading.Thread] = set()

    class Other(FakeClient):
        def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
            threads.add(threading.current_thread())
            return super().execute(query, variables)

    class Ours(Other, AppSyncClient):
        request_bytes = 0

    for client, is_alone in ((Other(), True), (Ours(), False)):
        threads.clear()
        summary(client, "2026-10-21", "2026-11-20")
        assert (threads == {threading.main_thread()}) is is_alone


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
