"""The table: in the terminal, as JSON, and as Markdown between the marks in docs/performance.md."""

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.measuring import Line

_BEGIN, _END = "<!-- table: make bench writes it -->", "<!-- end of the table -->"
_VERDICTS = {True: "reached", False: "NOT reached", None: ""}


def show(console: Console, lines: Sequence[Line]) -> None:
    for group, members in groupby(lines, key=lambda line: line.group):
        table = Table("what", "median", "±", "bar", "", box=box.SIMPLE, title=group)
        table.title_justify = "left"
        for line in members:
            style = "bold red" if line.reached is False else "green" if line.reached else ""
            what = f"{line.what} [dim]({line.note})[/]" if line.note else line.what
            table.add_row(what, *_columns(line), _VERDICTS[line.reached], style=style)
        console.print(table)


def write_json(path: Path, lines: Sequence[Line], machine: str) -> None:
    document = {"machine": machine, "lines": [line.as_json() for line in lines]}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def markdown(document: dict[str, Any]) -> str:
    """The tables of a JSON document, one for each group."""
    parts = []
    for group, members in groupby(document["lines"], key=lambda line: line["group"]):
        rows = ["| what | median | ± | bar | |", "|---|--:|--:|--:|---|"]
        for given in members:
            line = Line(**{name: value for name, value in given.items() if name != "reached"})
            what = f"{line.what} ({line.note})" if line.note else line.what
            rows.append(f"| {' | '.join((what, *_columns(line), _VERDICTS[line.reached]))} |")
        parts.append(f"### {group[0].upper()}{group[1:]}\n" + "\n".join(rows))
    return "\n\n".join(parts)


def rewrite(path: Path, document: dict[str, Any]) -> None:
    """Put the tables between the marks of a document."""
    before, _, rest = path.read_text().partition(_BEGIN)
    _, _, after = rest.partition(_END)
    path.write_text(f"{before}{_BEGIN}\n{markdown(document)}\n{_END}{after}")


def _columns(line: Line) -> tuple[str, str, str]:
    unit = f" {line.unit}" if line.unit else ""
    spread = "" if line.spread is None else _short(line.spread)
    return f"{_short(line.value)}{unit}", spread, "" if line.bar is None else f"≤ {line.bar:g}"


def _short(value: float) -> str:
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
