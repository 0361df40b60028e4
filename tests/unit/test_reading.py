"""Reading right: few requests, finer buckets where coarse ones do not tell, and freshness."""

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from unittest.mock import Mock

import aggregated_metrics
import pytest
from aggregated_metrics import Summary, breakdowns, complete_until, cover, summarize, timeline
from aggregated_metrics.adapters import bucket_reader
from aggregated_metrics.adapters.appsync import AppSyncClient, body_of
from aggregated_metrics.core.errors import (
    ArgumentError,
    AuthorizationError,
    ContentionError,
    GraphQLError,
    ThrottledError,
    TransportError,
)
from aggregated_metrics.core.measures import ZERO, Measures, total
from aggregated_metrics.core.series import Series

from testbench.counted import FakeClient, Minutes, every, keep_up, minute, store, streams_record

NOW = datetime(2026, 11, 22, 10, 6, 40, tzinfo=UTC)
ITEMS = Series("acct-1", "items")
ONE = Measures(1, 2, 0, 0, 0, 1)


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


@pytest.mark.parametrize(("most", "requests", "largest"), [(0, 6, 50_000), (8_000, 60, 8_000)])
def test_a_request_is_no_larger_than_the_api_takes(
    monkeypatch: pytest.MonkeyPatch, most: int, requests: int, largest: int
) -> None:
    monkeypatch.setattr(FakeClient, "request_bytes", most, raising=False)
    series = Series("a" * 36, "evaluationScoreResultsByScorecard", "c" * 36)
    client = reader(every("2026-11-01 10:00", "2026-11-01 11:00", ONE), series)
    sent: list[int] = []
    client.before = lambda *asked: sent.append(len(body_of(*asked)))
    month, read = (at("2026-10-21"), at("2026-11-20")), partial(summarize, client, series[0])
    assert read(*month, *series[1:3], now=NOW).measures.count == 60
    assert max(sent) <= largest
    assert len(sent) <= requests


def test_an_hour_of_which_many_buckets_are_wanted_is_one_query() -> None:
    client = reader(every("2026-11-20 10:00", "2026-11-20 12:00", ONE))
    found = points(client, "2026-11-20 10:00", "2026-11-20 12:00", step=timedelta(minutes=1))
    assert [point.measures for point in found] == [ONE] * 120
    assert client.fields == [2]


def remove_parts(client: FakeClient) -> None:
    """Leave nothing but the hours."""
    for row in client.api.rows("AggregatedMetrics"):
        if row["numberOfMinutes"] < 60:
            client.api.remove("AggregatedMetrics", "acct-1", row["compositeKey"])


@pytest.mark.parametrize("now", [NOW, NOW + timedelta(hours=2)])
def test_a_rollup_that_outlives_its_minutes_speaks_for_them(now: datetime) -> None:
    client = reader(every("2026-11-22 10:00", "2026-11-22 10:07", ONE), now=now)
    remove_parts(client)
    found = summary(client, "2026-11-22 10:00", "2026-11-22 11:00")
    assert (found.measures.count, found.complete) == (7, now > NOW)


def test_numbers_are_complete_as_far_as_all_streams_are_applied_where_nothing_is_open() -> None:
    client, now = FakeClient(), "2026-11-22T10:06:40Z"
    for tasks, wait, until in (
        (now, 120, "2026-11-22 10:04"),
        (now, 20, "2026-11-22 10:06"),
        ("2026-11-22T07:01:00Z", 0, "2026-11-22 07:01"),
        (None, 0, None),
    ):
        streams_record(client.api, {"asOf": {"items": now, "tasks": tasks}, "completeAfter": wait})
        assert complete_until(client, "acct-1", now=NOW) == (until and at(until))


def test_a_minute_that_nothing_completed_holds_the_others_back() -> None:
    tasks = Series("acct-1", "tasks")
    counted = every("2026-11-21 20:30", "2026-11-21 20:32", ONE)
    client = reader(counted, tasks, at("2026-11-21 20:31"))
    keep_up(client.api, NOW)
    assert complete_until(client, "acct-1", now=NOW) == at("2026-11-21 20:30")
    assert len(client.queries) <= 5
    assert complete_until(client, "acct-2", now=NOW) == at("2026-11-22 10:04")


