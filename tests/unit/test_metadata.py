"""What a bucket keeps in its metadata, whatever another writer keeps there."""

import json
from typing import Any

import pytest
from aggregated_metrics.core.measures import ZERO, Measures
from aggregated_metrics.core.metadata import (
    MEMORY_SECONDS,
    MOST_CHECKPOINTS,
    NEVER,
    NOT_COUNTED,
    CountedUntil,
    Metadata,
    Pass,
    counted_until,
)

AT = 1_795_341_630
NUMBER = 10**21 + 1


def content(metadata: Metadata) -> Any:
    return json.loads(metadata.as_text() or "null")


def parsed(given: Any, *names: str) -> Metadata:
    """As it is read after it was written."""
    return Metadata.parse(Metadata.parse(given, names).as_text(), names)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, None),
        ("", {"other": ""}),
        *((given, {"a": 1}) for given in ('{"a": 1}', '"{\\"a\\": 1}"', {"a": 1})),
        ("[1]", {"other": [1]}),
        ("3", {"other": 3}),
        ("not JSON", {"other": "not JSON"}),
        ("[" * 100_000, {"other": "[" * 100_000}),
        ({"checkpoints": None}, {"other": {"checkpoints": None}}),
        ({"checkpoints": [["a"]], "n": 2}, {"other": {"checkpoints": [["a"]], "n": 2}}),
        ({"countedUntil": "x"}, {"other": {"countedUntil": "x"}}),
        ({"countedUntil": [1, 2, 3]}, {"other": {"countedUntil": [1, 2, 3]}}),
        ({"unindexed": {"counts": "1"}}, {"other": {"unindexed": {"counts": "1"}}}),
        ({"unindexed": 5}, {"other": {"unindexed": 5}}),
        ({"beyond": {"cost": "1e400"}}, {"other": {"beyond": {"cost": "1e400"}}}),
    ],
)
def test_what_another_writer_keeps_stays_and_is_never_in_the_way(given: Any, kept: Any) -> None:
    metadata = Metadata.parse(given)
    assert (metadata.checkpoints, metadata.counted_until) == ({}, NOT_COUNTED)
    assert (metadata.unindexed, metadata.beyond) == (ZERO, ZERO)
    assert content(metadata) == content(parsed(given)) == kept


@pytest.mark.parametrize(
    ("stored", "extra", "kept"),
    [
        ({"changed": 5, "invalid": None}, (5, 0), {}),
        ({"changed": 5, "invalid": "many"}, (0, 0), {"other": {"changed": 5, "invalid": "many"}}),
    ],
)
def test_extra_measures_have_their_own_names(
    stored: Any, extra: tuple[int, ...], kept: dict[str, Any]
) -> None:
    names = ("changed", "invalid")
    metadata = Metadata.parse(stored, names)
    assert metadata.extra == extra
    assert content(metadata) == dict(zip(names, extra, strict=True)) | kept


def test_sums_are_texts_by_name_and_zeros_are_left_out() -> None:
    unindexed = {"count": "2", "cost": str(10**20)}
    given = {"unindexed": unindexed, "beyond": {"cost": "-7", "changed": "3"}}
    metadata = Metadata.parse(given, ("changed",))
    assert metadata.unindexed == Measures(2, 10**20, 0, 0, 0, 0, 0)
    assert metadata.beyond == Measures(0, -7, 0, 0, 0, 0, 3)
    assert content(metadata) == given | {"changed": 0}


def test_a_checkpoint_is_a_list_whose_number_is_a_text_that_json_cannot_harm() -> None:
    metadata = Metadata.parse(None)
    metadata.checkpoint("shard", NUMBER, AT + 0.9)
    assert content(metadata) == {"checkpoints": [["shard", str(NUMBER), AT]]}
    assert Metadata.parse(metadata.as_text()).checkpoints == {"shard": (NUMBER, AT)}


def test_a_shard_has_one_checkpoint_and_the_newest_is_the_last() -> None:
    metadata = Metadata.parse(None)
    for shard, last in (("a", 1), ("b", 1), ("a", 2)):
        assert metadata.checkpoint(shard, last, AT) == 0
    assert [*metadata.checkpoints.items()] == [("b", (1, AT)), ("a", (2, AT))]


def test_a_checkpoint_is_dropped_after_25_hours_and_only_when_one_is_added() -> None:
    metadata = Metadata.parse(None)
    metadata.checkpoint("old", 1, AT)
    metadata.checkpoint("kept", 1, AT + 1)
    assert "old" in parsed(metadata.as_text()).checkpoints
    assert metadata.checkpoint("new", 1, AT + MEMORY_SECONDS + 1) == 0, "not evicted: dropped"
    assert [*metadata.checkpoints] == ["kept", "new"]


def test_of_more_than_512_checkpoints_the_oldest_are_evicted_and_counted() -> None:
    metadata = Metadata.parse(None)
    evicted = [metadata.checkpoint(f"s{n}", 5, AT + n) for n in range(MOST_CHECKPOINTS + 2)]
    assert evicted == [0] * MOST_CHECKPOINTS + [1, 1]
    assert len(metadata.checkpoints) == 512
    assert next(iter(metadata.checkpoints)) == "s2"


def test_t_is_the_middle_of_the_gap_between_two_passes() -> None:
    assert counted_until(Pass(100, 130), Pass(190, 250)) == 160


def test_each_subtotal_has_its_own_t_and_a_scans_holds_for_both() -> None:
    for until, held in (
        (CountedUntil(AT, AT + 5), [True, True]),
        (CountedUntil(AT + 5, AT), [True, False]),
        (NOT_COUNTED, [False, False]),
    ):
        assert [until.holds(AT + 5, indexed=indexed) for indexed in (True, False)] == held


def test_a_t_is_dropped_after_25_hours_and_only_when_a_checkpoint_is_added() -> None:
    metadata = Metadata.parse({"countedUntil": [AT + 0.25, AT + 1]})
    assert parsed(metadata.as_text()).counted_until == CountedUntil(AT + 0.25, AT + 1)
    metadata.checkpoint("new", 1, AT + MEMORY_SECONDS + 1)
    assert metadata.counted_until == CountedUntil(NEVER, AT + 1)
    metadata.checkpoint("new", 2, AT + MEMORY_SECONDS + 2)
    assert "countedUntil" not in content(metadata)


def test_sums_are_ours_where_a_stream_or_a_repair_has_signed_them() -> None:
    others = (None, {"note": 1}, {"countedUntil": [-1, -1]}, {"unindexed": {"count": "1"}})
    assert not any(Metadata.parse(given).is_ours for given in others)
    for ours in ({"countedUntil": [1, -1]}, {"checkpoints": [["a", "1", 1]]}):
        assert Metadata.parse(ours).is_ours
