"""What the demonstration shows in the terminal."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from testbench.emulated.check import Difference, Quarantined, Verdict
from testbench.emulated.corruption import Damage
from testbench.oracle import Key

WIDTH = 80
_LISTED = 10


def show_line(console: Console, text: str, *, good: bool, seconds: float | None = None) -> None:
    """One line of the verdict, with how long it took."""
    sign, style = ("✓", "green") if good else ("✗", "bold red")
    took = "" if seconds is None else f"{seconds:4.0f} s"
    room = WIDTH - 4 - len(took)
    *lines, last = textwrap.wrap(text, room)
    for number, line in enumerate([*lines, f"{last:<{room}}{took}".rstrip()]):
        console.print(f"  {' ' if number else sign} {line}", style=style, markup=False)


def show_quarantine(console: Console, messages: Iterable[Quarantined]) -> None:
    """Reasons, models and numbers."""
    table = _table("in quarantine because", "model", "rows", right=("rows",))
    for (reason, model), number in sorted(Counter((m.reason, m.model) for m in messages).items()):
        table.add_row(reason, model, str(number))
    console.print(table)


def show_verdict(console: Console, verdict: Verdict, seconds: float | None = None) -> None:
    """Whether every bucket is what its rows add up to, and just the elapsed ones are complete."""
    if verdict.differences:
        _show_differences(console, verdict.differences)
    show_line(
        console,
        f"{verdict.compared:,} buckets compared with a group-by of the tables' rows: "
        f"{len(verdict.differences)} differ",
        good=bool(verdict.compared) and not verdict.differences,
        seconds=seconds,
    )
    wrong = [f"{key} is not" for key in verdict.incomplete]
    wrong += [f"{key} is too early" for key in verdict.premature]
    text = f"every elapsed bucket is complete ({verdict.complete:,}), and no other"
    show_line(console, f"{text}: {wrong[0]}" if wrong else text, good=not wrong)


def _show_differences(console: Console, differences: Sequence[Difference]) -> None:
    for (account, name, start, minutes), held, expected in differences[:_LISTED]:
        console.print(f"    {account} {name} {start} {minutes} min: {held}, rows: {expected}")


def show_damage(
    console: Console, damages: Iterable[Damage], found: Mapping[Key, Mapping[str, Any]]
) -> None:
    """What was corrupted, and what the repair says of it."""
    table = _table("damage", "record type", "start", "min", "stored → counted", right=("min",))
    for damage in damages:
        _, name, start, minutes = damage.key
        said = _said(found.get(damage.key))
        table.add_row(damage.what, name, start[11:16], str(minutes), said)
    console.print(table)


def _said(drift: Mapping[str, Any] | None) -> str:
    """Both counts, or both costs where only those differ."""
    if drift is None:
        return "not found"
    stored, counted = drift["stored"], drift["counted"]
    if stored["count"] != counted["count"]:
        return f"{stored['count']:,} → {counted['count']:,}"
    return f"${stored['cost'] / 1e6:,.4f} → ${counted['cost'] / 1e6:,.4f}"


def next_steps(
    kept: bool, account: str, hour: str, end: str, page: Path
) -> Sequence[tuple[str, str]]:
    """Commands that work where the demonstration has ended, each behind what it does.

    Args:
        kept: whether the stack was left up.
        account: one that has rows.
        hour: an hour that was counted.
        end: its end.
        page: the report.
    """
    if not kept:
        return [
            ("Open the report", f"python3 -m webbrowser {page}"),
            ("Run this again and leave the stack up", "make demo KEEP=1"),
            ("List everything else", "make help"),
        ]
    on = f"--stack $STACK --account {account}"
    span = f"--start {hour} --end {end}"
    return [
        ("Show the day's counts", f"aggregated-metrics show {on} --day {hour[:10]}"),
        ("Compare the hour with its rows", f"aggregated-metrics verify {on} \\\n    {span}"),
        (
            "Check the quarantine again (exit code 1: its rows stay uncountable)",
            "aggregated-metrics repair --stack $STACK --quarantine",
        ),
    ]


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table
