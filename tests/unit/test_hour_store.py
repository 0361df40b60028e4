import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from aggregated_metrics.adapters.hour_documents import FIELDS
from aggregated_metrics.adapters.hour_reader import HOURS_PER_LOAD
from aggregated_metrics.adapters.hour_store import BUCKETS_PER_SAVE, PARENT_TRIES, Outcome
from aggregated_metrics.core import buckets
from aggregated_metrics.core.changes import Delta
from aggregated_metrics.core.errors import ContentionError, GraphQLError, ThrottledError
from aggregated_metrics.core.hours import Hour, HourId, Series
from aggregated_metrics.core.measures import Measures

from testbench.fakes.endpoint import CALM, Answer, Disturbance, refusal
from testbench.fakes.signatures import Request
from testbench.in_process import NOW, Stack

TEN = buckets.to_minute(buckets.parse("2026-11-22T10:00:00Z"))
SERIES = Series("acct-1", "items")
HOUR = HourId(SERIES, TEN)


def add(*minutes: int, shard: str = "shard", number: int = 1) -> Any:
    """A change: one row more in each of these minutes of an hour."""

    def change(hour: Hour) -> None:
        for minute in minutes or (0,):
            delta = Delta(number, Measures(1))
            hour.apply(hour.id.start + minute, shard, number, [delta], NOW)

    return change


def hours(count: int) -> list[HourId]:
    return [HourId(SERIES, TEN - 60 * n) for n in range(count)]


def kind(request: Request) -> str:
    return "save" if json.loads(request.body)["query"].startswith("mutation") else "load"


def kinds(stack: Stack) -> list[str]:
    return ["save" if b"mutation" in exchange.body else "load" for exchange in stack.log]


def total(stack: Stack) -> int:
    return sum(row["count"] for row in stack.rows() if row["numberOfMinutes"] == 1)


def assert_parents_are_sums(stack: Stack) -> None:
    rows = stack.rows()
    for parent in rows:
        minutes = [
            row["count"]
            for row in rows
            if row["numberOfMinutes"] == 1
            and row["recordType"] == parent["recordType"]
            and parent["timeRangeStart"] <= row["timeRangeStart"] < parent["timeRangeEnd"]
        ]
        assert parent["count"] == sum(minutes), parent["compositeKey"]


def test_one_query_loads_hours_and_one_mutation_saves_their_buckets(stack: Stack) -> None:
    outcome = stack.store().update(hours(3), add(0, 30))
    assert kinds(stack) == ["load", "save"]
    assert outcome.written == 3 * 7
    assert total(stack) == 6
    assert_parents_are_sums(stack)


def test_an_hour_is_loaded_by_its_prefix_in_one_page(stack: Stack) -> None:
    stack.store().update([HOUR], add(*range(60)))
    (hour,) = stack.store().load([HOUR])
    assert len(list(hour)) == 77
    sent = json.loads(stack.log[-1].body)
    assert sent["variables"] == {"a0": "acct-1", "k0": {"beginsWith": "items#2026-11-22T10:"}}
    assert len(stack.log) == 1 + 2 + 1  # 77 buckets are two saves


def test_hours_are_loaded_in_the_order_asked_for(stack: Stack) -> None:
    stack.store().update(hours(25), add(0))
    ids = hours(25)[::-1]
    assert [hour.id for hour in stack.store().load(ids)] == ids


def test_other_rows_under_an_hours_prefix_are_paged_over(stack: Stack) -> None:
    stack.store().update([HOUR], add(59))
    row = stack.rows()[0]
    stack.api.put(
        "AggregatedMetrics",
        *(row | {"compositeKey": f"items#2026-11-22T10:00:00Z#1.{n}"} for n in range(150)),
    )
    first = len(stack.log)
    (hour,) = stack.store().load([HOUR])
    assert len(list(hour)) == 4
    assert len(stack.log) - first == 2


def test_many_hours_are_loaded_forty_at_a_time_and_no_bucket_is_lost(stack: Stack) -> None:
    outcome = stack.store().update(hours(45), add(0, 20, 40))
    loads = [len(e.operations) for e in stack.log if b"mutation" not in e.body]
    saves = [len(e.operations) for e in stack.log if b"mutation" in e.body]
    assert sorted(loads) == [5, 40]
    assert max(loads) == HOURS_PER_LOAD
    assert max(saves) == BUCKETS_PER_SAVE
    assert sum(saves) == outcome.written == 45 * 10
    assert total(stack) == 45 * 3
    assert_parents_are_sums(stack)


