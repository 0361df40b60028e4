"""Counting the source rows again: pages, times in every form, and rows that move."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from aggregated_metrics.adapters import source_rows as source
from aggregated_metrics.adapters.source_rows import Counted, SourceRows
from aggregated_metrics.core.buckets import to_minute
from aggregated_metrics.core.errors import GraphQLError
from aggregated_metrics.core.listing import ranges
from aggregated_metrics.core.measures import ZERO, Measures
from aggregated_metrics.core.record_types import MODELS
from aggregated_metrics.core.series import Series, Target
from aggregated_metrics.core.source_models import Model

from testbench import rows
from testbench.counted import measured
from testbench.fakes.appsync import FakeAppSync

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
TEN = to_minute(datetime(2026, 11, 22, 10, 0, tzinfo=UTC))
FIVE_PAST = TEN + 5
ITEM = MODELS["Item"]
RESULT = MODELS["ScoreResult"].only(())


def at(record_type: str, minute: int) -> Target:
    return Target(Series(rows.ACCOUNT, record_type), minute)


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


def _count(
    client: Any,
    model: Model,
    account_id: str,
    hours: Sequence[int],
    listed: Sequence[tuple[str, str]] = (),
    **options: Any,
) -> Counted:
    """As a check does: the hours' own ranges, and what their minutes say is listed elsewhere."""
    assert model.listing is not None
    where = ranges(model.listing[1], hours, listed)
    return SourceRows(client, clock=lambda: NOW).count(model, account_id, hours, where, **options)


def _row(number: int = 1, updated: str = "2026-11-22T10:05:30Z", **changes: Any) -> dict[str, Any]:
    row = {"id": f"r{number}", "createdAt": "2026-11-22T10:05:30Z", "updatedAt": updated}
    return row | {"value": "Yes", "code": "200", "cost": None, "type": "prediction"} | changes


def test_rows_count_into_their_minute_and_their_splits() -> None:
    api = _Api()
    api.fake.put("Item", rows.item("1"), rows.item("2", createdByType="upload"))
    api.fake.put("Item", rows.item("3", accountId="another"))
    counted = _count(api, ITEM, rows.ACCOUNT, [TEN])
    assert counted.minutes == {
        at("items", FIVE_PAST): Measures(2),
        at("predictionItems", FIVE_PAST): Measures(1),
    }
    assert (counted.rows, counted.pages) == (2, 1)
    assert counted.at(at("items", TEN)) == ZERO


def test_measures_are_those_of_the_stream() -> None:
    api = _Api()
    api.fake.put("ScoreResult", rows.score_result())
    counted = _count(api, RESULT, rows.ACCOUNT, [TEN])
    expected = measured("scoreResults", 1, 1230, 1, 2, 1, 0)
    assert counted.at(at("scoreResults", FIVE_PAST)) == expected


def test_only_needed_fields_are_selected_and_pages_have_1000_rows() -> None:
    api = _Api()
    _count(api, RESULT, rows.ACCOUNT, [TEN])
    query, _ = api.asked[0]
    selected = query.split("items {")[1].split("}")[0].split()
    assert selected == ["id", "createdAt", "type", "value", "code", "cost", "updatedAt"]
    assert "limit: 1000" in query


def test_nothing_is_asked_for_no_hours() -> None:
    api = _Api()
    assert _count(api, ITEM, rows.ACCOUNT, []) == Counted()
    assert api.asked == []


@pytest.mark.parametrize(
    "created",
    [
        "2026-11-22T10:05:00Z",
        "2026-11-22T10:05:59.999999999Z",
        "2026-11-22T10:05Z",
        "2026-11-22T10:05:30.000+00:00",
    ],
)
def test_rows_with_times_in_utc_are_found_in_their_hours_own_range(created: str) -> None:
    api = _Api()
    for model in (ITEM, RESULT):
        make = rows.item if model is ITEM else rows.score_result
        api.fake.put(model.name, make(createdAt=created, updatedAt=created))
        counted = _count(api, model, rows.ACCOUNT, [TEN])
        assert counted.at(at(model.record_type, FIVE_PAST))[0] == 1, model.name


@pytest.mark.parametrize(
    "created",
    [
        "2026-11-22T15:35:30+05:30",
        "2026-11-21T23:05:30-11:00",
        "2026-11-23T00:05:30+14:00",
        "2026-11-21T22:05:30-12:00",
    ],
)
def test_rows_with_times_of_other_zones_are_found_where_the_stream_saw_them_listed(
    created: str,
) -> None:
    api = _Api()
    for model in (ITEM, RESULT):
        make = rows.item if model is ITEM else rows.score_result
        api.fake.put(model.name, make(createdAt=created, updatedAt=created))
        counted = _count(api, model, rows.ACCOUNT, [TEN], [(created, created)])
        assert counted.at(at(model.record_type, FIVE_PAST))[0] == 1, model.name


