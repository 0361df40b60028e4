"""The benchmarks measure work that is right; how long it takes is no test's business."""

import json
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from aggregated_metrics.core import buckets
from aggregated_metrics.core.hours import Hour, HourId, Series

from benchmarks import __main__ as command
from benchmarks import counting, reading, scaling, starting, workloads
from benchmarks.measuring import Line, Sample, interleaved
from testbench.counted import FakeClient, store


@pytest.mark.parametrize("model", ["Item", "ScoreResult"])
@pytest.mark.parametrize("minutes", [1, 7])
def test_the_fold_measured_gives_the_sums_of_a_plain_loop(model: str, minutes: int) -> None:
    rows = [workloads.MAKERS[model](number, minutes=minutes) for number in range(300)]
    folded = counting.sums(workloads.inserts(model, 300, minutes=minutes))
    assert folded == counting.recounted(model, rows)
    assert len(folded) == 3 * minutes


def test_the_updates_measured_change_what_they_say() -> None:
    before = counting.sums(workloads.inserts("ScoreResult", 90))
    changed = counting.sums(workloads.updates("ScoreResult", 90))
    assert {place[:2] for place in changed} == {place[:2] for place in before}
    assert all(sums[0] == 0 and sums[1] > 0 for sums in changed.values())
    assert counting.sums(workloads.updates("Item", 90)) == {}
    assert counting.sums(workloads.untouched("ScoreResult", 90)) == {}


def test_rows_are_a_third_each_of_both_splits_and_of_neither() -> None:
    kinds = [workloads.score_result(number).get("type") for number in range(300)]
    assert [kinds.count(kind) for kind in ("prediction", "evaluation", None)] == [100] * 3


def test_no_two_records_share_an_object() -> None:
    first, second = workloads.inserts("Item", 2)["Records"]
    assert first["dynamodb"]["NewImage"]["text"] is not second["dynamodb"]["NewImage"]["text"]


def test_later_batches_are_new_records() -> None:
    batches = counting._batches(10, 1)
    numbers = [
        int(record["dynamodb"]["SequenceNumber"])
        for _ in range(3)
        for record in next(batches)["Records"]
    ]
    assert numbers == sorted(set(numbers))


def test_a_stored_hour_is_one_that_the_layer_has_nothing_to_change_in() -> None:
    start = buckets.to_minute(workloads.HOUR)
    rows = workloads.counted_hour("items", list(range(60)))
    hour = Hour(HourId(Series(workloads.ACCOUNT, "items"), start), rows)
    hour.roll_up(buckets.to_datetime(start))
    assert len(rows) == 59 + 12 + 4 + 1
    assert not any(bucket.dirty for bucket in hour)
    assert len(counting.stored_day(100)) == 24 * 3 * 77


def test_a_mark_to_sweep_names_the_hour_whose_buckets_are_stored() -> None:
    (mark, row) = (scaling._mark(7), scaling._hour(7)[0])
    assert mark["hour"]["S"] == f"{row['accountId']}#items#2026-11-22T10:"


def test_recounting_two_hours_of_three_record_types_takes_464_requests() -> None:
    rows = {"Item": 100, "ScoreResult": 100}
    assert counting.recounted_requests(record_types=3, hours=2, rows=rows) == 464
    more = {"Item": 100, "ScoreResult": 1_000_000}
    assert counting.recounted_requests(record_types=3, hours=2, rows=more) == 464 + 999


def test_what_a_function_imports_is_explained_by_what_its_modules_ask_for() -> None:
    asked = starting.asked_for(["aggregated_metrics.adapters.settings"])
    assert {"pydantic", "pydantic_core", "typing_extensions"} <= asked
    assert not asked & {"requests", "boto3", "botocore"}


def test_a_ratio_is_taken_round_by_round() -> None:
    both, parse = Sample([3.0, 6.0, 9.0]), Sample([2.0, 4.0, 6.0])
    assert both.minus(parse).over(parse).values == [0.5, 0.5, 0.5]
    assert (both.median, both.spread) == (6.0, 3.0)
    assert both.over(parse, less=Sample([1.0] * 3)).median == 5 / 3


def test_every_work_is_done_in_every_round() -> None:
    done: list[str] = []
    works = {name: (partial(str, name), done.append) for name in "ab"}
    taken = interleaved(works, repeats=2)
    assert "".join(done) == "ab" * 3
    assert [len(sample.values) for sample in taken.values()] == [2, 2]


@pytest.mark.parametrize(("value", "reached"), [(2, True), (2.1, False)])
def test_a_bar_is_reached_up_to_itself(value: float, reached: bool) -> None:
    assert Line("handler", "requests", value, "", bar=2).reached is reached
    assert Line("handler", "requests", value, "").reached is None


def test_the_page_is_made_whole_from_the_json(tmp_path: Path) -> None:
    lines = [
        Line("fold", "Item inserts: fold / json.loads", 0.2712, "x", 0.0123, bar=0.3),
        Line("growth", "bytes", 84013, "bytes", note="both ways"),
    ]
    command.write_json(tmp_path / "p.json", lines, "a machine")
    page = tmp_path / "p.md"
    page.write_text("stale\n")
    command.write_page(page, json.loads((tmp_path / "p.json").read_text()))
    text = page.read_text()
    assert "| Item inserts: fold / json.loads | 0.271 x | 0.012 | ≤ 0.3 | reached |" in text
    assert "| bytes (both ways) | 84,013 bytes |  |  |  |" in text
    assert "Machine: a machine." in text
    assert "stale" not in text


def test_the_page_in_docs_is_the_one_of_the_json_in_docs(tmp_path: Path) -> None:
    document = json.loads((command.DOCS / "performance.json").read_text())
    command.write_page(tmp_path / "p.md", document)
    assert (command.DOCS / "benchmarks.md").read_text() == (tmp_path / "p.md").read_text()


def test_the_main_figures_are_those_of_the_page_of_all() -> None:
    table = (
        (command.DOCS / "performance.md").read_text().partition("| bar |")[2].partition("\n\n")[0]
    )
    every = (command.DOCS / "benchmarks.md").read_text()
    measured = [line.split("|")[2].strip() for line in table.splitlines()[2:]]
    assert measured
    for figure in ", ".join(measured).split(", "):
        assert f"| {figure} |" in every, figure
    assert table.count("missed") == every.count("NOT reached")


@pytest.mark.parametrize(("name", "requests", "fields"), [("a minute", 1, 1), ("a day", 1, 31)])
def test_the_readings_measured_are_right_and_counted(name: str, requests: int, fields: int) -> None:
    client = FakeClient()
    span = reading.RANGES[name]
    series = Series(workloads.ACCOUNT, reading.RECORD_TYPE)
    store(client.api, series, reading.minutes(timedelta(days=2)), reading.NOW)
    lines = reading.summaries(client, name, span)
    assert [line.value for line in lines[:2]] == [requests, fields]
    assert all(line.reached for line in lines if line.bar is not None)
