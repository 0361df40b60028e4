"""Series by scorecard and score, through the handlers and the reconciler's looks."""

from typing import Any

import pytest
from aggregated_metrics.core.record_types import BREAKDOWNS

from testbench import oracle
from testbench.in_process import Stack
from testbench.reconciliation import World, truth
from testbench.rows import score_result
from testbench.streams import Stream, window_event

FUNCTION = "stream_aggregator"


@pytest.fixture
def world(aws: Any) -> World:
    return World(aws("dynamodb"), frozenset(BREAKDOWNS))


def exact(world: World) -> bool:
    return world.stored() == truth(world.api, breakdowns=True)


def hundred(scores: int = 20, cards: int = 4) -> list[dict[str, Any]]:
    """100 score results of one minute."""
    kinds = ("prediction", "evaluation")
    return [
        score_result(
            f"r{n}",
            type=kinds[n % 2],
            scoreId=f"score-{n % scores}",
            scorecardId=f"scorecard-{n % scores % cards}",
        )
        for n in range(100)
    ]


def test_a_bucket_names_its_scorecard_and_its_score(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack.rewire(monkeypatch, BREAKDOWNS="all")
    stack.invoke(FUNCTION, window_event(Stream("ScoreResult").insert(score_result())))
    by_card = stack.row("scoreResultsByScorecard#scorecard-1#2026-11-22T10:00:00Z#60")
    assert (by_card["scorecardId"], by_card.get("scoreId"), by_card["count"]) == (
        "scorecard-1",
        None,
        1,
    )
    by_score = stack.row("scoreResultsByScore#score-1#2026-11-22T10:05:00Z#1")
    assert (by_score["scorecardId"], by_score["scoreId"]) == ("scorecard-1", "score-1")
    assert by_score["cost"] == 1230


@pytest.mark.parametrize(("breakdowns", "most"), [("", 2), ("all", 4)])
def test_a_batch_of_100_records_of_20_scores_costs_few_requests(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, breakdowns: str, most: int
) -> None:
    stack.rewire(monkeypatch, BREAKDOWNS=breakdowns)
    rows = hundred()
    made = window_event(*map(Stream("ScoreResult").insert, rows))
    first = stack.requests(lambda: stack.invoke(FUNCTION, made))
    assert len(first) <= most
    again = stack.requests(lambda: stack.invoke(FUNCTION, made))
    assert len(again) == 1
    written = [("ScoreResult", row) for row in rows]
    found = {oracle.key_of(row): oracle.held(row) for row in stack.rows()}
    assert found == oracle.buckets_of(written, breakdowns=bool(breakdowns))


def test_a_move_delivered_again_and_again_counts_once(world: World) -> None:
    world.insert("ScoreResult", "a", scoreId="score-1")
    world.insert("ScoreResult", "b", scoreId="score-2")
    world.update("ScoreResult", "a", scoreId="score-2")
    world.update("ScoreResult", "b", scorecardId="scorecard-2")
    records = list(world.undelivered)
    world.deliver()
    world.undelivered.extend(records)
    world.deliver()
    assert exact(world)


def test_a_check_by_range_finds_every_scope(world: World) -> None:
    """Rows of scopes that nobody has stored, and stored scopes that no row has any more."""
    world.insert("ScoreResult", "a", scoreId="score-1")
    world.insert("FeedbackItem", "f", scoreId="score-1")
    world.deliver()
    world.update("ScoreResult", "a", scoreId="score-2")
    world.insert("Evaluation", "e", scoreId="score-9")
    world.remove("FeedbackItem", "f")
    world.undelivered.clear()  # the stream has lost them
    world.clock.advance(60)
    found = world.check()
    assert {drift.hour.series.scope for drift in found.drift} == {
        None,
        "score-1",
        "score-2",
        "score-9",
        "scorecard-1",
    }
    assert not exact(world)
    world.check(repair=True)
    assert exact(world)
    assert world.check().drift == []


def test_a_repaired_scope_does_not_count_what_the_stream_brings_later(world: World) -> None:
    world.insert("ScoreResult", "a")
    world.update("ScoreResult", "a", scoreId="score-2", value="ERROR")
    world.clock.advance(300)
    world.check(repair=True)
    assert exact(world)
    world.deliver()
    assert exact(world)


def test_closed_hours_of_scopes_are_checked(world: World) -> None:
    world.insert("ScoreResult", "a")
    world.deliver()
    world.sweep()
    assert "acct-1#scoreResultsByScore#score-1#2026-11-22T12:" in world.marks()
    world.update("ScoreResult", "a", scoreId=None)
    world.undelivered.clear()
    world.sweep()
    world.clock.advance(60)
    result = world.run({"repair": True})
    assert {drift["recordType"] for drift in result["drift"]} == {"scoreResultsByScore"}
    assert exact(world)


def test_a_report_names_the_scope(world: World) -> None:
    world.insert("ScoreResult", "a")
    world.clock.advance(60)
    day = {"accountId": "acct-1", "start": "2026-11-22T12:00:00Z", "end": "2026-11-22T13:00:00Z"}
    asked = day | {"recordTypes": ["scoreResultsByScore"]}
    (minute,) = world.run(asked)["drift"]
    assert (minute["scorecardId"], minute["scoreId"]) == ("scorecard-1", "score-1")
