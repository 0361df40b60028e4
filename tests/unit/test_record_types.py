import json
from typing import Any

import pytest
from aggregated_metrics.core import buckets
from aggregated_metrics.core.errors import UncountableError
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.record_types import (
    BREAKDOWNS,
    KNOWN,
    MODELS,
    RECORD_TYPES,
    model_of,
)
from aggregated_metrics.core.source_models import Model, contribution

from testbench import oracle, rows
from testbench.counted import measured

CALLS = {"total_cost": "0.00123", "api_calls": 2, "cached_api_calls": 1}


def counted(model: str, row: dict[str, Any]) -> tuple[tuple[str, ...], Measures]:
    """The record types that a row counts into, and what it adds."""
    found = contribution(MODELS[model], row)
    types = [series.record_type for series in found.series]
    return tuple(name for name in types if name not in BREAKDOWNS), found.measures


def result(**changes: Any) -> Measures:
    return counted("ScoreResult", rows.score_result(**changes))[1]


@pytest.mark.parametrize("model", KNOWN, ids=lambda model: model.name)
def test_a_models_measures_have_a_number_for_every_name_and_the_oracle_the_same_names(
    model: Model,
) -> None:
    names = (*oracle.MEASURES, *model.extra)
    assert oracle.measures_of(model.record_type) == names, (
        "`extra` of core/record_types.py and `_EXTRA` of testbench/oracle.py differ"
    )
    _, added = counted(model.name, rows.MAKERS[model.name]("row-1"))
    assert len(added) == len(names), (
        f"the measure of {model.name} in core/record_types.py gives {len(added)} numbers for "
        f"{', '.join(names)}"
    )


def test_twelve_record_types_are_counted_and_six_breakdowns() -> None:
    assert sorted(RECORD_TYPES) == [
        "chatMessages",
        "chatSessions",
        "evaluationItems",
        "evaluationScoreResults",
        "evaluations",
        "feedbackItems",
        "items",
        "predictionItems",
        "predictionScoreResults",
        "procedures",
        "scoreResults",
        "tasks",
    ]
    assert sorted(BREAKDOWNS) == [
        "evaluationsByScore",
        "evaluationsByScorecard",
        "feedbackItemsByScore",
        "feedbackItemsByScorecard",
        "scoreResultsByScore",
        "scoreResultsByScorecard",
    ]
    assert {model_of(name).name for name in (*RECORD_TYPES, *BREAKDOWNS)} == set(MODELS)
    with pytest.raises(KeyError):
        model_of("reports")


@pytest.mark.parametrize(
    ("kind", "record_types"),
    [
        ("prediction", ("items", "predictionItems")),
        ("evaluation", ("items", "evaluationItems")),
        ("Prediction", ("items",)),
        ("import", ("items",)),
        ("", ("items",)),
        (None, ("items",)),
        (rows.REMOVED, ("items",)),
        ({"of": "prediction"}, ("items",)),
        (["prediction"], ("items",)),
    ],
)
def test_an_item_counts_always_and_by_who_made_it(kind: Any, record_types: Any) -> None:
    assert counted("Item", rows.item(createdByType=kind)) == (record_types, Measures(1))


@pytest.mark.parametrize(
    ("kind", "record_types"),
    [
        ("prediction", ("scoreResults", "predictionScoreResults")),
        ("evaluation", ("scoreResults", "evaluationScoreResults")),
        ("test", ("scoreResults",)),
        (rows.REMOVED, ("scoreResults",)),
    ],
)
def test_a_score_result_counts_always_and_by_its_type(kind: Any, record_types: Any) -> None:
    assert counted("ScoreResult", rows.score_result(type=kind))[0] == record_types


@pytest.mark.parametrize("value", ["ERROR", "error", "Error"])
def test_a_value_of_error_in_any_case_is_an_error_and_no_decision(value: str) -> None:
    found = result(value=value, code="200")
    assert (found.errorCount, found.decisionCount) == (1, 0)


@pytest.mark.parametrize("value", ["Yes", "No", "ERRORS", "no error", "N/A"])
def test_any_other_value_is_a_decision(value: str) -> None:
    found = result(value=value, code="200")
    assert (found.errorCount, found.decisionCount) == (0, 1)


@pytest.mark.parametrize("letter", ["a", "ä", "🙂"])
def test_an_account_of_more_than_1800_bytes_is_uncountable(letter: str) -> None:
    """No key could hold it."""
    most = 1_800 // len(letter.encode())
    assert result(accountId=letter * most).count == 1
    with pytest.raises(UncountableError, match="accountId has more than 1800 bytes"):
        result(accountId=letter * (most + 1))


@pytest.mark.parametrize("value", ["", None, rows.REMOVED])
def test_without_a_value_there_is_no_decision_and_no_error(value: Any) -> None:
    found = result(value=value, code="200")
    assert (found.count, found.errorCount, found.decisionCount) == (1, 0, 0)


@pytest.mark.parametrize(
    ("code", "failed"),
    [
        ("200", 0),
        ("399", 0),
        ("400", 1),
        ("404", 1),
        ("500", 1),
        (500, 1),
        ("OK", 0),
        ("", 0),
        (None, 0),
        (rows.REMOVED, 0),
        ({}, 0),
    ],
)
def test_a_code_from_400_on_is_an_error(code: Any, failed: int) -> None:
    found = result(code=code)
    assert (found.errorCount, found.decisionCount) == (failed, 1 - failed)


