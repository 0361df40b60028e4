"""verify, repair and backfill: what they start, follow, report and exit with."""

import io
import json
from datetime import UTC, datetime
from typing import Any
from unittest.mock import Mock

import boto3
import pytest
from aggregated_metrics.core.findings import Findings
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.series import HourId, Series
from botocore.exceptions import ClientError

from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.main import main
from testbench.counted import FakeClient, minute, store

NOW = datetime(2026, 11, 22, tzinfo=UTC)
MACHINE = "arn:aws:states:eu-central-1:123456789012:stateMachine:counts"
TABLE = "arn:aws:dynamodb:eu-central-1:123456789012:table/{}/stream/1"
STACK = {
    "BackfillStateMachine": MACHINE,
    "StreamArns": f"{TABLE.format('Item-x-NONE')},{TABLE.format('calls')}",
    "SourceTables": '{"calls": "ScoreResult"}',
}
RANGE = "--account a --start 2026-11-22 --end 2026-11-23"
ASKED = {"accountId": "a", "start": "2026-11-22T00:00:00Z", "end": "2026-11-23T00:00:00Z"}
HOUR = HourId(Series("a", "scoreResultsByScorecard", "card-1"), 0)
DRIFT = (5, 1, {"count": 7}, {"count": 3})
RIGHT = Findings(hours=24, minutes=90, rows=1_000).as_result()


class StepFunctions:
    """A machine whose execution ends after two looks; keeps what it was asked."""

    def __init__(self) -> None:
        self.started: list[tuple[str, Any]] = []
        self.stopped: list[str] = []
        self.ends: dict[str, Any] = {"status": "SUCCEEDED", "output": json.dumps(RIGHT)}
        self.looks = 0
        self.maps: list[dict[str, Any]] = []
        self.denied = False

    def start_execution(self, *, stateMachineArn: str, name: str, input: str) -> None:  # noqa: A002
        assert stateMachineArn == MACHINE
        self.started.append((name, json.loads(input)))
        self.looks = 0

    def stop_execution(self, executionArn: str) -> None:
        self.stopped.append(executionArn)

    def describe_execution(self, executionArn: str) -> dict[str, Any]:
        assert executionArn.startswith(f"{MACHINE.replace('stateMachine', 'execution')}:")
        self.looks += 1
        return self.ends if self.looks > 2 else {"status": "RUNNING"}

    def list_map_runs(self, executionArn: str) -> dict[str, Any]:
        if self.denied:
            raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "ListMapRuns")
        return {"mapRuns": self.maps}

    def describe_map_run(self, mapRunArn: str) -> dict[str, Any]:
        return {"itemCounts": {"succeeded": 3, "total": 8}}


