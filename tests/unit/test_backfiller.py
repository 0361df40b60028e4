"""Plans of runs over whole tables, what their parts count, and how results stay small."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from aggregated_metrics.adapters.run_files import Run
from aggregated_metrics.core.errors import EventError
from aggregated_metrics.core.models import BUILT_IN, Model
from aggregated_metrics.core.totals import GroupKey, Totals
from aggregated_metrics.jobs.backfiller import MOST_BYTES, _spans, add_found, count, plan

from testbench import rows
from testbench.streams import image

DAY = 1_440


def planned(asked: dict[str, Any], **changes: Any) -> Run:
    tables = {"Item": (1_000_000, None), "Task": (10, 40)}
    given = {"began": 5.0, "read_units": 1000.0, "concurrency": 8} | changes
    return plan({"run": "r"} | asked, tables, BUILT_IN, **given)


def test_a_plan_follows_the_sizes_of_the_tables() -> None:
    run = planned({})
    assert run.segments == {"Item": 10, "Task": 1}
    assert run.partitions == 11
    assert len(run.units()) == 11


def test_all_scanners_of_a_table_together_keep_to_its_read_units() -> None:
    assert planned({}).read_units == {"Item": 125.0, "Task": 10.0}


def test_a_plan_keeps_what_it_was_asked_for() -> None:
    run = planned({"repair": False, "models": ["Task"], "segments": 3, "partitions": 5})
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
def test_a_wrong_or_unknown_field_is_refused_by_name(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(EventError, match=says):
        planned(asked)


# What a part counts ------------------------------------------------------------------------------


def counted(
    model: Model, *given: rows.Attributes
) -> tuple[Totals, dict[str, tuple[int, Sequence[str]]]]:
    totals, uncountable = Totals(), dict[str, tuple[int, Sequence[str]]]()
    count(model, [image(row) for row in given], totals, uncountable)
    return totals, uncountable


def test_a_row_is_known_by_its_models_identifier() -> None:
    """Two rows that differ in nothing else are two."""
    model = BUILT_IN["Task"]
    one, same, other = (
        list(counted(model, rows.task(row_id))[0].items()) for row_id in ("a", "a", "b")
    )
    assert one == same
    assert [total.fingerprint for _, total in one] != [total.fingerprint for _, total in other]
    assert [total[:2] for _, total in one] == [total[:2] for _, total in other]


def test_a_row_that_is_marked_as_deleted_counts_as_no_row() -> None:
    found, lost = counted(BUILT_IN["Task"], rows.task("a"), rows.task("b") | {"_deleted": True})
    assert sum(total.indexed.count for _, total in found.items()) == 1
    assert lost == {}


def test_uncountable_rows_are_counted_by_reason_and_the_first_are_named() -> None:
    lost = [rows.task(f"lost-{i:03}", accountId=rows.REMOVED) for i in range(150)]
    when = [rows.task(f"when-{i}", createdAt=f"yesterday {i}") for i in range(2)]
    _, found = counted(BUILT_IN["Task"], *lost, *when)
    assert {reason: number for reason, (number, _) in found.items()} == {
        "accountId is missing": 150,
        "createdAt … is not an AWSDateTime of the years 1 to 9999": 2,
    }
    assert found["accountId is missing"][1] == [f"lost-{i:03}" for i in range(100)]
    assert found["createdAt … is not an AWSDateTime of the years 1 to 9999"][1] == [
        "when-0",
        "when-1",
    ]


# What is reduced ---------------------------------------------------------------------------------


def test_the_numbers_of_all_steps_are_added_and_their_lists_fit_a_result() -> None:
    whole: dict[str, Any] = {}
    for step in range(50):
        drift = [{"accountId": "é" * 2_000, "timeRangeStart": f"{step}-{i}"} for i in range(200)]
        add_found(whole, {"hours": 2, "driftCount": 200, "drift": drift})
    assert (whole["hours"], whole["driftCount"]) == (100, 10_000)
    assert len(json.dumps(whole)) < MOST_BYTES
    assert whole["drift"][0]["timeRangeStart"] == "0-0"


def test_windows_cover_every_minute_of_their_days_once() -> None:
    def key(account: str, hour: int) -> GroupKey:
        return GroupKey("Item", account, hour * 60)

    before, keys, following = key("a", 3), [key("a", 5), key("b", 26), key("c", 2)], key("c", 9)
    assert _spans(before, keys, following) == [
        ("a", 4 * 60, DAY),
        ("b", DAY, 2 * DAY),
        ("c", 0, 3 * 60),
    ]
    assert _spans(None, keys[:1], None) == [("a", 0, DAY)]
    assert _spans(key("a", 3), [key("a", 5)], key("a", 9)) == [("a", 4 * 60, 6 * 60)]
    assert _spans(key("a", 5), [key("a", 29)], key("b", 29)) == [("a", DAY, 2 * DAY)]
