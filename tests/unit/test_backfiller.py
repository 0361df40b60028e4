"""Plans of runs over whole tables, what their parts count, and how results stay small."""

import json
from collections import Counter
from typing import Any

import pytest
from aggregated_metrics.adapters.run_files import Run, RunFiles
from aggregated_metrics.core.errors import EventError
from aggregated_metrics.core.models import BUILT_IN
from aggregated_metrics.core.totals import MinuteTotal, Totals
from aggregated_metrics.jobs.backfiller import add_found, count

from testbench import rows
from testbench.streams import image
from testbench.world import World

TABLES = {
    "Item": {"ItemCount": 10**9},
    "Task": {"ItemCount": 250_000, "ProvisionedThroughput": {"ReadCapacityUnits": 48}},
}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world with a huge table, and a small one with provisioned capacity."""
    limits = {"BACKFILL_READ_UNITS": "1000", "BACKFILL_CONCURRENCY": "8"}
    made = World([*TABLES], environment=limits)
    described = made.ports.table
    monkeypatch.setattr(described, "describe_table", lambda TableName: {"Table": TABLES[TableName]})
    return made


def planned(world: World, **asked: Any) -> Run:
    plan = world.invoke("backfiller", {"prepare": {"run": "r"} | asked})
    bucket: Any = world.ports.bucket
    run = RunFiles(bucket, "runs").run("r")
    assert plan["partitions"] == [{"run": "r", "partition": i} for i in range(run.partitions)]
    units = [(model, n) for model, number in run.segments.items() for n in range(number)]
    assert [(unit["model"], unit["segment"]) for unit in plan["units"]] == units
    return run


def test_a_plan_follows_the_tables_sizes_up_to_a_most_and_all_scanners_keep_to_the_read_units(
    world: World,
) -> None:
    run = planned(world)
    assert (run.segments, run.partitions) == ({"Item": 64, "Task": 3}, 256)
    assert run.read_units == {"Item": 125.0, "Task": 4.0}


def test_a_plan_keeps_what_it_was_asked_for(world: World) -> None:
    run = planned(world, repair=False, models=["Task"], segments=3, partitions=5)
    assert (run.repair, run.segments, run.partitions) == (False, {"Task": 3}, 5)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"run": ""}, "^run: "),
        ({"run": "a/b"}, "^run: "),
        ({"models": "Item"}, "^models: "),
        ({"models": ["Nothing"]}, "no table of 'Nothing' is attached: use Item, Task"),
        ({"segments": 0}, "^segments: .* 1"),
        ({"segments": 1_001}, "^segments: .* 1000"),
        ({"partitions": "4"}, "^partitions: "),
        ({"repair": "yes"}, "^repair: "),
        ({"acountId": "a"}, "^acountId: .*a run takes run, models, repair, segments, partitions"),
    ],
)
def test_what_cannot_be_planned_is_refused_by_name_before_anything_starts(
    world: World, asked: dict[str, Any], says: str
) -> None:
    with pytest.raises(EventError, match=says):
        planned(world, **asked)
    assert world.ports.bucket.objects == {}


def test_a_row_is_known_by_its_models_identifier() -> None:
    """Two rows that differ in nothing else are two."""

    def total_of(row_id: str) -> MinuteTotal:
        totals = Totals()
        count(BUILT_IN["Task"], [image(rows.task(row_id))], totals, Counter())
        (hour,) = totals.hours()
        (total,) = totals.hour(hour).values()
        return total

    one, same, other = map(total_of, "aab")
    assert one == same
    assert one.fingerprint != other.fingerprint
    assert one[:2] == other[:2]


def test_the_numbers_of_all_steps_are_added_and_their_lists_fit_a_result() -> None:
    whole: dict[str, Any] = {}
    for step in range(50):
        drift = [{"accountId": "é" * 2_000, "timeRangeStart": f"{step}-{i}"} for i in range(200)]
        add_found(whole, {"hours": 2, "driftCount": 200, "drift": drift})
    assert (whole["hours"], whole["driftCount"]) == (100, 10_000)
    assert len(json.dumps(whole)) < 256_000, "what Step Functions takes"
    assert whole["drift"][0]["timeRangeStart"] == "0-0"
