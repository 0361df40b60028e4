"""What the command line takes and refuses."""

import os
import subprocess
import sys

import pytest

from aggregated_metrics_cli.arguments import parse

SPAN = ["--account", "a", "--start", "2026-11-22", "--end", "2026-11-23T10:00:00+05:30"]
ON = ["--stack", "s"]


def test_a_date_is_its_midnight_in_utc_and_offsets_are_converted() -> None:
    options = parse(["verify", *ON, *SPAN, "--record-type", "items", "--record-type", "tasks"])
    assert options.start == "2026-11-22T00:00:00Z"
    assert options.end == "2026-11-23T04:30:00Z"
    assert options.record_types == ["items", "tasks"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--json"], "COMMAND"),
        (["count"], "'count'"),
        (["backfill"], "--stack"),
        (["backfill", *ON, "--account", "a"], "--account"),
        (["verify", *ON, "--start", "2026-11-22T10:00:00"], "no time such as 2026-11-22"),
        (["verify", *ON, "--start", "yesterday"], "'yesterday' is no time such as"),
        (["verify", *ON, "--record-types", "items"], "--record-types"),
        (["repair", *ON, "--quarantine", "--failed-batches"], "not allowed with"),
        (["repair", *ON, "--follow", "a", "--stop", "b"], "not allowed with"),
        (["show", *SPAN, "--zone", "Europe/Nowhere"], "no time zone"),
        (["report", "--account", "a", "--day", "yesterday"], "'yesterday' is no day such as"),
        (["report", "--account", "a", "--day", "2026-02-30"], "no day such as 2026-11-22"),
        (["show", *SPAN, "--minutes", "10"], "10"),
        (["show", "--account", "a", "--bad\x1b[2K"], "--bad\\x1b[2K"),
    ],
)
def test_wrong_usage_is_2_and_one_line(
    given: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(given)
    err = capsys.readouterr().err
    assert ended.value.code == 2
    assert says in err
    assert (err.count("\n"), "\x1b" in err) == (1, False)


COMMANDS = ("attach", "show", "report", "verify", "repair", "backfill")


@pytest.mark.parametrize("given", [[], *([command, "--help"] for command in COMMANDS)])
def test_every_command_is_listed_and_has_help_a_region_and_a_profile(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(given)
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert all(each in out for each in (("--region", "--profile") if given else COMMANDS))


@pytest.mark.parametrize("given", ["backfill --help", "attach /nope/ö.json --region x"])
def test_help_and_errors_survive_a_terminals_encoding(given: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "aggregated_metrics_cli", *given.split()],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        check=False,
    )
    assert done.returncode == (0 if "--help" in given else 2), done.stderr
    assert b"Traceback" not in done.stderr
