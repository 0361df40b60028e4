"""Reading right: few requests, finer buckets where coarse ones do not tell, and freshness."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import aggregated_metrics
import pytest
from aggregated_metrics import Summary, cover, freshness, scopes, summarize, timeline
from aggregated_metrics.adapters import bucket_reader
from aggregated_metrics.adapters.appsync import AppSyncClient, open_session
from aggregated_metrics.adapters.bucket_reader import BucketReader
from aggregated_metrics.core import buckets
from aggregated_metrics.core.cover import Tile
from aggregated_metrics.core.errors import (
    ContentionError,
    NaiveDatetimeError,
    RangeError,
    ScopeError,
    ThrottledError,
)
from aggregated_metrics.core.hours import Series
from aggregated_metrics.core.measures import INT_MAX, ZERO, Measures
from aggregated_metrics.reading import GRACE

from testbench.counted import FakeClient, Minutes, every, minute, store
from testbench.templates import template

NOW = datetime(2026, 11, 22, 10, 6, 40, tzinfo=UTC)
ITEMS = Series("acct-1", "items")
ONE = Measures(1, 2, 0, 0, 0, 1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def reader(counted: Minutes, series: Series = ITEMS, now: datetime = NOW) -> FakeClient:
    client = FakeClient()
    store(client.api, series, counted, now)
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
    with pytest.raises(RangeError, match="before the start"):
        call(NOW, NOW - timedelta(minutes=1))  # type: ignore[operator]
    with pytest.raises(NaiveDatetimeError, match="no time zone"):
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
        ("2026-11-20", "2026-11-20", []),
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
    assert client.fields == [11, 2]  # what is not stored of the hour before may be on its way


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


def test_numbers_are_complete_up_to_the_first_open_minute() -> None:
    client = reader(every("2026-11-22 09:00", "2026-11-22 10:07", ONE))
    assert freshness(client, "acct-1", now=NOW) == at("2026-11-22 10:04")


def test_numbers_are_complete_up_to_the_grace_where_nothing_is_open() -> None:
    assert freshness(reader({}), "acct-1", now=NOW) == at("2026-11-22 10:04")
    assert freshness(reader({}), "acct-1", grace=20, now=NOW) == at("2026-11-22 10:06")


def test_a_minute_that_nobody_closed_holds_the_freshness_back() -> None:
    tasks = Series("acct-1", "tasks")
    counted = every("2026-11-21 20:30", "2026-11-21 20:32", ONE)
    client = reader(counted, tasks, at("2026-11-21 20:31"))
    assert freshness(client, "acct-1", now=NOW) == at("2026-11-21 20:30")
    assert freshness(client, "acct-2", now=NOW) == at("2026-11-22 10:04")


def test_freshness_takes_a_handful_of_requests() -> None:
    client = reader(every("2026-11-21 09:00", "2026-11-22 10:07", ONE))
    freshness(client, "acct-1", now=NOW)
    assert len(client.queries) <= 4


def test_the_grace_is_the_templates_default() -> None:
    assert template("template.yaml")["Parameters"]["GraceSeconds"]["Default"] == GRACE


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
    with pytest.raises(RangeError, match=r"monday.*sunday"):
        points(FakeClient(), "2026-11-05", "2026-11-26", step="week", week_start="friday")


def clock(found: list[Summary], day: str) -> list[str]:
    return [f"{p.start:%H:%M}" for p in found if p.start.date().isoformat() == day]


@pytest.mark.parametrize(
    ("zone", "day", "hours", "shown"),
    [
        ("Europe/Berlin", "2026-03-29", 6, ["00:00", "07:00", "13:00", "19:00"]),
        ("Europe/Berlin", "2026-03-30", 6, ["00:00", "06:00", "12:00", "18:00"]),
        ("Europe/Berlin", "2026-10-26", 6, ["00:00", "06:00", "12:00", "18:00"]),
        ("Australia/Lord_Howe", "2026-10-05", 8, ["00:00", "08:00", "16:00"]),
        ("America/Havana", "2026-03-08", 12, ["01:00", "13:00"]),
    ],
)
def test_a_step_that_divides_a_day_begins_again_at_each_midnight(
    zone: str, day: str, hours: int, shown: list[str]
) -> None:
    local = ZoneInfo(zone)
    start = datetime.fromisoformat(day).replace(tzinfo=local) - timedelta(days=2)
    end = start + timedelta(days=4)
    step = timedelta(hours=hours)
    found = timeline(FakeClient(), "acct-1", start, end, "items", step=step, zone=local)
    assert clock(found, day) == shown


@pytest.mark.parametrize(
    ("zone", "day"), [("Pacific/Apia", "2011-12-30"), ("Pacific/Kwajalein", "1993-08-21")]
)
@pytest.mark.parametrize("step", [timedelta(days=1), timedelta(days=2), timedelta(hours=6), "week"])
def test_a_date_that_a_zone_skipped_is_no_point(zone: str, day: str, step: object) -> None:
    local = ZoneInfo(zone)
    start = datetime.fromisoformat(day).replace(tzinfo=local) - timedelta(days=3)
    end = start + timedelta(days=6)
    found = timeline(FakeClient(), "a", start, end, "items", step=step, zone=local)  # type: ignore[arg-type]
    assert clock(found, day) == []
    assert all(point.start.astimezone(UTC) < point.end.astimezone(UTC) for point in found)


@pytest.mark.parametrize(
    "step",
    [
        *(timedelta(seconds=90), timedelta(0), timedelta(days=32), timedelta(minutes=-5)),
        *(60, 3600.0, None, "day", "weeks", "60", timedelta.max),
    ],
)
def test_a_wrong_step_is_refused_with_the_steps_that_exist(step: object) -> None:
    with pytest.raises(RangeError, match=r"is no step: .*whole minutes up to 31 days.*week"):
        points(FakeClient(), "2026-11-20", "2026-11-21", step=step)


@pytest.mark.parametrize("zone", ["Europe/Berlin", None, 2])
def test_a_zone_that_is_none_is_refused(zone: object) -> None:
    with pytest.raises(RangeError, match="is no time zone: give a tzinfo"):
        points(FakeClient(), "2026-11-20", "2026-11-21", step="week", zone=zone)


def test_too_many_points_are_refused_before_anything_is_read() -> None:
    client = FakeClient()
    with pytest.raises(RangeError, match="larger step"):
        points(client, "2025-11-20", "2026-11-20", step=timedelta(minutes=1))
    assert client.queries == []


# scopes


def test_a_scope_is_apart_from_the_others_and_from_the_whole() -> None:
    client = reader(every("2026-11-20 10:00", "2026-11-20 10:10", ONE))
    card = Series("acct-1", "itemsByScorecard", "card")
    store(client.api, card, every("2026-11-20 10:00", "2026-11-20 10:03", ONE), NOW)
    day = at("2026-11-20"), at("2026-11-21")
    assert summarize(client, "acct-1", *day, "items", now=NOW).measures.count == 10
    found = summarize(client, "acct-1", *day, "itemsByScorecard", "card", now=NOW)
    assert found.measures.count == 3


@pytest.mark.parametrize(
    ("record_type", "scope", "says"),
    [
        ("scoreResultsByScore", {}, "pass score_id, or read scoreResults"),
        ("scoreResultsByScore", {"scorecard_id": "card"}, "pass score_id"),
        (
            "feedbackItemsByScorecard",
            {},
            "pass scorecard_id.*, or read feedbackItems",
        ),
        ("feedbackItemsByScorecard", {"score_id": "a"}, "pass scorecard_id, and no score_id"),
        ("evaluationsByScorecard", {"scorecard_id": "card", "score_id": "a"}, "and no score_id"),
    ],
)
def test_a_breakdown_without_its_scope_is_refused_with_what_to_pass(
    record_type: str, scope: dict[str, Any], says: str
) -> None:
    """No bucket has such a key: the answer would be a zero that looks like a count."""
    client, day = FakeClient(), (at("2026-11-20"), at("2026-11-21"))
    with pytest.raises(ScopeError, match=says):
        summarize(client, "acct-1", *day, record_type, **scope)
    with pytest.raises(ScopeError, match=says):
        timeline(client, "acct-1", *day, record_type, **scope, step=timedelta(hours=1))
    assert client.queries == []


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


def test_the_scopes_of_a_record_type_are_found_without_reading_their_buckets() -> None:
    client = reader(every("2026-11-20 10:00", "2026-11-20 10:10", ONE))
    cards = ["b", "a-long-one", "ä", "a"]
    for card in cards:
        counted = every("2026-11-20 10:00", "2026-11-20 11:00", ONE)
        store(client.api, Series("acct-1", "itemsByScorecard", card), counted, NOW)
        score = Series("acct-1", "itemsByScore", card, f"{card}-1")
        store(client.api, score, {minute("2026-11-20 10:00"): ONE}, NOW)
    found = scopes(client, "acct-1", "itemsByScorecard", "itemsByScore", "tasksByScore", "items")
    assert sorted(each.scorecard_id or "" for each in found["itemsByScorecard"]) == sorted(cards)
    assert {(each.scorecard_id, each.score_id) for each in found["itemsByScore"]} == {
        (card, f"{card}-1") for card in cards
    }
    assert found["tasksByScore"] == found["items"] == []
    assert len(client.queries) == len(cards) + 1


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
    session = open_session(None)
    assert BucketReader(AppSyncClient("https://x", session))._is_ours
    assert not BucketReader(FakeClient())._is_ours
    session.close()


# the package


def test_everything_that_a_reader_needs_is_exported() -> None:
    assert set(aggregated_metrics.__all__) == {
        *("AggregatedMetrics", "Summary", "connect", "cover", "freshness", "scopes"),
        *("summarize", "timeline"),
    }
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
