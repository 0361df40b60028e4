"""Hours are loaded and saved in few requests, exactly once, beside other writers."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from aggregated_metrics.adapters import hour_store
from aggregated_metrics.adapters.hour_documents import FIELDS
from aggregated_metrics.adapters.hour_store import BUCKETS_PER_SAVE, HOURS_PER_LOAD, ROLLUP_TRIES
from aggregated_metrics.core.errors import ContentionError, GraphQLError
from aggregated_metrics.core.hour import Hour
from aggregated_metrics.core.series import HourId, Series

from testbench.fakes.endpoint import CALM, Answer, Disturbance, refusal
from testbench.fakes.signatures import Request
from testbench.fakes.transport import Exchange
from testbench.hours import HOUR, NOW, SERIES, TEN, delta
from testbench.world import World

KEY = "items#2026-11-22T10:00:00Z#"
THROTTLED = refusal(200, "ThrottlingException", "Rate exceeded")


@pytest.fixture
def world() -> World:
    made = World(now=NOW)
    made.seconds_left = 60.0
    return made


def add(*minutes: int, shard: str = "shard", number: int = 1) -> Any:
    """A change: one row more in each of these minutes of an hour."""

    def change(hour: Hour) -> None:
        for minute in minutes or (0,):
            hour.apply(hour.id.start + minute, shard, number, [delta(number)], NOW)

    return change


def hours(number: int, series: Series = SERIES) -> list[HourId]:
    return [HourId(series, TEN - 60 * n) for n in range(number)]


def once(act: Callable[[], object]) -> Callable[[Any], None]:
    """Another writer, who comes the first time only."""
    left = [act]

    def another(_: Any) -> None:
        if left:
            left.pop()()

    return another


def kind(request: Any) -> str:
    return "save" if b'"mutation' in request.body else "load"


def kinds(exchanges: Sequence[Exchange]) -> list[str]:
    return [kind(exchange) for exchange in exchanges]


def variables(exchange: Exchange) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(exchange.body)["variables"]
    return found


def total(world: World) -> int:
    return sum(row["count"] for row in world.buckets() if row["numberOfMinutes"] == 1)


def assert_rollups_are_sums(world: World, *ids: HourId) -> None:
    for hour in world.store().load(ids or [HOUR]):
        assert hour.wrong_rollups() == []


def damage(world: World, key: str, **changes: Any) -> None:
    """Change a stored bucket past all checks."""
    world.api.put("AggregatedMetrics", world.bucket(key) | changes)


def touch(world: World, key: str) -> None:
    """Another writer gives a bucket another version."""
    world.clock.advance(0.001)
    damage(world, key, updatedAt=world.clock.now.isoformat().replace("+00:00", "Z"))


def test_one_query_loads_hours_and_one_mutation_saves_what_changed(world: World) -> None:
    outcome = world.store().update(hours(3), add(0, 30))
    assert kinds(world.log) == ["load", "save"]
    assert (outcome.hours, outcome.written, total(world)) == (3, 3 * 7, 6)
    assert_rollups_are_sums(world)
    assert FIELDS in json.loads(world.log[1].body)["query"], "subscribers get what is selected"
    again = world.requests(lambda: world.store().update(hours(3), add(0, 30)))
    assert kinds(again) == ["load"]


def test_an_hour_is_loaded_by_its_prefix_in_one_page(world: World) -> None:
    world.store().update([HOUR], add(*range(60)))
    (exchange,) = world.requests(lambda: world.store().load([HOUR]))
    assert variables(exchange) == {"a0": "acct-1", "k0": HOUR.prefix}
    assert len(world.buckets()) == 77


def test_other_rows_under_an_hours_prefix_are_paged_over(world: World) -> None:
    world.store().update([HOUR], add(59))
    row = world.buckets()[0]
    others = (row | {"compositeKey": f"{KEY}1.{n}"} for n in range(150))
    world.api.put("AggregatedMetrics", *others)
    (hour,) = world.store().load([HOUR])
    assert len(list(hour)) == 4


def test_many_hours_are_loaded_forty_at_a_time_and_saved_fifty_buckets_at_a_time(
    world: World,
) -> None:
    outcome = world.store().update(hours(45), add(0, 20, 40))
    loads, saves = (
        [len(e.operations) for e in world.log if kind(e) == name] for name in ("load", "save")
    )
    assert sorted(loads) == [5, HOURS_PER_LOAD]
    assert (max(saves), sum(saves)) == (BUCKETS_PER_SAVE, 45 * 10)
    assert (outcome.written, total(world)) == (450, 135)


def test_minutes_are_saved_before_rollups_even_over_several_mutations(world: World) -> None:
    world.store().update(hours(10), add(0, 20, 40))
    saves = [variables(each) for each in world.log if kind(each) == "save"]
    sizes = [save[f"i{n}"]["numberOfMinutes"] for save in saves for n in range(len(save))]
    assert [size == 1 for size in sizes] == [True] * 30 + [False] * 70


def test_requests_stay_below_what_a_firewall_takes(world: World) -> None:
    """AWS's common rules block a body above 8 KB; the buckets and their order stay the same."""
    minutes = range(0, 60, 7)
    large = world.requests(lambda: world.store().update(hours(20), add(*minutes)))
    assert max(len(exchange.body) for exchange in large) > 8_192
    store = world.store(request_bytes=8_000)
    small = world.requests(lambda: store.update(hours(20), add(*minutes, number=2)))
    small += world.requests(lambda: store.stored_hours(spans(TEN - 40 * 1440, TEN)))
    assert max(len(exchange.body) for exchange in small) <= 8_000
    assert total(world) == 2 * 20 * len(minutes)


