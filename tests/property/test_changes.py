"""Folding gives the same sums in any order of the items, and any history the same as its end."""

from typing import Any

import pytest
from aggregated_metrics.core import buckets, changes
from aggregated_metrics.core.changes import Folded
from aggregated_metrics.core.models import BUILT_IN
from hypothesis import given
from hypothesis import strategies as st

from testbench.streams import window_event
from tests.property.histories import expected, streams


def fold(event: Any) -> Folded:
    return changes.fold(event, BUILT_IN.only(()), {})


def sums(folded: Folded) -> dict[tuple[str, str, str], tuple[int, ...]]:
    found: dict[tuple[str, str, str], list[int]] = {}
    for batch in folded.batches:
        for hour, minute, deltas in batch.minutes():
            key = (*hour.series[:2], buckets.iso(minute))
            for _, measures, *_ in deltas:
                old = found.get(key, [0] * len(measures))
                found[key] = [a + b for a, b in zip(old, measures, strict=True)]
    return {key: tuple(values) for key, values in found.items() if any(values)}


@pytest.mark.parametrize("model", ["Item", "ScoreResult"])
@given(data=st.data())
def test_any_interleaving_of_items_gives_what_is_left_of_them(
    model: str, data: st.DataObject
) -> None:
    drawn, made = data.draw(streams(model))
    minutes = {key[:3]: sums for key, sums in expected(model, drawn).items() if key[3] == 1}
    assert sums(fold(window_event(*made))) == minutes


@given(streams("ScoreResult"), st.data())
def test_any_split_into_batches_gives_the_same_sums(drawn: Any, data: st.DataObject) -> None:
    _, made = drawn
    cut = data.draw(st.integers(0, len(made)))
    parts = Folded()
    for part in (made[:cut], made[cut:]):
        parts.batches += fold(window_event(*part)).batches
    assert sums(parts) == sums(fold(window_event(*made)))


@given(streams("Item"))
def test_what_is_rejected_is_what_cannot_be_counted(drawn: Any) -> None:
    histories, made = drawn
    uncountable = sum(
        step is not None and not expected("Item", [[step]]) for steps in histories for step in steps
    )
    assert len(fold(window_event(*made)).rejects) == uncountable