@pytest.mark.parametrize(
    "stored",
    [
        *(None, "text", [1], {}, {"asOf": None}, {"asOf": [["items", "2026-11-22T10:06:00Z"]]}),
        *({"asOf": {"items": time}, "completeAfter": 120} for time in ("yesterday", None)),
    ],
)
def test_where_it_is_not_known_how_far_streams_are_applied_nothing_is_complete(stored: Any) -> None:
    client = reader(every("2026-11-20 10:00", "2026-11-20 11:00", ONE))
    streams_record(client.api, stored)
    found = summary(client, "2026-11-20", "2026-11-21")
    assert (found.measures.count, found.complete, found.as_of) == (60, False, None)
    assert complete_until(client, "acct-1", now=NOW) is None


def refusing(client: FakeClient, *refused: str, most: int = 1000, error: Any = None) -> FakeClient:
    """A client whose API refuses these texts, and more fields than it takes, as a whole."""

    def refuse(query: str, _: Any) -> None:
        if any(text in query for text in refused) or query.count("Metrics(") > most:
            raise error or RuntimeError("refused")

    client.before = refuse
    return client


def test_a_reader_who_may_not_ask_as_of_when_gets_the_counts() -> None:
    client = refusing(reader(every("2026-11-20 10:00", "2026-11-20 11:00", ONE)), "asOf")
    found = summary(client, "2026-11-20", "2026-11-21")
    assert (found.measures.count, found.complete, found.as_of) == (60, False, None)
    assert len(client.queries) == 2
    assert complete_until(client, "acct-1", now=NOW) is None


def test_an_error_of_the_as_of_record_alone_costs_only_that() -> None:
    """Of a reader who may read the records of its own tenant."""
    client = reader(every("2026-11-20 10:00", "2026-11-20 11:00", ONE))
    errors = [{"path": ["asOf"], "errorType": "Unauthorized", "message": "Not Authorized"}]

    def refuse(data: dict[str, Any]) -> dict[str, Any]:
        data |= {"asOf": None}
        raise AuthorizationError("No.", operation="Read", errors=errors, data=data)

    client.after = refuse
    found = summary(client, "2026-11-20", "2026-11-21")
    assert (found.measures.count, found.complete, found.as_of) == (60, False, None)
    assert len(client.queries) == 1
    assert complete_until(client, "acct-1", now=NOW) is None


def test_an_api_that_refuses_the_counts_too_is_asked_once_more() -> None:
    client = refusing(reader({}), "ReadBuckets")
    for requests in (2, 4):
        with pytest.raises(RuntimeError, match="refused"):
            summary(client, "2026-11-20", "2026-11-21")
        assert len(client.queries) == requests


@pytest.mark.parametrize("error", [OSError("reset"), TimeoutError("slow")])
def test_a_connection_that_fails_is_no_refusal(error: Exception) -> None:
    client = refusing(FakeClient(), "ReadBuckets", error=error)
    with pytest.raises(type(error)):
        summary(client, "2026-11-20", "2026-11-21")
    assert len(client.queries) == 1


@pytest.mark.parametrize("error", [RuntimeError("refused"), GraphQLError("no", operation="Read")])
def test_an_api_with_a_limit_of_resolvers_is_asked_for_less(error: Any) -> None:
    stored = reader(every("2026-11-01 10:00", "2026-11-01 11:00", ONE))
    client = refusing(stored, most=60, error=error)
    found = summary(client, "2026-10-21", "2026-11-20")
    assert (found.measures.count, found.complete, found.as_of) == (60, True, NOW)
    answered = [number for number in client.fields if number <= 60]
    assert max(answered) < 60
    assert len(answered) < 20


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
EACH_POISON = pytest.mark.parametrize(
    "poison", [{"count": 3.5}, {"complete": REMOVED}, {"cost": 2**31}]
)


@EACH_POISON
@pytest.mark.parametrize("size", [5, 15, 60])
@pytest.mark.parametrize("step", [60, 5, 1])
def test_a_rollup_that_the_api_cannot_give_is_replaced_by_finer_buckets(
    poison: dict[str, Any], size: int, step: int
) -> None:
    client = poisoned(size, **poison)
    length = timedelta(minutes=step)
    found = points(client, "2026-11-20 09:00", "2026-11-20 12:00", step=length)
    assert total(point.measures for point in found) == Measures(60, 120, 0, 0, 0, 60)
    assert all(point.complete for point in found)


