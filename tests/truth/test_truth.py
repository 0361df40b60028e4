"""The truth test with few rows, for every day; `make truth` runs it with many."""

import secrets

import pytest

from tests.truth import deployment, mutations
from tests.truth.plans import Plan, lives_of
from tests.truth.run import Run


@pytest.fixture(scope="module", autouse=True)
def _preloaded() -> None:
    deployment.preload()


@pytest.mark.parametrize("seed", [1, None], ids=["fixed", "fresh"])
def test_every_bucket_is_exact_under_faults(seed: int | None) -> None:
    run = Run(Plan(rows=150, seed=seed or secrets.randbelow(10**6)))
    print(run.plan)  # noqa: T201 - shown when it fails, so that it can be run again
    assert run.go() == []
    if seed:
        assert run.counts["deaths"], "no process died: the plan has lost its teeth"
        assert run.counts["drop_after"], "no request failed: the plan has lost its teeth"


def test_what_streams_lose_is_repaired_at_once_and_nothing_that_was_right() -> None:
    run = Run(Plan(rows=80, seed=2, repairs=True, corrupts=True))
    assert run.go() == []
    assert run.refused, "no record was quarantined: the plan has lost its teeth"
    assert run.counts["given up"], "no batch aged out: the plan has lost its teeth"
    assert run.counts["corrupted"], "nothing was corrupted: the plan has lost its teeth"
    assert run.counts["repaired"]


@pytest.mark.parametrize(
    "history",
    [each.misses for each in mutations.MUTATIONS.values() if callable(each.misses)],
    ids=lambda history: history.__name__,
)
def test_a_history_that_leads_to_a_rule_is_exact(history: mutations.History) -> None:
    assert history() == []


def test_a_removed_rule_is_noticed() -> None:  # one of `make truth-mutations`
    assert Run(Plan(rows=150, seed=1, mutation="checkpoint")).go()


def test_a_seed_draws_the_same_lives_again() -> None:
    plan = Plan(seed=7, rows=50, repairs=True)
    assert lives_of(plan) == lives_of(plan)
