"""`make truth`: random histories with faults, until a bucket is wrong or the seeds are done.

python -m tests.truth --rows 20000 --seeds 10 --seed 1      the kinds of repairs in turn
python -m tests.truth --mutations            each rule removed: the run must fail
"""

import argparse
import secrets
import sys
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.truth import deployment, mutations, shrink
from tests.truth.plans import Hardship, Plan, Repairs, Verdict
from tests.truth.side_by_side import run_all

_SEEDS = 3
"""Within so many a removed rule must be missed."""


def main() -> int:
    """Run the truth test; 0 if every run was exact (with --mutations: if every run was not)."""
    options = _options()
    console = Console(width=None if sys.stdout.isatty() else 160)
    if options.mutations:
        return _check_mutations(console, options)
    first = options.seed or secrets.randbelow(10**6)
    kinds = [options.repairs] if options.repairs else list(Repairs)
    plans = [
        Plan(
            rows=options.rows,
            seed=first + i,
            workers=options.workers,
            shards=options.shards,
            batch=min(1000, max(100, options.rows // 40)),
            page=min(1000, max(50, options.rows // 20)),
            repairs=kinds[i % len(kinds)],
            hardships=options.hardships,
        )
        for i in range(options.seeds)
    ]
    verdicts = run_all(console, plans, options.jobs)
    console.print(_table(verdicts))
    failed = next((verdict for verdict, _ in verdicts if not verdict.exact), None)
    if failed is not None:
        _explain(console, failed, shrinking=options.shrink)
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make truth", description=__doc__)
    parser.add_argument("--rows", type=int, default=2000, help="rows a run")
    parser.add_argument("--seed", type=int, default=0, help="the first seed; 0 draws fresh ones")
    parser.add_argument("--seeds", type=int, default=1, help="runs, each with the next seed")
    parser.add_argument("--workers", type=int, default=6, help="batches at once")
    parser.add_argument("--shards", type=int, default=4, help="shards a table")
    parser.add_argument("--jobs", type=int, default=2, help="runs at once")
    parser.add_argument(
        "--repairs", type=Repairs, choices=list(Repairs), help="only this kind (plans.py)"
    )
    parser.add_argument(
        "--hardships",
        type=_hardships,
        default=frozenset(),
        help=f"a comma list of {', '.join(Hardship)}, or all (plans.py; with repairs)",
    )
    parser.add_argument("--mutations", action="store_true", help="remove each rule in turn")
    parser.add_argument("--no-shrink", dest="shrink", action="store_false")
    return parser.parse_args()


def _hardships(text: str) -> frozenset[Hardship]:
    return frozenset(Hardship if text == "all" else map(Hardship, text.split(",")))


def _table(verdicts: list[tuple[Verdict, float]]) -> Table:
    table = Table(title="truth")
    for name in (
        "seed",
        "repairs",
        "rows",
        "records",
        "invocations",
        "failed",
        "deaths",
        "requests",
        "faults",
        "quarantined",
        "given up",
        "corrupted",
        "repaired",
        "healed",
        "buckets",
        "wrong",
        "seconds",
    ):
        table.add_column(name, justify="right")
    for verdict, seconds in verdicts:
        table.add_row(
            *map(
                str,
                (
                    verdict.plan.seed,
                    verdict.plan.repairs,
                    verdict.plan.rows,
                    verdict.records,
                    verdict.invocations.total(),
                    verdict.failures.total(),
                    verdict.deaths,
                    verdict.requests,
                    verdict.faults.total(),
                    verdict.quarantined,
                    verdict.given_up,
                    verdict.corrupted,
                    verdict.repaired,
                    verdict.healed,
                    verdict.buckets,
                    len(verdict.wrong),
                    round(seconds),
                ),
            )
        )
    return table


def _explain(console: Console, verdict: Verdict, *, shrinking: bool) -> None:
    console.print(f"[red]seed {verdict.plan.seed} is not exact:[/red]")
    for line in verdict.wrong[:10]:
        console.print("  ", line)
    console.print("failures:", dict(verdict.failures), "faults:", dict(verdict.faults))
    if shrinking:
        console.print("shrinking …")
        deployment.preload()
        for life in shrink.shrink(verdict.plan, console.print):
            console.print(life)


def _check_mutations(console: Console, options: argparse.Namespace) -> int:
    table = Table(title="the harness must fail without each rule")
    for column in ("removed", "repairs", "rows", "seed", "wrong", "first difference"):
        table.add_column(column)
    survived = 0
    sizes = {mutation.size: None for mutation in mutations.MUTATIONS.values()}
    runs: list[tuple[Any, str | None]] = [(size, None) for size in sizes]
    runs += [(mutation.size, name) for name, mutation in mutations.MUTATIONS.items()]
    for (kind, rows, shards, seed, hardships), name in runs:
        plan = Plan(
            rows=rows,
            seed=seed,
            workers=options.workers,
            shards=shards,
            repairs=Repairs(kind),
            hardships=frozenset(map(Hardship, hardships)),
            mutation=name,
        )
        verdict = _first_wrong(console, plan)
        survived += verdict.exact is (name is not None)
        found = str(verdict.plan.seed), *_wrong(verdict)
        table.add_row(name or "nothing", kind, str(rows), *found)
    console.print(table)
    return 1 if survived else 0


def _first_wrong(console: Console, plan: Plan) -> Verdict:
    """The first of three seeds' runs that is not exact; without a mutation one must be exact."""
    for seed in range(plan.seed, plan.seed + (_SEEDS if plan.mutation else 1)):
        [(verdict, _)] = run_all(console, [replace(plan, seed=seed)], 1)
        if not verdict.exact:
            break
    return verdict


def _wrong(verdict: Verdict) -> tuple[str, str]:
    return str(len(verdict.wrong)), (verdict.wrong[0] if verdict.wrong else "exact")[:90]


if __name__ == "__main__":
    raise SystemExit(main())
