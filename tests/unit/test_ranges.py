import json
from typing import Any

import pytest
from aggregated_metrics.core import buckets
from aggregated_metrics.core.buckets import DAY
from aggregated_metrics.core.errors import EventError
from aggregated_metrics.core.ranges import Range, parse_range, plan, steps
from aggregated_metrics.core.record_types import MODELS, RECORD_TYPES

from testbench.in_process import ROOT

ASKED = {"accountId": "a", "start": "2026-11-20T10:20:00Z", "end": "2026-11-22T11:00:00Z"}


def _span(part: Range) -> tuple[str, str]:
    return buckets.iso(part.start), buckets.iso(part.end)


def test_a_range_is_widened_to_whole_hours() -> None:
    asked = parse_range(ASKED | {"end": "2026-11-22T10:00:01+00:00"})
    assert _span(asked) == ("2026-11-20T10:00:00Z", "2026-11-22T11:00:00Z")


def test_a_range_within_one_minute_is_its_hour() -> None:
    asked = ASKED | {"start": "2026-11-20T10:00:00.250Z", "end": "2026-11-20T10:00:00.750Z"}
    assert _span(parse_range(asked)) == ("2026-11-20T10:00:00Z", "2026-11-20T11:00:00Z")


def test_times_may_have_any_offset() -> None:
    asked = parse_range(ASKED | {"start": "2026-11-20T15:50:00+05:30"})
    assert _span(asked)[0] == "2026-11-20T10:00:00Z"


def test_windows_are_whole_utc_days_and_the_newest_comes_first() -> None:
    assert [_span(part) for part in parse_range(ASKED | {"days": 1}).windows()] == [
        ("2026-11-22T00:00:00Z", "2026-11-22T11:00:00Z"),
        ("2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"),
        ("2026-11-20T10:00:00Z", "2026-11-21T00:00:00Z"),
    ]
    assert [_span(part) for part in parse_range(ASKED).windows()] == [_span(parse_range(ASKED))]


@pytest.mark.parametrize("days", [1, 2, 7, 31])
def test_windows_cover_a_range_without_gap_or_overlap(days: int) -> None:
    asked = parse_range(ASKED | {"start": "2026-09-02T10:20:00Z", "days": days})
    hours = [hour for part in asked.windows() for hour in part.hours()]
    assert sorted(hours) == sorted(asked.hours())
    assert len(set(hours)) == len(hours)
    assert all(part.end - part.start <= days * DAY for part in asked.windows())


@pytest.mark.parametrize("span", ["2026-11-20", "2026-08-01"])
def test_steps_cover_a_range_and_what_is_left_is_what_they_have_not_done(span: str) -> None:
    asked = parse_range(ASKED | {"start": f"{span}T00:00:00Z"})
    parts = list(steps(asked))
    todo = set(asked.hours())
    for rest, part in parts:
        assert set(rest.hours()) == todo
        todo -= set(part.hours())
    assert not todo


def test_a_model_that_is_listed_by_updated_at_is_one_step_however_long() -> None:
    asked = parse_range(ASKED | {"start": "2025-11-22T00:00:00Z"})
    long = [part for _, part in steps(asked) if part.is_long()]
    assert [part.record_types[0] for part in long] == [
        model.record_type
        for model in MODELS.values()
        if model.listing and model.listing[1] == "updatedAt"
    ]
    assert all(part.start == asked.start and part.end == asked.end for part in long)


def test_without_record_types_all_are_meant_and_none_twice() -> None:
    assert parse_range(ASKED | {"recordTypes": []}).record_types == RECORD_TYPES
    assert parse_range(ASKED, ("items",)).record_types == ("items",)
    assert parse_range(ASKED | {"recordTypes": ["tasks"]}, ("items",)).record_types == ("tasks",)
    assert {name for day in plan(ASKED, ("items",)) for name in day["recordTypes"]} == {"items"}
    assert parse_range(ASKED | {"recordTypes": ["tasks", "tasks"]}).record_types == ("tasks",)


def test_a_range_as_an_event_asks_for_the_same_range() -> None:
    asked = parse_range(ASKED | {"recordTypes": ["items"]})
    event = asked.as_event(repair=True)
    assert parse_range(event) == asked
    assert event["repair"] is True


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"accountId": None}, "accountId is None"),
        ({"accountId": ""}, "accountId is ''"),
        ({"accountId": 7}, "accountId is 7"),
        ({"start": None}, "2026-11-22T10:00:00Z"),
        ({"start": "yesterday"}, "2026-11-22T10:00:00Z"),
        ({"start": "2026-11-20T10:00:00"}, "offset"),
        ({"end": "2026-11-20T10:20:00Z"}, "end must be later than start"),
        ({"recordTypes": "items"}, "not a list such as"),
        ({"recordTypes": 5}, "not a list such as"),
        ({"recordTypes": ["items", "feedback"]}, "unknown record type 'feedback': use items, "),
        ({"recordTypes": [["items"]]}, "unknown record type"),
    ],
)
def test_what_is_wrong_with_a_range_is_said_with_its_cure(
    change: dict[str, Any], says: str
) -> None:
    with pytest.raises(EventError, match=says):
        parse_range(ASKED | change)


@pytest.mark.parametrize("name", ["accountId", "start", "end"])
def test_a_missing_field_is_named(name: str) -> None:
    with pytest.raises(EventError, match=name):
        parse_range({key: value for key, value in ASKED.items() if key != name})


@pytest.mark.parametrize("asked", [None, 5, "2026", [], {}])
def test_a_plan_of_something_else_is_refused(asked: Any) -> None:
    with pytest.raises(EventError, match="accountId, start and end"):
        plan(asked)


def test_a_plan_has_an_event_for_each_model_and_at_most_31_days() -> None:
    planned = plan(json.loads((ROOT / "events/backfill.json").read_text()))
    assert [part["recordTypes"][0] for part in planned] == [
        model.record_type for model in MODELS.values()
    ]
    assert all(part["repair"] is True for part in planned)
    year = plan(ASKED | {"start": "2025-11-22T00:00:00Z", "recordTypes": ["items"]})
    assert len(year) == 12
    assert all(len(list(parse_range(part).windows())) == 1 for part in year)


def test_a_plan_leaves_out_models_that_nobody_asked_for() -> None:
    planned = plan(ASKED | {"recordTypes": ["tasks", "evaluationItems"]})
    assert [part["recordTypes"] for part in planned] == [["evaluationItems"], ["tasks"]]


def test_a_plan_that_is_not_to_repair_has_no_event_that_does() -> None:
    for repair in (True, False):
        planned = plan(ASKED | {"repair": repair})
        assert {part["repair"] for part in planned} == {repair}


@pytest.mark.parametrize("repair", ["false", 0, None])
def test_a_plan_that_does_not_say_whether_to_repair_is_refused(repair: Any) -> None:
    with pytest.raises(EventError, match=r"repair is .*, not true or false"):
        plan(ASKED | {"repair": repair})


@pytest.mark.parametrize("days", [0, 32, "7", 1.5, True])
def test_a_window_has_one_to_31_days(days: Any) -> None:
    with pytest.raises(EventError, match="days"):
        parse_range(ASKED | {"days": days})
