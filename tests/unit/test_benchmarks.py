"""The benchmarks measure work that is done; how long it takes is no test's business."""

import json
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from benchmarks import __main__ as command
from benchmarks import bill, checking, counting, memory, reading
from benchmarks.measuring import Line, Sample, interleaved


@pytest.mark.parametrize(("name", "size"), [("day", 4), ("busy day", 480), ("batch", 3)])
def test_the_works_whose_memory_is_measured_are_done(name: str, size: int) -> None:
    memory.WORKS[name](size)


def test_a_check_that_does_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    idle = Mock(**{"invoke.return_value": {"inFlux": 0, "notReachedCount": 0}})
    monkeypatch.setattr(memory, "engine", lambda *_, **__: idle)
    for name, size in (("day", 4), ("busy day", 480)):
        with pytest.raises(AssertionError, match="not repaired"):
            memory.WORKS[name](size)


def test_the_requests_measured_are_within_their_bars() -> None:
    assert all(line.reached for line in counting.requests(quick=True))


@pytest.mark.parametrize("work", [checking.by_range, checking.by_scan])
def test_a_history_is_read_twice_and_then_right(work: Any) -> None:
    assert work(3, 1) == 2.0


def test_one_old_hour_in_each_of_some_days_is_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checking, "_DAYS", 3)
    assert checking.old_hours() == 2.0


def test_a_ratio_is_taken_round_by_round() -> None:
    both, parse = Sample([3.0, 6.0, 9.0]), Sample([2.0, 4.0, 6.0])
    assert both.minus(parse).over(parse).values == [0.5, 0.5, 0.5]
    assert (both.median, both.spread) == (6.0, 3.0)
    assert both.over(parse, less=Sample([1.0] * 3)).median == 5 / 3


def test_every_work_is_done_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gc.collect", int)  # as large as the tests' heap is, it takes seconds
    done: list[str] = []
    works = {name: (partial(str, name), done.append) for name in "ab"}
    taken = interleaved(works, repeats=2)
    assert "".join(done) == "ab" * 3
    assert [len(sample.values) for sample in taken.values()] == [2, 2]


def test_the_numbers_are_written_with_their_verdicts(tmp_path: Path) -> None:
    lines = [Line("CPU", "a share", 0.7, bar=bar) for bar in (0.65, 0.7, None)]
    command.write_json(tmp_path / "p.json", lines)
    written = json.loads((tmp_path / "p.json").read_text())["lines"]
    assert [(line["value"], line["reached"]) for line in written] == (
        [(0.7, False), (0.7, True), (0.7, None)]
    )


def test_the_readings_measured_are_right_and_counted() -> None:
    client = reading.filled(reading.RANGES["30 days"])
    lines = [reading.summary(client, name) for name in ("a minute", "a day", "30 days")]
    assert [(line.value, line.reached) for line in lines] == [(1, True), (1, True), (7, True)]


def test_a_longer_window_is_cheaper_and_more_accounts_are_dearer() -> None:
    kinds = ((1, 300), (1, 10), (9, 10))
    cheap, plain, dear = (bill.dollars(10_000, *each) for each in kinds)
    assert cheap < plain < dear
