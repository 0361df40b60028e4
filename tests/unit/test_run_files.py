"""The files of runs over whole tables; test_aws has the rest, in memory and on AWS's requests."""

from typing import Any

from aggregated_metrics.adapters.run_files import Part, RunFiles
from hypothesis import given
from hypothesis import strategies as st

from testbench.fakes.scans import FakeBucket


def new_files() -> RunFiles:
    client: Any = FakeBucket()
    return RunFiles(client, "runs")


@given(st.lists(st.lists(st.binary(max_size=9), min_size=3, max_size=3), max_size=4))
def test_a_partitions_blocks_are_read_back_alone(written: list[list[bytes]]) -> None:
    files = new_files()
    for number, blocks in enumerate(written):
        files.put_part("r", "1/Item/0000", Part("Item", number, None, 7, 1.0, 2.0, {}), blocks)
    for partition in range(3):
        assert files.blocks("r", files.parts("r", 1), partition) == [
            blocks[partition] for blocks in written
        ]
