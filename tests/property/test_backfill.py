"""Whatever happens while whole tables are counted, the counts are right once all has come."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbench import oracle
from testbench.world import START, World
from tests.property.histories import hour_of, open_hours, wrong

_MODELS = ("Item", "ScoreResult", "FeedbackItem")
_AGO = (4, 65, 66, 135, 3 * 1440)  # few minutes, so that things meet


class Died(Exception):  # noqa: N818 - nothing went wrong: the test wants it
    """The process is gone."""


def _text(minutes_ago: int) -> str:
    return (START - timedelta(minutes=minutes_ago)).strftime("%Y-%m-%dT%H:%M:00.000Z")


class _History:
    """Random changes of a few rows, each of which the stream brings when it is asked to."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.made = 0
        self.once = False
        self.changed: set[str] = set()

    def insert(self, model: str, ago: int, sent: bool) -> None:
        """A new row of an older minute; its updatedAt is as old where the client has sent it."""
        self.made += 1
        if self.once:
            self.changed.add(f"{model}-{self.made}")
        old = {"updatedAt": _text(ago)} if sent else {}
        self.world.insert(model, f"{model}-{self.made}", createdAt=_text(ago), **old)

    def change(self, model: str, number: int, what: str, ago: int) -> None:
        """Update, move or remove a row that is there; an updatedAt without the seconds' end."""
        there = self.world.api.rows(model)
        row = there[number % len(there)] if there else None
        if row is None or (self.once and row["id"] in self.changed):
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
            case "unindexed":
                self.world.update(model, row["id"], updatedAt=_text(9 * 1440))
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
    st.sampled_from(["remove", "minute", "account", "unindexed", "update"]),
    st.sampled_from(_AGO),
)
_DELIVER = st.tuples(st.just("deliver"), st.integers(1, 4))
_WAIT = st.tuples(st.just("wait"), st.integers(1, 30))
_EVENT = st.one_of(_INSERT, _CHANGE, _CHANGE, _DELIVER, _WAIT)
_DEATH = st.tuples(st.just("die"))
_SLOW = [HealthCheck.too_slow]


def _do(world: World, history: _History, event: tuple[Any, ...]) -> Callable[[], None]:
    def happen() -> None:
        world.clock.advance(1)
        match event:
            case ("insert", *given):
                history.insert(*given)
            case ("change", *given):
                history.change(*given)
            case ("deliver", most):
                world.deliver(most)
            case ("wait", seconds):
                world.clock.advance(seconds)
            case _:
                raise Died

    return happen


def _begin(before: list[Any], lost: int) -> tuple[World, _History]:
    """A world with rows, some of which are older than the streams; every step survives deaths."""
    world = World(_MODELS, breakdowns="all", page=2)
    world.invoke("bucket_sweeper", {})
    history = _History(world)
    for event in before:
        _do(world, history, event)()
    for _ in range(min(lost, len(world.undelivered))):
        world.undelivered.popleft()
    world.clock.advance(30)
    invoke = world.invoke

    def again(function: str, event: Any) -> Any:
        while True:
            try:
                return invoke(function, event)
            except Died:
                continue

    world.invoke = again  # type: ignore[method-assign]
    return world, history


def _backfill(world: World, history: _History, *passes: list[Any]) -> None:
    """A run; events happen in its first pass, between the passes, and in the second."""
    first, gap, second = ([_do(world, history, event) for event in each] for each in passes)

    def between() -> None:
        world.moments.pop("page", None)
        for happen in gap:
            happen()
        world.at("page", *second)

    world.at("page", *first)
    world.at("wait", between)
    world.backfill(segments=2, partitions=3)
    world.moments.clear()


def _settle(world: World) -> None:
    """What happens by itself: streams catch up, the sweeper completes, the hourly check repairs."""
    world.deliver()
    for _ in range(3):
        world.sweep()
        world.check()


@settings(max_examples=60, suppress_health_check=_SLOW)
@given(
    before=st.lists(_INSERT, max_size=8),
    lost=st.integers(0, 8),
    first=st.lists(st.one_of(_EVENT, _DEATH), max_size=8),
    gap=st.lists(_EVENT, max_size=3),
    second=st.lists(st.one_of(_EVENT, _DEATH), max_size=4),
)
def test_the_counts_are_right_once_the_streams_have_caught_up(
    before: list[Any], lost: int, first: list[Any], gap: list[Any], second: list[Any]
) -> None:
    """An hour that no check through an index could settle is deferred, and the next Scan does."""
    world, history = _begin(before, lost)
    _backfill(world, history, first, gap, second)
    _settle(world)
    assert set(map(hour_of, wrong(world))) <= open_hours(world, "check")
    world.backfill()
    _settle(world)
    assert (wrong(world), open_hours(world, "entry", "check")) == (set(), set())


@settings(max_examples=60, suppress_health_check=_SLOW)
@given(
    before=st.lists(_INSERT, min_size=1, max_size=8),
    lost=st.integers(0, 8),
    first=st.lists(_EVENT, max_size=8),
    gap=st.lists(_EVENT, max_size=3),
    second=st.lists(_EVENT, max_size=4),
)
def test_what_a_run_has_set_is_right_without_any_later_check(
    before: list[Any], lost: int, first: list[Any], gap: list[Any], second: list[Any]
) -> None:
    """Each row changes at most once meanwhile: none is created and removed between the passes."""
    world, history = _begin(before, lost)
    history.once = True
    _backfill(world, history, first, gap, second)
    was_set = {
        oracle.key_of(row)
        for row in world.api.rows("AggregatedMetrics")
        if (row.get("metadata") or {}).get("countedUntil", [None, None])[1]
    }
    still_open = open_hours(world, "entry", "check")
    world.deliver()
    assert [key for key in wrong(world) & was_set if hour_of(key) not in still_open] == []