def test_the_first_and_the_last_instant_of_an_hour_count_and_the_next_does_not() -> None:
    api = _Api()
    for number, created in enumerate(
        ("09:59:59.999Z", "10:00:00Z", "10:00Z", "10:59:59.999Z", "11:00:00Z", "11:00Z")
    ):
        api.fake.put("Item", rows.item(f"{number}", createdAt=f"2026-11-22T{created}"))
    counted = _count(api, ITEM, rows.ACCOUNT, [TEN])
    assert counted.at(at("items", TEN)) == Measures(2)
    assert counted.at(at("items", TEN + 59)) == Measures(1)
    assert counted.at(at("items", TEN - 1)) == counted.at(at("items", TEN + 60)) == ZERO


def test_hours_far_apart_are_asked_for_apart_and_counted_once() -> None:
    api = _Api()
    days = [TEN, TEN + 60, TEN + 3 * 1440, TEN + 30 * 60]
    for number, minute in enumerate(days):
        created = datetime.fromtimestamp(minute * 60, UTC).isoformat().replace("+00:00", "Z")
        api.fake.put("Item", rows.item(f"{number}", createdAt=created, updatedAt=created))
    counted = _count(api, ITEM, rows.ACCOUNT, days)
    assert {minute: counted.at(at("items", minute))[0] for minute in days} == dict.fromkeys(days, 1)
    assert [variables["range"]["between"] for _, variables in api.asked] == [
        ["2026-11-22T10:", "2026-11-22T11:~"],
        ["2026-11-23T16:", "2026-11-23T16:~"],
        ["2026-11-25T10:", "2026-11-25T10:~"],
    ]


def test_an_hour_listed_by_creation_reads_no_row_of_another_hour() -> None:
    api = _Api()
    for number in range(120):
        created = f"2026-11-22T{9 + number // 40:02}:{number % 40:02}:00Z"
        api.fake.put("Item", rows.item(f"{number}", createdAt=created, updatedAt=created))
    assert _count(api, ITEM, rows.ACCOUNT, [TEN]).rows == 40


def test_an_index_by_updated_at_is_read_up_to_now_and_only_rows_created_in_range_count() -> None:
    api = _Api()
    api.fake.put("ScoreResult", rows.score_result("1", updatedAt="2026-11-24T08:00:00Z"))
    api.fake.put("ScoreResult", rows.score_result("2", createdAt="2026-11-20T10:05:00Z"))
    api.fake.put("ScoreResult", rows.score_result("3", createdAt="2026-11-22T11:05:00Z"))
    counted = _count(api, RESULT, rows.ACCOUNT, [TEN])
    assert counted.rows == 3
    assert [place for place in counted.minutes if place.series.record_type == "scoreResults"] == [
        at("scoreResults", FIVE_PAST)
    ]
    assert api.asked[0][1]["range"] == {"ge": "2026-11-22T10:"}


def test_an_empty_page_with_a_token_is_not_the_end() -> None:
    client = _Pages([], [_row(1)], [], [_row(2)])
    seen: list[int] = []
    counted = _count(
        client, RESULT, rows.ACCOUNT, [TEN], on_page=lambda counted: seen.append(counted.rows)
    )
    assert counted.at(at("scoreResults", FIVE_PAST))[0] == 2
    assert client.tokens == [None, "t1", "t2", "t3"]
    assert seen == [0, 1, 1, 2]


def test_rows_are_not_kept() -> None:
    client = _Pages(*[[_row(page * 100 + n) for n in range(100)] for page in range(50)])
    counted = _count(client, RESULT, rows.ACCOUNT, [TEN])
    assert counted.rows == 5_000
    assert len(counted.minutes) == 2
    assert counted.unsure == set()


@pytest.mark.parametrize(
    "row", [_row(createdAt=None), _row(cost="{]"), _row(cost='{"total_cost": "much"}')]
)
def test_what_the_stream_cannot_count_is_not_counted_here(row: dict[str, Any]) -> None:
    assert _count(_Pages([row]), RESULT, rows.ACCOUNT, [TEN]) == Counted(
        rows=1, pages=1, extra=RESULT.extra
    )


def test_a_time_a_day_after_the_update_leaves_its_minute_to_the_stream() -> None:
    """Only the stream knows when it was written, and so whether it was counted."""
    ahead = _row(1, createdAt="2026-11-24T10:05:31Z")
    minute = to_minute(datetime(2026, 11, 24, 10, 5, tzinfo=UTC))
    counted = _count(_Pages([ahead]), RESULT, rows.ACCOUNT, [minute - 5])
    assert counted.minutes == {}
    assert counted.unclear == {at("scoreResults", minute), at("predictionScoreResults", minute)}


