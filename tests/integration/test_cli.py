"""The command line against the API in memory, moto, and the real functions."""

import io
import json
import re
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from aggregated_metrics.adapters.pending_hours import PendingHours
from aggregated_metrics.core.errors import PendingHoursError
from aggregated_metrics.wiring import Process

from aggregated_metrics_cli import main
from aggregated_metrics_cli.deployment import Deployment
from testbench import rows
from testbench.counted import keep_up
from testbench.fakes.endpoint import refusal
from testbench.in_process import ROOT, Stack
from testbench.reconciliation import truth
from testbench.streams import Stream, event, stream_arn

ASKED = "--account acct-1 --start 2026-11-22 --end 2026-11-23"
MINUTE = "items#2026-11-22T10:05:00Z#1"


class Shell:
    """Runs commands as from a shell; keeps what they wrote."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.failed_batches = ""
        self.environment: dict[str, str] = {}
        self.out = self.err = ""

    def connect(self, _: Namespace, __: Mapping[str, str]) -> Deployment:
        process = self.stack.process
        mine = Process(process.settings, process.session, process.aws, clock=self.stack.clock)
        return Deployment(mine, failed_batches_queue=self.failed_batches)

    def run(self, command: str) -> int:
        out, err = io.StringIO(), io.StringIO()
        code = main(
            command.split(),
            environment=self.environment,
            connect=self.connect,
            out=out,
            err=err,
        )
        self.out, self.err = out.getvalue(), err.getvalue()
        return code

    def json(self, command: str) -> tuple[int, Any]:
        code = self.run(f"{command} --json")
        return code, json.loads(self.out)


@pytest.fixture
def shell(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setattr(time, "sleep", stack.clock.sleep)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")
    return Shell(stack)


def _count(stack: Stack, number: int = 3) -> None:
    """So many items, counted by the aggregator."""
    made = [rows.item(f"i{n}", createdByType="upload") for n in range(number)]
    stack.api.put("Item", *made)
    stream = Stream("Item")
    stack.apply(event(*[stream.insert(row) for row in made]))


def _corrupt(stack: Stack, **changes: int) -> None:
    row = next(r for r in stack.api.rows("AggregatedMetrics") if r["compositeKey"] == MINUTE)
    stack.api.put("AggregatedMetrics", row | changes)


def _stored(stack: Stack) -> dict[Any, Any]:
    return {
        (r["accountId"], r["recordType"], r["timeRangeStart"], r["numberOfMinutes"]): r["count"]
        for r in stack.api.rows("AggregatedMetrics")
        if r["count"]
    }


def _true(stack: Stack) -> dict[Any, Any]:
    return {key: numbers[0] for key, numbers in truth(stack.api).items()}


# verify, repair, backfill -------------------------------------------------------------------------


def test_verify_of_right_counts_is_0(shell: Shell) -> None:
    _count(shell.stack)
    assert shell.run(f"verify {ASKED}") == 0
    assert "0 wrong, 0 moving" in shell.out


def test_verify_shows_drift_by_series_and_minute_and_is_1(shell: Shell) -> None:
    _count(shell.stack)
    _corrupt(shell.stack, count=7, errorCount=2)
    before = shell.stack.api.rows("AggregatedMetrics")
    assert shell.run(f"verify {ASKED}") == 1
    assert "items" in shell.out
    assert "2026-11-22 10:05" in shell.out
    assert "count 7 → 3, errors 2 → 0" in shell.out
    assert shell.stack.api.rows("AggregatedMetrics") == before


def test_verify_as_json_has_every_drift(shell: Shell) -> None:
    _count(shell.stack)
    _corrupt(shell.stack, count=7)
    code, found = shell.json(f"verify {ASKED} --record-types items,tasks")
    assert (code, found["driftCount"], found["hours"]) == (1, 1, 48)
    assert found["drift"][0]["stored"]["count"] == 7
    assert shell.err == ""


def test_repair_sets_right_and_is_0(shell: Shell) -> None:
    _count(shell.stack)
    _corrupt(shell.stack, count=7)
    assert shell.run(f"repair {ASKED}") == 0
    assert "1 repaired" in shell.out
    assert _stored(shell.stack) == _true(shell.stack)
    assert shell.json(f"verify {ASKED}")[1]["driftCount"] == 0


def test_without_a_range_the_closed_hours_are_checked(shell: Shell) -> None:
    _count(shell.stack)
    for _ in range(2):
        shell.stack.clock.advance(hours=1)
        shell.stack.sweep()
    code, found = shell.json("verify")
    assert (code, found["hours"]) == (0, 1)
    assert shell.json("verify")[1]["hours"] == 0


ITEMS = "--record-types items,predictionItems"


def test_backfill_fills_the_newest_month_first_and_says_where_it_is(shell: Shell) -> None:
    for day in ("10-21", "11-20", "11-21"):
        created = f"2026-{day}T23:59:59Z"
        shell.stack.api.put("Item", rows.item(f"{day}", createdAt=created, updatedAt=created))
    asked = f"--account acct-1 --start 2026-10-20 --end 2026-11-22 {ITEMS}"
    assert shell.run(f"backfill {asked} --json") == 0
    lines = [json.loads(line) for line in shell.out.splitlines()]
    starts = [line.get("start") for line in lines]
    assert starts == ["2026-10-22T00:00:00Z", "2026-10-20T00:00:00Z", None]
    assert lines[0]["resumeWithEnd"] == "2026-10-22T00:00:00Z"
    assert lines[-1]["driftCount"] == lines[-1]["repaired"] == 6
    assert _stored(shell.stack) == _true(shell.stack)
    assert shell.run(f"backfill {asked}") == 0
    assert "go on with --end 2026-10-20T00:00:00Z" in shell.err


def test_a_backfill_that_is_stopped_is_resumed_with_its_end(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in ("10-21", "11-21"):
        shell.stack.api.put("Item", rows.item(f"{day}", createdAt=f"2026-{day}T10:00:00Z"))
    slept: list[float] = []

    def interrupt(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    asked = "backfill --account acct-1 --start 2026-10-20 --json"
    assert shell.run(f"{asked} --end 2026-11-22 {ITEMS}") == 130
    assert shell.err == f"stopped; go on with --end 2026-10-22T00:00:00Z {ITEMS}\n"
    assert {key[2][5:10] for key in _stored(shell.stack)} == {"11-21"}
    assert shell.run(f"{asked} --end 2026-10-22T00:00:00Z {ITEMS}") == 0
    assert _stored(shell.stack) == _true(shell.stack)


def test_what_a_stopped_repair_has_set_right_is_shown(shell: Shell) -> None:
    shell.stack.api.put("Item", rows.item("i"))
    shell.stack.api.put("Task", rows.task("t"))
    looks = iter((1, 2))

    def interrupt(request: Any) -> None:
        if b"CountTask" in request.body and next(looks) == 2:
            raise KeyboardInterrupt

    shell.stack.gate.before = interrupt
    code, found = shell.json(f"repair {ASKED} --record-types items,tasks")
    assert (code, found["repaired"]) == (130, 1)
    assert [key[1] for key in _stored(shell.stack) if key[3] == 1] == ["items"]


def test_what_is_moving_is_1_and_says_to_run_it_again(shell: Shell) -> None:
    _count(shell.stack)
    now = shell.stack.clock().isoformat()
    shell.stack.api.put("Item", rows.item("new", createdByType="upload", updatedAt=now))
    code, found = shell.json(f"verify {ASKED}")
    assert (code, found["driftCount"], found["movingCount"]) == (1, 0, 1)
    for command in ("verify", "repair", "backfill"):
        shell.stack.api.put("Item", rows.item("new", updatedAt=shell.stack.clock().isoformat()))
        assert shell.run(f"{command} {ASKED}") == 1
        assert "0 wrong, 2 moving" in shell.out
        assert "run this again in a few minutes" in shell.out


def test_a_group_that_cannot_be_checked_is_2_and_the_others_are_repaired(shell: Shell) -> None:
    _count(shell.stack)
    _corrupt(shell.stack, count=7)

    def refuse(request: Any) -> Any:
        asked = b"CountTask" in request.body
        return refusal(400, "BadRequestException", "not now") if asked else None

    shell.stack.gate.before = refuse
    code, found = shell.json("repair --account acct-1 --start 2026-11-21 --end 2026-11-23")
    assert (code, found["repaired"]) == (2, 1)
    assert [line.partition(":")[0] for line in found["failed"]] == ["acct-1 Task 2026-11-21"]
    assert shell.err.count("not checked: ") == 1
    assert _stored(shell.stack) == _true(shell.stack)


def test_rows_that_cannot_be_read_are_said_and_nothing_is_lowered(shell: Shell) -> None:
    _count(shell.stack)
    _corrupt(shell.stack, count=7)
    shell.stack.api.put("Item", rows.item("odd", createdAt="2026-11-22T10:07:30"))
    shell.run(f"repair {ASKED} --record-types items")
    assert "1 rows are unreadable" in shell.out
    assert _stored(shell.stack)["acct-1", "items", "2026-11-22T10:05:00Z", 1] == 7


def test_repair_completes_what_nobody_sweeps_and_says_so(shell: Shell) -> None:
    _count(shell.stack)
    shell.stack.clock.advance(hours=3)
    assert shell.run(f"repair {ASKED}") == 0
    assert "4 elapsed buckets were not complete, and are now" in shell.out
    assert all(row["complete"] for row in shell.stack.api.rows("AggregatedMetrics"))
    code, found = shell.json(f"repair {ASKED}")
    assert (code, found["completed"]) == (0, 0)


@pytest.mark.parametrize("what", ["interrupted", "failed"])
def test_what_was_repaired_of_the_closed_hours_is_shown_whatever_comes_after(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    _count(shell.stack)
    for _ in range(2):
        shell.stack.clock.advance(hours=1)
        shell.stack.sweep()
    _corrupt(shell.stack, count=7)
    postponed: list[Any] = []

    def fail(_: Any, mark: Any) -> None:
        postponed.append(mark)
        raise KeyboardInterrupt if what == "interrupted" else PendingHoursError("no answer")

    monkeypatch.setattr(PendingHours, "postpone", fail)
    code, found = shell.json("repair")
    assert (code, found["repaired"], len(postponed)) == (130 if what == "interrupted" else 2, 1, 1)
    assert ("run this again" if what == "interrupted" else "no answer") in shell.err


def test_explain_says_why_a_bucket_keeps_more_than_its_rows(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    _count(shell.stack)
    shell.stack.clock.advance(hours=1)
    shell.stack.sweep()
    for n in range(3):
        shell.stack.api.remove("Item", f"i{n}")
    bucket = "show --explain --account acct-1 --record-type items --start 2026-11-22T10:00:00Z"
    assert shell.run(f"{bucket} --minutes 60") == 1
    assert "It is wrong" in shell.out
    shell.stack.clock.advance(hours=48)
    shell.stack.rewire(monkeypatch, SOURCE_LIFETIME_DAYS='{"Item": 1}')
    code, e = shell.json(f"{bucket} --minutes 60")
    assert (code, e["keptBecause"]) == (0, "rows of that age have expired")
    shell.stack.rewire(monkeypatch, SOURCE_LIFETIME_DAYS="{}")
    assert shell.run(f"{bucket} --minutes 60") == 1
    shell.stack.api.remove("AggregatedMetrics", "acct-1", MINUTE)
    shell.stack.api.remove("AggregatedMetrics", "acct-1", MINUTE[:-1] + "5")
    assert shell.run(f"{bucket} --minutes 60") == 0
    assert "all that is left of" in shell.out


# show ---------------------------------------------------------------------------------------------


def test_show_is_a_table_with_bars(shell: Shell) -> None:
    _count(shell.stack)
    hour = "--account acct-1 --record-type items --start 2026-11-22T10:00Z --end 2026-11-22T11:00Z"
    assert shell.run(f"show {hour} --minutes 15") == 0
    lines = [line for line in shell.out.splitlines() if line.strip().startswith("2026")]
    assert [line.split()[2] for line in lines] == ["3", "0", "0", "0"]
    assert "█" * 30 in lines[0]
    assert "█" not in lines[1]
    code, shown = shell.json(f"show {hour} --minutes 5")
    assert (code, len(shown)) == (0, 12)
    assert shown[1] | {"count": 3, "complete": False} == shown[1]
    assert shown[0]["complete"] is None


def test_show_without_a_record_type_sums_everything_up(shell: Shell) -> None:
    _count(shell.stack)
    keep_up(shell.stack.api, datetime(2026, 11, 22, 10, 6, 40, tzinfo=UTC))
    assert shell.run("show --account acct-1 --day 2026-11-22") == 0
    assert re.search(r"items +3 ", shell.out)
    assert "Complete up to 22 Nov 2026, 10:04 UTC" in shell.out
    code, shown = shell.json("show --account acct-1 --day 2026-11-22 --zone Europe/Berlin")
    assert code == 0
    assert shown["recordTypes"]["items"]["sums"]["count"] == 3
    assert shown["start"] == "2026-11-22T00:00:00+01:00"


@pytest.mark.parametrize("command", ["show", "report"])
@pytest.mark.parametrize("span", ["", "--start 2026-11-22", "--start 2026-11-22 --end 2026-11-22"])
def test_without_a_range_nothing_is_read(shell: Shell, command: str, span: str) -> None:
    assert shell.run(f"{command} --account acct-1 {span}") == 2
    assert re.search(r"EventError: .*--(day|end)", shell.err)


# report -------------------------------------------------------------------------------------------


def test_report_writes_a_page_and_says_where(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _count(shell.stack)
    assert shell.run("report --account acct-1 --day 2026-11-22") == 0
    path = tmp_path / "counts-acct-1-2026-11-22.html"
    assert shell.out == f"{path}\n"
    assert '<p class="big">3</p>' in path.read_text()
    span = "--start 2026-11-22T10:00:00Z --end 2026-11-22T11:00:00Z"
    code, written = shell.json(f"report --account acct-1 {span} --output {tmp_path}/x.html")
    assert (code, written) == (0, {"written": f"{tmp_path}/x.html"})


def test_a_page_that_cannot_be_written_is_2(shell: Shell, tmp_path: Path) -> None:
    assert shell.run(f"report --account a --day 2026-11-22 --output {tmp_path}/no/x.html") == 2
    assert "choose another --output" in shell.err


def test_without_plotly_report_says_what_to_install(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("aggregated_metrics_cli.page")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "aggregated_metrics_cli.charts", raising=False)
    monkeypatch.delattr("aggregated_metrics_cli.charts", raising=False)
    monkeypatch.setitem(sys.modules, "plotly", None)
    assert shell.run("report --account a --day 2026-11-22") == 2
    assert "pip install plotly" in shell.err


def test_show_of_no_or_too_many_buckets_is_2(shell: Shell) -> None:
    show = "show --account acct-1 --record-type items --start 2026-11-22"
    assert shell.run(f"{show} --end 2026-11-22") == 2
    assert shell.run(f"{show} --end 2026-11-24 --minutes 1") == 2
    assert "larger --minutes" in shell.err
    assert shell.run(show) == 2
    assert "--explain" in shell.err


def test_explain_says_what_is_known_of_one_bucket(shell: Shell) -> None:
    _count(shell.stack)
    bucket = "show --explain --account acct-1 --record-type items --start 2026-11-22T10:07:00Z"
    assert shell.run(f"{bucket} --minutes 5") == 0
    assert "It is right, and not complete because its time" in shell.out
    _corrupt(shell.stack, count=7)
    code, e = shell.json(f"{bucket[:-9]}10:05:00Z --minutes 1")
    assert (code, e["stored"]["count"], e["counted"]["count"]) == (1, 7, 3)
    assert e["pending"]["state"] == "pending"
    assert len(e["ledger"]) == 1
    assert e["updatedAt"].endswith("Z")
    shell.stack.clock.advance(hours=2)
    assert shell.run(f"{bucket} --minutes 60") == 0
    assert "The sweeper has been due" in shell.out


# redrive ------------------------------------------------------------------------------------------

OTHER = stream_arn("Item").replace("Item-", "Calls-")
REDRIVE = "redrive --wait 0"
LATER = "2026-11-22T10:06:00Z"


def _quarantine(shell: Shell, *records: Any) -> None:
    shell.stack.apply(event(*records))


def _say_what_calls_are(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is mended: the other table holds Items."""
    shell.stack.rewire(monkeypatch, SOURCE_TABLES='{"Calls-abcdefghij-NONE": "Item"}')


