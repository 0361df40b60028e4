"""Whatever is wrong is reported exactly and repaired exactly, whatever happens meanwhile."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from aggregated_metrics.adapters import retries, source_rows
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbench import oracle, rows
from testbench.oracle import MEASURES
from testbench.streams import window_event
from testbench.world import START, Numbers, World
from tests.property.histories import hour_of, open_hours, wrong

_ZERO = (0,) * len(MEASURES)
_QUICK = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module", autouse=True)
def _short_pages() -> Iterator[None]:
    """Pages so short that rows move while they are read; one thing at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retries, "GROUPS_AT_ONCE", 1)
        patch.setattr(source_rows, "PAGE", 3)
        yield


def _text(minutes_ago: int, offset: int = 0) -> str:
    """A time some minutes before the world's beginning; with an offset no index lists it there."""
    moment = START - timedelta(minutes=minutes_ago) + timedelta(hours=offset)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000") + (f"+{offset:02}:00" if offset else "Z")


_AGO = st.sampled_from([3, 65, 66, 150])  # few minutes, so that things meet


# Damage -------------------------------------------------------------------------------------------

_ROWS = st.lists(
    st.tuples(
        st.sampled_from(["Item", "ScoreResult", "Task"]),
        st.fixed_dictionaries(
            {
                "createdByType": st.sampled_from(["prediction", "evaluation", "upload"]),
                "type": st.sampled_from(["prediction", "evaluation", "trial"]),
                "value": st.sampled_from(["Yes", "No", "ERROR"]),
                "code": st.sampled_from(["200", "500"]),
                "cost": st.sampled_from([None, {"total_cost": 0.0005, "llm_calls": 3}]),
                "status": st.sampled_from(["RUNNING", "FAILED"]),
            }
        ),
        _AGO,
    ),
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
_HOURS = (START.replace(hour=9, minute=0), START.replace(hour=13, minute=0))


def _damage(world: World, kinds: list[Any]) -> None:
    """Set a measure of a stored bucket, lose a bucket, or add one where none exists."""
    for kind, pick, size, measure, value in kinds:
        stored = [row for row in world.buckets() if row["numberOfMinutes"] == size]
        if kind == "add" or not stored:
            start = START - timedelta(minutes=pick % 150)
            start -= timedelta(minutes=start.minute % size)
            row = _bucket("items" if pick % 2 else "tasks", f"{start:%Y-%m-%dT%H:%M:%SZ}", size)
            if all(other["compositeKey"] != row["compositeKey"] for other in stored):
                world.api.put("AggregatedMetrics", row | {measure: value})
        elif kind == "lose":
            lost = stored[pick % len(stored)]
            world.api.remove("AggregatedMetrics", lost["accountId"], lost["compositeKey"])
        else:
            world.api.put("AggregatedMetrics", stored[pick % len(stored)] | {measure: value})


def _bucket(record_type: str, start: str, size: int) -> dict[str, Any]:
    """An empty bucket, which a repair has set to nothing."""
    times = dict.fromkeys(("timeRangeStart", "timeRangeEnd", "createdAt", "updatedAt"), start)
    return {
        "accountId": rows.ACCOUNT,
        "compositeKey": f"{record_type}#{start}#{size}",
        "recordType": record_type,
        "numberOfMinutes": size,
        **dict.fromkeys(MEASURES, 0),
        "complete": False,
        "metadata": {"countedUntil": [0, 0]},
        **times,
    }


def _expected_drift(world: World) -> dict[oracle.Key, tuple[Numbers, Numbers]]:
    """By plain comparison with the rows; a rollup may also be the sum of its stored minutes."""
    stored, counted = world.stored(), world.counted()
    follows: dict[oracle.Key, Numbers] = {}
    for (account, name, start, size), numbers in stored.items():
        for rollup in oracle.SIZES if size == 1 else ():
            minute = int(start[14:16])
            key = (account, name, f"{start[:14]}{minute - minute % rollup:02}:00Z", rollup)
            sums = zip(follows.get(key, _ZERO), numbers, strict=True)
            follows[key] = tuple(map(sum, sums))
    return {
        key: (stored.get(key, _ZERO), counted.get(key, _ZERO))
        for key in stored.keys() | counted.keys() | follows.keys()
        if stored.get(key, _ZERO) != counted.get(key, _ZERO)
        and (key[3] == 1 or stored.get(key, _ZERO) != follows.get(key, _ZERO))
    }


def _reported(result: dict[str, Any]) -> dict[oracle.Key, tuple[Numbers, Numbers]]:
    return {
        (d["accountId"], d["recordType"], d["timeRangeStart"], d["numberOfMinutes"]): (
            tuple(d["stored"][name] for name in MEASURES),
            tuple(d["counted"][name] for name in MEASURES),
        )
        for d in result["drift"]
    }


@_QUICK
@given(given_rows=_ROWS, kinds=_DAMAGE)
def test_any_mix_of_damage_is_reported_exactly_and_repaired_exactly(
    given_rows: list[Any], kinds: list[Any]
) -> None:
    world = World(["Item", "ScoreResult", "Task"])
    for number, (model, changes, ago) in enumerate(given_rows):
        at = {"createdAt": _text(ago), "updatedAt": _text(ago)}
        world.insert(model, f"r{number}", **(changes | at))
    world.deliver()
    world.clock.advance(3_600)
    assert wrong(world) == set()
    _damage(world, kinds)
    expected, before, entries = _expected_drift(world), world.buckets(), world.items("entry")

    verified = world.check_range(*_HOURS)
    assert _reported(verified) == expected
    assert (verified["driftCount"], verified["inFlux"]) == (len(expected), 0)
    assert (world.buckets(), world.items("entry")) == (before, entries), "verify writes nothing"

    repaired = world.check_range(*_HOURS, repair=True)
    assert _reported(repaired) == expected
    assert repaired["repaired"] == len(expected)
    assert wrong(world) == set()
    assert world.check_range(*_HOURS)["driftCount"] == 0


# Histories ----------------------------------------------------------------------------------------

_MODEL = st.sampled_from(["Item", "ScoreResult"])
_CHANGE = st.sampled_from(["remove", "move", "account", "value", "touch", "flip"])
_ACTION = st.one_of(
    st.tuples(st.just("insert"), _MODEL, _AGO, st.booleans()),
    st.tuples(st.just("change"), _MODEL, st.integers(0, 9), _CHANGE, _AGO),
    st.tuples(st.just("change"), _MODEL, st.integers(0, 9), _CHANGE, _AGO),
    st.tuples(st.just("late"), _MODEL, st.integers(0, 9)),
    st.tuples(st.just("deliver"), st.integers(1, 5)),
    st.tuples(st.just("wait"), st.integers(1, 90)),
)
_STEP = st.one_of(
    _ACTION,
    _ACTION,
    st.tuples(st.sampled_from(["check", "range", "scan", "again", "lose", "overwrite", "hour"])),
    st.tuples(st.just("older"), _MODEL),
)
_ACTIONS = st.lists(_ACTION, max_size=5)
_TRAFFIC = st.lists(
    st.tuples(st.sampled_from(["page", "page", "wait", "save", "save", "saved"]), _ACTIONS),
    max_size=8,
)
_DEATHS = st.lists(st.tuples(st.just("page"), st.just([("die",)])), max_size=2)


class Died(BaseException):
    """The process is gone."""


class _History:
    """Changes of a few rows of two models, whose records come late, again, or not at all."""

    def __init__(self, *, flips: bool = True, once: bool = False) -> None:
        self.world = World(["Item", "ScoreResult"], breakdowns="all", page=2)
        self.world.invoke("bucket_sweeper", {})
        self.flips, self.once = flips, once
        self.changed: set[str] = set()
        self.delivered: list[Any] = []
        self.made = 0
        self.delivering = False

    def act(self, actions: Sequence[tuple[Any, ...]]) -> None:
        for kind, *asked in actions:
            self.world.clock.advance(1)
            getattr(self, f"_{kind}")(*asked)

    def _insert(self, model: str, ago: int, indexed: bool) -> None:
        self.made += 1
        self.changed.add(f"{model}-{self.made}")
        self.world.insert(model, f"{model}-{self.made}", **self._listed(model, ago, indexed))

    def _older(self, model: str) -> None:
        """An unindexed row from before the stream is removed, beside rows that are indexed."""
        self._insert(model, 5, indexed=True)
        self.world.insert(model, "older", **self._listed(model, 5, indexed=False))
        self.world.undelivered.pop()
        self.world.remove(model, "older")

    def _listed(self, model: str, ago: int, indexed: bool) -> dict[str, str]:
        """Times of a row that the index lists within its hour, or not."""
        if indexed or not self.flips:
            return {"createdAt": _text(ago)}
        odd = {"Item": {"createdAt": _text(ago, 5)}, "ScoreResult": {"updatedAt": _text(9 * 1440)}}
        return {"createdAt": _text(ago)} | odd[model]

    def _change(self, model: str, number: int, what: str, ago: int) -> None:
        found = self.world.api.rows(model)
        row = found[number % len(found)] if found else None
        if row is None or (self.once and row["id"] in self.changed):
            return
        self.changed.add(row["id"])
        if what == "remove":
            self.world.remove(model, row["id"])
            return
        changes = {
            "move": {"createdAt": _text(ago)},
            "account": {"accountId": "acct-2" if number % 2 else rows.ACCOUNT},
            "value": {"createdByType": "evaluation", "value": "ERROR", "scoreId": f"score-{ago}"},
            "touch": {"description": self.world.now(), "explanation": self.world.now()},
            "flip": self._listed(model, ago, number % 2 == 0),
        }
        self.world.update(model, row["id"], **changes[what])

    def _deliver(self, most: int) -> None:
        if self.delivering:
            return  # Lambda hands over one batch of a shard at a time
        self.delivering = True
        for _ in range(min(most, len(self.world.undelivered))):
            self.delivered += [*self.world.undelivered][:1]
            self.world.deliver(1)
        self.delivering = False

    def _late(self, model: str, number: int) -> None:
        """A shard of its own brings a new row of an older one's minute at once."""
        if found := self.world.api.rows(model):
            self.made += 1
            name, at = f"{model}-{self.made}", found[number % len(found)]["createdAt"]
            self.changed.add(name)
            self.world.insert(model, name, createdAt=at)
            record = self.world.undelivered.pop()
            self.world.invoke("stream_aggregator", window_event(record, shard_id=name))

    def _again(self) -> None:
        """Lambda delivers what it has delivered again."""
        for change in self.delivered[-4:]:
            self.world.invoke("stream_aggregator", window_event(change))

    def _lose(self) -> None:
        """A batch of each table ages out."""
        lost = list(self.world.undelivered)
        for arn in sorted({record["eventSourceARN"] for record in lost}):
            self.world.lose_batch([each for each in lost if each["eventSourceARN"] == arn])
        self.world.lose()

    def _overwrite(self) -> None:
        """Another writer replaces a minute's metadata."""
        for bucket in self.world.buckets():
            if bucket["numberOfMinutes"] == 1:
                theirs = {"metadata": {"theirs": 1}, "updatedAt": self.world.now()}
                self.world.api.put("AggregatedMetrics", bucket | theirs)
                return

    def _wait(self, seconds: int) -> None:
        self.world.clock.advance(seconds)

    def _hour(self) -> None:
        self.world.sweep(1)

    def _check(self) -> None:
        self._unharmed(self.world.check)

    def _range(self) -> None:
        self._unharmed(partial(self.world.check_range, repair=True))

    def _scan(self) -> None:
        self._unharmed(self.world.backfill)

    def _die(self) -> None:
        raise Died

    def amid(self, traffic: Sequence[Any], check: Callable[[], Any]) -> None:
        """Check while rows change, and begin again where the process has died."""
        for moment, actions in traffic:
            self.world.at(moment, partial(self.act, actions))
        invoke = self.world.invoke

        def surely(function: str, event: Any) -> Any:
            while True:
                try:
                    return invoke(function, event)
                except Died:
                    self.world.new_engine()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.world, "invoke", surely)
            check()
        self.world.moments.clear()

    def _unharmed(self, check: Callable[[], Any]) -> None:
        """No check changes a minute that is right, if all records have come."""
        world = self.world
        if world.undelivered or world.items("check") or world.ports.failed_batches.bodies:
            check()
            return
        before, counted = world.stored(1), world.counted(1)
        check()
        after = world.stored(1)
        right = [key for key in before if before[key] == counted.get(key)]
        assert [key for key in right if after.get(key) != before[key]] == []

    def settle(self) -> None:
        """What happens by itself: the stream catches up, the sweeper and the hourly check run."""
        self._deliver(1_000)
        for _ in range(3):
            self.world.sweep()
            self.world.check()


