"""show, report and the command line's edges, against the functions and the API in memory."""

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
from aggregated_metrics.core.series import HourId, Series

from aggregated_metrics_cli import show
from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.main import main
from testbench import local
from testbench.counted import keep_up, minute, store
from testbench.fakes.endpoint import refusal
from testbench.world import World
from tests.conftest import NOW

HOUR = "--account acct-1 --start 2026-11-22T10:00Z --end 2026-11-22T11:00Z"
TEN = "2026-11-22 10:00"
DAY = "--account acct-1 --day 2026-11-22"


class Shell:
    """Runs commands as from a shell; keeps what they wrote."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stack = {"PendingHoursTable": local.PENDING_HOURS, "GraphQLEndpoint": local.ENDPOINT}
        self.out = self.err = ""

    def connect(self, _: Namespace, __: Mapping[str, str]) -> Deployment:
        session = boto3.Session(local.KEY, local.SECRET, region_name="us-east-1")
        made = Deployment(session, self.stack, {}, "here")
        made.aws = self.world.ports.aws
        made.process.session, made.process.clock = self.world.session, self.world.clock
        return made

    def run(self, *command: str) -> int:
        out, err = io.StringIO(), io.StringIO()
        given = [part for each in command for part in each.split(" ")]
        code = main(given, connect=self.connect, out=out, err=err)
        self.out, self.err = out.getvalue(), err.getvalue()
        return code

    def json(self, command: str) -> Any:
        assert self.run(f"{command} --json") == 0, self.err
        return json.loads(self.out)

    def csv(self, command: str) -> list[dict[str, str]]:
        assert self.run(f"{command} --csv") == 0, self.err
        return list(csv.DictReader(io.StringIO(self.out)))


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    """After three items of 10:05, which the aggregator has counted."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    world = World(now=NOW)
    for n in range(3):
        at = "2026-11-22T10:05:30.000Z"
        world.insert("Item", f"i{n}", createdAt=at, updatedAt=at, createdByType="upload")
    world.deliver()
    keep_up(world.api, NOW)
    return Shell(world)


def break_down(world: World, *scorecards: str) -> None:
    """Store three score results of these scorecards, in one minute each."""
    counted = {minute(TEN): Measures(3, cost=1_500_000)}
    for scorecard in scorecards:
        series = Series("acct-1", "scoreResultsByScorecard", scorecard)
        store(world.api, series, counted, world.clock())


# show ---------------------------------------------------------------------------------------------


def test_show_is_a_table_with_bars_up_to_now(shell: Shell) -> None:
    assert shell.run(f"show {HOUR} --record-type items --minutes 5") == 0
    lines = [line.split() for line in shell.out.splitlines() if line.strip().startswith("10:")]
    assert lines == [["10:00", "0", "open"], ["10:05", "3", "█" * 12, "open"]], (
        "10:10 has not begun"
    )
    (items,) = shell.json(f"show {HOUR} --record-type items --minutes 5")["series"]
    assert [point["count"] for point in items["points"]] == [0, 3]
    assert not items["points"][1]["complete"]


def test_show_without_a_record_type_sums_everything_up(shell: Shell) -> None:
    assert shell.run(f"show {DAY}") == 0
    assert re.search(r"items +3", shell.out)
    assert "Complete up to 22 Nov 2026, 10:04 UTC" in shell.out
    assert "Nothing of scoreResults, tasks" in shell.out
    assert "11:00" not in shell.out, "the future is no row of zeros"
    assert max(map(len, shell.out.splitlines())) <= 80
    shown = shell.json(f"show {DAY} --zone Europe/Berlin")
    assert shown["series"][0]["sums"]["count"] == 3
    assert shown["start"] == "2026-11-22T00:00:00+01:00"


def test_a_breakdown_is_shown_by_its_record_type_beside_another(shell: Shell) -> None:
    break_down(shell.world, "card-1", "QA [internal]")
    asked = f"show {HOUR} --record-type scoreResultsByScorecard --record-type items"
    assert shell.run(asked) == 0
    assert re.search(r"card-1 +3 +cost \$1\.5", shell.out)
    assert "QA [internal]" in shell.out
    named = {each.get("scorecardId"): each for each in shell.json(asked)["series"]}
    assert named.keys() == {None, "card-1", "QA [internal]"}
    assert named["card-1"]["sums"]["count"] == 3


def test_hostile_ids_are_shown_escaped_by_every_view(shell: Shell, tmp_path: Path) -> None:
    evil = "[/x] card\x1b[2K"
    break_down(shell.world, evil)
    assert shell.run(f"show {HOUR}") == 0
    assert shell.out.replace("\n", "").isprintable()
    assert evil.replace("\x1b", "\\x1b") in shell.out
    assert shell.run(f"report {HOUR} --output {tmp_path}/x.html") == 0


