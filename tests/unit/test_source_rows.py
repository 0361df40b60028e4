"""Source rows through the API's own index: pages, and rows that the API cannot give."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from aggregated_metrics.adapters.retries import Retries
from aggregated_metrics.adapters.source_rows import (
    IndexRows,
    Page,
    hours_condition,
    runs_of,
)
from aggregated_metrics.core.errors import AuthorizationError, GraphQLError, ThrottledError
from aggregated_metrics.core.models import BUILT_IN, Model

from testbench import rows
from testbench.hours import TEN
from testbench.world import World

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
    source = IndexRows(world.client(), Retries(sleep=world.clock.advance))
    return list(source.pages(model, rows.ACCOUNT, condition, **options))


def ids(pages: Sequence[Page]) -> list[str]:
    return [row["id"] for page in pages for row in page.rows]


class Answers:
    """A client whose answers are given: pages, or errors."""

    def __init__(self, *given: Mapping[str, Any] | Exception) -> None:
        self.given, self.tokens = list(given), list[Any]()

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        self.tokens.append((variables or {}).get("token"))
        answer = self.given.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {"page": answer}

    def pages(self, model: Model = ITEM) -> list[Page]:
        source = IndexRows(self, Retries(sleep=lambda _: None))
        return list(source.pages(model, rows.ACCOUNT, DAY))


def page(*items: Any, token: str | None = None) -> dict[str, Any]:
    return {"items": list(items), "nextToken": token}


def flawed(data: Any, *paths: Sequence[Any]) -> GraphQLError:
    errors = [{"message": "Can't serialize value", "path": list(path)} for path in paths]
    return GraphQLError("no", operation="CountItem", errors=errors, data=data)


# Pages --------------------------------------------------------------------------------------------


def test_only_what_counting_needs_is_asked_for_in_pages_of_1000(world: World) -> None:
    read(world, RESULT)
    query = json.loads(world.log[0].body)["query"]
    selected = query.split("items {")[1].split("}")[0].split()
    assert selected == list(RESULT.selected)
    assert not {"scoreId", "explanation"} & set(selected), "no breakdown is on"
    assert "limit: 1000" in query


@pytest.mark.parametrize(("newest_first", "order"), [(True, ["b", "a"]), (False, ["a", "b"])])
def test_rows_come_in_the_order_asked_for_with_the_last_ones_sort_key(
    world: World, order: list[str], *, newest_first: bool
) -> None:
    world.api.remove("Item", "first")
    for minute, name in enumerate("ab"):
        world.api.put("Item", rows.item(name, createdAt=f"2026-11-22T10:0{minute}:00Z"))
    world.api.put("Item", rows.item("c", accountId="another"))
    (only,) = read(world, newest_first=newest_first)
    assert ids([only]) == order
    assert only.last == f"2026-11-22T10:0{0 if newest_first else 1}:00Z"


def test_an_empty_page_with_a_token_is_not_the_end() -> None:
    client = Answers(page(token="t1"), page({"id": "a"}, token="t2"), page(), page())
    assert ids(client.pages()) == ["a"]
    assert (client.tokens, len(client.given)) == ([None, "t1", "t2"], 1)


def test_a_throttled_page_is_asked_for_again_and_a_refused_one_is_not() -> None:
    throttled = ThrottledError("slower", operation="CountItem")
    assert ids(Answers(throttled, throttled, page({"id": "a"})).pages()) == ["a"]
    refusing = Answers(AuthorizationError("no", operation="CountItem"), page())
    with pytest.raises(AuthorizationError):
        refusing.pages()
    assert len(refusing.given) == 1


def test_a_model_without_an_index_is_an_error(world: World) -> None:
    declared = ITEM.declaration.model_copy(update={"listing": None})
    with pytest.raises(ValueError, match="Item has no index"):
        read(world, Model(declared))


# Conditions ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("time", "found"),
    [
        ("09:59:59.999Z", False),
        ("10:00Z", True),
        ("10:00:00Z", True),
        ("10:59:59.999999999Z", True),
        ("11:00Z", False),
    ],
)
def test_an_hours_range_has_its_first_and_its_last_instant(
    world: World, time: str, *, found: bool
) -> None:
    world.api.put("Item", rows.item("first", createdAt=f"2026-11-22T{time}"))
    assert bool(ids(read(world, condition=hours_condition(TEN, TEN)))) is found


def test_a_range_since_an_instant_has_no_end(world: World) -> None:
    for since, found in (("2026-11-22T10", True), ("2026-11-22T11", False)):
        assert bool(ids(read(world, RESULT, {"ge": since}))) is found


def test_hours_side_by_side_are_one_range_and_the_newest_come_first() -> None:
    starts = [TEN, TEN + 60, TEN + 300, TEN + 120, TEN]
    assert runs_of(starts) == [(TEN + 300, TEN + 300), (TEN, TEN + 120)]
    assert runs_of([]) == []


# What the API cannot give -------------------------------------------------------------------------


def test_a_row_that_no_index_check_counts_anyway_was_expected(world: World) -> None:
    """Without its value, which the schema requires, a score result is an unindexed row."""
    world.api.put("ScoreResult", rows.score_result("second", value=None))
    (only,) = read(world, RESULT)
    assert (ids([only]), only.unverified, only.is_blind) == (["first"], (), False)
    assert len(world.log) == 1


@pytest.mark.parametrize("model", [ITEM, RESULT], ids=lambda model: model.name)
def test_of_another_row_that_it_cannot_give_only_the_minute_is_unverified(
    world: World, model: Model
) -> None:
    flaw: dict[str, Any] = {"createdByType": {}} if model is ITEM else {"code": {}}
    row = rows.MAKERS[model.name]("second", createdAt="2026-11-22T10:07:00Z", **flaw)
    world.api.put(model.name, row)
    (only,) = read(world, model)
    assert (ids([only]), only.unverified, only.is_blind) == (["first"], [TEN + 7], False)


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
    again: Any, unverified: list[int]
) -> None:
    client = Answers(page({"id": "a"}, None), again)
    (only,) = client.pages()
    assert ids([only]) == ["a"]
    assert (only.unverified, only.is_blind) == (unverified, not unverified)


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
        Answers(flawed(data, path)).pages()