@pytest.mark.parametrize("updated", ["2026-12-21T12:00:00Z", "2026-12-22T04:24:00Z", None])
def test_a_time_that_lies_days_ahead_leaves_its_minute_whatever_its_update_claims(
    updated: str | None,
) -> None:
    """A client may send an updatedAt that lies ahead as well: nothing was written after now."""
    ahead = _row(1, createdAt="2026-12-22T04:24:00Z", updatedAt=updated)
    minute = to_minute(datetime(2026, 12, 22, 4, 24, tzinfo=UTC))
    counted = _count(_Pages([ahead]), RESULT, rows.ACCOUNT, [minute - 24])
    assert counted.minutes == {}
    assert at("scoreResults", minute) in counted.unclear


@pytest.mark.parametrize("updated", [None, "", "soon"])
def test_a_row_without_a_readable_last_write_counts(updated: Any) -> None:
    counted = _count(_Pages([_row(updatedAt=updated)]), RESULT, rows.ACCOUNT, [TEN])
    assert counted.at(at("scoreResults", FIVE_PAST))[0] == 1


def test_a_row_that_is_listed_twice_on_a_page_counts_once_as_it_is_last() -> None:
    client = _Pages([_row(1), _row(2), _row(1, value="ERROR")])
    counted = _count(client, RESULT, rows.ACCOUNT, [TEN])
    expected = measured("scoreResults", 2, 0, 1, 0, 0, 1)
    assert counted.at(at("scoreResults", FIVE_PAST)) == expected
    assert counted.unsure == set()


def test_a_row_updated_since_the_check_began_makes_its_minutes_unsure() -> None:
    late = "2026-11-25T11:59:56Z"
    client = _Pages([_row(1), _row(2)], [_row(3), _row(1, updated=late)])
    counted = _count(client, RESULT, rows.ACCOUNT, [TEN])
    assert counted.unsure == {
        at("scoreResults", FIVE_PAST),
        at("predictionScoreResults", FIVE_PAST),
    }


def test_since_is_when_the_first_look_began_also_for_the_second() -> None:
    client = _Pages([_row(1, updated="2026-11-25T11:58:00Z")])
    since = datetime(2026, 11, 25, 11, 57, tzinfo=UTC)
    assert _count(client, RESULT, rows.ACCOUNT, [TEN], since=since).unsure


@pytest.mark.parametrize(
    "updated", ["2026-11-25T11:49:49Z", "2026-11-25T12:00:11Z", "2027-01-01T00:00:00Z"]
)
def test_rows_updated_before_the_check_or_by_a_clock_ahead_are_sure(updated: str) -> None:
    assert _count(_Pages([_row(2, updated=updated)]), RESULT, rows.ACCOUNT, [TEN]).unsure == set()


def test_a_row_updated_during_a_check_is_unsure_in_an_index_by_creation_too() -> None:
    client = _Pages([_row(1, updated="2026-11-25T12:00:00Z")])
    assert _count(client, ITEM, rows.ACCOUNT, [TEN]).unsure == {at("items", FIVE_PAST)}


class _Broken:
    """A client whose answer has errors, as AppSync gives them for rows it cannot serialize."""

    def __init__(self, data: Any, *paths: Sequence[Any]) -> None:
        self.error = GraphQLError(
            "Can't serialize value",
            operation="Count",
            errors=[{"message": "Can't serialize value", "path": list(path)} for path in paths],
            data=data,
        )

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        raise self.error


def test_rows_that_the_api_cannot_serialize_are_unreadable_and_the_others_count() -> None:
    page = {"items": [_row(1), None, _row(3, createdAt=None)], "nextToken": None}
    client = _Broken(
        {"page": page}, ("page", "items", 1, "value"), ("page", "items", 2, "createdAt")
    )
    counted = _count(client, RESULT, rows.ACCOUNT, [TEN])
    assert (counted.at(at("scoreResults", FIVE_PAST))[0], counted.unreadable) == (1, 2)


@pytest.mark.parametrize(
    ("data", "path"),
    [({"page": None}, ("page",)), (None, ()), ({"page": {"items": None}}, ("page", "items"))],
)
def test_a_page_that_failed_as_a_whole_is_an_error(data: Any, path: Sequence[Any]) -> None:
    with pytest.raises(GraphQLError):
        _count(_Broken(data, path), RESULT, rows.ACCOUNT, [TEN])


def test_a_page_is_as_long_as_the_api_allows() -> None:
    assert source.PAGE == 1000
