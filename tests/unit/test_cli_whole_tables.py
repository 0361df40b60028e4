"""backfill without an account: what it says, asks, starts, follows and reports."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aggregated_metrics_cli import whole_tables
from aggregated_metrics_cli.main import main
from aggregated_metrics_cli.run_progress import Watched, watched
from testbench.backfilling import Backfilling
from testbench.fakes.dynamodb import MemoryTable
from testbench.reconciliation import World
from testbench.streams import stream_arn

if TYPE_CHECKING:
    from collections.abc import Callable

_MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:Backfill"


class _Aws:
    """A stack whose state machine does its work when it is looked at for the second time."""

    def __init__(self) -> None:
        self.world = World(MemoryTable())
        for i in range(12):
            old = "2026-11-22T09:05:00.000Z"
            self.world.insert("Item", f"i{i}", createdAt=old, updatedAt=old)
        self.world.insert("Task", "odd", createdAt="yesterday")
        self.world.undelivered.clear()
        self.backfilling = Backfilling(self.world)
        self.started: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        self.looks = 0
        self.status = "SUCCEEDED"
        self.at_look: Callable[[], None] = lambda: None

    def __call__(self, service: str) -> Any:
        return self.backfilling.bucket if service == "s3" else self

    def describe_stacks(self, *, StackName: str) -> Any:
        parameters = {
            "StreamArns": ",".join(map(stream_arn, ("Item", "Task"))),
            "BackfillReadUnits": "1000",
            "BackfillConcurrency": "4",
            "SettleSeconds": "60",
        }
        outputs = {"BackfillStateMachine": _MACHINE, "BackfillBucket": "runs"}
        return {
            "Stacks": [
                {
                    "Parameters": [
                        {"ParameterKey": key, "ParameterValue": value}
                        for key, value in parameters.items()
                    ],
                    "Outputs": [
                        {"OutputKey": key, "OutputValue": value} for key, value in outputs.items()
                    ],
                }
            ]
        }

    def describe_table(self, *, TableName: str) -> Any:
        return {"Table": {"ItemCount": 1_000_000, "TableSizeBytes": 8_192_000_000}}

    def start_execution(self, *, stateMachineArn: str, name: str, input: str) -> None:  # noqa: A002
        self.started.append({"name": name, **json.loads(input)})

    def stop_execution(self, *, executionArn: str) -> None:
        self.stopped.append(executionArn)

    def describe_execution(self, *, executionArn: str) -> Any:
        self.looks += 1
        self.at_look()
        if self.looks == 1:
            return {"status": "RUNNING"}
        if self.status == "SUCCEEDED":
            asked = {k: v for k, v in self.started[0].items() if k != "name"}
            self.backfilling.run(run=self.started[0]["name"], **asked)
        return {"status": self.status, "error": "RunError", "cause": "it broke"}


@pytest.fixture
def aws() -> _Aws:
    return _Aws()


def _run(aws: _Aws, *given: str, answer: str = "n") -> tuple[int, str]:
    out = io.StringIO()
    code = whole_tables.main(
        ["--stack", "s", *given], aws=aws, out=out, ask=lambda _: answer, sleep=lambda _: None
    )
    return code, out.getvalue()


def test_the_cost_is_said_before_anything_starts_and_no_is_taken_for_no(aws: _Aws) -> None:
    code, said = _run(aws)
    assert code == 0
    assert "1,000,000 rows" in said
    assert "4,000,000 read units" in said  # two tables, two looks
    assert "at most 450,000 requests to the API, $2.30" in said
    assert aws.started == []
    assert _run(aws, "--plan", "--yes")[0] == 0
    assert aws.started == []


def test_it_is_followed_to_its_report(aws: _Aws, tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    code, said = _run(aws, "--report", str(file), answer="y")
    assert code == 0
    assert aws.started[0]["repair"] is True
    assert "13 rows" in said
    assert "8 buckets written" in said
    assert "items" in said
    assert "not counted: 1 rows: createdAt … is not an AWSDateTime" in said
    report = json.loads(file.read_text())
    assert report["uncountableRows"]["createdAt … is not an AWSDateTime"] == [1, ["odd"]]


def test_a_verification_that_finds_something_says_so_by_its_exit_code(aws: _Aws) -> None:
    code, said = _run(aws, "--yes", "--verify", "--json")
    assert code == 1
    assert aws.started[0]["repair"] is False
    assert json.loads(said.splitlines()[-1])["drift"]["items"] == 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([], "their hours are marked, and the hourly check looks again"),
        (["--verify"], "run this again"),
    ],
)
def test_what_was_moving_is_left_and_it_is_said_who_looks_again(
    aws: _Aws, given: list[str], says: str
) -> None:
    aws.world.at("wait", lambda: aws.world.update("Item", "i0"))
    code, said = _run(aws, "--yes", *given)
    assert code == 1
    assert "0 wrong        0 set right      1 moving" in said
    assert says in said


def test_progress_has_each_looks_rate_and_what_is_left_of_it(aws: _Aws) -> None:
    run, clock = aws.backfilling, aws.world.clock
    aws.world.at("page", *[lambda: clock.advance(2)] * 100)
    seen = watched(run.job().files, "r", clock)
    assert next(seen) == Watched(), "there is no run yet"
    plan = run.invoke({"prepare": {"run": "r", "models": ["Item"], "segments": 2}})
    run.invoke({"scan": plan["first"][0]})
    half = next(seen)
    assert 0 < half.looks[1].rows < half.items == 12
    assert half.looks[1].segments == 1
    assert half.left(1) == (12 - half.looks[1].rows) / half.looks[1].rate
    assert half.left(2) is half.reducing_left is None
    run.invoke({"scan": plan["first"][1]})
    clock.advance(61)
    for unit in plan["second"]:
        run.invoke({"scan": unit})
    assert (next(seen).left(1), next(seen).left(2)) == (0.0, 0.0)
    run.invoke({"gather": {"run": "r"}})
    for partition in plan["partitions"][:3]:
        clock.advance(5)
        run.invoke({"reduce": partition})
    last = next(seen)
    assert (last.reduced, last.partitions) == (3, 4)
    assert last.reducing_left == last.seconds / 3 >= 5


def test_an_interrupt_leaves_it_running_and_says_how_to_look_and_how_to_stop(aws: _Aws) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    aws.at_look = interrupt
    code, said = _run(aws, "--yes")
    name = aws.started[0]["name"]
    assert code == 130
    assert f"--follow {name}" in said
    assert f"--stop {name}" in said
    assert aws.stopped == []
    _run(aws, "--stop", name)
    assert aws.stopped == [f"{_MACHINE.replace('stateMachine', 'execution')}:{name}"]


def test_what_failed_says_how_to_go_on(aws: _Aws) -> None:
    aws.status = "FAILED"
    code, said = _run(aws, "--yes")
    assert code == 2
    assert "redrive-execution" in said
    assert "it broke" in said


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        (["backfill", "--stack", "s"], True),
        (["backfill", "--stack=s", "--yes"], True),
        (["backfill"], True),
        (["backfill", "--help"], True),
        (["backfill", "--stack", "s", "--start", "2026-11-22"], False),
        (["backfill", "--stack", "s", "--account", "a"], False),
        (["backfill", "--account=a"], False),
        (["verify", "--stack", "s"], False),
        ([], False),
    ],
)
def test_whole_tables_are_meant_where_no_account_is_named(given: list[str], asked: bool) -> None:
    assert whole_tables.is_asked(given) is asked


@pytest.mark.parametrize(
    ("given", "options", "other"),
    [
        ([], ("--plan", "--yes", "--models", "--verify", "--follow", "--stop"), "--account"),
        (["--account", "a"], ("--account", "--start", "--end"), "Without --account"),
    ],
)
def test_the_help_of_each_form_has_its_options_and_names_the_other(
    given: list[str],
    options: tuple[str, ...],
    other: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["backfill", *given, "--help"])
    assert ended.value.code == 0
    listed, _, epilog = capsys.readouterr().out.rpartition("\n\n")
    assert [option for option in options if f"  {option} " not in listed] == []
    assert other in epilog
