"""Rows that were there before the deployment are counted by a backfill, whatever dies meanwhile."""

from tests.truth import deployment
from tests.truth.backfill import backfill
from tests.truth.plans import RATES


def test_a_backfill_that_is_killed_and_gone_on_with_is_exact() -> None:
    deployment.preload()
    done = backfill(1500, 3, workers=8, die=0.3, rates=RATES)
    assert done.wrong == []
    assert done.again == 0, "a second check found something to do"
    assert done.deaths, "no process died: the plan has lost its teeth"
