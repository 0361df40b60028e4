"""The damage that the demo and the tests on the stack do, to see it found and repaired."""

from datetime import UTC, datetime, timedelta

import pytest
from aggregated_metrics.adapters.appsync import AppSyncClient
from aggregated_metrics.model import AggregatedMetrics

from testbench.emulated import corruption
from testbench.emulated.check import Buckets, key_of
from testbench.emulated.functions import StepError
from testbench.in_process import Stack

START = datetime(2026, 11, 22, 10, 12, tzinfo=UTC)
KINDS = 5


def _stored(client: AppSyncClient, *sizes: int) -> Buckets:
    """A counted bucket of each size in as many hours as there are kinds of damage."""
    made: dict[tuple[str, str, str, int], AggregatedMetrics] = {}
    for hour in range(KINDS):
        for size in sizes:
            at = START + timedelta(hours=hour)
            start = at.replace(minute=at.minute - at.minute % size)
            end = start + timedelta(minutes=size)
            record = AggregatedMetrics.create_or_update(
                client, "acme", "items", start, end, size, 2, True
            )
            made[key_of(record)] = record
    return made


@pytest.mark.parametrize("seed", range(10))
def test_each_kind_of_damage_falls_on_an_hour_of_its_own(stack: Stack, seed: int) -> None:
    done = corruption.corrupt(stack.client(), _stored(stack.client(), 1, 5), seed=seed, each=1)
    assert len({each.key[2][:13] for each in done}) == len(done) == KINDS


@pytest.mark.parametrize("sizes", [(1,), (5, 15)])
def test_hours_without_both_minutes_and_parents_are_too_few_to_corrupt(
    stack: Stack, sizes: tuple[int, ...]
) -> None:
    """Nothing is left half corrupted: the buckets are chosen before the first is written."""
    with pytest.raises(StepError, match="too few hours"):
        corruption.corrupt(stack.client(), _stored(stack.client(), *sizes), seed=1, each=1)