def test_large_metadata_are_spread_over_several_requests(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hour_store, "BYTES_PER_SAVE", 2_000)
    world.store().update([HOUR], add(0, 1, 2))
    for n in range(3):
        damage(world, f"items#2026-11-22T10:0{n}:00Z#1", metadata={"note": "x" * 1_200})
    saves = world.requests(lambda: world.store().update([HOUR], add(0, 1, 2, shard="b")))
    assert [len(e.operations) for e in saves if kind(e) == "save"][:2] == [1, 1]
    assert total(world) == 6


def test_before_save_is_given_the_hours_that_are_about_to_be_written_and_no_others(
    world: World,
) -> None:
    world.store().update([HOUR], add(0))
    seen: list[HourId] = []

    def note(changed: Sequence[Hour]) -> None:
        assert kinds(world.log)[-1] == "load"
        seen.extend(hour.id for hour in changed)

    world.store().update(hours(3), add(0), before_save=note)
    assert set(seen) == set(hours(3)[1:])


def test_done_is_given_each_hour_once_when_nothing_more_of_it_is_written(world: World) -> None:
    given: list[tuple[HourId, int]] = []

    def done(hour: Hour) -> None:
        given.append((hour.id, sum(bucket.measures.count for bucket in hour)))

    another = once(lambda: world.store().update([HOUR], add(0, shard="another")))
    world.store().update(hours(3), add(0), before_save=another, done=done)
    assert given == [(hours(3)[2], 4), (hours(3)[1], 4), (HOUR, 8)]


@pytest.mark.parametrize("begun", [False, True], ids=["new buckets", "existing ones"])
def test_what_another_wrote_between_load_and_save_is_kept_and_ours_is_added(
    world: World, *, begun: bool
) -> None:
    if begun:
        world.store().update([HOUR], add(0, 1, shard="before"))
    another = once(lambda: world.store().update([HOUR], add(1, shard="another")))
    outcome = world.store().update([HOUR], add(0, 1), before_save=another)
    assert (outcome.retries, outcome.hours) == (1, 1)
    assert outcome.conflicts > 0
    assert total(world) == 5 if begun else 3
    assert_rollups_are_sums(world)


def test_a_rollup_that_others_keep_writing_is_left_after_a_few_tries(world: World) -> None:
    busy = f"{KEY}60"
    world.store().update([HOUR], add(5, shard="before"))
    outcome = world.store().update([HOUR], add(0), before_save=lambda _: touch(world, busy))
    assert (outcome.rollups_left, outcome.retries) == ({HOUR}, ROLLUP_TRIES)
    assert (total(world), world.bucket(busy)["count"]) == (2, 1)
    world.store().update([HOUR], lambda _: None)
    assert_rollups_are_sums(world)


def test_a_minute_is_never_left_but_tried_until_the_time_is_over(world: World) -> None:
    busy = "items#2026-11-22T10:05:00Z#1"
    world.store().update([HOUR], add(5, shard="before"))
    tries: list[Any] = []

    def another(changed: Sequence[Hour]) -> None:
        tries.append(changed)
        touch(world, busy)

    with pytest.raises(ContentionError, match="what was done is valid"):
        world.store().update([HOUR], add(5), before_save=another)
    assert len(tries) > 25
    assert world.bucket(busy)["count"] == 1


def test_what_is_written_is_not_done_again_whatever_a_stale_read_says(world: World) -> None:
    """A replica shows the hour as it was before: our own writes lie on top of what it shows."""

    def stale(request: Request) -> None:
        if kind(request) == "save":
            world.disturbance = Disturbance(stale=lambda row: "#60" not in str(row.attributes))

    world.store().update([HOUR], add(0, shard="before"))
    world.after = stale
    another = once(lambda: touch(world, f"{KEY}60"))
    outcome = world.store().update([HOUR], add(0), before_save=another)
    assert (outcome.retries, outcome.conflicts) == (1, 1)
    assert {row["count"] for row in world.buckets()} == {2}


@pytest.mark.parametrize("alias", ["b0", "b2", "b3"])
def test_a_throttled_alias_is_written_at_the_next_try(world: World, alias: str) -> None:
    def calm(request: Request) -> None:
        if kind(request) == "save":
            world.disturbance = CALM

    world.disturbance = Disturbance(throttles=lambda name: name == alias)
    world.after = calm
    assert world.store().update([HOUR], add(0)).retries == 1
    assert total(world) == 1
    assert_rollups_are_sums(world)


