"""`make truth`: random histories with faults, each compared with a group-by of its rows.

python -m tests.truth --rows 20000 --seeds 10 --seed 1   repairs off, on, corruption in turn
python -m tests.truth --mutations                        each rule removed: the run must fail
"""

import argparse
import logging
import multiprocessing
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from functools import partial

from tests.truth import deployment
from tests.truth.mutations import MUTATIONS
from tests.truth.plans import Plan
from tests.truth.run import Run

_AT_ONCE = 2
_REPAIRS = ("off", "on", "corruption")
_SILENT_SECONDS = 60
_SEEDS = 3
"""Within so many a removed rule must be missed."""

type Judged = tuple[bool, str]
"""Whether it is as it should be, and what to print of it."""


def main() -> int:
    """Run the truth test; 0 if every run was exact (with --mutations: if every run was not)."""
    parser = argparse.ArgumentParser(prog="make truth", description=__doc__)
    parser.add_argument("--rows", type=int, default=2000, help="rows a run")
    parser.add_argument("--seed", type=int, default=0, help="the first seed; 0 draws fresh ones")
    parser.add_argument("--seeds", type=int, default=1, help="runs, each with the next seed")
    parser.add_argument("--workers", type=int, default=6, help="batches at once")
    parser.add_argument("--repairs", choices=_REPAIRS, help="only these; default: in turn")
    parser.add_argument("--mutations", action="store_true", help="remove each rule in turn")
    options = parser.parse_args()
    works = _mutations(options.workers) if options.mutations else _runs(options)
    # Each in a new process, in which nothing is replaced yet.
    context = multiprocessing.get_context("spawn")
    failed = 0
    with ProcessPoolExecutor(_AT_ONCE, context, _begin, max_tasks_per_child=1) as pool:
        for done in as_completed([pool.submit(work) for work in works]):
            is_ok, text = done.result()
            print("ok   " if is_ok else "WRONG", text, flush=True)  # noqa: T201
            failed += not is_ok
    return min(1, failed)


def _begin() -> None:
    logging.disable(logging.CRITICAL)
    deployment.preload()


def _runs(options: argparse.Namespace) -> Iterator[Callable[[], Judged]]:
    first = options.seed or secrets.randbelow(10**6)
    for number, seed in enumerate(range(first, first + options.seeds)):
        kind = options.repairs or _REPAIRS[number % len(_REPAIRS)]
        repairs, corrupts = kind != "off", kind == "corruption"
        yield partial(judge, Plan(options.rows, seed, repairs, corrupts, options.workers, shards=4))


def judge(plan: Plan) -> Judged:
    """Run a plan."""
    began = spoken = time.monotonic()

    def say(done: int, epochs: int) -> None:
        nonlocal spoken
        if time.monotonic() > spoken + _SILENT_SECONDS:
            spoken = time.monotonic()
            print(f"seed {plan.seed}: {done} of {epochs} epochs", file=sys.stderr)  # noqa: T201

    wrong = (run := Run(plan, say)).go()
    line = f"{plan}: {len(wrong)} wrong, {dict(run.counts)}, {time.monotonic() - began:.0f} s"
    return not wrong, "\n    ".join([line, *wrong[:10]])


def _mutations(workers: int) -> Iterator[Callable[[], Judged]]:
    whole = {each.misses: name for name, each in MUTATIONS.items()}.values()
    for removed, names in ((False, whole), (True, MUTATIONS)):
        for name in names:
            yield partial(judge_mutation, name, workers, removed=removed)


def judge_mutation(name: str, workers: int, *, removed: bool) -> Judged:
    """Whether a rule is missed when it is removed, and nothing is wrong when it is not."""
    mutation, began = MUTATIONS[name], time.monotonic()
    if isinstance(mutation.misses, Plan):
        plan = replace(mutation.misses, workers=workers, mutation=name if removed else None)
        for seed in range(plan.seed, plan.seed + (_SEEDS if removed else 1)):
            if wrong := Run(replace(plan, seed=seed)).go():
                break
        where = f"{plan.rows} rows, seed {seed}, repairs {plan.repairs}"
    else:
        if removed:
            mutation.remove()
        where, wrong = mutation.misses.__name__, mutation.misses()
    found = wrong[0][:120] if wrong else "exact"
    line = f"{'without' if removed else 'with'} {name} ({where}): {found}"
    return bool(wrong) is removed, f"{line}, {time.monotonic() - began:.0f} s"
