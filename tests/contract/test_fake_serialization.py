"""FakeAppSync gives what a table holds as AppSync serializes it: rows it cannot give are named."""

from typing import Any

import pytest

from testbench import rows
from testbench.fakes.appsync import FakeAppSync
from testbench.fakes.models import models

CREATED = rows.CREATED_AT
_LIST = """query List($account: String!) {
  page: listTaskByAccountIdAndUpdatedAt(accountId: $account) {
    items { id status createdAt updatedAt } nextToken
  }
}"""


def _listed(*tasks: dict[str, Any]) -> dict[str, Any]:
    api = FakeAppSync()
    api.put("Task", *tasks)
    return api.execute(_LIST, {"account": rows.ACCOUNT})


def _get(model: str, selected: str, row: dict[str, Any]) -> dict[str, Any]:
    api = FakeAppSync()
    api.put(model, row)
    query = f"query Get($id: ID!) {{ row: get{model}(id: $id) {{ {selected} }} }}"
    return api.execute(query, {"id": row["id"]})


@pytest.mark.parametrize("text", ["2026-11-22 12:05:30+00:00", "2026-11-22T10:05:30", "yesterday"])
def test_a_time_that_cannot_be_serialized_is_null_and_named(text: str) -> None:
    answer = _listed(rows.task("a", createdAt=text), rows.task("b"))
    first, second = answer["data"]["page"]["items"]
    assert first == {"id": "a", "status": "RUNNING", "createdAt": None, "updatedAt": CREATED}
    assert second["createdAt"] == CREATED
    assert answer["errors"] == [
        {
            "message": "Can't serialize value (/page/items[0]/createdAt) : "
            f"Unable to serialize `{text}` as a valid DateTime Object.",
            "path": ["page", "items", 0, "createdAt"],
            "locations": None,
        }
    ]


def test_null_in_a_field_that_must_not_be_null_makes_its_row_null_and_no_other() -> None:
    answer = _listed(rows.task("a"), rows.task("b", status=None), rows.task("c"))
    assert [row and row["id"] for row in answer["data"]["page"]["items"]] == ["a", None, "c"]
    assert [error["path"] for error in answer["errors"]] == [["page", "items", 1, "status"]]


@pytest.mark.parametrize("number", [2**31, -(2**31) - 1, 0.5])
def test_an_int_beyond_32_bits_is_null_and_named(number: float) -> None:
    answer = _get("Evaluation", "id totalItems", rows.evaluation(totalItems=number))
    assert answer["data"]["row"] == {"id": "evaluation-1", "totalItems": None}
    assert [error["path"] for error in answer["errors"]] == [["row", "totalItems"]]


@pytest.mark.parametrize(
    ("model", "field", "value"),
    [
        ("Task", "status", {"a": 1}),
        ("Task", "status", ["RUNNING"]),
        ("Item", "isEvaluation", "no"),
        ("AggregatedMetrics", "numberOfMinutes", "one"),
        ("AggregatedMetrics", "timeRangeStart", "2026-11-22 10:00:00"),
    ],
)
def test_a_wrong_type_where_null_is_not_allowed_makes_its_row_null(
    model: str, field: str, value: Any
) -> None:
    api = FakeAppSync()
    key = {name: name for name in models()[model].key}
    api.put(model, key | {field: value})
    answer = api.execute(
        f"query {{ page: {models()[model].list_query} {{ items {{ {field} }} }} }}"
    )
    assert answer["data"] == {"page": {"items": [None]}}
    assert [error["path"] for error in answer["errors"]] == [["page", "items", 0, field]]


def test_a_field_that_is_not_selected_is_not_serialized() -> None:
    assert "errors" not in _get("Task", "id status", rows.task(createdAt="yesterday"))


def test_a_string_is_given_whatever_the_table_holds() -> None:
    answer = _get("ScoreResult", "id code", rows.score_result(code=404))
    assert answer == {"data": {"row": {"id": "result-1", "code": "404"}}}
