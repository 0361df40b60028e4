"""`python -m benchmarks [--quick] [--only PART …] [--json PATH]`; without options for docs/."""

import argparse
import json
import os
import sys
from pathlib import Path

from rich.console import Console

from benchmarks import (
    backfilling,
    folding,
    handling,
    reading,
    remembering,
    reporting,
    starting,
    sweeping,
)

DOCS = Path(__file__).parents[1] / "docs"
PARTS = {
    "fold": folding.run,
    "handler": handling.run,
    "growth": handling.growth,
    "cold start": starting.run,
    "memory": remembering.run,
    "sweep": sweeping.run,
    "reading": reading.run,
    "history": backfilling.run,
}


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
        reporting.show(console, measured)
        lines += measured
    whole = not (options.quick or options.only)
    if options.json or whole:
        path = options.json or DOCS / "performance.json"
        reporting.write_json(path, lines, machine())
        console.print(f"written: {path}")
    if whole and not options.json:
        document = json.loads((DOCS / "performance.json").read_text())
        reporting.rewrite(DOCS / "performance.md", document)
    missed = [line for line in lines if line.reached is False]
    for line in missed:
        console.print(f"[bold red]not reached[/] {line.group}: {line.what}: {line.value:.3f}")
    return 0


def machine() -> str:
    return f"{os.cpu_count()} shared cores, Python {sys.version.split()[0]}"


if __name__ == "__main__":
    sys.exit(main())
