"""Whole tables are counted exactly, whatever goes on meanwhile and whoever dies."""

import pytest

from tests.truth.backfill import backfill


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_is_exact_while_rows_change_and_scanners_die(seed: int) -> None:
    done = backfill(200, seed, die=0.05)
    assert done.wrong == []
    assert done.deaths, "nobody died: the test has lost its teeth"
    assert done.repaired