def test_minutes_are_saved_before_parents_even_over_several_mutations(stack: Stack) -> None:
    stack.store().update(hours(10), add(0, 20, 40))
    sizes = [
        record["numberOfMinutes"]
        for exchange in stack.log
        for name, record in json.loads(exchange.body)["variables"].items()
        if name.startswith("i")
    ]
    assert len(sizes) == 100
    assert sizes[:30] == [1] * 30
    assert 1 not in sizes[30:]


def test_a_mutation_selects_every_field_for_the_subscribers(stack: Stack) -> None:
    stack.store().update([HOUR], add(0))
    assert FIELDS in json.loads(stack.log[-1].body)["query"]


def test_where_nothing_changes_nothing_is_written(stack: Stack) -> None:
    stack.store().update([HOUR], add(0))
    first = len(stack.log)
    assert stack.store().update([HOUR], add(0)).written == 0
    assert kinds(stack)[first:] == ["load"]


def test_without_hours_nothing_is_asked(stack: Stack) -> None:
    assert stack.store().update([], add(0)) == Outcome()
    assert stack.log == []


def test_before_save_sees_the_hours_that_are_about_to_be_written_and_only_those(
    stack: Stack,
) -> None:
    stack.store().update([HOUR], add(0))
    seen: list[HourId] = []

    def note(changed: Sequence[Hour]) -> None:
        assert kinds(stack)[-1] == "load"
        seen.extend(hour.id for hour in changed)

    stack.store().update(hours(3), add(0), before_save=note)
    assert set(seen) == set(hours(3)[1:])


def test_what_somebody_wrote_between_load_and_save_is_kept_and_ours_is_added(
    stack: Stack,
) -> None:
    others = iter([("other", 0), ("third", 1)])

    def somebody(_: Sequence[Hour]) -> None:
        for shard, minute in others:
            stack.store().update([HOUR], add(minute, shard=shard))
            break

    outcome = stack.store().update([HOUR], add(0, 1), before_save=somebody)
    assert outcome.retries >= 1
    assert outcome.conflicts >= 1
    assert stack.row("items#2026-11-22T10:00:00Z#60")["count"] == 4
    assert_parents_are_sums(stack)


def test_both_count_when_two_writers_conflict_on_existing_buckets(stack: Stack) -> None:
    stack.store().update([HOUR], add(0, shard="before"))
    done = False

    def somebody(_: Sequence[Hour]) -> None:
        nonlocal done
        if not done:
            done = True
            stack.store().update([HOUR], add(0, shard="other"))

    outcome = stack.store().update([HOUR], add(0), before_save=somebody)
    assert (outcome.conflicts, outcome.retries) == (4, 1)
    assert {row["count"] for row in stack.rows()} == {3}


def test_a_parent_that_already_equals_its_sum_after_a_reload_is_done(stack: Stack) -> None:
    """The minute went through, and somebody else has summed it up meanwhile."""
    stack.store().update([HOUR], add(0, shard="before"))
    saves = 0

    def between(request: Request) -> None:
        nonlocal saves
        if kind(request) == "save":
            saves += 1

    def sums_up(field_number: int = 0) -> None:
        stack.api.pause = None
        stack.store().update([HOUR], lambda _: None)

    stack.gate.after = between
    stack.api.pause = sums_up
    outcome = stack.store().update([HOUR], add(0))
    assert saves == 2
    assert outcome.parents_left == set()
    assert {row["count"] for row in stack.rows()} == {2}


def test_a_parent_that_others_keep_writing_is_left_after_a_few_tries(stack: Stack) -> None:
    busy = "items#2026-11-22T10:00:00Z#60"
    stack.store().update([HOUR], add(5, shard="before"))

    def somebody(_: Sequence[Hour]) -> None:
        stack.clock.advance(seconds=0.001)
        touch(stack, busy)

    outcome = stack.store().update([HOUR], add(0), before_save=somebody)
    assert outcome.parents_left == {HOUR}
    assert outcome.retries == PARENT_TRIES
    assert total(stack) == 2
    assert stack.row(busy)["count"] == 1
    stack.store().update([HOUR], lambda _: None)
    assert_parents_are_sums(stack)


def test_a_minute_is_never_left_but_tried_until_the_time_is_over(stack: Stack) -> None:
    busy = "items#2026-11-22T10:05:00Z#1"
    stack.store().update([HOUR], add(5, shard="before"))
    tries = 0

    def somebody(_: Sequence[Hour]) -> None:
        nonlocal tries
        tries += 1
        stack.clock.advance(seconds=0.001)
        touch(stack, busy)

    with pytest.raises(ContentionError, match="what was saved is valid"):
        stack.store().update([HOUR], add(5), before_save=somebody)
    assert tries > 25
    assert stack.row(busy)["count"] == 1


