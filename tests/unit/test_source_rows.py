"""Source rows: pages of an index, rows that the API cannot give, and the pace of a Scan."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from aggregated_metrics.adapters.source_rows import (
    Page,
    hours_condition,
    index_pages,
    runs_of,
    table_pages,
)
from aggregated_metrics.core.errors import GraphQLError
from aggregated_metrics.core.models import BUILT_IN, Model

from testbench import rows
from testbench.hours import TEN
from testbench.world import Clock, World

ITEM, RESULT = BUILT_IN["Item"], BUILT_IN["ScoreResult"].only(())
DAY = {"between": ["2026-11-22T", "2026-11-22T~"]}


@pytest.fixture
def world() -> World:
    """A world whose API holds an item and a score result at 10:05."""
    made = World()
    made.api.put("Item", rows.item("first"))
    made.api.put("ScoreResult", rows.score_result("first"))
    return made


def read(world: World, model: Model = ITEM, condition: Any = DAY, **options: Any) -> list[Page]:
    return list(index_pages(world.store().execute, model, rows.ACCOUNT, condition, **options))


def ids(pages: Sequence[Page]) -> list[str]:
    return [row["id"] for found, *_ in pages for row in found]


def given(*answers: Mapping[str, Any] | Exception) -> tuple[list[Page], list[Any]]:
    """The pages where the API gives these answers, and the tokens that it was asked with."""
    left, tokens = list(answers), list[Any]()

    def execute(_: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        tokens.append(variables.get("token"))
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {"page": answer}

    return list(index_pages(execute, ITEM, rows.ACCOUNT, DAY)), tokens


def page(*items: Any, token: str | None = None) -> dict[str, Any]:
    return {"items": list(items), "nextToken": token}


def flawed(data: Any, *paths: Sequence[Any]) -> GraphQLError:
    errors = [{"message": "Can't serialize value", "path": list(path)} for path in paths]
    return GraphQLError("no", operation="CountItem", errors=errors, data=data)


def test_only_what_counting_needs_is_asked_for_in_pages_of_1000(world: World) -> None:
    read(world, RESULT)
    query = json.loads(world.log[0].body)["query"]
    selected = query.split("items {")[1].split("}")[0].split()
    assert selected == list(RESULT.selected)
    assert not {"scoreId", "explanation"} & set(selected), "no breakdown is on"
    assert "limit: 1000" in query


def test_rows_come_in_the_order_asked_for_with_the_last_ones_sort_key(world: World) -> None:
    world.api.remove("Item", "first")
    for minute, name in enumerate("ab"):
        world.api.put("Item", rows.item(name, createdAt=f"2026-11-22T10:0{minute}:00Z"))
    world.api.put("Item", rows.item("c", accountId="another"))
    (down,), (up,) = (read(world, newest_first=newest_first) for newest_first in (True, False))
    assert (ids([down]), down[1]) == (["b", "a"], "2026-11-22T10:00:00Z")
    assert (ids([up]), up[1]) == (["a", "b"], "2026-11-22T10:01:00Z")


def test_an_empty_page_with_a_token_is_not_the_end() -> None:
    pages, tokens = given(page(token="t1"), page({"id": "a"}, token="t2"), page())
    assert (ids(pages), tokens) == (["a"], [None, "t1", "t2"])


def test_a_model_without_an_index_is_an_error(world: World) -> None:
    declared = ITEM.declaration.model_copy(update={"listing": None})
    with pytest.raises(ValueError, match="Item has no index"):
        read(world, Model(declared))


def test_an_hours_range_has_its_first_and_its_last_instant(world: World) -> None:
    for time in ("09:59:59.999Z", "10:00Z", "10:59:59.999999999Z", "11:00Z"):
        world.api.put("Item", rows.item("first", createdAt=f"2026-11-22T{time}"))
        found = ids(read(world, condition=hours_condition(TEN, TEN)))
        assert bool(found) is time.startswith("10"), time


def test_hours_side_by_side_are_one_range_and_the_newest_come_first() -> None:
    starts = [TEN, TEN + 60, TEN + 300, TEN + 120, TEN]
    assert runs_of(starts) == [(TEN + 300, TEN + 300), (TEN, TEN + 120)]
    assert runs_of([]) == []


def test_a_row_that_no_index_check_counts_anyway_was_expected(world: World) -> None:
    """Without its value, which the schema requires, a score result is an unindexed row."""
    world.api.put("ScoreResult", rows.score_result("second", value=None))
    (only,) = read(world, RESULT)
    assert (ids([only]), only[2:]) == (["first"], ([], False))
    assert len(world.log) == 1


@pytest.mark.parametrize("model", [ITEM, RESULT], ids=lambda model: model.name)
def test_of_another_row_that_it_cannot_give_only_the_minute_is_unverified(
    world: World, model: Model
) -> None:
    flaw: dict[str, Any] = {"createdByType": {}} if model is ITEM else {"code": {}}
    row = rows.MAKERS[model.name]("second", createdAt="2026-11-22T10:07:00Z", **flaw)
    world.api.put(model.name, row)
    (only,) = read(world, model)
    assert (ids([only]), only[2:]) == (["first"], ([TEN + 7], False))


def test_both_queries_ask_for_the_models_own_identifier() -> None:
    model = Model(ITEM.declaration.model_copy(update={"identifier": ("key",)}))
    asked: list[str] = []

    def execute(query: str, _: Any) -> dict[str, Any]:
        asked.append(query)
        return {"page": page({"key": "a"}, None)}

    list(index_pages(execute, model, rows.ACCOUNT, DAY))
    assert [query.count("items { key ") for query in asked] == [1, 1]


AT_ITS_TYPE = flawed({"page": page({"id": "a"}, None)}, ("page", "items", 1, "createdByType"))
BESIDE = flawed({"page": page({"id": "a"}, None, None)}, ("page", "items", 1, "createdAt"))


@pytest.mark.parametrize("first", [page({"id": "a"}, None), AT_ITS_TYPE, BESIDE])
@pytest.mark.parametrize(
    ("again", "unverified"),
    [
        (page({"id": "a"}, {"id": "b", "createdAt": "2026-11-22T10:07:00Z"}), [TEN + 7]),
        (page({"id": "a"}, {"id": "b", "createdAt": "soon"}), []),
        (page({"id": "a"}, None), []),
        (flawed({"page": page({"id": "a"}, None)}, ("page", "items", 1, "id")), []),
    ],
    ids=["readable", "no time", "null again", "an error again"],
)
def test_a_row_whose_time_cannot_be_read_either_makes_the_reading_blind(
    first: Any, again: Any, unverified: list[int]
) -> None:
    (only,), _ = given(first, again)
    assert ids([only]) == ["a"]
    assert only[2:] == (unverified, not unverified)


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"page": None}, ("page",)),
        (None, ()),
        ({"page": {"items": None}}, ("page", "items")),
        ({"page": page({"id": "a"})}, ("page", "nextToken")),
    ],
)
def test_a_page_that_failed_as_a_whole_is_an_error(data: Any, path: Sequence[Any]) -> None:
    with pytest.raises(GraphQLError):
        given(flawed(data, path))


@pytest.mark.parametrize(("units", "seconds"), [(50, 16), (5, 4)])
def test_a_scan_consumes_no_more_than_its_read_units(units: int, seconds: float) -> None:
    """Four pages at ten units a second; each takes a second by itself."""
    clock, keys = Clock(), [{"id": {"S": "a"}}] * 3 + [None]

    class Table:
        def scan(self, **_: Any) -> dict[str, Any]:
            clock.advance(1)
            consumed = {"CapacityUnits": units}
            return {"Items": [], "ConsumedCapacity": consumed, "LastEvaluatedKey": keys.pop(0)}

    table: Any = Table()
    began = clock.timestamp()
    pages = table_pages(
        table, "t/1", ITEM, (0, 1), None, 10, monotonic=clock.timestamp, sleep=clock.advance
    )
    assert len(list(pages)) == 4
    assert clock.timestamp() - began == seconds
