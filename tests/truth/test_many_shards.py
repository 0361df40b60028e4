"""Sixteen and sixty-four shards that write the same minutes at the same time."""

import pytest

from tests.truth.many_shards import Simulation, minutes


@pytest.mark.parametrize("writers", [16, 64])
def test_no_batch_fails_and_sums_are_exact(writers: int) -> None:
    simulation = Simulation(writers, flushes=4).run()
    numbers = simulation.numbers()
    print(f"{writers} writers: {numbers}")  # noqa: T201 - `pytest -rP` shows them
    assert numbers["flushes"] == writers * 4
    assert minutes(simulation, "scoreResults") == writers * 4 * 20
    assert numbers["requests"] < 4.0  # as decision 1 says