def touch(stack: Stack, key: str) -> None:
    now = stack.clock().isoformat().replace("+00:00", "Z")
    stack.api.put("AggregatedMetrics", stack.row(key) | {"updatedAt": now})


def test_waits_grow_up_to_two_seconds(stack: Stack) -> None:
    waits: list[float] = []
    store = stack.store()

    def wait(seconds: float) -> None:
        waits.append(seconds)
        stack.clock.sleep(seconds)

    store._retries = replace(store._retries, sleep=wait)
    stack.gate.before = lambda _: _THROTTLED
    with pytest.raises(ContentionError):
        store.load([HOUR])
    assert waits[:6] == [0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    assert max(waits) == 2.0
    assert 54 < sum(waits) < 60


_THROTTLED = Answer(
    200,
    b'{"data":null,"errors":[{"errorType":"ThrottlingException","message":"Rate exceeded"}]}',
    {},
    {},
    (),
)


@pytest.mark.parametrize("alias", ["b0", "b2", "b3"])
def test_a_throttled_alias_is_written_at_the_next_try(stack: Stack, alias: str) -> None:
    def throttle(request: Request) -> None:
        if kind(request) == "save":
            stack.gate.disturbance = CALM

    stack.gate.disturbance = Disturbance(throttles=lambda name: name == alias)
    stack.gate.after = throttle
    outcome = stack.store().update([HOUR], add(0))
    assert outcome.retries == 1
    assert total(stack) == 1
    assert_parents_are_sums(stack)


@pytest.mark.parametrize("given", [_THROTTLED, refusal(429, "TooManyRequestsException", "Slow.")])
@pytest.mark.parametrize("when", ["load", "save"])
def test_a_request_that_is_throttled_whole_is_sent_again(
    stack: Stack, when: str, given: Answer
) -> None:
    left = [given] * 5
    stack.gate.before = lambda request: left.pop() if kind(request) == when and left else None
    stack.store().update([HOUR], add(0))
    assert left == []
    assert total(stack) == 1


def test_an_answer_that_was_lost_after_the_commit_counts_nothing_twice(stack: Stack) -> None:
    lost = [refusal(502, "BadGateway", "Lost.")]

    def lose(request: Request) -> Answer | None:
        if kind(request) == "save" and lost:
            answer = stack.api.answer(request)
            assert answer.status == 200
            return lost.pop()
        return None

    stack.gate.before = lose
    outcome = stack.store().update([HOUR], add(0))
    assert outcome.conflicts == 4
    assert {row["count"] for row in stack.rows()} == {1}


def test_a_stale_read_after_a_conflict_adds_nothing_twice(stack: Stack) -> None:
    stack.store().update([HOUR], add(0, shard="before"))
    stack.clock.advance(seconds=1)
    parent = "items#2026-11-22T10:00:00Z#60"
    done = False

    def somebody(_: Sequence[Hour]) -> None:
        nonlocal done
        if not done:
            done = True
            touch(stack, parent)
            return
        stack.gate.disturbance = CALM

    def stale(request: Request) -> None:
        if kind(request) == "save":  # our minute is written; now show it as it was before
            stack.gate.disturbance = Disturbance(
                stale=lambda row: row.attributes["compositeKey"].endswith("#1")
            )

    stack.gate.after = stale
    stack.store().update([HOUR], add(0), before_save=somebody)
    stack.gate.disturbance = CALM
    assert {row["count"] for row in stack.rows()} == {2}


def test_a_stale_first_read_is_found_out_by_its_version(stack: Stack) -> None:
    stack.store().update([HOUR], add(0, shard="before"))
    stack.clock.advance(seconds=1)
    stack.store().update([HOUR], add(0, number=9))
    stack.gate.disturbance = Disturbance(stale=lambda row: True)

    def fresh(request: Request) -> None:
        if kind(request) == "save":
            stack.gate.disturbance = CALM

    stack.gate.after = fresh
    stack.store().update([HOUR], add(0, number=9))  # a redelivery
    assert {row["count"] for row in stack.rows()} == {2}


def test_a_validation_error_is_raised_at_once(stack: Stack) -> None:
    stack.store().update([HOUR], add(0))
    first = len(stack.log)
    stack.gate.before = lambda request: _INVALID if kind(request) == "save" else None
    with pytest.raises(GraphQLError, match=r"SaveHours: .*not valid") as caught:
        stack.store().update([HOUR], add(1))
    assert not isinstance(caught.value, ThrottledError)
    assert kinds(stack)[first:] == ["load", "save"]


_INVALID = Answer(200, b'{"data":null,"errors":[{"message":"Variable is not valid"}]}', {}, {}, ())


def test_no_request_is_begun_when_the_time_is_over(stack: Stack) -> None:
    stack.context.seconds = 1.9
    with pytest.raises(ContentionError, match="the time is over"):
        stack.store().update([HOUR], add(0))
    assert stack.log == []


def test_an_error_in_one_group_lets_the_others_finish_and_is_raised(stack: Stack) -> None:
    def refuse(request: Request) -> Answer | None:
        return _INVALID if b"acct-bad" in request.body else None

    stack.gate.before = refuse
    bad = [HourId(Series("acct-bad", "items"), TEN - 60 * n) for n in range(HOURS_PER_LOAD)]
    outcome = Outcome()
    with pytest.raises(GraphQLError):
        stack.store().update([*bad, *hours(HOURS_PER_LOAD)], add(0), outcome=outcome)
    assert total(stack) == HOURS_PER_LOAD
    assert outcome.written == 4 * HOURS_PER_LOAD, "what went through is known"


def test_what_a_group_has_saved_before_it_fails_is_known(stack: Stack) -> None:
    """Two hours of 60 minutes are three requests; the second is refused."""
    requests: list[Request] = []

    def refuse(request: Request) -> Answer | None:
        if kind(request) == "save":
            requests.append(request)
        return _INVALID if len(requests) > 1 else None

    stack.gate.before = refuse
    outcome = Outcome()
    with pytest.raises(GraphQLError):
        stack.store().update(hours(2), add(*range(60)), outcome=outcome)
    assert total(stack) == outcome.written == BUCKETS_PER_SAVE


def test_a_series_with_a_scope_has_hours_of_its_own(stack: Stack) -> None:
    scoped = HourId(Series("acct-1", "items", "scorecard-1", "score-1"), TEN)
    stack.store().update([HOUR, scoped], add(0))
    row = stack.row("items#score-1#2026-11-22T10:00:00Z#60")
    assert (row["count"], row["scorecardId"], row["scoreId"]) == (1, "scorecard-1", "score-1")
    assert stack.row("items#2026-11-22T10:00:00Z#60")["count"] == 1


def test_requests_stay_below_what_a_firewall_takes(stack: Stack) -> None:
    """AWS's common rules block a body above 8 KB; the buckets and their order stay the same."""
    whole, parts = stack.store(), stack.store()
    parts._request_bytes = 8_000
    minutes = range(0, 60, 7)
    large = stack.requests(lambda: whole.update(hours(20), add(*minutes)))
    assert max(len(exchange.body) for exchange in large) > 8_192
    small = stack.requests(lambda: parts.update(hours(20), add(*minutes, number=2)))
    assert max(len(exchange.body) for exchange in small) <= 8_000
    assert total(stack) == 2 * 20 * len(minutes)
    assert_parents_are_sums(stack)
    found: list[HourId] = []
    days = [(hour.series, hour.start) for hour in hours(HOURS_PER_LOAD)]
    asked = stack.requests(lambda: found.extend(parts.counted_hours(days)))
    assert set(found) == set(hours(20))
    assert max(len(exchange.body) for exchange in asked) <= 8_000


def test_a_bucket_that_is_too_large_by_itself_is_sent_all_the_same(stack: Stack) -> None:
    store = stack.store()
    store._request_bytes = 10
    store.update([HOUR], add(1))
    assert total(stack) == 1


def test_the_hours_of_many_days_are_found_by_scope_not_bucket_by_bucket(stack: Stack) -> None:
    store = stack.store()
    by_score = [Series("acct-1", "scoreResultsByScore", "card", f"score-{i}") for i in range(3)]
    stored = [
        HourId(series, TEN - 60 * hours_ago)
        for series in by_score
        for hours_ago in (0, 1, 30, 300, 700)
    ]
    store.update(stored, add(*range(0, 60, 3)))
    wanted = [hour.start for hour in hours(700)]
    found: set[HourId] = set()
    asked = stack.requests(
        lambda: found.update(store.scoped_hours("acct-1", "scoreResultsByScore", wanted))
    )
    assert found == {hour for hour in stored if hour.start != TEN - 60 * 700}
    assert len(asked) == 4 + 3, "the next scope, four times, and 30 days of three scopes"
    few = store.scoped_hours("acct-1", "scoreResultsByScore", wanted[:2])
    assert few == {hour for hour in stored if hour.start >= TEN - 60}
