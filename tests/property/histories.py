"""Histories of rows, the stream records that they leave, and what is wrong after them."""

from collections.abc import Iterable, Sequence
from typing import Any

from aggregated_metrics.core.buckets import HOUR, floor, minute_of
from hypothesis import strategies as st

from testbench.oracle import Key, buckets_of, series_of
from testbench.rows import item, score_result
from testbench.streams import Stream
from testbench.world import World

type Row = dict[str, Any]
type Step = Row | None
"""A row as it is next; None where it is removed."""

times = st.sampled_from(
    [
        "2026-11-22T10:05:30.000Z",
        "2026-11-22T10:05Z",
        "2026-11-22T10:59:59.999999999Z",
        "2026-11-22T15:35:30+05:30",
        "2026-11-21T23:59:59-00:30",
        "2026-11-22T10:05:30",
        "soon",
        "",
    ]
)
accounts = st.sampled_from(["acct-1", "acct-2", ""])
items = st.builds(
    item,
    accountId=accounts,
    createdAt=times,
    createdByType=st.sampled_from(["prediction", "evaluation", "Prediction", "", None]),
)
results = st.builds(
    score_result,
    accountId=accounts,
    createdAt=times,
    type=st.sampled_from(["prediction", "evaluation", "Evaluation", "", None]),
    value=st.sampled_from(["Yes", "N/A", "ERROR", "error", "ERRORS", "", None]),
    code=st.sampled_from(["200", "404", "500", "", None]),
    cost=st.one_of(
        st.none(),
        st.fixed_dictionaries(
            {
                "total_cost": st.decimals(0, 5, places=8, allow_nan=False).map(str),
                "llm_calls": st.integers(0, 9),
                "cached_api_calls": st.integers(0, 9),
            }
        ),
    ),
)


def histories(rows: st.SearchStrategy[Row]) -> st.SearchStrategy[list[list[Step]]]:
    """The histories of some rows: insert, changes, and maybe removal."""
    one = st.builds(
        lambda steps, removed: [*steps, None] if removed else list(steps),
        st.lists(rows, min_size=1, max_size=4),
        st.booleans(),
    )
    return st.lists(one, min_size=1, max_size=6)


def records(model: str, drawn: Sequence[Sequence[Step]], order: Iterable[int]) -> list[Any]:
    """The stream's records if the items take their steps in this order."""
    stream = Stream(model)
    now: dict[int, Step] = {}
    made = []
    steps = {n: iter(history) for n, history in enumerate(drawn)}
    for n in order:
        old, new = now.get(n), next(steps[n])
        if new is not None:
            new = new | {"id": f"row-{n}"}
        if old is None:
            made.append(stream.insert(new or {}))
        elif new is None:
            made.append(stream.remove(old))
        else:
            made.append(stream.modify(old, new))
        now[n] = new
    return made


def expected(
    model: str, drawn: Sequence[Sequence[Step]]
) -> dict[tuple[str, str, str, int], tuple[int, ...]]:
    """The totals of the rows that are left, by the oracle."""
    counted = buckets_of((model, history[-1]) for history in drawn if history[-1] is not None)
    return {key: values for key, values in counted.items() if any(values)}


@st.composite
def streams(draw: st.DrawFn, model: str) -> tuple[list[list[Step]], list[Any]]:
    """Histories of a model's rows, and the records of a shard that carries them interleaved."""
    drawn = draw(histories(items if model == "Item" else results))
    steps = [n for n, history in enumerate(drawn) for _ in history]
    return drawn, records(model, drawn, draw(st.permutations(steps)))


type Hour = tuple[str, str, int]
"""An account, a series as keys name it, and an epoch minute."""


def wrong(world: World) -> set[Key]:
    """The buckets that are not the totals of their rows."""
    stored, counted = world.stored(), world.counted()
    return {key for key in stored.keys() | counted.keys() if stored.get(key) != counted.get(key)}


def hour_of(key: Key) -> Hour:
    """The hour of a bucket."""
    account, series, start, _ = key
    return account, series, floor(minute_of(start), HOUR)


def open_hours(world: World, *kinds: str) -> set[Hour]:
    """The hours with an entry, or an open check."""
    items = [item for kind in kinds for item in world.items(kind).values()]
    return {(each["accountId"], series_of(each), int(each["start"])) for each in items}
