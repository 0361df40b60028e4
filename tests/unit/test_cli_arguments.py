import pytest

from aggregated_metrics_cli.arguments import parse

RANGE = ["--account", "a", "--start", "2026-11-22", "--end", "2026-11-23T10:00:00+05:30"]


def test_a_date_is_its_midnight_in_utc() -> None:
    options = parse(["verify", *RANGE, "--record-types", "items, tasks"])
    assert options.start == "2026-11-22T00:00:00Z"
    assert options.end == "2026-11-23T10:00:00+05:30"
    assert options.record_types == ["items", "tasks"]


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["count"],
        ["backfill"],
        ["backfill", *RANGE[:4]],
        ["verify", "--account", "a", "--start", "2026-11-22T10:00:00", "--end", "2026-11-23"],
        ["verify", "--account", "a", "--start", "yesterday", "--end", "2026-11-23"],
        ["show", *RANGE, "--zone", "Europe/Nowhere"],
        ["report", "--account", "a", "--day", "yesterday"],
        ["show", *RANGE, "--record-type", "feedback"],
        ["show", *RANGE, "--record-type", "items", "--minutes", "10"],
    ],
)
def test_wrong_usage_is_2(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(given)
    assert ended.value.code == 2
    assert "usage: aggregated-metrics" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["verify", "repair", "backfill", "show", "report", "redrive", "repair-batches"]
)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([command, "--help"])
    assert ended.value.code == 0
    assert "--stack" in capsys.readouterr().out


def test_without_a_range_nothing_is_asked_for() -> None:
    options = parse(["repair"])
    assert (options.account, options.start, options.end, options.json) == (None, None, None, False)
