"""`python -m benchmarks [--quick] [--only PART …] [--json PATH]`.

Runs the parts, prints their tables, and writes the numbers to PATH.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import bill, checking, counting, memory, reading, starting
from benchmarks.measuring import Line

PARTS = {
    "requests": counting.requests,
    "cpu": counting.cpu,
    "cold start": starting.run,
    "rows read": checking.run,
    "memory": memory.run,
    "reading": reading.run,
    "bill": bill.run,
}
_VERDICTS = {True: "reached", False: "NOT reached", None: ""}


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repeats, smaller sizes")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the numbers here")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    console = Console()
    lines = []
    for name in options.only or PARTS:
        with console.status(name):
            measured = PARTS[name](quick=options.quick)
        show(console, measured)
        lines += measured
    if options.json:
        write_json(options.json, lines)
    return 0


def show(console: Console, lines: Sequence[Line]) -> None:
    """Print a table for each group."""
    for group, members in groupby(lines, key=lambda line: line.group):
        table = Table("what", "median", "±", "bar", "", box=box.SIMPLE, title=group)
        table.title_justify = "left"
        for line in members:
            style = "bold red" if line.reached is False else "green" if line.reached else ""
            spread = "" if line.spread is None else f"{line.spread:.3g}"
            bar = "" if line.bar is None else f"≤ {line.bar:g}"
            value = f"{line.value:.4g} {line.unit}"
            table.add_row(line.what, value, spread, bar, _VERDICTS[line.reached], style=style)
        console.print(table)


def write_json(path: Path, lines: Sequence[Line]) -> None:
    """Write the numbers, and where they were measured."""
    machine = f"{os.cpu_count()} shared cores, Python {sys.version.split()[0]}"
    document = {"machine": machine, "lines": [line.as_json() for line in lines]}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
