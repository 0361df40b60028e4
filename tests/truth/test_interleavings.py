"""Every interleaving of few writers and a sweeper in one hour, every crash, every redelivery."""

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial

import pytest

from testbench import oracle, rows
from testbench.streams import Record, Stream
from tests.truth.interleavings import (
    Consumer,
    Death,
    Process,
    SharedHour,
    Step,
    schedules,
    stored,
)

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


def deaths(requests: int) -> Iterator[Death | None]:
    """No death, and one at each point: after a request is before the next one, for the others."""
    yield None
    yield Death(1, after=False)
    for number in range(1, requests + 1):
        yield Death(number, after=True)


def check(processes: Sequence[Process], count: int) -> int:
    """Every schedule ends exact; how many there were."""
    expected = {("acct-1", "tasks", start, minutes): (count, True) for start, minutes in BUCKETS}
    number = 0
    for shared in schedules(processes):
        number += 1
        shared.finish()
        assert stored(shared) == (expected if count else {}), f"schedule {number}"
    return number


def outcomes(processes: Sequence[Process], meet: Callable[[Step, Step], bool]) -> list[str]:
    """How the schedules end, each once: every bucket with its metadata, every mark."""
    ends = {
        json.dumps(
            [
                [{**row, "createdAt": None} for row in oracle.buckets_in(shared.api)],
                {hour: mark | {"token": None} for hour, mark in shared.table.items.items()},
            ],
            default=str,
        )
        for shared in schedules(processes, meet)
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


def say(orders: int) -> None:
    print(f"{orders} schedules")  # noqa: T201 - `pytest -rP` shows them


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
    assert outcomes(processes, Step.meets) == outcomes(processes, lambda *_: True)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_two_writers_with_a_crash_at_every_point(shape: tuple[str, tuple[int, ...]]) -> None:
    kinds, sizes = shape
    say(
        sum(
            check(
                [consumer("a", kinds, sizes, death), consumer("b", "+")],
                1 + kinds.count("+") - kinds.count("-"),
            )
            for death in deaths(3)
        )
    )


def test_two_writers_that_both_crash_before_they_save() -> None:
    both = [Death(2, after=True), Death(3, after=True)]
    say(
        sum(
            check([consumer("a", "++", (2, 1), a), consumer("b", "+", (1,), b)], 3)
            for a, b in itertools.product(both, both)
        )
    )


@pytest.mark.parametrize("shape", [s for s in SHAPES if len(s[0]) == 2], ids=str)
def test_a_writer_that_crashes_and_a_sweeper(shape: tuple[str, tuple[int, ...]]) -> None:
    kinds, sizes = shape
    count = kinds.count("+") - kinds.count("-")
    say(sum(check([consumer("a", kinds, sizes, death), SWEEP], count) for death in deaths(3)))


def test_two_writers_and_a_sweeper() -> None:
    say(check([consumer("a", "+"), consumer("b", "+"), SWEEP], 2))


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_three_writers(warm: bool) -> None:
    say(check([consumer(name, "+", warm=warm) for name in "abc"], 3))


def test_the_same_batch_twice_at_once() -> None:
    say(check([consumer("a", "++"), consumer("a", "++")], 2))


def test_a_shorter_and_a_longer_delivery_of_one_batch_at_once() -> None:
    # The first is a dead process whose requests are still on their way.
    say(check([consumer("a", "+"), consumer("a", "+-")], 0))
    say(check([consumer("a", "+"), consumer("a", "++")], 2))


def test_events_without_a_shard_id_come_again_from_the_same_record() -> None:
    say(
        sum(
            check([consumer("a", "++", sizes, death, named=False), consumer("b", "+")], 3)
            for sizes in ((1, 2), (2, 2))
            for death in deaths(3)
        )
    )
