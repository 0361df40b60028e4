"""Which series a row counts into beside its record type, and what that costs."""

from typing import Any

import pytest
from aggregated_metrics.core.changes import fold
from aggregated_metrics.core.record_types import BREAKDOWNS, MODELS
from aggregated_metrics.core.series import Series

from testbench.rows import MAKERS, REMOVED, score_result
from testbench.streams import Stream, window_event

BOTH = ("scoreResultsByScorecard", "scoreResultsByScore")


def nets(*records: Any, breakdowns: Any = BOTH) -> dict[Series, int]:
    """What the count of every series changes by."""
    found: dict[Series, int] = {}
    for batch in fold(window_event(*records), {}, breakdowns).batches:
        for hour, _, deltas in batch.minutes():
            net = sum(delta.measures.count for delta in deltas)
            found[hour.series] = found.get(hour.series, 0) + net
    return found


def scoped(found: dict[Series, int]) -> dict[tuple[str, str | None], int]:
    return {(s.record_type, s.scope): n for s, n in found.items() if s.record_type in BREAKDOWNS}


@pytest.mark.parametrize("model", ["ScoreResult", "Evaluation", "FeedbackItem"])
def test_a_row_counts_by_scorecard_and_by_score(model: str) -> None:
    found = nets(Stream(model).insert(MAKERS[model]()), breakdowns=BREAKDOWNS)
    name = MODELS[model].record_type
    assert scoped(found) == {
        (f"{name}ByScorecard", "scorecard-1"): 1,
        (f"{name}ByScore", "score-1"): 1,
    }
    (by_score,) = (series for series in found if series.record_type == f"{name}ByScore")
    assert (by_score.scorecard_id, by_score.score_id) == ("scorecard-1", "score-1")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"scoreId": REMOVED}, {("scoreResultsByScorecard", "scorecard-1"): 1}),
        ({"scoreId": None}, {("scoreResultsByScorecard", "scorecard-1"): 1}),
        ({"scoreId": ""}, {("scoreResultsByScorecard", "scorecard-1"): 1}),
        ({"scoreId": "s" * 181}, {("scoreResultsByScorecard", "scorecard-1"): 1}),
        ({"scorecardId": REMOVED}, {}),
        ({"scorecardId": None}, {}),
    ],
)
def test_an_id_that_is_not_there_or_too_long_for_a_key_counts_into_no_breakdown(
    changes: dict[str, Any], expected: Any
) -> None:
    found = nets(Stream("ScoreResult").insert(score_result(**changes)))
    assert scoped(found) == expected
    assert found[Series("acct-1", "scoreResults")] == 1


def test_a_row_that_moves_to_another_score_moves_its_counts() -> None:
    old, new = score_result(), score_result(scoreId="score-2")
    assert nets(Stream("ScoreResult").modify(old, new)) == {
        Series("acct-1", "scoreResults"): 0,
        Series("acct-1", "predictionScoreResults"): 0,
        Series("acct-1", "scoreResultsByScorecard", "scorecard-1"): 0,
        Series("acct-1", "scoreResultsByScore", "scorecard-1", "score-1"): -1,
        Series("acct-1", "scoreResultsByScore", "scorecard-1", "score-2"): 1,
    }


def test_one_score_under_two_scorecards_is_one_series() -> None:
    stream = Stream("ScoreResult")
    rows = [score_result("a"), score_result("b", scorecardId="scorecard-2")]
    assert scoped(nets(*map(stream.insert, rows))) == {
        ("scoreResultsByScorecard", "scorecard-1"): 1,
        ("scoreResultsByScorecard", "scorecard-2"): 1,
        ("scoreResultsByScore", "score-1"): 2,
    }


def test_each_breakdown_is_switched_on_by_itself() -> None:
    record = Stream("ScoreResult").insert(score_result())
    assert scoped(nets(record, breakdowns=())) == {}
    for name in BOTH:
        assert [place[0] for place in scoped(nets(record, breakdowns=(name,)))] == [name]


def test_what_is_off_is_not_read() -> None:
    off = MODELS["ScoreResult"].only(())
    assert not {"scorecardId", "scoreId"} & set(off.attributes)
    moved = Stream("ScoreResult").modify(score_result(), score_result(scoreId="score-2"))
    assert nets(moved, breakdowns=()) == {}
