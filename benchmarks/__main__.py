"""`python -m benchmarks [--quick] [--only PART …] [--json PATH]`; without options for docs/.

Runs the parts and shows their tables. A whole run writes docs/performance.json, and from it
docs/benchmarks.md.
"""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import backfilling, counting, reading, scaling, starting
from benchmarks.measuring import Line

DOCS = Path(__file__).parents[1] / "docs"
PARTS = {
    "fold": counting.folding,
    "handler": counting.handling,
    "growth": counting.growth,
    "cold start": starting.run,
    "memory": scaling.memory,
    "sweep": scaling.sweep_and_reconcile,
    "reading": reading.run,
    "history": backfilling.run,
}
_HEAD = """# Benchmarks
`make bench` writes this page whole, from performance.json. What the lines mean, how they were
measured and why a bar is missed is said in [performance.md](performance.md).

Machine: {machine}.
"""
_VERDICTS = {True: "reached", False: "NOT reached", None: ""}


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, smaller sizes")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the numbers here")
    options = parser.parse_args()
    console = Console()
    lines = []
    for name in options.only or PARTS:
        with console.status(name):
            measured = PARTS[name](quick=options.quick)
        show(console, measured)
        lines += measured
    whole = not (options.quick or options.only)
    if options.json or whole:
        path = options.json or DOCS / "performance.json"
        write_json(path, lines, machine())
        console.print(f"written: {path}")
    if whole and not options.json:
        write_page(DOCS / "benchmarks.md", json.loads((DOCS / "performance.json").read_text()))
    missed = [line for line in lines if line.reached is False]
    for line in missed:
        console.print(f"[bold red]not reached[/] {line.group}: {line.what}: {line.value:.3f}")
    return 0


def machine() -> str:
    return f"{os.cpu_count()} shared cores, Python {sys.version.split()[0]}"


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


def markdown(document: Mapping[str, Any]) -> str:
    """The tables of a JSON document, one for each group."""
    parts = []
    for group, members in groupby(document["lines"], key=lambda line: line["group"]):
        rows = ["| what | median | ± | bar | |", "|---|--:|--:|--:|---|"]
        for given in members:
            line = Line(**{name: value for name, value in given.items() if name != "reached"})
            what = f"{line.what} ({line.note})" if line.note else line.what
            rows.append(f"| {' | '.join((what, *_columns(line), _VERDICTS[line.reached]))} |")
        parts.append(f"## {group[0].upper()}{group[1:]}\n" + "\n".join(rows))
    return "\n\n".join(parts)


def write_page(path: Path, document: Mapping[str, Any]) -> None:
    """Write the page of a JSON document, whole."""
    path.write_text(f"{_HEAD.format(**document)}\n{markdown(document)}\n")


def _columns(line: Line) -> tuple[str, str, str]:
    unit = f" {line.unit}" if line.unit else ""
    spread = "" if line.spread is None else _short(line.spread)
    return f"{_short(line.value)}{unit}", spread, "" if line.bar is None else f"≤ {line.bar:g}"


def _short(value: float) -> str:
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
