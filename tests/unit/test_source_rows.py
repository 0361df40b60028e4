"""Counting the source rows again: pages, times in every form, and rows that move."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from aggregated_metrics.adapters import source_rows as source
from aggregated_metrics.adapters.source_rows import Counted, SourceRows
from aggregated_metrics.core.buckets import to_minute
from aggregated_metrics.core.measures import ZERO, Measures
from aggregated_metrics.core.record_types import MODELS

from testbench import rows
from testbench.fakes.appsync import FakeAppSync

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
TEN = to_minute(datetime(2026, 11, 22, 10, 0, tzinfo=UTC))
FIVE_PAST = TEN + 5
ITEM, RESULT = MODELS["Item"], MODELS["ScoreResult"]


class _Api:
    """The Fake as a client, with a log of documents and variables."""

    def __init__(self) -> None:
        self.fake = FakeAppSync()
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        self.asked.append((query, dict(variables or {})))
        answer = self.fake.execute(query, variables)
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data


class _Pages:
    """A client that answers with pages that are given."""

    def __init__(self, *pages: Sequence[Mapping[str, Any]]) -> None:
        self.pages = list(pages)
        self.tokens: list[Any] = []

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        self.tokens.append((variables or {}).get("token"))
        number = len(self.tokens)
        token = f"t{number}" if number < len(self.pages) else None
        return {"page": {"items": list(self.pages[number - 1]), "nextToken": token}}


def _source(client: Any, **options: Any) -> SourceRows:
    return SourceRows(client, clock=lambda: NOW, **options)


def _row(number: int = 1, updated: str = "2026-11-22T10:05:30Z", **changes: Any) -> dict[str, Any]:
    row = {"id": f"r{number}", "createdAt": "2026-11-22T10:05:30Z", "updatedAt": updated}
    return row | {"value": "Yes", "code": "200", "cost": None, "type": "prediction"} | changes


def test_rows_count_into_their_minute_and_their_splits() -> None:
    api = _Api()
    api.fake.put("Item", rows.item("1"), rows.item("2", createdByType="upload"))
    api.fake.put("Item", rows.item("3", accountId="another"))
    counted = _source(api).count(ITEM, rows.ACCOUNT, [TEN])
    assert counted.minutes == {
        ("items", FIVE_PAST): Measures(2),
        ("predictionItems", FIVE_PAST): Measures(1),
    }
    assert (counted.rows, counted.pages) == (2, 1)
    assert counted.at("items", TEN) == ZERO


def test_measures_are_those_of_the_stream() -> None:
    api = _Api()
    api.fake.put("ScoreResult", rows.score_result())
    counted = _source(api).count(RESULT, rows.ACCOUNT, [TEN])
    assert counted.at("scoreResults", FIVE_PAST) == Measures(1, 1230, 1, 2, 1, 0)


def test_only_needed_fields_are_selected_and_pages_have_1000_rows() -> None:
    api = _Api()
    _source(api).count(RESULT, rows.ACCOUNT, [TEN])
    query, _ = api.asked[0]
    selected = query.split("items {")[1].split("}")[0].split()
    assert selected == ["id", "createdAt", "type", "value", "code", "cost", "updatedAt"]
    assert "limit: 1000" in query


def test_nothing_is_asked_for_no_hours() -> None:
    api = _Api()
    assert _source(api).count(ITEM, rows.ACCOUNT, []) == Counted()
    assert api.asked == []


@pytest.mark.parametrize(
    "created",
    [
        "2026-11-22T10:05:00Z",
        "2026-11-22T10:05:59.999999999Z",
        "2026-11-22T10:05Z",
        "2026-11-22T10:05:30.000+00:00",
        "2026-11-22T15:35:30+05:30",
        "2026-11-21T23:05:30-11:00",
        "2026-11-23T00:05:30+14:00",
        "2026-11-21T22:05:30-12:00",
    ],
)
def test_rows_with_times_in_other_forms_are_found(created: str) -> None:
    api = _Api()
    for model in (ITEM, RESULT):
        make = rows.item if model is ITEM else rows.score_result
        api.fake.put(model.name, make(createdAt=created, updatedAt=created))
        counted = _source(api).count(model, rows.ACCOUNT, [TEN])
        assert counted.at(model.record_type, FIVE_PAST)[0] == 1, model.name


def test_the_first_and_the_last_instant_of_an_hour_count_and_the_next_does_not() -> None:
    api = _Api()
    for number, created in enumerate(
        ("09:59:59.999Z", "10:00:00Z", "10:00Z", "10:59:59.999Z", "11:00:00Z", "11:00Z")
    ):
        api.fake.put("Item", rows.item(f"{number}", createdAt=f"2026-11-22T{created}"))
    counted = _source(api, offset_hours=0).count(ITEM, rows.ACCOUNT, [TEN])
    assert counted.at("items", TEN) == Measures(2)
    assert counted.at("items", TEN + 59) == Measures(1)
    assert counted.at("items", TEN - 1) == counted.at("items", TEN + 60) == ZERO


def test_hours_far_apart_are_asked_for_apart_and_counted_once() -> None:
    api = _Api()
    days = [TEN, TEN + 60, TEN + 3 * 1440, TEN + 30 * 60]
    for number, minute in enumerate(days):
        created = datetime.fromtimestamp(minute * 60, UTC).isoformat()
        api.fake.put("Item", rows.item(f"{number}", createdAt=created, updatedAt=created))
    counted = _source(api).count(ITEM, rows.ACCOUNT, days)
    assert {minute: counted.at("items", minute)[0] for minute in days} == dict.fromkeys(days, 1)
    spans = [variables["range"]["between"] for _, variables in api.asked]
    assert spans == [
        ["2026-11-21T20:00", "2026-11-24T07:00"],
        ["2026-11-24T20:00", "2026-11-26T01:00"],
    ]


def test_an_index_by_updated_at_is_read_up_to_now_and_only_rows_created_in_range_count() -> None:
    api = _Api()
    api.fake.put("ScoreResult", rows.score_result("1", updatedAt="2026-11-24T08:00:00Z"))
    api.fake.put("ScoreResult", rows.score_result("2", createdAt="2026-11-20T10:05:00Z"))
    api.fake.put("ScoreResult", rows.score_result("3", createdAt="2026-11-22T11:05:00Z"))
    counted = _source(api).count(RESULT, rows.ACCOUNT, [TEN])
    assert counted.rows == 3
    assert [place for place in counted.minutes if place[0] == "scoreResults"] == [
        ("scoreResults", FIVE_PAST)
    ]
    assert api.asked[0][1]["range"] == {"ge": "2026-11-21T20:00"}


def test_an_empty_page_with_a_token_is_not_the_end() -> None:
    client = _Pages([], [_row(1)], [], [_row(2)])
    seen: list[int] = []
    counted = _source(client).count(
        RESULT, "a", [TEN], on_page=lambda counted: seen.append(counted.rows)
    )
    assert counted.at("scoreResults", FIVE_PAST)[0] == 2
    assert client.tokens == [None, "t1", "t2", "t3"]
    assert seen == [0, 1, 1, 2]


def test_rows_are_not_kept() -> None:
    client = _Pages(*[[_row(page * 100 + n) for n in range(100)] for page in range(50)])
    counted = _source(client).count(RESULT, "a", [TEN])
    assert counted.rows == 5_000
    assert len(counted.minutes) == 2
    assert counted.unsure == set()


@pytest.mark.parametrize(
    "row",
    [
        _row(createdAt="2026-11-24T10:05:31Z"),
        _row(createdAt=None),
        _row(cost="{]"),
        _row(cost='{"total_cost": "much"}'),
    ],
)
def test_what_the_stream_cannot_count_is_not_counted_here(row: dict[str, Any]) -> None:
    hours = [TEN, to_minute(datetime(2026, 11, 24, 10, tzinfo=UTC))]
    assert _source(_Pages([row])).count(RESULT, "a", hours).minutes == {}


@pytest.mark.parametrize("updated", [None, "", "soon"])
def test_a_row_without_a_readable_last_write_counts(updated: Any) -> None:
    counted = _source(_Pages([_row(updatedAt=updated)])).count(RESULT, "a", [TEN])
    assert counted.at("scoreResults", FIVE_PAST)[0] == 1


def test_a_row_that_is_listed_twice_on_a_page_counts_once_as_it_is_last() -> None:
    client = _Pages([_row(1), _row(2), _row(1, value="ERROR")])
    counted = _source(client).count(RESULT, "a", [TEN])
    assert counted.at("scoreResults", FIVE_PAST) == Measures(2, decisionCount=1, errorCount=1)
    assert counted.unsure == set()


def test_a_row_updated_while_pages_are_read_makes_its_minutes_unsure() -> None:
    late = "2026-11-25T11:59:56Z"
    client = _Pages([_row(1), _row(2)], [_row(3), _row(1, updated=late)])
    counted = _source(client).count(RESULT, "a", [TEN])
    assert counted.unsure == {
        ("scoreResults", FIVE_PAST),
        ("predictionScoreResults", FIVE_PAST),
    }


def test_rows_updated_before_the_reading_began_are_sure() -> None:
    client = _Pages([_row(1)], [_row(2, updated="2026-11-25T11:59:50Z")])
    assert _source(client).count(RESULT, "a", [TEN]).unsure == set()


def test_an_index_by_created_at_is_always_sure() -> None:
    client = _Pages([_row(1)], [_row(1, updated="2026-11-25T12:00:00Z")])
    assert _source(client).count(ITEM, "a", [TEN]).unsure == set()


def test_a_page_is_as_long_as_the_api_allows() -> None:
    assert source.PAGE == 1000
