"""What `make demo` prints: it fits 80 columns, and the commands that it names exist."""

import io
import shlex
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import pytest
from aggregated_metrics.core.errors import TransportError
from rich.console import Console

from aggregated_metrics_cli import arguments
from demo import report
from demo.__main__ import Demo, last_hour
from testbench.emulated.check import Difference, Quarantined, Verdict
from testbench.emulated.corruption import Damage
from testbench.emulated.functions import StreamLog, persistently
from testbench.emulated.stack import StepError
from testbench.templates import ROOT

HOUR, END = "2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z"
KEY = ("acme", "evaluationScoreResults", "2026-11-22T10:15:00Z", 15)
DRIFT = {"stored": {"count": 1_234_567, "cost": 1}, "counted": {"count": 1_234_560, "cost": 1}}


@pytest.mark.parametrize("kept", [True, False])
def test_three_commands_are_named_that_exist_and_fit_80_columns(*, kept: bool) -> None:
    """Zsh takes no comments; the targets of a deployment find none."""
    page, makefile = Path(".local/demo-report.html"), (ROOT / "Makefile").read_text()
    targets = makefile.partition("# A deployment")[0]
    commands = [*report.next_steps(kept, "acme", HOUR, END, page)]
    assert len(commands) == 3
    for _, command in commands:
        assert max(map(len, command.splitlines())) <= report.WIDTH - 2
        program, *given = shlex.split(command.replace("\\\n", ""))
        if kept:
            assert program == "aggregated-metrics"
            assert arguments.parse(given).stack == "$STACK"
        else:
            assert "#" not in given
            assert (program, given[0]) == ("python3", "-m") or f"\n{given[0]}: " in targets


def test_everything_fits_80_columns_with_every_label() -> None:
    out = io.StringIO()
    console = Console(file=out, width=report.WIDTH, highlight=False)
    verdict = Verdict(1_234, [Difference(KEY, (1, 2, 3), (4, 5, 6))], [KEY], [], 1_000)
    report.show_verdict(console, verdict, 12.3)
    report.show_damage(console, [Damage("deleted minute", KEY, Mock())] * 2, {KEY: DRIFT})
    reason = "createdAt … is more than a day after the record's own creation, so not counted"
    report.show_quarantine(console, [Quarantined("ScoreResult", "row", reason)])
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= report.WIDTH
    for label in ("evaluationScoreResults", "1,234,567 → 1,234,560", "ScoreResult", "12 s"):
        assert label in text


def test_the_hour_that_is_corrupted_is_over_whenever_the_demo_runs() -> None:
    times = (datetime(2026, 11, 22, 0, minute, 3, tzinfo=UTC) for minute in (0, 1, 30, 59))
    assert {*map(last_hour, times)} == {datetime(2026, 11, 21, 23, tzinfo=UTC)}


def test_what_a_busy_machine_answers_too_late_is_read_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("testbench.emulated.functions._LOOK_SECONDS", 0)
    late = TransportError("late", operation="Read")
    assert persistently(Mock(side_effect=[late, late, "buckets"])) == "buckets"
    with pytest.raises(TransportError, match="late"):
        persistently(Mock(side_effect=[late] * 3))


def test_a_long_wait_prints_a_line_now_and_then_and_ends_when_nothing_moves_for_minutes() -> None:
    out, now, log = io.StringIO(), [0.0], StreamLog(Mock())

    def sleep(_: float) -> None:
        now[0] += 5
        log.records = min(int(now[0]), 200)

    clock = Mock(monotonic=lambda: now[0], sleep=sleep)
    console, today = Console(file=out), datetime.now(UTC)
    demo = Demo(console, Mock(), Mock(), 500, 1, today, clock=clock.monotonic)
    log.look = lambda: log  # type: ignore[method-assign] # what is logged is said by the sleep
    with demo.timed("applying"), pytest.raises(StepError, match=r"200 of 201 .* less busy"):
        log.drain(201, lambda n: demo.progress(f"{n} of 201"), clock)
    assert now[0] == 200 + 300 + 5
    assert [*map(str.strip, out.getvalue().splitlines()[:4])] == [
        *("applying …", "15 of 201 …", "30 of 201 …", "45 of 201 …")
    ]
