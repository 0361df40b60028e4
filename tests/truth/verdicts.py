"""Runs of the truth test side by side, each in a process of its own, and what is said of them."""

import logging
import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import chain

from tests.truth import deployment
from tests.truth.mutations import MUTATIONS, apply
from tests.truth.plans import Plan, Verdict, lives_of
from tests.truth.row_histories import Life
from tests.truth.run import Run

_SEEDS = 3
"""Within so many a removed rule must be missed."""
_TRIES = 3
"""Where a failure needs a race it does not come at every run."""


def run_all[Result](works: Iterable[Callable[[], Result]], jobs: int) -> Iterator[Result]:
    """Do works side by side, each in a new process, in which nothing is replaced yet."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _begin, max_tasks_per_child=1) as pool:
        try:
            for future in as_completed([pool.submit(work) for work in works]):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _begin() -> None:
    logging.disable(logging.CRITICAL)
    deployment.preload()


def judge(plan: Plan) -> tuple[Verdict, str]:
    """Run a plan; gives the verdict, and a line on it."""
    began = time.monotonic()
    verdict = Run(plan).go()
    return verdict, f"{verdict.summary}, {time.monotonic() - began:.0f} s"


def judge_mutation(name: str, workers: int, *, removed: bool) -> tuple[bool, str]:
    """Whether a rule is missed when it is removed, and nothing is wrong when it is not.

    Gives a line on it, too.
    """
    mutation, began = MUTATIONS[name], time.monotonic()
    if mutation.history is not None:
        if removed:
            apply(name)
        where, wrong = mutation.history.__name__, mutation.history()
    else:
        plan = mutation.plan(name if removed else None, workers)
        for seed in range(plan.seed, plan.seed + (_SEEDS if removed else 1)):
            wrong = Run(replace(plan, seed=seed)).go().wrong
            if wrong:
                break
        where = f"{plan.repairs}, {plan.rows} rows, seed {seed}"
    seconds, found = time.monotonic() - began, wrong[0][:120] if wrong else "exact"
    line = f"{'without' if removed else 'with'} {name} ({where}, {seconds:.0f} s): {found}"
    return bool(wrong) is removed, line


def shrink(plan: Plan) -> list[Life]:
    """The shortest history that still fails: no life can be left out (by halves)."""
    kept, parts = lives_of(plan), 2
    while len(kept) > 1:
        size = max(1, len(kept) // parts)
        chunks = [kept[i : i + size] for i in range(0, len(kept), size)]
        rests = ([*chain(*chunks[:i], *chunks[i + 1 :])] for i in range(len(chunks)))
        shorter = next((rest for rest in rests if rest and _fails(plan, rest)), None)
        if shorter is not None:
            kept, parts = shorter, max(parts - 1, 2)
        elif size == 1:
            break
        else:
            parts = min(len(kept), parts * 2)
    return kept


def _fails(plan: Plan, candidate: list[Life]) -> bool:
    return any(not Run(plan, candidate).go().exact for _ in range(_TRIES))