def test_a_spreadsheet_has_every_point_and_costs_in_dollars(shell: Shell) -> None:
    break_down(shell.world, "=HYPERLINK(1)", "card-1")
    points = shell.csv(f"show {DAY}")
    assert sum(int(point["count"]) for point in points if point["recordType"] == "items") == 3
    scopes = shell.csv(f"show {HOUR} --record-type scoreResultsByScorecard")
    assert {scope["cost"] for scope in scopes} == {"1.500000"}
    assert {scope["scorecardId"] for scope in scopes} == {"'=HYPERLINK(1)", "card-1"}


@pytest.mark.parametrize("command", ["show", "report", "show --record-type items", "show --csv"])
def test_an_account_without_anything_stored_is_said_and_is_2(shell: Shell, command: str) -> None:
    assert shell.run(f"{command} --account acct-l --day 2026-11-22") == 2
    assert "nothing is stored for the account 'acct-l'" in shell.err
    assert shell.out == ""
    assert shell.run("show --account acct-1 --day 2026-11-20") == 0, "this one only rests"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("", "a range is needed"),
        ("--start 2026-11-22", "a range is needed"),
        ("--start 2026-11-22 --end 2026-11-22", "--end must be later"),
        ("--start 2026-01-01 --end 2026-11-22 --minutes 1", "choose a larger step"),
        ("--day 2026-11-22 --record-type item", "'item' is no record type; there are items, "),
        ("--day 2026-11-22 --explain", "--explain needs --start"),
    ],
)
def test_what_cannot_be_shown_is_2_and_says_what_to_change(
    shell: Shell, asked: str, says: str
) -> None:
    assert shell.run(f"show --account acct-1 {asked}".strip()) == 2
    assert says in shell.err
    assert shell.out == ""


# explain ------------------------------------------------------------------------------------------


def test_explain_shows_what_is_stored_and_pending_of_an_hour_and_reads_no_rows(
    shell: Shell,
) -> None:
    explain = "show --explain --account acct-1 --record-type items --start 2026-11-22T10:07:00Z"
    found: Any = {}
    asked = shell.world.requests(lambda: found.update(shell.json(explain)))
    assert not any("listItem" in str(exchange.fields) for exchange in asked)
    assert {each["numberOfMinutes"] for each in found["buckets"]} == {1, 5, 15, 60}
    assert "checkpoints" in found["buckets"][0]["metadata"]
    assert found["pending"]["entry"]["due"] > 0
    assert found["pending"]["open check"] is None
    assert shell.run(explain) == 0
    assert "open check: none" in shell.out


def test_explain_shows_a_breakdowns_hour_and_why_a_check_is_open(shell: Shell) -> None:
    break_down(shell.world, "card-1")
    explain = f"show --explain {HOUR} --record-type scoreResultsByScorecard --breakdown-id card-1"
    hour = HourId(Series("acct-1", "scoreResultsByScorecard", "card-1"), minute(TEN))
    shell.world.pending().open_check(hour, "a limit stopped its reading", deferred=True)
    found = shell.json(explain)
    assert found["buckets"][0]["count"] == 3
    assert found["pending"]["open check"]["reason"] == "a limit stopped its reading"


# report -------------------------------------------------------------------------------------------


def test_report_writes_a_page_and_says_where(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert shell.run(f"report {DAY}") == 0
    path = tmp_path / "counts-acct-1-2026-11-22.html"
    assert shell.out == f"{path}\n"
    assert '<th scope="row">items</th><td>3</td>' in path.read_text()
    written = shell.json(f"report {HOUR} --output {tmp_path}/x.html")
    assert written == {"written": f"{tmp_path}/x.html"}
    assert shell.run(f"report {DAY} --output {tmp_path}/no/x.html") == 2
    assert "choose another --output" in shell.err


# Errors -------------------------------------------------------------------------------------------


def test_an_unexpected_error_is_2_and_one_line_that_says_where_to_report_it(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("\x1b[2K")

    monkeypatch.setattr(show, "range_of", fail)
    assert shell.run(f"show {DAY}") == 2
    (_, line) = shell.err.splitlines()
    assert line.startswith("show: defect: KeyError: '\\x1b[2K' (test_cli.py:")
    assert "issue tracker" in line


def test_an_api_that_refuses_is_2_without_the_name_of_a_class(shell: Shell) -> None:
    shell.world.before = lambda _: refusal(403, "AccessDeniedException", "no")
    assert shell.run(f"show {DAY}") == 2
    assert "HTTP 403" in shell.err
    assert "Error:" not in shell.err