_EITHER = pytest.mark.parametrize("whole", [False, True], ids=["by index", "whole tables"])


@_EITHER
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(_STEP, max_size=25),
    traffic=_TRAFFIC,
    deaths=_DEATHS,
    later=st.lists(_STEP, max_size=10),
)
def test_nothing_is_wrong_once_every_record_has_come_and_checks_have_followed(
    whole: bool, steps: list[Any], traffic: list[Any], deaths: list[Any], later: list[Any]
) -> None:
    """What no check through an index can settle is deferred, and the next Scan settles it."""
    history = _History()
    world = history.world
    history.act(steps)
    world.clock.advance(3_600)
    history.amid([*traffic, *deaths], world.backfill if whole else world.check)
    history.act(later)
    history.settle()
    assert {hour_of(key) for key in wrong(world)} <= open_hours(world, "check")
    world.backfill()
    history.settle()
    assert (wrong(world), open_hours(world, "entry", "check")) == (set(), set())


@_EITHER
@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(before=st.lists(_ACTION, min_size=2, max_size=6), damage=_DAMAGE, traffic=_TRAFFIC)
def test_what_a_check_has_set_is_right_without_any_later_check(
    whole: bool, before: list[Any], damage: list[Any], traffic: list[Any]
) -> None:
    """Each row changes at most once meanwhile: none is created and removed between the passes."""
    history = _History(flips=whole)
    world = history.world
    history.act(before)
    _damage(world, damage)
    world.clock.advance(3_600)
    history.once, history.changed = True, set()
    at = world.clock.timestamp()
    check = world.backfill if whole else partial(world.check_range, *_HOURS, repair=True)
    history.amid(traffic, check)
    was_set = {
        oracle.key_of(row)
        for row in world.buckets()
        if ((row.get("metadata") or {}).get("countedUntil") or [0, 0])[whole] > at
    }
    still_open = open_hours(world, "check", *(["entry"] if whole else []))
    world.deliver()
    assert [key for key in wrong(world) & was_set if hour_of(key) not in still_open] == []