class DynamoDB:
    def describe_table(self, TableName: str) -> dict[str, Any]:
        size = {"Item-x-NONE": 8_192_000, "calls": 4_096}[TableName]
        return {"Table": {"ItemCount": size // 8, "TableSizeBytes": size}}


class Shell:
    """Runs commands as from a shell; keeps what they wrote."""

    def __init__(self) -> None:
        self.machine, self.api = StepFunctions(), FakeClient()
        self.out = self.err = ""

    def run(self, command: str) -> int:
        made = Deployment(boto3.Session(region_name="eu-central-1"), STACK, {}, "counts, account 1")
        clients = {"stepfunctions": self.machine, "dynamodb": DynamoDB()}
        made.aws, made.client = lambda service: clients[service], self.api  # type: ignore[assignment]
        out, err = io.StringIO(), io.StringIO()
        code = main(
            [*command.split(), "--stack", "counts"], connect=lambda *_: made, out=out, err=err
        )
        self.out, self.err = out.getvalue(), err.getvalue()
        return code


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setattr("aggregated_metrics_cli.executions._LOOK_SECONDS", (0.0, 0.0))
    monkeypatch.setenv("COLUMNS", "80")
    return Shell()


@pytest.mark.parametrize(
    ("command", "asked"),
    [
        (f"verify {RANGE}", {"range": {**ASKED, "repair": False}}),
        (f"repair {RANGE}", {"range": {**ASKED, "repair": True}}),
        (
            f"repair {RANGE} --record-type items --record-type tasks",
            {"range": ASKED | {"recordTypes": ["items", "tasks"], "repair": True}},
        ),
        ("repair --quarantine", {"quarantine": {"repair": True}}),
        ("repair --failed-batches", {"failedBatches": {"repair": True}}),
        ("verify --yes", {"tables": {"repair": False}}),
        ("backfill --yes", {"tables": {"repair": True}}),
        (
            "backfill --yes --models ScoreResult",
            {"tables": {"models": ["ScoreResult"], "repair": True}},
        ),
    ],
)
def test_a_command_starts_an_execution_with_one_of_the_four_inputs(
    shell: Shell, command: str, asked: Any
) -> None:
    assert shell.run(command) == 0, shell.err
    assert [given for _, given in shell.machine.started] == [asked]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("verify --account a", "a range needs --account, --start and --end"),
        ("repair", "a range needs"),
        ("verify --record-type items", "a range needs"),
        ("repair --account a --start 2026-11-22 --end 2026-11-22", "--end must be later"),
        (f"repair {RANGE} --quarantine", "name either"),
        ("backfill --yes --models Itme", "'Itme' is not attached; attached: Item, ScoreResult"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_starts(
    shell: Shell, command: str, says: str
) -> None:
    assert shell.run(command) == 2
    assert says in shell.err
    assert shell.machine.started == []


@pytest.mark.parametrize(
    ("found", "code", "says"),
    [
        ({"hours": 24, "rows": 1_000}, 0, "hours: 24, rows read: 1,000, drifting: 0, repaired: 0"),
        ({"drift": 1}, 1, "a scoreResultsByScorecard card-1 1970-01-01T00:05:00Z 1 count 7 → 3"),
        ({"drift": 1, "repaired": 1}, 0, "drifting: 1, repaired: 1"),
        ({"drift": 300, "repaired": 300}, 0, "… and 100 more"),
        ({"in_flux": 2}, 1, "Run this again in a few minutes"),
        ({"unverified": 1}, 1, "minutes that could not be compared: 1."),
        ({"deferred": {HOUR}}, 1, "backfill --models"),
        ({"still_uncountable": 3}, 1, "still cannot be counted: 3. Correct"),
        ({"not_reached": ["a: Item"], "not_reached_count": 1}, 2, "not reached: a: Item"),
        ({"failed": ["a: Task: no answer"]}, 2, "could not be checked: a: Task: no answer"),
    ],
)
def test_the_exit_code_and_the_lines_follow_the_report(
    shell: Shell, found: dict[str, Any], code: int, says: str
) -> None:
    rest: dict[str, Any] = {name: value for name, value in found.items() if name != "drift"}
    findings = Findings(minutes=90, **rest)
    for _ in range(found.get("drift", 0)):
        findings.report_drift(HOUR, DRIFT)
    shell.machine.ends["output"] = json.dumps(findings.as_result())
    assert shell.run(f"repair {RANGE}") == code
    assert says in " ".join(shell.out.split())
    assert shell.err.splitlines()[0] == "repair: counts, account 1"
    assert shell.run(f"repair {RANGE} --json") == code
    assert json.loads(shell.out) == findings.as_result()


@pytest.mark.parametrize("command", ["verify", "repair"])
def test_a_range_of_an_account_without_anything_stored_is_2(shell: Shell, command: str) -> None:
    """It is misspelt, or it was never counted; one that only rests is right."""
    shell.machine.ends["output"] = json.dumps(Findings().as_result())
    assert shell.run(f"{command} {RANGE}") == 2
    assert "nothing is stored for the account 'a'" in shell.err
    store(shell.api.api, Series("a", "tasks"), {minute("2026-01-01 10:00"): Measures(1)}, NOW)
    assert shell.run(f"{command} {RANGE}") == 0


def test_rows_that_are_not_counted_are_named_by_their_reason(shell: Shell) -> None:
    shell.machine.ends["output"] = json.dumps(RIGHT | {"uncountable": {"createdAt is missing": 3}})
    assert shell.run("backfill --yes") == 0
    assert "rows that are not counted: 3: createdAt is missing" in shell.out


@pytest.mark.parametrize(
    ("ends", "says"),
    [
        ({"status": "FAILED", "error": "EventError", "cause": "no such model"}, "no such model"),
        ({"status": "FAILED", "cause": '{"errorMessage": "no rows"}'}, "failed: no rows."),
        ({"status": "ABORTED"}, "was stopped"),
        ({"status": "TIMED_OUT"}, "ran out of time"),
    ],
)
def test_an_execution_that_does_not_succeed_is_2_with_its_reason(
    shell: Shell, ends: dict[str, Any], says: str
) -> None:
    shell.machine.ends = ends
    assert shell.run(f"repair {RANGE}") == 2
    assert says in shell.err
    assert "What it has repaired stays so" in shell.err
    assert "errorMessage" not in shell.err


def test_an_interrupted_command_says_what_goes_on_and_how_to_stop_it(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StepFunctions, "list_map_runs", Mock(side_effect=KeyboardInterrupt))
    assert shell.run(f"repair {RANGE} --region eu-central-1") == 130
    name = shell.machine.started[0][0]
    command = "aggregated-metrics repair --stack counts --region eu-central-1"
    assert f"{name} is still running. To follow it: {command} --follow {name}" in shell.err
    assert f"To stop it: {command} --stop {name}" in shell.err


def test_an_execution_is_followed_or_stopped_by_its_name(shell: Shell) -> None:
    shell.machine.denied = True  # the caller may not read the maps
    assert shell.run("backfill --follow backfill-1") == 0
    assert "rows read: 1,000" in shell.out
    assert shell.run("verify --stop verify-1") == 0
    assert shell.machine.started == []
    assert shell.machine.stopped == [f"{MACHINE.replace('stateMachine', 'execution')}:verify-1"]
    assert "verify-1 is stopped" in shell.err


def test_the_plan_is_shown_and_nothing_starts(shell: Shell) -> None:
    assert shell.run("backfill --plan") == 0
    assert "Item: about 1,024,000 rows" in shell.out
    assert "2,002 read units in two passes" in shell.out
    assert shell.run("verify --plan --models Item --json") == 0
    assert json.loads(shell.out)["plan"]["rows"] == {"Item": 1_024_000}
    assert shell.machine.started == []


@pytest.mark.parametrize(("given", "code"), [("y\n", 0), ("\n", 2), ("n\n", 2), ("", 2)])
def test_whole_tables_start_only_when_confirmed(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, given: str, code: int
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(given))
    assert shell.run("backfill --json") == code
    assert len(shell.machine.started) == (code == 0)
    assert "read units" in shell.err
    assert (code == 0) == bool(shell.out), "the question is not on stdout"