@pytest.mark.parametrize(
    "cost",
    [
        CALLS,
        json.dumps(CALLS),
        json.dumps(json.dumps(CALLS)),
        {"total_usd": "0.00123", "llm_calls": 2, "cached_llm_calls": 1},
        {"total_cost": 0.00123, "llm_calls": "2", "cached_api_calls": 1.0},
        '{"total_usd": 1.23e-3, "api_calls": 2, "cached_llm_calls": 1}',
        {**CALLS, "total_usd": "9", "llm_calls": 9, "cached_llm_calls": 9},
    ],
    ids=["map", "text", "text of a text", "other names", "mixed", "exponent", "first name wins"],
)
def test_cost_is_read_in_every_form_that_writers_leave(cost: Any) -> None:
    assert result(cost=cost) == measured("scoreResults", 1, 1230, 1, 2, 1, 0)


@pytest.mark.parametrize("cost", [None, rows.REMOVED, "", {}, "{}", "null", '"{}"'])
def test_without_cost_there_is_none(cost: Any) -> None:
    assert result(cost=cost) == measured("scoreResults", 1, 0, 1, 0, 0, 0)


def test_a_cost_without_dollars_still_has_calls() -> None:
    assert result(cost={"llm_calls": 3}) == measured("scoreResults", 1, 0, 1, 3, 0, 0)


def test_zero_calls_are_not_taken_for_missing() -> None:
    assert result(cost={"api_calls": 0, "llm_calls": 5}).externalAiApiCount == 0


@pytest.mark.parametrize(
    "cost",
    [
        "free",
        "[1]",
        [1],
        "3",
        {"total_cost": "a lot"},
        {"total_cost": {"USD": 1}},
        {"total_cost": True},
        {"llm_calls": "many"},
        '{"total_cost": NaN}',
        '{"total_cost": 1e99999999999999999999}',
        '{"llm_calls": 1e9999999}',
        "[" * 100_000,
        json.dumps(json.dumps(json.dumps(CALLS))),
    ],
)
def test_a_cost_that_is_none_is_uncountable(cost: Any) -> None:
    with pytest.raises(UncountableError, match="cost"):
        result(cost=cost)


@pytest.mark.parametrize(
    ("status", "failed"),
    [("FAILED", 1), ("ERROR", 1), ("RUNNING", 0), ("COMPLETED", 0), ("failed", 0), (["ERROR"], 0)],
)
def test_a_task_that_failed_is_an_error(status: Any, failed: int) -> None:
    expected = Measures(count=1, errorCount=failed)
    assert counted("Task", rows.task(status=status)) == (("tasks",), expected)


@pytest.mark.parametrize(("status", "failed"), [("FAILED", 1), ("ERROR", 1), ("COMPLETED", 0)])
def test_an_evaluation_has_its_dollars_and_its_failure(status: str, failed: int) -> None:
    row = rows.evaluation(status=status, cost=1.2345675)
    expected = Measures(count=1, cost=1_234_568, errorCount=failed)
    assert counted("Evaluation", row) == (("evaluations",), expected)


@pytest.mark.parametrize("cost", [None, rows.REMOVED])
def test_an_evaluation_may_have_no_cost(cost: Any) -> None:
    assert counted("Evaluation", rows.evaluation(cost=cost))[1] == Measures(count=1)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("account", [None, "", rows.REMOVED, 7, {}])
def test_without_an_account_a_row_is_uncountable(model: str, account: Any) -> None:
    row = rows.item(accountId=account)
    with pytest.raises(UncountableError, match="accountId"):
        contribution(MODELS[model], row)


@pytest.mark.parametrize(
    "created",
    [None, "", rows.REMOVED, 1795341269, "soon", "2026-11-22", "2026-11-22T10:05:30"],
)
def test_without_a_readable_time_a_row_is_uncountable(created: Any) -> None:
    with pytest.raises(UncountableError, match="createdAt"):
        contribution(MODELS["Item"], rows.item(createdAt=created))


@pytest.mark.parametrize(
    "created",
    [
        "0001-01-01T00:00:00+01:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:00:00Z",
        "9999-12-31T23:59:00-01:00",
    ],
)
def test_a_time_whose_hour_no_datetime_can_name_is_uncountable(created: str) -> None:
    with pytest.raises(UncountableError, match="years 1 to 9999"):
        contribution(MODELS["Item"], rows.item(createdAt=created))


@pytest.mark.parametrize("created", ["0001-01-01T00:00:00Z", "9999-12-31T22:59:59Z"])
def test_the_first_and_the_last_hour_can_be_named(created: str) -> None:
    minute = contribution(MODELS["Item"], rows.item(createdAt=created)).minute
    assert buckets.iso(buckets.floor(minute, 60)) <= created
    assert created < buckets.iso(buckets.floor(minute, 60) + 60)


def test_the_minute_is_that_of_created_at_in_utc() -> None:
    row = rows.item(createdAt="2026-11-22T15:35:59.999+05:30")
    assert buckets.iso(contribution(MODELS["Item"], row).minute) == "2026-11-22T10:05:00Z"
