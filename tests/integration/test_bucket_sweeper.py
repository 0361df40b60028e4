"""bucket_sweeper's own handler, after stream_aggregator's."""

from typing import Any

import pytest
from aggregated_metrics.core.errors import AuthorizationError

from testbench.fakes.endpoint import Answer, refusal
from testbench.fakes.signatures import Request
from testbench.in_process import Stack
from testbench.rows import score_result, task
from testbench.streams import Stream, window_event

SCHEDULED: dict[str, Any] = {}


def count(stack: Stack, *ids: str, **changes: Any) -> None:
    stream = Stream("Task")
    records = [stream.insert(task(id, **changes)) for id in ids]  # noqa: A001 - a row's attribute
    stack.invoke("stream_aggregator", window_event(*records, shard_id=f"shardId-{ids}"))


def states(stack: Stack) -> set[str]:
    return {mark["state"] for mark in stack.marks().values()}


def incomplete(stack: Stack) -> set[int]:
    return {row["numberOfMinutes"] for row in stack.rows() if not row["complete"]}


def test_buckets_become_complete_one_after_the_other_and_then_the_hour_is_closed(
    stack: Stack,
) -> None:
    count(stack, "t1")
    seen = []
    for at in ("10:07:59", "10:08:00", "10:12:00", "10:17:00", "11:01:59", "11:02:00"):
        stack.clock.set(f"2026-11-22T{at}+00:00")
        result = stack.invoke("bucket_sweeper", SCHEDULED)
        seen.append((sorted(incomplete(stack)), result["closed"], states(stack)))
    assert seen == [
        ([1, 5, 15, 60], 0, {"pending"}),
        ([5, 15, 60], 0, {"pending"}),
        ([15, 60], 0, {"pending"}),
        ([60], 0, {"pending"}),
        ([60], 0, {"pending"}),
        ([], 1, {"closed"}),
    ]
    assert stack.clock().isoformat() == "2026-11-22T11:02:00+00:00"


def test_a_late_row_opens_its_hour_again(stack: Stack) -> None:
    count(stack, "t1")
    stack.clock.set("2026-11-22T11:05:00Z")
    stack.invoke("bucket_sweeper", SCHEDULED)
    assert states(stack) == {"closed"}
    count(stack, "t2")
    assert states(stack) == {"pending"}
    assert incomplete(stack) == set()
    assert stack.row("tasks#2026-11-22T10:00:00Z#60")["count"] == 2
    stack.clock.advance(seconds=91)
    stack.invoke("bucket_sweeper", SCHEDULED)
    assert states(stack) == {"closed"}


def test_a_crash_before_the_parents_is_mended(stack: Stack) -> None:
    def no_parents(request: Request) -> Answer | None:
        return refusal(403, "AccessDenied", "No.") if b"mutation" in request.body else None

    count(stack, "t1")
    for size in (5, 15, 60):
        start = "2026-11-22T10:05:00Z" if size == 5 else "2026-11-22T10:00:00Z"
        stack.api.remove("AggregatedMetrics", "acct-1", f"tasks#{start}#{size}")
    stack.clock.set("2026-11-22T10:08:00Z")
    stack.gate.before = no_parents
    with pytest.raises(AuthorizationError):
        stack.invoke("bucket_sweeper", SCHEDULED)
    assert states(stack) == {"pending"}
    stack.gate.before = lambda _: None
    stack.invoke("bucket_sweeper", SCHEDULED)
    assert {row["numberOfMinutes"]: row["count"] for row in stack.rows()} == {
        1: 1,
        5: 1,
        15: 1,
        60: 1,
    }


def test_every_series_of_a_row_is_closed(stack: Stack) -> None:
    stream = Stream("ScoreResult")
    records = [stream.insert(score_result(f"r{n}", accountId=f"acct-{n}")) for n in range(30)]
    stack.invoke("stream_aggregator", window_event(*records))
    stack.clock.set("2026-11-22T11:05:00Z")
    result = stack.invoke("bucket_sweeper", SCHEDULED)
    assert (result["due"], result["swept"], result["closed"]) == (60, 60, 60)
    assert incomplete(stack) == set()


def test_while_traffic_goes_on_the_sweeper_and_the_aggregator_lose_nothing(stack: Stack) -> None:
    count(stack, "t1")
    stack.clock.set("2026-11-22T10:08:30Z")

    def meanwhile(request: Request) -> None:
        if b"mutation" not in request.body:
            stack.gate.after = lambda _: None
            count(stack, "t2")

    stack.gate.after = meanwhile
    result = stack.invoke("bucket_sweeper", SCHEDULED)
    assert result["conflicts"] > 0
    assert {row["count"] for row in stack.rows()} == {2}
    assert states(stack) == {"pending"}


def test_a_sweep_gives_back_and_logs_what_it_did(stack: Stack) -> None:
    count(stack, "t1")
    stack.clock.set("2026-11-22T10:08:30Z")
    result = stack.invoke("bucket_sweeper", SCHEDULED)
    line = stack.lines()[-1]
    assert line["message"] == "bucket_sweeper"
    assert {name: line[name] for name in ("due", "swept", "closed", "written", "waiting")} == {
        "due": 1,
        "swept": 1,
        "closed": 0,
        "written": 1,
        "waiting": 0,
    }
    assert result.items() >= {"swept": 1, "written": 1}.items()