@EACH_POISON
def test_a_minute_that_the_api_cannot_give_is_named_where_it_is_needed(
    poison: dict[str, Any],
) -> None:
    client = poisoned(1, **poison)
    assert summary(client, "2026-11-20 10:00", "2026-11-20 11:00").measures.count == 60
    named = rf"items#2026-11-20T10:00:00Z#1 of acct-1 \(.*{next(iter(poison))}"
    with pytest.raises(GraphQLError, match=named):
        points(client, "2026-11-20 10:00", "2026-11-20 11:00", step=timedelta(minutes=1))
    rest = points(client, "2026-11-20 10:01", "2026-11-20 11:00", step=timedelta(minutes=1))
    assert len(rest) == 59
    with pytest.raises(GraphQLError, match=named):
        summary(client, "2026-11-20 10:00", "2026-11-20 10:01")


def test_a_rollup_without_parts_that_the_api_cannot_give_is_named() -> None:
    client = poisoned(60, count=3.5)
    remove_parts(client)
    with pytest.raises(GraphQLError, match="items#2026-11-20T10:00:00Z#60"):
        summary(client, "2026-11-20", "2026-11-21")
    assert summary(client, "2026-11-20 11:00", "2026-11-21").measures == ZERO


def test_a_field_that_readers_do_not_need_costs_nothing() -> None:
    client = poisoned(60, updatedAt=REMOVED, timeRangeEnd="soon")
    assert summary(client, "2026-11-20", "2026-11-21").measures.count == 60
    assert len(client.queries) == 1


def test_a_minute_that_cannot_be_read_is_not_complete() -> None:
    client = reader(every("2026-11-22 08:00", "2026-11-22 08:30", ONE))
    for row in client.api.rows("AggregatedMetrics"):
        if row["compositeKey"] in {f"items#2026-11-22T08:00:00Z#{n}" for n in (1, 60)}:
            client.api.put("AggregatedMetrics", row | {"count": 3.5})
    assert complete_until(client, "acct-1", now=NOW) == at("2026-11-22 08:00")


@pytest.mark.parametrize("size", [1, 60])
def test_an_hour_that_comes_in_pages_is_read_whole(size: int) -> None:
    """A page ends where DynamoDB has read a megabyte, and what it lacks is found page by page."""

    class Paging(FakeClient):
        def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
            return super().execute(query.replace("}) {", "}, limit: 9) {"), variables)

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
    client = reader(every("2026-11-20 10:00", "2026-11-20 11:00", ONE))
    client.after = lambda data: data | {"b1": None} if lost == "page" else {"asOf": data["asOf"]}
    with pytest.raises(TransportError, match="lacks b1"):
        points(client, "2026-11-20 10:00", "2026-11-20 11:00", step=timedelta(minutes=1))


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
            read(client, "acct-1", NOW, NOW, record_type, *ids, now=NOW)


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
    first = client.api.rows("AggregatedMetrics")[0]
    client.api.put("AggregatedMetrics", first | {"compositeKey": "itemsByCard#"})
    both = breakdowns(client, "acct-1", "itemsByCard", "itemsByScore")
    assert both == {"itemsByCard": [], "itemsByScore": found}


def test_a_throttled_reading_waits_and_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    slowly = ThrottledError("slowly", operation="Read")
    client = FakeClient()
    client.before = Mock(side_effect=[slowly, slowly, None, slowly])
    waits: list[float] = []
    read = partial(bucket_reader.read, wanted={ITEMS: [(0, 60)]}, now=60, sleep=waits.append)
    read(client)
    assert len(waits) == 2
    monkeypatch.setattr(bucket_reader, "SECONDS", 1.0)
    with pytest.raises(ContentionError, match=r"the time is over.*try again") as raised:
        read(client)
    assert "saved" not in str(raised.value)


def test_only_this_packages_client_is_used_by_several_threads() -> None:
    class Ours(FakeClient, AppSyncClient):
        request_bytes = 0

    for client, is_alone in ((FakeClient(), True), (Ours(), False)):
        threads: set[threading.Thread] = set()
        client.before = lambda *_, seen=threads: seen.add(threading.current_thread())
        summary(client, "2026-10-21", "2026-11-20")
        assert (threads == {threading.main_thread()}) is is_alone


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
