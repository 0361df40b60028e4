"""Whatever is wrong is reported exactly and repaired exactly, whatever happens meanwhile."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from itertools import count
from typing import Any

import pytest
from aggregated_metrics.adapters import source_rows as source
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbench import rows
from testbench.fakes.dynamodb import MemoryTable
from testbench.oracle import MEASURES
from testbench.reconciliation import START, Key, Numbers, World, truth

_PARENTS = (5, 15, 60)
_ZERO = (0,) * len(MEASURES)


@pytest.fixture(scope="module", autouse=True)
def _short_pages() -> Iterator[None]:
    """Pages so short that rows move while they are read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source, "PAGE", 3)
        source._query.cache_clear()
        yield
    source._query.cache_clear()


def _text(minutes_ago: int) -> str:
    moment = START - timedelta(minutes=minutes_ago)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")


_AGO = st.sampled_from([3, 4, 30, 75, 150])  # few minutes, so that things meet

_ROWS = st.lists(
    st.one_of(
        st.tuples(
            st.just("Item"),
            st.fixed_dictionaries(
                {"createdByType": st.sampled_from(["prediction", "evaluation", "upload"])}
            ),
        ),
        st.tuples(
            st.just("ScoreResult"),
            st.fixed_dictionaries(
                {
                    "type": st.sampled_from(["prediction", "evaluation", "trial"]),
                    "value": st.sampled_from(["Yes", "No", "ERROR"]),
                    "code": st.sampled_from(["200", "500"]),
                    "cost": st.sampled_from(
                        [
                            None,
                            {"total_cost": 0.0005, "llm_calls": 3, "cached_llm_calls": 2},
                        ]
                    ),
                }
            ),
        ),
        st.tuples(
            st.just("Task"),
            st.fixed_dictionaries({"status": st.sampled_from(["RUNNING", "FAILED"])}),
        ),
    ).flatmap(lambda pair: st.tuples(st.just(pair[0]), st.just(pair[1]), _AGO)),
    max_size=12,
)

_DAMAGE = st.lists(
    st.tuples(
        st.sampled_from(["set", "lose", "add"]),
        st.integers(0, 400),
        st.sampled_from([1, 1, 5, 15, 60]),
        st.sampled_from(MEASURES),
        st.integers(0, 9),
    ),
    max_size=8,
)


def _fill(world: World, given_rows: list[Any]) -> None:
    for number, (model, changes, ago) in enumerate(given_rows):
        world.insert(model, f"r{number}", createdAt=_text(ago), updatedAt=_text(ago), **changes)
    world.deliver()
    world.clock.advance(120)


def _damage(world: World, kinds: list[Any]) -> None:
    """Set a measure of a stored bucket, lose a bucket, or add one where none is."""
    for kind, pick, size, measure, value in kinds:
        stored = [
            row for row in world.api.rows("AggregatedMetrics") if row["numberOfMinutes"] == size
        ]
        if kind == "add" or not stored:
            start = START - timedelta(minutes=pick % 150)
            start -= timedelta(minutes=start.minute % size)
            text = start.strftime("%Y-%m-%dT%H:%M:%SZ")
            row = _bucket("items" if pick % 2 else "tasks", text, size)
            if any(other["compositeKey"] == row["compositeKey"] for other in stored):
                continue
            world.api.put("AggregatedMetrics", row | {measure: value})
        elif kind == "lose":
            lost = stored[pick % len(stored)]
            world.api.remove("AggregatedMetrics", lost["accountId"], lost["compositeKey"])
        else:
            world.api.put("AggregatedMetrics", stored[pick % len(stored)] | {measure: value})


def _bucket(record_type: str, start: str, size: int) -> dict[str, Any]:
    return {
        "accountId": rows.ACCOUNT,
        "compositeKey": f"{record_type}#{start}#{size}",
        "recordType": record_type,
        "timeRangeStart": start,
        "timeRangeEnd": start,
        "numberOfMinutes": size,
        **dict.fromkeys(MEASURES, 0),
        "complete": False,
        "createdAt": start,
        "updatedAt": start,
    }


def _expected_drift(world: World) -> dict[Key, tuple[Numbers, Numbers]]:
    """By plain comparison with the rows; a parent may also be the sum of its stored minutes."""
    stored, counted = world.stored(), truth(world.api)
    follows: dict[Key, Numbers] = {}
    for (account, name, start, size), numbers in stored.items():
        for parent in (1, *_PARENTS) if size == 1 else ():
            minute = int(start[14:16])
            key = (account, name, f"{start[:14]}{minute - minute % parent:02}:00Z", parent)
            sums = zip(follows.get(key, _ZERO), numbers, strict=True)
            follows[key] = tuple(map(sum, sums))
    return {
        key: (stored.get(key, _ZERO), counted.get(key, _ZERO))
        for key in stored.keys() | counted.keys() | follows.keys()
        if stored.get(key, _ZERO) != counted.get(key, _ZERO)
        and (key[3] == 1 or stored.get(key, _ZERO) != follows.get(key, _ZERO))
    }