@pytest.mark.parametrize("given", [THROTTLED, refusal(429, "TooManyRequestsException", "Slow.")])
@pytest.mark.parametrize("when", ["load", "save"])
def test_a_request_that_is_throttled_whole_is_sent_again(
    world: World, when: str, given: Answer
) -> None:
    left = [given] * 5
    world.before = lambda request: left.pop() if kind(request) == when and left else None
    world.store().update([HOUR], add(0))
    assert (left, total(world)) == ([], 1)


def test_writes_that_are_answered_null_without_an_error_are_not_taken_for_done(
    world: World,
) -> None:
    body = json.dumps({"data": dict.fromkeys(("b0", "b1", "b2", "b3"))}).encode()
    world.before = lambda request: Answer(200, body) if kind(request) == "save" else None
    with pytest.raises(GraphQLError, match="null for 4 writes"):
        world.store().update([HOUR], add(0))


def test_an_error_lets_other_groups_finish(world: World) -> None:
    invalid = refusal(200, "ValidationError", "Variable is not valid")
    world.before = lambda request: invalid if b"acct-bad" in request.body else None
    bad = hours(HOURS_PER_LOAD, Series("acct-bad", "items"))
    with pytest.raises(GraphQLError):
        world.store().update([*bad, *hours(HOURS_PER_LOAD)], add(0))
    assert total(world) == HOURS_PER_LOAD


@pytest.mark.parametrize("changes", [{"updatedAt": None}, {"count": 3.5}, {"cost": 2**31}])
def test_an_unreadable_minute_costs_its_own_hour_and_is_named(world: World, changes: Any) -> None:
    ids = hours(3)
    world.store().update(ids, add(0, 7))
    damage(world, f"{KEY}1", **changes)
    outcome = world.store().update(ids, add(8, shard="b"))
    assert outcome.left_out == {HOUR: f"{KEY}1"}
    assert outcome.written == 4 * len(ids[1:])


def test_an_unreadable_rollup_is_written_over_after_its_entry(world: World) -> None:
    world.store().update([HOUR], add(0))
    damage(world, f"{KEY}60", updatedAt=None, count=7)
    entries: list[Hour] = []
    outcome = world.store().update([HOUR], lambda _: None, before_save=entries.extend)
    assert outcome.left_out == {}
    assert [hour.id for hour in entries] == [HOUR]
    assert_rollups_are_sums(world)


BY_SCORE = [Series("acct-1", "scoreResultsByScore", "card", f"score-{i}") for i in range(3)]


def spans(first: int, end: int, *names: str) -> list[tuple[str, str, int, int]]:
    return [("acct-1", name, first, end) for name in names or ("items", "scoreResultsByScore")]


def test_stored_hours_are_found_whatever_their_scopes_in_one_request(world: World) -> None:
    store = world.store()
    stored = {HourId(each, TEN - 60 * ago) for each in (*BY_SCORE, SERIES) for ago in (0, 1, 30)}
    store.update(stored, add(*range(0, 60, 9)))
    store.update(hours(3, Series("acct-1", "scoreResultsByScorecard", "card")), add(0))
    store.update(hours(3, Series("acct-2", "items")), add(0))
    store.update(hours(3, Series("acct-1", "scoreResultsByScore")), add(0))  # another writer's
    found = set[HourId]()
    both = spans(TEN - 2 * 1440, TEN + 60)
    asked = world.requests(lambda: found.update(store.stored_hours(both)))
    assert found == stored
    assert {hour.series[2:] for hour in found} == {(None, None), *(each[2:] for each in BY_SCORE)}
    assert len(asked) == 1
    just = store.stored_hours(spans(TEN - 60, TEN))
    assert {hour.start for hour in just} == {TEN - 60}, "the range is half-open"


def test_a_record_that_the_api_cannot_give_hides_no_stored_hour(world: World) -> None:
    world.store().update(hours(3), add(0))
    damaged: dict[str, Any] = {
        "errors": [{"message": "no text", "path": ["s0", "items", 0, "scoreId"]}]
    }

    def answer(request: Request) -> Answer | None:
        given = world.api.answer(request, CALM)
        return Answer(200, json.dumps(json.loads(given.body) | damaged).encode())

    world.before = answer
    assert world.store().stored_hours(spans(TEN - 60, TEN + 60, "items")) == {*hours(2)}


def test_of_a_day_with_many_buckets_only_those_that_begin_with_an_hour_are_read(
    world: World,
) -> None:
    store = world.store()
    many = [Series("acct-1", "scoreResultsByScore", "card", f"score-{i}") for i in range(15)]
    stored = {HourId(series, TEN - 60 * n) for series in many for n in range(2)}
    store.update(stored, add(*range(60)))
    found = set[HourId]()
    asked = world.requests(lambda: found.update(store.stored_hours(spans(TEN - 600, TEN + 60))))
    assert found == stored
    assert [len(each.operations) for each in asked] == [2, 11]
