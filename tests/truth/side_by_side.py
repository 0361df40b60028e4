"""Several runs of the truth test at once, each in a process of its own, with their progress."""

import multiprocessing
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)

from tests.truth import deployment
from tests.truth.plans import Plan, Verdict
from tests.truth.run import Run

_CONTEXT = multiprocessing.get_context("spawn")
_steps: Any = None


def run_all(console: Console, plans: list[Plan], jobs: int) -> list[tuple[Verdict, float]]:
    """Run plans side by side, each in a process of its own, until one is not exact."""
    steps: Any = _CONTEXT.SimpleQueue()
    done: list[tuple[Verdict, float]] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress,
        ProcessPoolExecutor(min(jobs, len(plans)), _CONTEXT, _listen, (steps,)) as pool,
    ):
        threading.Thread(target=_show, args=(progress, steps), daemon=True).start()
        for future in as_completed([pool.submit(_run, plan) for plan in plans]):
            verdict, seconds = future.result()
            done.append((verdict, seconds))
            console.print(
                f"seed {verdict.plan.seed}: {len(verdict.wrong)} wrong of {verdict.buckets} "
                f"buckets, {verdict.records} records, {verdict.deaths} deaths, {seconds:.0f} s"
            )
            if not verdict.exact:
                pool.shutdown(wait=False, cancel_futures=True)
                break
        steps.put(None)
    return done


def _listen(steps: Any) -> None:
    """In a process of the pool: where to tell how far a run is."""
    global _steps  # noqa: PLW0603 - the pool's only way to give a process something
    _steps = steps
    deployment.preload()


def _show(progress: Progress, steps: Any) -> None:
    tasks: dict[int, TaskID] = {}
    while step := steps.get():
        seed, finished, whole = step
        if seed not in tasks:
            tasks[seed] = progress.add_task(f"seed {seed}", total=whole)
        progress.update(tasks[seed], completed=finished)


def _run(plan: Plan) -> tuple[Verdict, float]:
    started = time.monotonic()
    verdict = Run(plan, progress=lambda *how_far: _steps.put((plan.seed, *how_far))).go()
    return verdict, time.monotonic() - started
