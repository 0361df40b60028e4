"""`make truth`: random histories with faults, until a bucket is wrong or the seeds are done.

python -m tests.truth --rows 20000 --seeds 10 --seed 1      the kinds of repairs in turn
python -m tests.truth --mutations            each rule removed: the run must fail
"""

import argparse
import secrets
from collections.abc import Iterator
from functools import partial

from tests.truth import deployment, verdicts
from tests.truth.mutations import MUTATIONS
from tests.truth.plans import Plan, Repairs, Verdict


def main() -> int:
    """Run the truth test; 0 if every run was exact (with --mutations: if every run was not)."""
    options = _options()
    if options.mutations:
        whole = {each[1:]: name for name, each in MUTATIONS.items()}.values()
        checks = (
            partial(verdicts.judge_mutation, name, options.workers, removed=removed)
            for removed, names in ((False, whole), (True, MUTATIONS))
            for name in names
        )
        done = verdicts.run_all(checks, options.jobs)
        return min(1, sum(not _say(line, is_ok=is_ok) for is_ok, line in done))
    for verdict, line in verdicts.run_all(_runs(options), options.jobs):
        if not _say(line, is_ok=verdict.exact):
            _explain(verdict, shrinking=options.shrink)
            return 1
    return 0


def _runs(options: argparse.Namespace) -> Iterator[partial[tuple[Verdict, str]]]:
    first = options.seed or secrets.randbelow(10**6)
    kinds = [options.repairs] if options.repairs else list(Repairs)
    for i in range(options.seeds):
        plan = Plan(
            rows=options.rows,
            seed=first + i,
            workers=options.workers,
            shards=options.shards,
            batch=min(1000, max(100, options.rows // 40)),
            page=min(1000, max(5, options.rows // 20)),
            repairs=kinds[i % len(kinds)],
        )
        yield partial(verdicts.judge, plan)


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
    parser.add_argument("--mutations", action="store_true", help="remove each rule in turn")
    parser.add_argument("--no-shrink", dest="shrink", action="store_false")
    return parser.parse_args()


def _explain(verdict: Verdict, *, shrinking: bool) -> None:
    for line in verdict.wrong[:10]:
        _say(line)
    _say(f"failures: {dict(verdict.failures)}, faults: {dict(verdict.faults)}")
    if shrinking:
        deployment.preload()
        for life in verdicts.shrink(verdict.plan):
            _say(str(life))


def _say(line: str, *, is_ok: bool | None = None) -> bool:
    mark = {True: "ok   ", False: "WRONG ", None: "   "}[is_ok]
    print(mark + line, flush=True)  # noqa: T201 - a command's output
    return bool(is_ok)


if __name__ == "__main__":
    raise SystemExit(main())
