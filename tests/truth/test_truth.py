"""The truth test with few rows, for every day; `make truth` runs it with many."""

import dataclasses
import secrets

import pytest

from tests.truth import deployment, mutations, row_histories, shrink
from tests.truth.plans import Plan, Repairs, lives_of
from tests.truth.run import Run

FIXED = (1, 2)


@pytest.fixture(scope="module", autouse=True)
def _preloaded() -> None:
    deployment.preload()


@pytest.mark.parametrize("seed", FIXED)
def test_every_bucket_is_exact_under_faults(seed: int) -> None:
    verdict = Run(Plan(rows=150, seed=seed)).go()
    assert verdict.wrong == []
    assert verdict.deaths, "no process died: the plan has lost its teeth"
    assert verdict.faults, "no request failed: the plan has lost its teeth"


def test_every_bucket_is_exact_under_faults_of_a_fresh_seed() -> None:
    seed = secrets.randbelow(10**6)
    print(f"seed {seed}")  # noqa: T201 - shown when it fails, so that it can be run again
    assert Run(Plan(rows=150, seed=seed)).go().wrong == []


def test_what_streams_lose_is_repaired_at_once_and_nothing_that_was_right() -> None:
    verdict = Run(Plan(rows=80, seed=2, repairs=Repairs.CORRUPTION, pace=0.2)).go()
    assert verdict.wrong == []
    assert verdict.invocations["redrive"]
    assert verdict.given_up, "no batch aged out: the plan has lost its teeth"
    assert verdict.corrupted, "nothing was corrupted: the plan has lost its teeth"
    assert verdict.repaired


def test_a_reconciler_that_always_fails_is_noticed() -> None:
    plan = Plan(rows=40, seed=2, repairs=Repairs.ON, mutation="no reconciler", pace=0.1)
    assert Run(plan).go().wrong


def test_a_removed_safeguard_is_noticed() -> None:
    # One of many; docs/truth.md has the check of all (`make truth-mutations`).
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
    plan = Plan(seed=7, rows=50, repairs=Repairs.ON)
    assert lives_of(plan) == lives_of(plan)