def _reported(drifts: list[dict[str, Any]]) -> dict[Key, tuple[Numbers, Numbers]]:
    return {
        (d["accountId"], d["recordType"], d["timeRangeStart"], d["numberOfMinutes"]): (
            tuple(d["stored"][name] for name in MEASURES),
            tuple(d["counted"][name] for name in MEASURES),
        )
        for d in drifts
    }


_EVENT = {
    "accountId": rows.ACCOUNT,
    "start": "2026-11-22T09:00:00Z",
    "end": "2026-11-22T15:00:00Z",
}
_QUICK = settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow],
)


@_QUICK
@given(given_rows=_ROWS, kinds=_DAMAGE)
def test_any_mix_of_damage_is_reported_exactly_and_repaired_exactly(
    given_rows: list[Any], kinds: list[Any]
) -> None:
    world = World(MemoryTable())
    _fill(world, given_rows)
    assert world.stored() == truth(world.api)
    _damage(world, kinds)
    wrong = _expected_drift(world)

    before, marks = world.api.rows("AggregatedMetrics"), world.marks()
    verified = world.run(_EVENT)
    assert _reported(verified["drift"]) == wrong
    assert verified["driftCount"] == len(wrong)
    assert verified["movingCount"] == verified["repaired"] == 0
    assert world.api.rows("AggregatedMetrics") == before, "verify writes nothing"
    assert world.marks() == marks

    repaired = world.run(_EVENT | {"repair": True})
    assert _reported(repaired["drift"]) == wrong
    assert repaired["repaired"] == len(wrong)
    assert world.stored() == truth(world.api)

    again = world.run(_EVENT | {"repair": True})
    assert again["driftCount"] == again["movingCount"] == 0


_ACTION = st.one_of(
    st.tuples(
        st.sampled_from(["insert", "insert", "update", "move", "remove"]),
        st.sampled_from(["Item", "ScoreResult", "Task"]),
        st.integers(0, 50),
        _AGO,
    ),
    st.tuples(st.just("deliver"), st.just(""), st.integers(1, 4), st.just(0)),
    st.tuples(st.just("pass"), st.just(""), st.integers(1, 70), st.just(0)),
)
_ACTIONS = st.lists(_ACTION, max_size=6)
_TRAFFIC = st.lists(
    st.tuples(st.sampled_from(["page", "page", "page", "wait", "save"]), _ACTIONS),
    max_size=8,
)


def _act(world: World, actions: list[Any]) -> None:
    for action, model, number, ago in actions:
        there = [row["id"] for row in world.api.rows(model)] if model else []
        if action == "insert":
            world.insert(model, f"{model}-{next(_NUMBERS)}", createdAt=_text(ago))
        elif action == "deliver":
            world.deliver(number)
        elif action == "pass":
            world.clock.advance(number)
        elif not there:
            continue
        elif action == "update":
            world.update(model, there[number % len(there)], status="FAILED", value="ERROR")
        elif action == "move":
            world.update(model, there[number % len(there)], createdAt=_text(ago))
        else:
            world.remove(model, there[number % len(there)])


_NUMBERS = count()


def _schedule(world: World, traffic: list[Any]) -> None:
    for moment, actions in traffic:
        world.at(moment, partial(_act, world, actions))


@_QUICK
@given(given_rows=_ROWS, kinds=_DAMAGE, before=_ACTIONS, traffic=_TRAFFIC)
def test_what_a_repair_under_traffic_has_set_is_right_once_the_stream_has_caught_up(
    given_rows: list[Any], kinds: list[Any], before: list[Any], traffic: list[Any]
) -> None:
    """However far the stream is behind: what is repaired needs no later check."""
    world = World(MemoryTable())
    _fill(world, given_rows)
    _act(world, before)
    _damage(world, kinds)
    _schedule(world, traffic)
    began = world.clock.now
    found = world.check(repair=True)
    world.moments.clear()
    world.deliver()
    wrong = {key for key in _differences(world) if key[3] == 1} - world.born_and_gone(began)
    done = _reported([drift.as_json() for drift in found.repaired]).keys()
    assert not wrong & done, "a repair counted a delta twice, or lost one"
    if not kinds:
        assert not wrong


@_QUICK
@given(given_rows=_ROWS, kinds=_DAMAGE, before=_ACTIONS, traffic=_TRAFFIC)
def test_whatever_happened_during_a_repair_a_later_check_leaves_nothing_wrong(
    given_rows: list[Any], kinds: list[Any], before: list[Any], traffic: list[Any]
) -> None:
    world = World(MemoryTable())
    _fill(world, given_rows)
    _act(world, before)
    _damage(world, kinds)
    _schedule(world, traffic)
    world.check(repair=True)
    world.moments.clear()
    world.deliver()
    for _ in range(2):
        world.sweep()
        world.run(_EVENT | {"repair": True} if kinds else {"repair": True})
    assert world.stored() == truth(world.api)


def _differences(world: World) -> dict[Key, Numbers]:
    stored, counted = world.stored(), truth(world.api)
    return {key: numbers for key, numbers in counted.items() if stored.get(key) != numbers} | {
        key: numbers for key, numbers in stored.items() if counted.get(key) != numbers
    }
