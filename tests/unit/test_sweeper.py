"""bucket_sweeper: what it completes, when it visits an hour, and what a visit costs."""

from datetime import datetime, timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import AggregatedMetricsError, AuthorizationError
from aggregated_metrics.core.series import HourId, Series

from testbench import local
from testbench.fakes.endpoint import Answer, refusal
from testbench.fakes.signatures import Request
from testbench.hours import GRACE
from testbench.world import START, World

LEASE = 91
OLD = "2026-11-01T23:59:59Z"
HOUR, MINUTE = "tasks#2026-11-22T12:00:00Z#60", "tasks#2026-11-22T12:10:00Z#1"
STREAM = f"Task/{local.LABEL}"


@pytest.fixture
def world() -> World:
    return World(["Task"])


def count(world: World, *created: str, accounts: int = 1) -> None:
    """Let tasks be counted, one an account, and forget what was asked for it."""
    for n in range(accounts):
        for at in created or (world.now(),):
            world.insert("Task", f"{n}-{at}", accountId=f"acct-{n + 1}", createdAt=at)
    world.deliver()
    world.log.clear()


def sweep(world: World, at: datetime | str | None = None) -> Any:
    """Sweep at a time, a text of which is of the day (`12:13:00`)."""
    at = datetime.fromisoformat(f"2026-11-22T{at}+00:00") if isinstance(at, str) else at
    world.clock.now = at or world.clock.now
    return world.invoke("bucket_sweeper", {})


def hours_loaded(world: World) -> list[int]:
    """The number of hours of each query since the tasks were counted."""
    loads = [e for e in world.log if b"LoadHours" in e.body and b"_streams" not in e.body]
    return [len(exchange.operations) for exchange in loads]


def dues(world: World) -> list[float | None]:
    """When each entry is due: seconds from now."""
    found = (entry.get("due") for entry in world.items("entry").values())
    return [None if due is None else int(due) - world.clock.timestamp() for due in found]


def incomplete(world: World) -> list[int]:
    return sorted(row["numberOfMinutes"] for row in world.buckets() if not row["complete"])


def test_with_nothing_due_no_hour_is_asked_for(world: World) -> None:
    report = sweep(world)
    assert hours_loaded(world) == []
    assert (report["due"], report["oldestPendingSeconds"]) == (0, 0.0)


def test_buckets_become_complete_one_after_the_other_and_then_the_hour_is_visited_no_more(
    world: World,
) -> None:
    count(world)
    seen = []
    for at in ("12:12:59", "12:13:00", "12:17:00", "13:01:59", "13:02:00"):
        sweep(world, at)
        seen.append((incomplete(world), None in dues(world)))
    assert seen == [
        ([1, 5, 15, 60], False),
        ([5, 15, 60], False),
        ([60], False),
        ([60], False),
        ([], True),
    ]
    assert sweep(world)["due"] == 0


def test_a_quiet_hour_is_loaded_about_four_times(world: World) -> None:
    count(world, "2026-11-22T12:17:00Z")
    while dues(world) != [None]:
        world.clock.advance(60)
        sweep(world)
    assert len(hours_loaded(world)) == 4
    assert incomplete(world) == []


def test_a_late_hour_is_visited_at_once_and_again_when_its_writer_has_ended(world: World) -> None:
    count(world, OLD)
    sweep(world)
    assert incomplete(world) == []
    assert dues(world) == [LEASE - 1]
    sweep(world, world.clock.now + timedelta(seconds=LEASE))
    assert (hours_loaded(world), dues(world)) == ([1, 1], [None])


def test_an_hour_that_was_touched_for_nothing_is_visited_until_it_is_over(world: World) -> None:
    """Its process may know the entry, skip the next one, and write the first bucket then."""
    hour = HourId(Series("acct-1", "tasks"), buckets.to_minute(START.replace(minute=0)))
    world.pending().touch({hour: int(world.clock.timestamp())})
    over = START.replace(hour=13, minute=0) + timedelta(seconds=GRACE)
    sweep(world, START + timedelta(minutes=5))
    assert dues(world) == [(over - world.clock.now).total_seconds()]
    sweep(world, over)
    assert dues(world) == [None]


