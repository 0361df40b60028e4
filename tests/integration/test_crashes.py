"""A process may die between any two requests, to whichever service: nothing is lost or doubled."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from aggregated_metrics.adapters import hour_store

from testbench.in_process import CrashError, Stack
from testbench.oracle import buckets_of, held, key_of
from testbench.rows import item, score_result, task
from testbench.streams import Stream, event

CALLS = {
    "dynamodb": ("BatchWriteItem", "Query", "UpdateItem"),
    "sqs": ("SendMessageBatch",),
}


@contextmanager
def dying(stack: Stack, at: int, *, done: bool) -> Iterator[list[str]]:
    """Every process dies at the request numbered `at`, carried out already if `done`."""
    made: list[str] = []

    def die(name: str) -> None:
        made.append(name)
        if len(made) > at:
            raise CrashError(f"at {name}")

    def called(model: Any, **_: Any) -> None:
        die(model.name)

    stack.gate.before = lambda _: None if done else die("GraphQL")
    stack.gate.after = lambda _: die("GraphQL") if done else None
    names = [
        (service, f"{'after' if done else 'before'}-call.{service}.{operation}")
        for service, operations in CALLS.items()
        for operation in operations
    ]
    clients = {"dynamodb": stack.dynamodb, "sqs": stack.sqs}
    for service, name in names:
        clients[service].meta.events.register(name, called)
    try:
        yield made
    finally:
        stack.gate.before = lambda _: None
        stack.gate.after = lambda _: None
        for service, name in names:
            clients[service].meta.events.unregister(name, called)


def batch() -> tuple[list[tuple[str, Any]], dict[str, Any]]:
    """A batch of two tables with a record for the quarantine: 3 hours, two requests to save."""
    results, tasks = Stream("ScoreResult"), Stream("Task")
    rows = [
        ("ScoreResult", score_result(f"r{n}", createdAt=f"2026-11-22T1{n % 3}:{n:02}:00Z"))
        for n in range(20)
    ] + [("Task", task("t1"))]
    records = [(results if model == "ScoreResult" else tasks).insert(row) for model, row in rows]
    return rows, event(*records, Stream("Item").insert(item(accountId="")))


def requests_of(stack: Stack, work: Callable[[], Any]) -> list[str]:
    with dying(stack, 10_000, done=False) as made:
        work()
    return list(made)


def assert_exact(stack: Stack, rows: list[tuple[str, Any]]) -> None:
    found = {key_of(row): held(row) for row in stack.rows()}
    assert found == buckets_of(rows)


@pytest.fixture(autouse=True)
def _short_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch needs two requests to save its buckets: a process can die between them."""
    monkeypatch.setattr(hour_store, "BUCKETS_PER_SAVE", 50)


REQUESTS = ["GraphQL", "BatchWriteItem", *["GraphQL"] * 2, "SendMessageBatch"]


def test_a_batch_makes_these_requests(stack: Stack) -> None:
    _, made = batch()
    asked = requests_of(stack, lambda: stack.invoke("stream_aggregator", made))
    assert asked == REQUESTS


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(len(REQUESTS)))
def test_after_a_crash_at_any_request_the_redelivery_is_exact(
    stack: Stack, at: int, done: bool
) -> None:
    rows, made = batch()
    with dying(stack, at, done=done), pytest.raises(CrashError):
        stack.invoke("stream_aggregator", made)
    stack.process.remembered.clear()  # another process
    stack.invoke("stream_aggregator", made)
    assert_exact(stack, rows)
    assert {message["reason"] for message in stack.quarantined()} == {"accountId is missing"}


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_dying_ever_later_the_batch_gets_through_and_is_exact(stack: Stack, done: bool) -> None:
    rows, made = batch()
    for at in range(len(REQUESTS)):
        with dying(stack, at, done=done), suppress(CrashError):
            stack.invoke("stream_aggregator", made)
    stack.invoke("stream_aggregator", made)
    assert_exact(stack, rows)


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(len(REQUESTS)))
def test_what_a_crash_has_left_the_sweeper_knows_of(stack: Stack, at: int, done: bool) -> None:
    """Whatever minutes were written, their hours are marked, so their parents become their sums."""
    _, made = batch()
    with dying(stack, at, done=done), pytest.raises(CrashError):
        stack.invoke("stream_aggregator", made)
    stack.process.remembered.clear()
    stack.clock.advance(days=1)
    stack.invoke("bucket_sweeper", {})
    rows = stack.rows()
    assert all(row["complete"] for row in rows)
    for parent in rows:
        inside = [
            row["count"]
            for row in rows
            if row["numberOfMinutes"] == 1
            and row["recordType"] == parent["recordType"]
            and parent["timeRangeStart"] <= row["timeRangeStart"] < parent["timeRangeEnd"]
        ]
        assert parent["count"] == sum(inside)
    assert {mark["state"] for mark in stack.marks().values()} <= {"closed"}


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
def test_after_a_crash_at_any_request_of_the_sweeper_the_next_run_goes_on(
    stack: Stack, done: bool
) -> None:
    rows, made = batch()
    stack.invoke("stream_aggregator", made)
    stack.clock.advance(days=1)
    for at in range(30):
        with dying(stack, at, done=done) as asked:
            try:
                stack.invoke("bucket_sweeper", {})
            except CrashError:
                continue
        break
    assert len(asked) <= at
    assert at > 1
    assert_exact(stack, rows)
    assert all(row["complete"] for row in stack.rows())
    assert {mark["state"] for mark in stack.marks().values()} == {"closed"}
