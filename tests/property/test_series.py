"""Any history of rows that move between scopes and minutes, however it is delivered: exact."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from testbench.world import World

SCORES = st.sampled_from(["score-1", "score#2", None])
CARDS = st.sampled_from(["card-1", "card-2"])
ANSWERS = st.sampled_from(["Yes", "No", None])
EDITED = st.sampled_from([None, "2026-11-22T12:03:20.000Z", "2026-11-22T12:07:10.000Z"])
CHANGES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "FeedbackItem": st.fixed_dictionaries(
        {},
        optional={
            "scoreId": st.sampled_from(["score-1", "score-2"]),
            "scorecardId": CARDS,
            "initialAnswerValue": ANSWERS,
            "finalAnswerValue": ANSWERS,
            "isInvalid": st.sampled_from([True, False, None]),
            "editedAt": EDITED,
        },
    ),
    "ScoreResult": st.fixed_dictionaries(
        {},
        optional={
            "scoreId": SCORES,
            "scorecardId": CARDS,
            "value": st.sampled_from(["Yes", "ERROR"]),
            "type": st.sampled_from(["prediction", "evaluation", None]),
        },
    ),
}
STEPS = st.lists(
    st.tuples(st.sampled_from([*CHANGES]), st.sampled_from("abc"), st.data(), st.integers(0, 3)),
    max_size=12,
)


def live(steps: list[tuple[str, str, Any, int]]) -> World:
    """Write, change and remove rows; some changes are delivered, some of those again."""
    world, delivered = World(breakdowns="all"), []
    for model, name, data, deliveries in steps:
        ids = {row["id"] for row in world.api.rows(model)}
        changes = data.draw(CHANGES[model])
        if name not in ids:
            world.insert(model, name, **changes)
        elif data.draw(st.integers(0, 4)) == 0:
            world.remove(model, name)
        else:
            world.update(model, name, **changes)
        world.clock.advance(data.draw(st.integers(0, 200)))
        for _ in range(min(deliveries, len(world.undelivered))):
            delivered.append(world.undelivered[0])
            world.deliver(1)
        if delivered and data.draw(st.booleans()):
            world.undelivered.extendleft(reversed(delivered[-deliveries:]))
            world.deliver(deliveries)
    return world


@settings(max_examples=40)
@given(STEPS)
def test_any_history_delivered_with_repetitions_is_counted_into_every_series(steps: Any) -> None:
    world = live(steps)
    world.deliver()
    assert world.stored() == nonzero(world)


@settings(max_examples=30)
@given(STEPS, st.booleans())
def test_a_repair_finds_every_series_and_what_is_late_adds_nothing(steps: Any, lost: bool) -> None:
    world = live(steps)
    if lost:
        world.lose()
    world.clock.advance(7_200)
    world.check_range(repair=True)
    assert world.stored() == nonzero(world)
    world.deliver()
    assert world.stored() == nonzero(world)
    assert world.check_range()["driftCount"] == 0


def nonzero(world: World) -> dict[Any, tuple[int, ...]]:
    return {key: numbers for key, numbers in world.counted().items() if any(numbers)}
