"""Whole tables are counted exactly, while rows change and processes die."""

import pytest

from tests.truth.backfill import backfill


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_is_exact_while_rows_change_and_scanners_die(seed: int) -> None:
    done = backfill(200, seed, die=0.05)
    assert done.wrong == []
    assert done.deaths, "no process died: the test proves nothing"
    assert done.repaired