def test_many_hours_are_visited_forty_at_a_time_and_a_bad_one_costs_no_other(world: World) -> None:
    count(world, OLD, accounts=45)

    def refuse(request: Request) -> Answer | None:
        return refusal(403, "AccessDenied", "No.") if b'"acct-1"' in request.body else None

    world.before = refuse
    with pytest.raises(AuthorizationError):
        sweep(world, world.clock.now + timedelta(seconds=LEASE))
    report = world.reports[-1]
    assert [report[name] for name in ("due", "swept", "waiting", "failedHours")] == [45, 44, 1, 1]
    assert sorted(hours_loaded(world))[-2:] == [5, 40]
    assert dues(world).count(None) == 44
    world.before = lambda _: None
    sweep(world)
    assert dues(world) == [None] * 45


def test_what_does_not_fit_into_the_time_stays_due(world: World) -> None:
    count(world, accounts=3)
    world.seconds_left = 4.9
    report = sweep(world, START + timedelta(minutes=1, seconds=GRACE + 90))
    assert (report["due"], report["swept"], report["waiting"]) == (3, 0, 3)
    assert report["oldestPendingSeconds"] == 90.0
    assert None not in dues(world)


def test_an_entry_of_a_record_type_that_nothing_counts_is_deleted(world: World) -> None:
    world.pending().touch({HourId(Series("acct-1", "others"), 0): 0})
    sweep(world)
    assert world.items("entry") == {}


def test_an_hour_with_a_rollup_that_is_left_stays_due(world: World) -> None:
    count(world)
    world.api.put("AggregatedMetrics", world.bucket(HOUR) | {"count": 7})

    def another(request: Request) -> None:
        if b"mutation" not in request.body:
            world.clock.advance(0.001)
            world.api.put("AggregatedMetrics", world.bucket(HOUR) | {"updatedAt": world.now()})

    world.after = another
    sweep(world, START + timedelta(minutes=1, seconds=GRACE))
    assert incomplete(world) == [5, 15, 60]
    assert (dues(world)[0] or 0) <= 0
    world.after = lambda _: None
    sweep(world)
    assert world.bucket(HOUR)["count"] == 1


def test_an_hour_with_an_unreadable_minute_is_left_to_a_check(world: World) -> None:
    count(world)
    world.api.put("AggregatedMetrics", world.bucket(MINUTE) | {"updatedAt": None})
    report = sweep(world, START + timedelta(hours=1, seconds=GRACE))
    assert (report["unreadableRecords"], report["written"], dues(world)) == (1, 0, [None])


def as_of(world: World) -> Any:
    return world.bucket("_streams#1970-01-01T00:00:00Z#60", "_streams")["metadata"]


def test_nothing_is_completed_while_a_stream_may_not_be_applied(world: World) -> None:
    count(world)
    sweep(world, "12:13:00")
    mappings = world.ports.mappings
    modified = datetime.fromisoformat("2026-11-22T13:05:00+00:00")
    mappings.mappings[STREAM] = ("Disabled", "OK", modified)
    assert sweep(world, "13:10:00")["streamsNotConsumed"] == 1
    assert (incomplete(world), dues(world)) == ([5, 15, 60], [600])  # again in ten minutes
    mappings.enable([STREAM], modified)
    sweep(world, "13:14:59")
    assert as_of(world) == {"asOf": {"tasks": "2026-11-22T12:13:00Z"}, "completeAfter": 120}
    sweep(world, "13:25:00")
    assert incomplete(world) == []
    assert as_of(world)["asOf"] == {"tasks": "2026-11-22T13:25:00Z"}


@pytest.mark.parametrize(("before", "seconds"), [("12:12:59", 1), ("12:16:57", 4)])
def test_what_elapses_after_as_of_was_asked_for_is_due_at_the_next_sweep(
    world: World, before: str, seconds: int
) -> None:
    count(world)
    sweep(world, "12:13:00" if before > "12:13" else None)
    sizes = incomplete(world)
    world.at("save", lambda: world.clock.advance(seconds))  # of as of
    sweep(world, before)
    assert incomplete(world) == sizes
    assert max(due for due in dues(world) if due is not None) <= 0
    sweep(world)
    assert len(incomplete(world)) < len(sizes)


def test_hours_are_swept_although_it_is_not_known_how_far_the_streams_are(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = Mock(side_effect=AggregatedMetricsError("Lambda is gone"))
    count(world)
    world.api.remove("AggregatedMetrics", "acct-1", HOUR)
    monkeypatch.setattr(world.ports.mappings, "get_function_concurrency", gone)
    with pytest.raises(AggregatedMetricsError, match="gone"):
        sweep(world, "12:13:00")
    assert world.stored() == world.counted()
    assert incomplete(world) == [1, 5, 15, 60]