def _redriven(shell: Shell) -> tuple[int, list[str | None]]:
    """Redrive once nobody can be writing any more; the exit code, and why each message stays."""
    shell.stack.clock.advance(minutes=10)
    code, listed = shell.json(REDRIVE)
    return code, [entry["left"] for entry in listed]


def test_a_mended_row_of_a_quarantined_record_is_counted_after_redrive(shell: Shell) -> None:
    spoiled = rows.score_result("r", cost="not json")
    _quarantine(shell, Stream("ScoreResult").insert(spoiled))
    shell.stack.api.put("ScoreResult", spoiled | {"cost": {"total_cost": 0.5}})
    assert _stored(shell.stack) == {}
    assert _redriven(shell) == (0, [None])
    assert _stored(shell.stack) == _true(shell.stack)
    assert shell.json(REDRIVE) == (0, [])


def test_a_removed_row_is_done_with_and_not_counted(shell: Shell) -> None:
    stream, spoiled = Stream("ScoreResult"), rows.score_result("r", cost="not json")
    _quarantine(shell, stream.insert(spoiled))
    _quarantine(shell, stream.remove(spoiled))
    assert _redriven(shell) == (0, [None])
    assert _stored(shell.stack) == {}
    assert shell.json(REDRIVE) == (0, [])


