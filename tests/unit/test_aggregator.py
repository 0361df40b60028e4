from typing import Any

import pytest
from aggregated_metrics.core.errors import EventError

from testbench.fakes.signatures import Request
from testbench.in_process import Stack
from testbench.rows import item, task
from testbench.streams import Stream, window_event


def test_a_batch_is_folded_loaded_marked_saved_and_then_quarantined(stack: Stack) -> None:
    order: list[str] = []
    stack.gate.before = lambda request: order.append(
        "save" if b"mutation" in request.body else "load"
    )
    events = {
        "dynamodb": ("BatchWriteItem", stack.dynamodb),
        "sqs": ("SendMessageBatch", stack.sqs),
    }

    def note(model: Any, **_: Any) -> None:
        order.append(model.name)

    for service, (operation, client) in events.items():
        client.meta.events.register(f"before-call.{service}.{operation}", note)
    try:
        stream = Stream("Item")
        stack.apply(window_event(stream.insert(item()), stream.insert(item(accountId=""))))
    finally:
        for service, (operation, client) in events.items():
            client.meta.events.unregister(f"before-call.{service}.{operation}", note)
    assert order == ["load", "BatchWriteItem", "save", "SendMessageBatch"]


def test_the_report_has_numbers_and_never_a_rows_contents(stack: Stack) -> None:
    stream = Stream("Item")
    secret = item("id-secret", accountId="acct-secret", text="text-secret")
    report = stack.apply(
        window_event(stream.insert(secret), stream.insert(secret | {"createdAt": "soon-secret"}))
    )
    assert "secret" not in str(report)
    assert report == {
        "shard": report["shard"],
        "records": 2,
        "deltas": 2,
        "accounts": 1,
        "hours": 2,
        "written": 8,
        "conflicts": 0,
        "retries": 0,
        "parentsLeft": 0,
        "clamped": 0,
        "overflowed": 0,
        "ledgerDropped": 0,
        "quarantined": 1,
        "freshnessSeconds": 69.123,
    }


def test_what_is_no_stream_event_asks_for_nothing(stack: Stack) -> None:
    with pytest.raises(EventError):
        stack.apply({"detail-type": "Scheduled Event"})
    assert stack.log == []


def test_parents_that_are_left_make_their_hour_due_at_once(stack: Stack) -> None:
    stream = Stream("Task")
    stack.apply(window_event(stream.insert(task("t0"))))
    parent = "tasks#2026-11-22T10:00:00Z#60"

    def somebody(request: Request) -> None:
        if b"mutation" not in request.body:
            stack.clock.advance(seconds=0.001)
            now = stack.clock().isoformat().replace("+00:00", "Z")
            stack.api.put("AggregatedMetrics", stack.row(parent) | {"updatedAt": now})

    stack.gate.after = somebody
    report = stack.apply(window_event(stream.insert(task("t1"))))
    assert report["parentsLeft"] == 1
    assert stack.row(parent)["count"] == 1
    (mark,) = stack.marks().values()
    assert mark["due"] == int(stack.clock().timestamp())
    stack.gate.after = lambda _: None
    stack.sweep()
    assert stack.row(parent)["count"] == 2


def test_the_hours_of_a_batch_that_changes_nothing_are_not_marked(stack: Stack) -> None:
    stream = Stream("Task")
    made = stream.insert(task())
    stack.apply(window_event(made))
    before = stack.marks()
    stack.apply(window_event(made))
    assert stack.marks() == before
