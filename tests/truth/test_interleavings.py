"""Every interleaving of few writers and a sweeper in one hour, every crash, every redelivery."""

import json
from collections.abc import Sequence
from datetime import timedelta
from functools import partial

import pytest

from testbench import oracle, rows
from testbench.streams import Record, Stream
from tests.truth.interleavings import Consumer, Death, Process, SharedHour, schedules, stored

MINUTE = "2026-11-22T10:05:00Z"
BUCKETS = [
    (MINUTE, 1),
    (MINUTE, 5),
    ("2026-11-22T10:00:00Z", 15),
    ("2026-11-22T10:00:00Z", 60),
]


def shard(name: str, kinds: str) -> list[Record]:
    """Records of tasks in one minute: `+` an insert, `-` the removal of the one before."""
    stream = Stream("Task")
    made: list[Record] = []
    for i, kind in enumerate(kinds):
        row = rows.task(f"{name}-{i - (kind == '-')}")
        made.append(stream.insert(row) if kind == "+" else stream.remove(row))
    return [record | {"eventID": f"{name}-{i}"} for i, record in enumerate(made)]


def consumer(
    name: str, kinds: str, sizes: Sequence[int] = (9,), death: Death | None = None, **more: bool
) -> Process:
    return partial(
        SharedHour.consume,
        consumer=Consumer(f"shardId-{name}", shard(name, kinds), sizes, death, **more),
    )


def check(processes: Sequence[Process], count: int) -> None:
    """Every schedule ends exact."""
    expected = {("acct-1", "tasks", start, minutes): (count, True) for start, minutes in BUCKETS}
    for number, shared in enumerate(schedules(processes)):
        shared.finish()
        assert stored(shared) == (expected if count else {}), f"schedule {number}"


def outcomes(processes: Sequence[Process], *, reduced: bool) -> list[str]:
    """How the schedules end, each once: every bucket with its metadata, every mark."""
    ends = {
        json.dumps(
            [
                [{**row, "createdAt": None} for row in oracle.buckets_in(shared.api)],
                {hour: mark | {"token": None} for hour, mark in shared.table.items.items()},
            ],
            default=str,
            sort_keys=True,
        )
        for shared in schedules(processes, reduced=reduced)
    }
    return sorted(ends)


SHAPES = [
    ("++", (2, 1)),  # comes again shorter
    ("++", (1, 2)),  # longer
    ("++", (2, 2)),  # the same
    ("+-", (1, 2)),
    ("+-", (2, 1)),
    ("+-+", (3, 1, 3)),
]
DEATHS = [None, Death(1, after=False), *(Death(number, after=True) for number in (1, 2, 3))]
"""None, and one at each point: after a request is before the next one, for the others."""
BEFORE_THEY_SAVE = DEATHS[-2:]


# Its clock is past the minute's grace, while the writers' lease goes on.
SWEEP = partial(SharedHour.sweep, ahead=timedelta(seconds=40))


@pytest.mark.parametrize(
    "processes",
    [
        [consumer("a", "+"), consumer("b", "+")],
        [consumer("a", "++", (1, 2)), SWEEP],
        [consumer("a", "+-", (2, 1), Death(2, after=True)), SWEEP],
    ],
    ids=["writers", "sweeper", "crash"],
)
def test_an_order_that_is_left_out_would_have_ended_as_one_that_is_run(
    processes: list[Process],
) -> None:
    assert outcomes(processes, reduced=True) == outcomes(processes, reduced=False)


@pytest.mark.parametrize("death", DEATHS, ids=str)
@pytest.mark.parametrize(("kinds", "sizes"), SHAPES)
def test_two_writers_with_a_crash_at_every_point(
    kinds: str, sizes: tuple[int, ...], death: Death | None
) -> None:
    count = kinds.count("+") - kinds.count("-")
    check([consumer("a", kinds, sizes, death), consumer("b", "+")], count + 1)


@pytest.mark.parametrize("second", BEFORE_THEY_SAVE, ids=str)
@pytest.mark.parametrize("first", BEFORE_THEY_SAVE, ids=str)
def test_two_writers_that_both_crash_before_they_save(first: Death, second: Death) -> None:
    check([consumer("a", "++", (2, 1), first), consumer("b", "+", (1,), second)], 3)


@pytest.mark.parametrize("death", DEATHS, ids=str)
@pytest.mark.parametrize(("kinds", "sizes"), [s for s in SHAPES if len(s[0]) == 2])
def test_a_writer_that_crashes_and_a_sweeper(
    kinds: str, sizes: tuple[int, ...], death: Death | None
) -> None:
    count = kinds.count("+") - kinds.count("-")
    check([consumer("a", kinds, sizes, death), SWEEP], count)


def test_two_writers_and_a_sweeper() -> None:
    check([consumer("a", "+"), consumer("b", "+"), SWEEP], 2)


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_three_writers(warm: bool) -> None:
    check([consumer(name, "+", warm=warm) for name in "abc"], 3)


@pytest.mark.parametrize(
    ("kinds", "other", "count"), [("++", "++", 2), ("+", "++", 2), ("+", "+-", 0)]
)
def test_a_batch_twice_at_once(kinds: str, other: str, count: int) -> None:
    """The first is a dead process whose requests are still on their way."""
    check([consumer("a", kinds), consumer("a", other)], count)


@pytest.mark.parametrize("death", DEATHS, ids=str)
@pytest.mark.parametrize("sizes", [(1, 2), (2, 2)])
def test_events_without_a_shard_id_come_again_from_the_same_record(
    sizes: tuple[int, ...], death: Death | None
) -> None:
    check([consumer("a", "++", sizes, death, named=False), consumer("b", "+")], 3)
