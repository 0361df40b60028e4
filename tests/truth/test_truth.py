"""The truth test with few rows, for every day; `make truth` runs it with many."""

import dataclasses
import secrets

import pytest

from tests.truth import mutations, row_histories, shrink, world
from tests.truth.run import Plan, Repairs, Run

FIXED = (1, 2, 3)


@pytest.fixture(scope="module", autouse=True)
def _preloaded() -> None:
    world.preload()


@pytest.mark.parametrize("seed", FIXED)
def test_every_bucket_is_exact_under_faults(seed: int) -> None:
    verdict = Run(Plan(rows=250, seed=seed)).go()
    assert verdict.wrong == []
    assert verdict.deaths, "no process died: the plan has lost its teeth"
    assert verdict.faults, "no request failed: the plan has lost its teeth"


def test_every_bucket_is_exact_under_faults_of_a_fresh_seed() -> None:
    seed = secrets.randbelow(10**6)
    print(f"seed {seed}")  # noqa: T201 - shown when it fails, so that it can be run again
    assert Run(Plan(rows=250, seed=seed)).go().wrong == []


@pytest.mark.parametrize("repairs", Repairs)
def test_every_bucket_is_exact_while_repairs_run(repairs: Repairs) -> None:
    verdict = Run(Plan(rows=150, seed=11, repairs=repairs)).go()
    assert verdict.wrong == []
    assert verdict.invocations["reconciler"]
    if repairs is Repairs.DAMAGE:
        assert verdict.falsified
        assert verdict.repaired


def test_a_removed_safeguard_is_noticed() -> None:
    # One of the five; docs/truth.md has the check of all (`make truth-mutations`).
    assert "no ledger" in mutations.MUTATIONS
    assert Run(Plan(rows=150, seed=1, mutation="no ledger")).go().wrong


def test_a_failing_history_shrinks_to_few_rows() -> None:
    plan = Plan(rows=24, seed=1, mutation="no ledger", redeliver=0.6)
    plan = dataclasses.replace(plan, workers=1, shards=1)
    kept = shrink.shrink(plan, lambda _: None)
    assert len(kept) < 24
    assert not Run(plan, kept).go().exact


def test_a_seed_draws_the_same_lives_again() -> None:
    start = Plan().start
    assert row_histories.lives(7, 50, start) == row_histories.lives(7, 50, start)
