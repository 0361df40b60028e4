"""The files of runs over whole tables."""

from typing import Any

import pytest
from aggregated_metrics.adapters.run_files import Part, Run, RunFiles, segment_prefix
from aggregated_metrics.core.errors import RunError
from hypothesis import given
from hypothesis import strategies as st

from testbench.fakes.scans import FakeBucket

RUN = Run("r", 5.0, True, {"Item": 2, "Task": 1}, 3, {"Item": 10.0, "Task": 5.0}, ["b"])
SEGMENT = segment_prefix("r", 1, "Item", 0)


@pytest.fixture
def bucket() -> FakeBucket:
    return FakeBucket()


@pytest.fixture
def files(bucket: FakeBucket) -> RunFiles:
    client: Any = bucket
    return RunFiles(client, "runs")


def part(number: int = 0, following: Any = None) -> Part:
    return Part(number, following, 7, 10.0, 11.0, {"accountId is missing": (1, ["x"])})


def test_a_plan_is_kept_as_it_was_first(files: RunFiles) -> None:
    assert files.begin(RUN) == RUN
    later = Run("r", 9.0, False, {"Task": 1}, 1, {"Task": 1.0})
    assert files.begin(later) == files.run("r") == RUN


def test_a_plan_has_a_unit_for_each_segment() -> None:
    assert RUN.units() == [
        {"run": "r", "model": "Item", "segment": 0},
        {"run": "r", "model": "Item", "segment": 1},
        {"run": "r", "model": "Task", "segment": 0},
    ]


def test_what_does_not_exist_is_an_error_with_its_place(files: RunFiles) -> None:
    with pytest.raises(RunError, match=r"s3://runs/runs/other/run.json does not exist"):
        files.run("other")


def test_a_part_is_written_once_and_the_newest_is_found(files: RunFiles) -> None:
    assert files.last_part(SEGMENT) is None
    blocks = [b"", b"", b""]
    assert files.put_part(SEGMENT, 0, part(following={"id": {"S": "a"}}).encode(blocks))
    assert not files.put_part(SEGMENT, 0, part().encode(blocks))
    newest = files.last_part(SEGMENT)
    assert newest is not None
    assert not newest.done
    assert files.put_part(SEGMENT, 1, part(1).encode(blocks))
    newest = files.last_part(SEGMENT)
    assert newest is not None
    assert (newest.number, newest.done, newest.rows) == (1, True, 7)
    ((reason, (number, ids)),) = newest.uncountable.items()
    assert (reason, number, list(ids)) == ("accountId is missing", 1, ["x"])


def test_a_pass_lists_its_own_parts_by_model(files: RunFiles) -> None:
    for segment in (SEGMENT, segment_prefix("r", 2, "Item", 0), segment_prefix("r", 1, "Task", 0)):
        files.put_part(segment, 0, part().encode([]))
    keys = files.parts("r", 1)
    assert keys == ["runs/r/1/Item/0000/000000", "runs/r/1/Task/0000/000000"]
    assert [model for model, _ in files.heads(keys)] == ["Item", "Task"]


@given(st.lists(st.binary(max_size=40_000), min_size=1, max_size=5), st.integers(0, 20_000))
def test_a_partitions_block_is_read_back_alone(blocks: list[bytes], size: int) -> None:
    """Also where the head, or the block, is longer than the first request reads."""
    client: Any = FakeBucket()
    files = RunFiles(client, "runs")
    long = Part(0, {"id": {"S": "k" * size}}, 7, 10.0, 11.0)
    files.put_part(SEGMENT, 0, long.encode(blocks))
    (key,) = files.parts("r", 1)
    assert [files.blocks([key], i) for i in range(len(blocks))] == [[block] for block in blocks]
    ((_, head),) = files.heads([key])
    assert head.next == long.next


def test_documents_are_kept_by_name_and_what_was_reduced_is_listed(files: RunFiles) -> None:
    for number in range(3):
        files.put("r", f"reduced/0000-{number:04}.json", {"hours": number})
    files.put("r", "report.json", {"hours": 9})
    assert files.get("r", "report.json") == {"hours": 9}
    assert [found["hours"] for found in files.reduced("r")] == [0, 1, 2]
