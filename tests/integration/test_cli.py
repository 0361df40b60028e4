"""show, report and the command line's edges, against the API in memory, moto and the functions."""

import csv
import io
import json
import re
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
import pytest
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.series import Series

from aggregated_metrics_cli import show
from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.main import main
from testbench import rows
from testbench.counted import keep_up, minute, store
from testbench.in_process import TABLE, Stack
from testbench.streams import Stream, event

MINUTE = "items#2026-11-22T10:05:00Z#1"
HOUR = "--account acct-1 --start 2026-11-22T10:00Z --end 2026-11-22T11:00Z"


class Shell:
    """Runs commands as from a shell; keeps what they wrote."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.out = self.err = ""

    def connect(self, _: Namespace, __: Mapping[str, str]) -> Deployment:
        session = boto3.Session(region_name="us-east-1")
        made = Deployment(session, {"PendingHoursTable": TABLE}, {}, "here")
        made.process = self.stack.process
        made.aws = self.stack.process.aws
        return made

    def run(self, *command: str) -> int:
        out, err = io.StringIO(), io.StringIO()
        given = [part for each in command for part in each.split(" ")]
        code = main(given, connect=self.connect, out=out, err=err)
        self.out, self.err = out.getvalue(), err.getvalue()
        return code

    def json(self, command: str) -> tuple[int, Any]:
        code = self.run(f"{command} --json")
        return code, json.loads(self.out)


@pytest.fixture
def shell(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    return Shell(stack)


def _count(stack: Stack, number: int = 3) -> None:
    """So many items, counted by the aggregator."""
    made = [rows.item(f"i{n}", createdByType="upload") for n in range(number)]
    stack.api.put("Item", *made)
    stream = Stream("Item")
    stack.apply(event(*[stream.insert(row) for row in made]))


def _break_down(stack: Stack, *scorecards: str) -> None:
    """Score results of these scorecards, in one minute each."""
    counted = {minute("2026-11-22 10:00"): Measures(3, cost=1_500_000)}
    for scorecard in scorecards:
        series = Series("acct-1", "scoreResultsByScorecard", scorecard)
        store(stack.api, series, counted, stack.clock())


# show ---------------------------------------------------------------------------------------------


def test_show_is_a_table_with_bars_up_to_now(shell: Shell) -> None:
    _count(shell.stack)
    assert shell.run(f"show {HOUR} --record-type items --minutes 5") == 0
    lines = [line for line in shell.out.splitlines() if line.strip().startswith("2026")]
    assert [line.split()[:3] for line in lines] == [
        ["2026-11-22", "10:00", "0"],
        ["2026-11-22", "10:05", "3"],
    ], "10:10 has not begun"
    assert "█" * 12 in lines[1]
    assert "█" not in lines[0]
    code, shown = shell.json(f"show {HOUR} --record-type items --minutes 5")
    assert (code, len(shown["items"])) == (0, 2)
    assert shown["items"][1] | {"count": 3, "complete": False} == shown["items"][1]
    assert shown["items"][0]["complete"] is None


def test_show_without_a_record_type_sums_everything_up(shell: Shell) -> None:
    _count(shell.stack)
    keep_up(shell.stack.api, shell.stack.clock())
    assert shell.run("show --account acct-1 --day 2026-11-22") == 0
    assert re.search(r"items +3", shell.out)
    assert "Complete up to 22 Nov 2026, 10:04 UTC" in shell.out
    assert "11:00" not in shell.out, "the future is no row of zeros"
    assert max(map(len, shell.out.splitlines())) <= 80
    code, shown = shell.json("show --account acct-1 --day 2026-11-22 --zone Europe/Berlin")
    assert code == 0
    assert shown["recordTypes"]["items"]["sums"]["count"] == 3
    assert shown["start"] == "2026-11-22T00:00:00+01:00"


def test_a_breakdown_is_shown_by_its_record_type_beside_another(shell: Shell) -> None:
    _count(shell.stack)
    _break_down(shell.stack, "card-1", "QA [internal]")
    asked = f"show {HOUR} --record-type scoreResultsByScorecard --record-type items"
    assert shell.run(asked) == 0
    assert re.search(r"card-1 +3 +1\.50 +0", shell.out)
    assert "QA [internal]" in shell.out
    code, shown = shell.json(asked)
    assert code == 0
    assert shown["scoreResultsByScorecard"][0]["count"] == 3
    assert len(shown["items"]) == 1


@pytest.mark.parametrize("evil", ["card\x1b[2K", "[/x]", "\x1b]0;well\x07"])
def test_hostile_ids_are_shown_escaped_by_every_view(
    shell: Shell, tmp_path: Path, evil: str
) -> None:
    _break_down(shell.stack, evil)
    for command in ("show", "show --record-type scoreResultsByScorecard"):
        assert shell.run(f"{command} {HOUR}") == 0
        assert shell.out.replace("\n", "").isprintable()
        assert evil.replace("\x1b", "\\x1b").replace("\x07", "\\x07") in shell.out
    assert shell.run(f"report {HOUR} --output {tmp_path}/x.html") == 0


def test_a_spreadsheet_has_every_point_and_costs_in_dollars(shell: Shell) -> None:
    _count(shell.stack)
    _break_down(shell.stack, "=HYPERLINK(1)", "card-1")
    assert shell.run("show --account acct-1 --day 2026-11-22 --csv") == 0
    points = list(csv.DictReader(io.StringIO(shell.out)))
    assert {point["recordType"] for point in points} >= {"items", "predictionItems"}
    assert sum(int(point["count"]) for point in points if point["recordType"] == "items") == 3
    assert shell.run(f"show {HOUR} --record-type scoreResultsByScorecard --csv") == 0
    scopes = list(csv.DictReader(io.StringIO(shell.out)))
    assert {scope["cost"] for scope in scopes} == {"1.500000"}
    assert {scope["scorecardId"] for scope in scopes} == {"'=HYPERLINK(1)", "card-1"}


@pytest.mark.parametrize("command", ["show", "report", "show --record-type items", "show --csv"])
def test_an_account_without_anything_stored_is_said_and_is_2(shell: Shell, command: str) -> None:
    _count(shell.stack)
    assert shell.run(f"{command} --account acct-l --day 2026-11-22") == 2
    assert "nothing is stored for the account 'acct-l'" in shell.err
    assert shell.out == ""


def test_an_account_that_only_rests_is_no_error(shell: Shell) -> None:
    _count(shell.stack)
    assert shell.run("show --account acct-1 --day 2026-11-20") == 0
    assert shell.run("show --account acct-1 --day 2026-11-20 --record-type items") == 0


@pytest.mark.parametrize("command", ["show", "report"])
@pytest.mark.parametrize("span", ["", "--start 2026-11-22", "--start 2026-11-22 --end 2026-11-22"])
def test_without_a_range_nothing_is_read(shell: Shell, command: str, span: str) -> None:
    assert shell.run(" ".join(f"{command} --account acct-1 {span}".split())) == 2
    assert re.search(r"^(show|report): .*--(day|end)", shell.err, re.MULTILINE)


def test_show_of_too_many_buckets_is_2(shell: Shell) -> None:
    asked = "show --account acct-1 --record-type items --start 2026-11-20 --end 2026-11-24"
    assert shell.run(f"{asked} --minutes 1") == 2
    assert "larger --minutes" in shell.err


def test_an_unknown_record_type_is_2_and_names_those_that_exist(shell: Shell) -> None:
    assert shell.run(f"show {HOUR} --record-type item") == 2
    assert "'item' is no record type; there are items, " in shell.err


# explain ------------------------------------------------------------------------------------------


def test_explain_shows_what_is_stored_and_pending_of_an_hour_and_reads_no_rows(
    shell: Shell,
) -> None:
    _count(shell.stack)
    asked: list[bytes] = []
    shell.stack.gate.after = lambda request: asked.append(request.body)
    explain = "show --explain --account acct-1 --record-type items --start 2026-11-22T10:07:00Z"
    code, found = shell.json(explain)
    assert code == 0
    assert {each["numberOfMinutes"] for each in found["buckets"]} == {1, 5, 15, 60}
    assert any(each["metadata"] for each in found["buckets"])
    assert found["pending"]["entry"]["due"] > 0
    assert found["pending"]["open check"] is None
    assert not any(b"listItem" in body for body in asked)
    assert shell.run(explain) == 0
    assert "open check: none" in shell.out


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
    code, written = shell.json(f"report {HOUR} --output {tmp_path}/x.html")
    assert (code, written) == (0, {"written": f"{tmp_path}/x.html"})


def test_a_page_that_cannot_be_written_is_2(shell: Shell, tmp_path: Path) -> None:
    _count(shell.stack)
    asked = "report --account acct-1 --day 2026-11-22"
    assert shell.run(f"{asked} --output {tmp_path}/no/x.html") == 2
    assert "choose another --output" in shell.err


# Errors -------------------------------------------------------------------------------------------


def test_an_unexpected_error_is_2_and_one_line_that_says_where_to_report_it(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("\x1b[2K")

    monkeypatch.setattr(show, "range_of", fail)
    assert shell.run("show --account acct-1 --day 2026-11-22") == 2
    (_, line) = shell.err.splitlines()
    assert line.startswith("show: defect: KeyError: '\\x1b[2K' (test_cli.py:")
    assert "issue tracker" in line


def test_an_api_that_refuses_is_2_without_the_name_of_a_class(shell: Shell) -> None:
    shell.stack.process.session.auth = None
    assert shell.run("show --account acct-1 --day 2026-11-22") == 2
    assert "HTTP 40" in shell.err
    assert "Error:" not in shell.err
