"""The truth test with few rows, for every day; `make truth` runs it with many."""

import secrets

import pytest

from tests.truth import deployment, mutations
from tests.truth.backfill import backfill
from tests.truth.plans import Plan, lives_of
from tests.truth.run import Run

FIXED = (1, 2)


@pytest.fixture(scope="module", autouse=True)
def _preloaded() -> None:
    deployment.preload()


@pytest.mark.parametrize("seed", FIXED)
def test_every_bucket_is_exact_under_faults(seed: int) -> None:
    run = Run(Plan(rows=150, seed=seed))
    assert run.go() == []
    assert run.counts["deaths"], "no process died: the plan has lost its teeth"
    assert run.counts["drop_after"], "no request failed: the plan has lost its teeth"


def test_every_bucket_is_exact_under_faults_of_a_fresh_seed() -> None:
    seed = secrets.randbelow(10**6)
    print(f"seed {seed}")  # noqa: T201 - shown when it fails, so that it can be run again
    assert Run(Plan(rows=150, seed=seed)).go() == []


def test_what_streams_lose_is_repaired_at_once_and_nothing_that_was_right() -> None:
    run = Run(Plan(rows=80, seed=2, repairs=True, corrupts=True))
    assert run.go() == []
    assert run.refused, "no record was quarantined: the plan has lost its teeth"
    assert run.counts["given up"], "no batch aged out: the plan has lost its teeth"
    assert run.counts["corrupted"], "nothing was corrupted: the plan has lost its teeth"
    assert run.counts["repaired"]


@pytest.mark.parametrize("seed", FIXED)
def test_a_backfill_is_exact_while_rows_change_and_scanners_die(seed: int) -> None:
    wrong, counts = backfill(200, seed)
    assert wrong == []
    assert counts["deaths"], "no process died: the test proves nothing"
    assert counts["repaired"]


@pytest.mark.parametrize(
    "history",
    [each.misses for each in mutations.MUTATIONS.values() if callable(each.misses)],
    ids=lambda history: history.__name__,
)
def test_a_history_that_leads_to_a_rule_is_exact(history: mutations.History) -> None:
    assert history() == []


def test_a_removed_rule_is_noticed() -> None:
    # One of many; docs/truth.md has the check of all (`make truth-mutations`).
    assert Run(Plan(rows=150, seed=1, mutation="checkpoint")).go()


def test_a_seed_draws_the_same_lives_again() -> None:
    plan = Plan(seed=7, rows=50, repairs=True)
    assert lives_of(plan) == lives_of(plan)
