"""The truth test with few rows, for every day; `make truth` runs it with many."""

import dataclasses
import secrets

import pytest

from tests.truth import deployment, mutations, row_histories, verdicts
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
    run = Run(Plan(rows=80, seed=2, repairs=Repairs.CORRUPTION, pace=0.2))
    verdict = run.go()
    assert verdict.wrong == []
    assert run.refused, "no record was quarantined: the plan has lost its teeth"
    assert verdict.given_up, "no batch aged out: the plan has lost its teeth"
    assert verdict.corrupted, "nothing was corrupted: the plan has lost its teeth"
    assert verdict.repaired


@pytest.mark.parametrize(
    "history",
    [each.history for each in mutations.MUTATIONS.values() if each.history],
    ids=lambda history: history.__name__,
)
def test_a_history_that_leads_to_a_rule_is_exact(history: mutations.History) -> None:
    assert history() == []


def test_a_removed_rule_is_noticed() -> None:
    # One of many; docs/truth.md has the check of all (`make truth-mutations`).
    assert Run(Plan(rows=150, seed=1, mutation="checkpoint")).go().wrong


def test_a_failing_history_shrinks_to_few_rows() -> None:
    plan = Plan(rows=24, seed=1, mutation="checkpoint", redeliver=0.6)
    plan = dataclasses.replace(plan, workers=1, shards=1)
    kept = verdicts.shrink(plan)
    assert len(kept) < 24
    assert not Run(plan, kept).go().exact


def test_a_seed_draws_the_same_lives_again() -> None:
    start = Plan().start
    assert row_histories.lives(7, 50, start) == row_histories.lives(7, 50, start)
    plan = Plan(seed=7, rows=50, repairs=Repairs.ON)
    assert lives_of(plan) == lives_of(plan)