def test_an_insert_whose_row_is_gone_counts_nothing_after_its_removal_did(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = rows.item("a")
    _quarantine(shell, Stream(OTHER).insert(row))
    shell.stack.apply(event(Stream("Item").remove(row)))  # the other way round: 1 for 0
    _say_what_calls_are(shell, monkeypatch)
    assert _redriven(shell) == (0, [None])
    assert _stored(shell.stack) == {}
    stream, created = Stream("Item", first=10), shell.stack.clock()
    shell.stack.api.put("Item", rows.item("b"))
    shell.stack.apply(event(stream.insert(rows.item("b"), created=created)))
    assert _stored(shell.stack) == _true(shell.stack)


def test_a_row_that_has_moved_has_its_old_hours_and_its_new_ones_checked(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = rows.item("a", createdByType="upload")
    shell.stack.api.put("Item", old)
    shell.stack.apply(event(Stream("Item").insert(old)))
    between = old | {"createdAt": "2026-11-22T08:00:00Z"}
    _quarantine(shell, Stream(OTHER).modify(old, between))  # neither taken off nor added
    now = old | {"accountId": "acct-2", "createdAt": "2026-11-22T09:00:00Z"}
    shell.stack.api.put("Item", now)
    _say_what_calls_are(shell, monkeypatch)
    shell.stack.clock.advance(minutes=10)
    code, (entry,) = shell.json(REDRIVE)
    assert (code, entry["hours"]) == (
        0,
        [
            "acct-1#items#2026-11-22T08:",
            "acct-1#items#2026-11-22T10:",
            "acct-2#items#2026-11-22T09:",
        ],
    )
    assert _stored(shell.stack) == _true(shell.stack)


@pytest.mark.parametrize("newest_first", [False, True])
def test_neither_order_nor_duplicates_matter_to_redriving(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, newest_first: bool
) -> None:
    """A modification that comes before its insertion takes nothing off that was never counted."""
    old = rows.score_result("r", cost={"total_cost": 2})
    stream = Stream(stream_arn("ScoreResult").replace("ScoreResult-", "Calls-"))
    new = old | {"cost": {"total_cost": 0.5}, "createdAt": LATER}
    records = [stream.insert(old), stream.modify(old, new)]
    for record in reversed(records) if newest_first else records:
        _quarantine(shell, record)
        _quarantine(shell, record)
    shell.stack.api.put("ScoreResult", new)
    shell.stack.rewire(monkeypatch, SOURCE_TABLES='{"Calls-abcdefghij-NONE": "ScoreResult"}')
    for _ in range(2):
        assert _redriven(shell)[0] == 0
        assert _stored(shell.stack) == _true(shell.stack)
        assert _costs(shell.stack) == {500_000}


def _costs(stack: Stack) -> set[int]:
    return {row["cost"] for row in stack.api.rows("AggregatedMetrics") if row["count"]}


def test_redriven_twice_changes_nothing(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Stream(OTHER).insert(rows.item("a"))
    shell.stack.api.put("Item", rows.item("a"))
    _say_what_calls_are(shell, monkeypatch)
    stored = []
    for _ in range(2):
        _quarantine(shell, record)
        assert _redriven(shell) == (0, [None])
        stored.append(shell.stack.api.rows("AggregatedMetrics"))
    assert stored[0] == stored[1]
    assert _stored(shell.stack) == _true(shell.stack)


def test_a_record_that_the_stream_brings_later_is_not_counted_again(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = rows.item("a")
    _quarantine(shell, Stream(OTHER).insert(row))
    shell.stack.api.put("Item", row)
    _say_what_calls_are(shell, monkeypatch)
    assert _redriven(shell) == (0, [None])
    for record in (Stream("Item").insert(row), Stream("Item", first=10).insert(row)):
        shell.stack.apply(event(record))
    assert _stored(shell.stack) == _true(shell.stack)


def test_a_record_whose_row_still_cannot_be_counted_stays_with_the_reason_of_now(
    shell: Shell,
) -> None:
    stream = Stream("ScoreResult")
    spoiled = [rows.score_result(f"r{n}", cost="not json") for n in range(3)]
    _quarantine(shell, *map(stream.insert, spoiled))
    mended = spoiled[2] | {"cost": None}
    far = spoiled[0] | {"cost": None, "createdAt": "2026-11-25T10:05:30Z"}
    shell.stack.api.put("ScoreResult", far, spoiled[1] | {"accountId": None}, mended)
    code, left = _redriven(shell)
    assert code == 1
    assert left[0] == "createdAt 2026-11-25T10:05:00Z is more than a day after the write"
    assert "its row cannot be read: ReadScoreResult" in (left[1] or "")
    assert left[2] is None, "the others do not keep it from being done"
    assert _stored(shell.stack)["acct-1", "scoreResults", "2026-11-22T10:05:00Z", 1] == 1
    assert len(shell.json(REDRIVE)[1]) == 2


def test_a_row_whose_hour_was_never_listed_where_it_is_counts_after_redrive(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time has an offset, so the index lists it outside its hour's own range."""
    row = rows.item("a", createdAt="2026-11-22T15:35:30+05:30")
    _quarantine(shell, Stream(OTHER).insert(row))
    shell.stack.api.put("Item", row)
    _say_what_calls_are(shell, monkeypatch)
    assert _redriven(shell) == (0, [None])
    assert _stored(shell.stack) == _true(shell.stack)
    assert _stored(shell.stack)["acct-1", "items", "2026-11-22T10:05:00Z", 1] == 1
    assert shell.json(f"verify {ASKED}")[0] == 0


def test_a_record_whose_hour_is_moving_stays_until_it_is_settled(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = rows.item("a", updatedAt=shell.stack.clock().isoformat())
    _quarantine(shell, Stream(OTHER).insert(row))
    shell.stack.api.put("Item", row)
    _say_what_calls_are(shell, monkeypatch)
    code, (entry,) = shell.json(REDRIVE)
    assert (code, entry["left"]) == (
        1,
        "its hour is moving: run this again in a few minutes",
    )
    assert _redriven(shell) == (0, [None])
    assert _stored(shell.stack) == _true(shell.stack)


def test_a_record_whose_hour_cannot_be_checked_stays_and_the_others_are_done(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(OTHER)
    for name, account in (("a", "acct-1"), ("b", "acct-2")):
        row = rows.item(name, accountId=account)
        _quarantine(shell, stream.insert(row))
        shell.stack.api.put("Item", row)
    _say_what_calls_are(shell, monkeypatch)
    shell.stack.clock.advance(minutes=10)

    def refuse(request: Any) -> Any:
        asked = b"CountItem" in request.body and b"acct-2" in request.body
        return refusal(400, "BadRequestException", "not now") if asked else None

    shell.stack.gate.before = refuse
    code, listed = shell.json(REDRIVE)
    left = [entry["left"] for entry in listed]
    assert (code, left[0]) == (1, None)
    assert "its hour could not be checked: acct-2 Item 2026-11-22" in left[1]
    assert shell.err.count("\n") == 1
    assert ("acct-1", "items", "2026-11-22T10:00:00Z", 60) in _stored(shell.stack)
    shell.stack.gate.before = lambda _: None
    assert _redriven(shell) == (0, [None])
    assert _stored(shell.stack) == _true(shell.stack)


def test_where_rows_cannot_be_read_only_records_of_hours_that_may_be_too_high_stay(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    _say_what_calls_are(shell, monkeypatch)
    stream = Stream(OTHER)
    early = rows.item("early", createdAt="2026-11-22T08:05:30.000Z")
    shell.stack.api.put("Item", rows.item("gone"), rows.item("stays"))
    for row in (rows.item("gone"), rows.item("stays")):
        _quarantine(shell, stream.insert(row))
    assert _redriven(shell) == (0, [None, None])
    shell.stack.api.remove("Item", "gone")
    shell.stack.api.put("Item", early, rows.item("odd", createdAt="2026-11-22T10:07:30"))
    _quarantine(shell, stream.remove(rows.item("gone")))
    _quarantine(shell, stream.insert(early))
    assert _redriven(shell) == (1, [ANY, None])
    assert "not all of them can be read" in " ".join(shell.out.split())
    hours = [key for key in _stored(shell.stack) if key[1] == "items" and key[3] == 60]
    assert [_stored(shell.stack)[hour] for hour in hours] == [1, 2]
    shell.stack.api.remove("Item", "odd")
    assert _redriven(shell) == (0, [None])
    assert _stored(shell.stack) == _true(shell.stack)


def test_a_record_stays_while_the_rows_do_not_decide_its_minute(shell: Shell) -> None:
    """The API cannot give another row of the minute, so the check leaves the minute alone."""
    stream = Stream("ScoreResult")
    other = rows.score_result("other", value=None)
    shell.stack.api.put("ScoreResult", rows.score_result("mended"), other)
    shell.stack.apply(event(stream.insert(other)))
    _quarantine(shell, stream.insert(rows.score_result("mended", cost="not json")))
    assert _redriven(shell) == (1, [ANY])
    shell.stack.apply(event(stream.modify(other, other | {"value": "yes"})))
    shell.stack.api.put("ScoreResult", other | {"value": "yes"})
    assert _redriven(shell) == (0, [None])
    assert _stored(shell.stack) == _true(shell.stack)


def test_a_dry_run_lists_and_changes_nothing(shell: Shell) -> None:
    _quarantine(shell, Stream(OTHER).insert(rows.item("a")))
    _quarantine(shell, Stream("ScoreResult").insert(rows.score_result("r", cost="not json")))
    shell.stack.api.put("ScoreResult", rows.score_result("r"))
    assert shell.run(f"{REDRIVE} --dry-run") == 0
    assert "Calls-abcdefghij-NONE" in shell.out
    assert "1 would be done and deleted, 1 would be left in the queue" in shell.out
    code, listed = shell.json(f"{REDRIVE} --dry-run")
    assert (code, len(listed)) == (0, 2)
    assert listed[0]["reason"].startswith("no model is known for table")
    assert shell.stack.api.rows("AggregatedMetrics") == []


def test_a_run_that_ends_in_the_middle_leaves_its_messages_to_the_next(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    _quarantine(shell, Stream(OTHER).insert(rows.item("a")))
    shell.stack.api.put("Item", rows.item("a"))
    _say_what_calls_are(shell, monkeypatch)

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    shell.stack.clock.advance(minutes=10)
    assert shell.run(f"{REDRIVE} --json") == 130
    monkeypatch.setattr(time, "sleep", shell.stack.clock.sleep)
    assert _redriven(shell) == (0, [None])


def test_a_limit_that_was_reached_is_said_and_is_1(shell: Shell) -> None:
    for name in ("a", "b"):
        _quarantine(shell, Stream("Item").insert(rows.item(name, accountId=None)))
    code, listed = shell.json(f"{REDRIVE} --limit 1")
    assert (code, len(listed)) == (1, 1)
    assert "run this again" in shell.err


# repair-batches -----------------------------------------------------------------------------------

BATCHES = "repair-batches --wait 0"


def _lost() -> dict[str, Any]:
    text = (ROOT / "events/reconciler/on_failure.json").read_text()
    lost: dict[str, Any] = json.loads(text)["onFailure"]
    return lost


def _keep(shell: Shell, key: str, kept: Any) -> None:
    """An object of the bucket, and its note in the queue."""
    s3, sqs = shell.stack.process.aws("s3"), shell.stack.sqs
    s3.create_bucket(Bucket="lost")
    if kept is not None:
        s3.put_object(Bucket="lost", Key=key, Body=json.dumps(kept))
    shell.failed_batches = sqs.create_queue(QueueName="failed-batches")["QueueUrl"]
    note = {"detail": {"bucket": {"name": "lost"}, "object": {"key": key}}}
    sqs.send_message(QueueUrl=shell.failed_batches, MessageBody=json.dumps(note))


def _batch(*records: Any) -> dict[str, Any]:
    return _lost() | {"payload": json.dumps(event(*records))}


def _notes(shell: Shell) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    got = shell.stack.sqs.get_queue_attributes(QueueUrl=shell.failed_batches, AttributeNames=names)
    return sum(map(int, got["Attributes"].values()))


def test_the_hours_of_a_lost_batch_are_set_right_and_its_note_goes(shell: Shell) -> None:
    shell.stack.api.put("Item", rows.item("item-1"))
    _keep(shell, "a b", _lost())
    shell.stack.clock.advance(minutes=10)
    code, said = shell.json(BATCHES)
    assert (code, said["batches"][0]["object"], said["batches"][0]["left"]) == (
        0,
        "s3://lost/a b",
        None,
    )
    assert said["repaired"] > 0
    assert _stored(shell.stack) == _true(shell.stack)
    assert _notes(shell) == 0
    assert shell.run(BATCHES) == 0
    assert "0 batches done, none left" in shell.out


@pytest.mark.parametrize("place", ["file", "s3"])
def test_an_object_can_be_named_by_hand(shell: Shell, tmp_path: Any, place: str) -> None:
    shell.stack.api.put("Item", rows.item("item-1"))
    _keep(shell, "a/b.json", _lost())
    path = "s3://lost/a/b.json"
    if place == "file":
        path = str(tmp_path / "lost.json")
        (tmp_path / "lost.json").write_text(json.dumps(_lost()))
    shell.stack.clock.advance(minutes=10)
    code, said = shell.json(f"{BATCHES} {path}")
    assert (code, said["batches"][0]["left"]) == (0, None)
    assert _stored(shell.stack) == _true(shell.stack)
    assert _notes(shell) == 1


def test_uncountable_records_of_a_lost_batch_reach_quarantine(shell: Shell) -> None:
    stream, row = Stream("Item"), rows.item("good")
    shell.stack.api.put("Item", row)
    _keep(shell, "x", _batch(stream.insert(row), stream.insert(rows.item("b", accountId=None))))
    shell.stack.clock.advance(minutes=10)
    code, said = shell.json(BATCHES)
    assert (code, said["batches"][0]["quarantined"]) == (0, 1)
    assert [each["reason"] for each in shell.stack.quarantined()] == ["accountId is missing"]
    assert _stored(shell.stack) == _true(shell.stack)


def test_rows_of_a_lost_batch_count_wherever_an_index_lists_them(shell: Shell) -> None:
    row = rows.item("a", createdAt="2026-11-22T15:35:30+05:30")
    shell.stack.api.put("Item", row)
    _keep(shell, "x", _batch(Stream("Item").insert(row)))
    shell.stack.clock.advance(minutes=10)
    assert shell.json(BATCHES)[0] == 0
    assert _stored(shell.stack) == _true(shell.stack)
    assert _stored(shell.stack)["acct-1", "items", "2026-11-22T10:05:00Z", 1] == 1


@pytest.mark.parametrize(
    ("kept", "says"),
    [
        (None, "cannot be read"),
        ({**_lost(), "payload": None}, "Records"),
        ({name: part for name, part in _lost().items() if name != "payload"}, "repair the range"),
        ({}, "no payload"),
        (["x"], "Records"),
        ({"payload": "{"}, "neither an on-failure object"),
    ],
)
def test_a_note_without_a_batch_stays_with_the_reason_and_the_others_go_on(
    shell: Shell, kept: Any, says: str
) -> None:
    shell.stack.api.put("Item", rows.item("item-1"))
    _keep(shell, "bad", kept)
    _keep(shell, "good", _lost())
    shell.stack.sqs.send_message(QueueUrl=shell.failed_batches, MessageBody="not a note")
    shell.stack.clock.advance(minutes=10)
    code, said = shell.json(BATCHES)
    left = {each["object"]: each["left"] for each in said["batches"]}
    assert code == 1
    assert says in left["s3://lost/bad"]
    assert left["s3://lost/good"] is None
    assert "names no object" in left["-"]
    assert _stored(shell.stack) == _true(shell.stack)
    assert _notes(shell) == 2


def test_a_batch_whose_hours_are_moving_keeps_its_note_and_is_1(shell: Shell) -> None:
    row = rows.item("a", updatedAt=shell.stack.clock().isoformat())
    shell.stack.api.put("Item", row)
    spoiled = Stream("Item").insert(rows.item("b", accountId=None))
    _keep(shell, "x", _batch(Stream("Item").insert(row), spoiled))
    code, said = shell.json(BATCHES)
    assert code == 1
    assert "run this again" in said["batches"][0]["left"]
    assert _notes(shell) == 1
    assert shell.stack.quarantined() == [], "only once it is done: it is read again"


def test_notes_that_another_run_has_are_not_called_none_left(shell: Shell) -> None:
    _keep(shell, "x", _lost())
    shell.stack.sqs.receive_message(QueueUrl=shell.failed_batches, VisibilityTimeout=600)
    assert shell.run(BATCHES) == 1
    assert "about 1 messages are with another run" in shell.err


def test_the_queue_is_asked_long_enough_to_be_called_empty(shell: Shell) -> None:
    """SQS asks all of its servers only where it may wait."""
    waits: list[int] = []

    class Queue:
        def receive_message(self, **asked: Any) -> dict[str, Any]:
            waits.append(asked["WaitTimeSeconds"])
            return {}

        def get_queue_attributes(self, **_: Any) -> dict[str, Any]:
            return {"Attributes": {"ApproximateNumberOfMessagesNotVisible": "0"}}

    aws = shell.stack.process.aws
    shell.stack.process.aws = lambda service: Queue() if service == "sqs" else aws(service)
    assert shell.run("repair-batches --json") == 0
    assert shell.run("redrive --json") == 0
    assert waits == [20, 20]


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("verify --account acct-1", "start"),
        ("verify --account acct-1 --start 2026-11-22 --end 2026-11-22", "end must be later"),
        (f"verify {ASKED} --record-types feedback", "unknown record type 'feedback'"),
    ],
)
def test_what_is_wrong_with_a_command_is_2_and_one_line(
    shell: Shell, command: str, says: str
) -> None:
    assert shell.run(command) == 2
    assert says in shell.err
    assert shell.err.count("\n") == 1


def test_without_rich_tables_say_what_to_install_and_json_works(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys  # noqa: PLC0415

    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "aggregated_metrics_cli.display", raising=False)
    monkeypatch.delattr("aggregated_metrics_cli.display", raising=False)
    monkeypatch.setitem(sys.modules, "rich", None)
    assert shell.run(f"verify {ASKED}") == 2
    assert "pip install rich" in shell.err
    assert shell.run(f"verify {ASKED} --json") == 0


def test_an_api_that_refuses_is_2(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    connect: Callable[..., Deployment] = shell.connect

    def refused(*given: Any) -> Deployment:
        deployment = connect(*given)
        deployment.process.session.auth = None
        return deployment

    monkeypatch.setattr(shell, "connect", refused)
    assert shell.run(f"verify {ASKED} --json") == 2
    assert "Item 2026-11-22: AuthorizationError: LoadHours: HTTP 40" in shell.err
