"""A process may die between any two requests, to whichever service: nothing is lost or doubled."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from testbench.rows import score_result
from testbench.streams import Stream, event
from testbench.world import World
from tests.conftest import NOW

BEFORE_AND_AFTER = pytest.mark.parametrize("done", [False, True], ids=["before", "after"])


class Death(BaseException):
    """The process dies here: the package cannot catch it."""


@contextmanager
def dying(world: World, at: int, *, done: bool = False) -> Iterator[list[str]]:
    """Every process dies at the request numbered `at`, carried out already if `done`."""
    made: list[str] = []

    def die(name: str) -> None:
        made.append(name)
        if len(made) > at:
            raise Death(name)

    def wrapped(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def request(**asked: Any) -> Any:
            if not done:
                die(name)
            answer = call(**asked)
            if done:
                die(name)
            return answer

        return request

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world, "after" if done else "before", lambda _: die("api"))
        for port, names in (
            (world.table, ("batch_write_item", "update_item", "delete_item", "query")),
            (world.queue, ("send_message_batch",)),
        ):
            for name in names:
                patch.setattr(port, name, wrapped(name, getattr(port, name)))
        yield made


@pytest.fixture
def world() -> World:
    """20 score results in three hours, late, of which nothing is counted yet."""
    made = World(["ScoreResult"], now=NOW + timedelta(seconds=5))
    rows = [score_result(f"r{n}", createdAt=f"2026-11-22T1{n % 3}:{n:02}:00Z") for n in range(20)]
    made.api.put("ScoreResult", *rows)
    return made


def batch(world: World) -> Any:
    """A batch of these rows and a record that cannot be counted."""
    rows = [*world.api.rows("ScoreResult"), score_result(accountId="")]
    return event(*map(Stream("ScoreResult").insert, rows))


def aggregate(world: World) -> None:
    world.new_engine()  # another process
    world.invoke("stream_aggregator", batch(world))


def sweep(world: World) -> None:
    world.new_engine()
    world.invoke("bucket_sweeper", {})


def check(world: World) -> None:
    world.new_engine()
    world.check()


NOTED = ["batch_write_item", "api", "batch_write_item"]
REQUESTS = [*NOTED, "api", "api", "send_message_batch"]


def test_a_batch_is_noted_loaded_touched_saved_and_then_quarantined(world: World) -> None:
    with dying(world, 1), pytest.raises(Death):
        aggregate(world)
    assert {note["model"] for note in world.items("note").values()} == {*world.models}
    assert world.items("entry") == {}
    with dying(world, 1_000) as made:
        aggregate(world)
    assert made == REQUESTS


@BEFORE_AND_AFTER
@pytest.mark.parametrize("at", range(len(REQUESTS)))
def test_after_a_crash_at_any_request_hours_are_swept_and_the_redelivery_is_exact(
    world: World, at: int, *, done: bool
) -> None:
    """Whatever minutes were written, their hours have entries, and their rollups become sums."""
    with dying(world, at, done=done), pytest.raises(Death):
        aggregate(world)
    world.clock.advance(days=1)
    sweep(world)
    known = [entry.hour for entry in world.pending().over()]
    prefixes = tuple(hour.prefix for hour in known)
    assert all(bucket["compositeKey"].startswith(prefixes) for bucket in world.buckets())
    hours = world.store().load(known)
    assert [hour.wrong_rollups() for hour in hours] == [[]] * len(hours)
    assert all(bucket["complete"] for bucket in world.buckets())
    assert not any("due" in entry for entry in world.items("entry").values())
    aggregate(world)
    assert world.stored() == world.counted()
    assert {message["reason"] for message in world.quarantined()} == {"accountId is missing"}


@BEFORE_AND_AFTER
def test_a_crash_anywhere_in_a_sweep_leaves_the_rest_to_the_next(
    world: World, *, done: bool
) -> None:
    aggregate(world)
    world.clock.advance(days=1)
    assert deaths(world, sweep, done=done) > 1
    assert world.stored() == world.counted()
    assert all(bucket["complete"] for bucket in world.buckets())


@BEFORE_AND_AFTER
def test_a_crash_anywhere_in_a_repair_leaves_the_rest_to_the_next(
    world: World, *, done: bool
) -> None:
    aggregate(world)
    world.clock.advance(days=1)
    sweep(world)
    for bucket in world.buckets():
        if bucket["numberOfMinutes"] == 1:
            world.api.put("AggregatedMetrics", bucket | {"count": 7})
    assert deaths(world, check, done=done) > 1
    world.clock.advance(hours=1)  # now the ones that died have certainly ended
    sweep(world)
    check(world)
    assert world.stored() == world.counted()
    assert world.items("entry") == world.items("check") == {}


def deaths(world: World, work: Callable[[World], None], *, done: bool) -> int:
    """Have work die ever later until it ends; returns how often it died."""
    for at in range(200):
        try:
            with dying(world, at, done=done):
                work(world)
        except Death:
            world.clock.advance(120)
        else:
            return at
    raise AssertionError("it never ends")
