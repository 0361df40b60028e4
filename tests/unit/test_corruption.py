"""The damage that the demo and the tests on the stack do, to see it found and repaired."""

from datetime import UTC, datetime, timedelta

import pytest
from aggregated_metrics.model import AggregatedMetrics

from testbench import oracle
from testbench.emulated import corruption
from testbench.emulated.check import Buckets
from testbench.emulated.stack import StepError
from testbench.world import World

HOUR = datetime(2026, 11, 22, 10, tzinfo=UTC)
TYPES = ("items", "tasks", "scoreResults", "feedbackItems", "chatMessages")


def stored(world: World, *types: str) -> Buckets:
    """A minute and the rollups over it, of the hour and of the one before it."""
    client = world.client()
    made = [
        AggregatedMetrics.create_or_update(
            client, "acme", name, start, start + timedelta(minutes=size), size, 2, True
        )
        for name in types
        for start in (HOUR - timedelta(hours=1), HOUR)
        for size in (1, 5, 15, 60)
    ]
    return {oracle.key_of(vars(each)): each for each in made}


@pytest.mark.parametrize("seed", range(10))
def test_each_kind_of_damage_falls_on_a_record_type_of_its_own(world: World, seed: int) -> None:
    done = corruption.chosen(stored(world, *TYPES), HOUR, seed)
    assert len({each.what for each in done}) == len({each.key[1] for each in done}) == 3
    assert {each.key[2][:13] for each in done} == {"2026-11-22T10"}
    assert {each.key[3] for each in done} == {1}


def test_too_few_record_types_are_not_corrupted(world: World) -> None:
    with pytest.raises(StepError, match="too few to corrupt"):
        corruption.chosen(stored(world, *TYPES[:2]), HOUR, seed=1)
