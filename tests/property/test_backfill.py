"""Whatever happens while whole tables are counted, the counts are right once all has come."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from aggregated_metrics.core.buckets import floor, minute_of
from aggregated_metrics.core.metadata import Metadata
from aggregated_metrics.core.record_types import BREAKDOWNS
from aggregated_metrics.core.series import key_stem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbench import oracle
from testbench.backfilling import Backfilling
from testbench.fakes.dynamodb import MemoryTable
from testbench.reconciliation import START, Key, Numbers, World, truth

_MODELS = ("Item", "ScoreResult", "FeedbackItem")
_AGO = (4, 5, 75, 3 * 1440)  # few minutes, so that things meet


def _text(minutes_ago: int, offset: str = "Z") -> str:
    return (START - timedelta(minutes=minutes_ago)).strftime("%Y-%m-%dT%H:%M:00.000") + offset


def _wrong(world: World) -> dict[Key, tuple[Numbers | None, Numbers | None]]:
    stored, expected = world.stored(), truth(world.api, breakdowns=True)
    return {
        key: (stored.get(key), expected.get(key))
        for key in stored.keys() | expected.keys()
        if stored.get(key) != expected.get(key)
    }


class _History:
    """Random changes of a few rows, each of which the stream brings when it is told to."""

    def __init__(self, world: World, *, once: bool = False) -> None:
        self.world = world
        self.made = 0
        self.once = once
        self.changed: set[str] = set()

    def insert(self, model: str, ago: int, sent: bool) -> None:
        """A new row of an older minute; its updatedAt is as old where the client has sent it."""
        self.made += 1
        self.changed |= {f"{model}-{self.made}"} if self.once else set()
        old = {"updatedAt": _text(ago)} if sent and not self.changed else {}
        self.world.insert(model, f"{model}-{self.made}", createdAt=_text(ago), **old)

    def change(self, model: str, number: int, what: str, ago: int) -> None:
        """Update, move or remove a row that is there."""
        there = self.world.api.rows(model)
        if not there:
            return
        row = there[number % len(there)]
        if self.once and row["id"] in self.changed:
            return
        self.changed.add(row["id"])
        match what:
            case "remove":
                self.world.remove(model, row["id"])
            case "minute":
                self.world.update(model, row["id"], createdAt=_text(ago))
            case "account":
                other = "acct-2" if row["accountId"] == "acct-1" else "acct-1"
                self.world.update(model, row["id"], accountId=other)
            case _:
                self.world.update(model, row["id"], **_OTHER[model])


_OTHER: dict[str, dict[str, Any]] = {
    "Item": {"createdByType": "evaluation"},
    "ScoreResult": {"type": "evaluation", "scoreId": "score-2"},
    "FeedbackItem": {"finalAnswerValue": "Other", "scoreId": "score-2"},
}
"""Another record type, another scope, other measures."""
_INSERT = st.tuples(
    st.just("insert"), st.sampled_from(_MODELS), st.sampled_from(_AGO), st.booleans()
)
_CHANGE = st.tuples(
    st.just("change"),
    st.sampled_from(_MODELS),
    st.integers(0, 9),
    st.sampled_from(["remove", "minute", "account", "update"]),
    st.sampled_from(_AGO),
)
_DELIVER = st.tuples(st.just("deliver"), st.integers(1, 4))
_WAIT = st.tuples(st.just("wait"), st.integers(1, 30))
_EVENT = st.one_of(_INSERT, _CHANGE, _CHANGE, _DELIVER, _WAIT)


def _do(world: World, history: _History, event: tuple[Any, ...]) -> Callable[[], None]:
    def happen() -> None:
        kind, *rest = event
        match kind:
            case "insert":
                history.insert(*rest)
            case "change":
                history.change(*rest)
            case "deliver":
                world.deliver(*rest)
            case _:
                world.clock.advance(*rest)
        world.clock.advance(1)

    return happen


def _settle(world: World) -> None:
    """What comes by itself: the streams catch up, the sweeper closes, the hourly check looks."""
    world.deliver()
    for _ in range(3):
        world.sweep()
        world.seconds_left = 900.0
        world.run({"repair": True})


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    before=st.lists(_INSERT, max_size=8),
    lost=st.integers(0, 8),
    pages=st.lists(_EVENT, max_size=8),
    gap=st.lists(_EVENT, max_size=3),
    second=st.lists(_EVENT, max_size=4),
    reducing=st.lists(_EVENT, max_size=3),
    deaths=st.sets(st.integers(0, 40), max_size=6),
)
def test_the_counts_are_right_once_the_streams_have_caught_up(
    before: list[Any],
    lost: int,
    pages: list[Any],
    gap: list[Any],
    second: list[Any],
    reducing: list[Any],
    deaths: set[int],
) -> None:
    world = World(MemoryTable(), BREAKDOWNS)
    history = _History(world)
    for event in before:
        _do(world, history, event)()
    for _ in range(min(lost, len(world.undelivered))):
        world.undelivered.popleft()  # before there was a stream
    world.clock.advance(30)
    at = iter(range(10**6))
    run = Backfilling(world, page=2, dies=lambda: next(at) in deaths)
    _hang(world, history, pages, gap, second, reducing)
    run.run()
    _settle(world)
    assert _wrong(world) == {}


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    before=st.lists(_INSERT, min_size=1, max_size=8),
    lost=st.integers(0, 8),
    pages=st.lists(_EVENT, max_size=8),
    gap=st.lists(_EVENT, max_size=3),
    second=st.lists(_EVENT, max_size=4),
    reducing=st.lists(_EVENT, max_size=3),
)
def test_what_a_run_calls_sure_is_right_without_any_later_check(
    before: list[Any],
    lost: int,
    pages: list[Any],
    gap: list[Any],
    second: list[Any],
    reducing: list[Any],
) -> None:
    """Sure is what the run has set. Each row changes once at most while it goes on, and sends no
    time of its own: so nothing is born and gone between the looks, which no look can see. Such a
    delta marks its hour, and the hourly check repairs it.
    """
    world = World(MemoryTable(), BREAKDOWNS)
    history = _History(world)
    for event in before:
        _do(world, history, event)()
    for _ in range(min(lost, len(world.undelivered))):
        world.undelivered.popleft()
    world.clock.advance(30)
    history.once, history.changed = True, {"nothing yet"}
    run = Backfilling(world, page=2)
    _hang(world, history, pages, gap, second, reducing)
    run.run()
    fenced = _fenced(world)
    world.deliver()
    hours = {
        (hour.series.account_id, key_stem(hour.series)[:-1], hour.start) for hour in world.unsettled
    }
    wrong = {
        key
        for key in _wrong(world)
        if key in fenced and (*key[:2], floor(minute_of(key[2]), 60)) not in hours
    }
    assert wrong == set()


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    before=st.lists(_INSERT, max_size=8),
    pages=st.lists(_EVENT, min_size=1, max_size=8),
    gap=st.lists(_EVENT, max_size=3),
)
def test_no_minute_is_set_that_has_a_row_updated_between_the_looks_beginnings(
    before: list[Any], pages: list[Any], gap: list[Any]
) -> None:
    """Both looks may give the same there, by the one row or by two; the stream may not."""
    world = World(MemoryTable(), BREAKDOWNS)
    history = _History(world)
    for event in before:
        _do(world, history, event)()
    world.undelivered.clear()
    world.clock.advance(30)
    history.changed = {"nothing yet"}  # no row sends a time of its own
    began = world.clock.now
    _hang(world, history, pages, gap, [], [])
    Backfilling(world, page=2).run()
    written = [
        (model, row)
        for model in _MODELS
        for row in world.api.rows(model)
        if began <= datetime.fromisoformat(row["updatedAt"])
    ]
    assert _fenced(world).isdisjoint(oracle.buckets_of(written, breakdowns=True))


def _fenced(world: World) -> set[Key]:
    """The minutes that the run has set."""
    return {
        oracle.key_of(row)
        for row in world.api.rows("AggregatedMetrics")
        if row["numberOfMinutes"] == 1 and Metadata.parse(row.get("metadata")).fence
    }


def _hang(
    world: World,
    history: _History,
    pages: list[Any],
    gap: list[Any],
    second: list[Any],
    reducing: list[Any],
) -> None:
    """Have things happen while the first look goes on, after it, in the second, and after that."""

    def after_first() -> None:
        world.moments.pop("page", None)
        for event in gap:
            _do(world, history, event)()
        world.at("page", *[_do(world, history, event) for event in second])

    def after_second() -> None:
        for event in reducing:
            _do(world, history, event)()

    world.at("page", *[_do(world, history, event) for event in pages])
    world.at("wait", after_first)
    world.at("reduce", after_second)
