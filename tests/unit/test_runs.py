"""Partial sums, parts and plans of runs over whole tables."""

from typing import Any

import pytest
from aggregated_metrics.core import runs
from aggregated_metrics.core.errors import EventError, UncountableError
from aggregated_metrics.core.images import part_of_image
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.record_types import BREAKDOWNS, MODELS
from aggregated_metrics.core.row_sums import GroupKey, Groups, Sums, pack, partition_of, unpack
from aggregated_metrics.core.runs import Part, Table, decode_head, encode, head_length, plan_run
from aggregated_metrics.core.series import Series, Target
from aggregated_metrics.core.source_models import contribution
from hypothesis import given, settings
from hypothesis import strategies as st

from testbench import rows
from testbench.streams import image

_MINUTES = st.integers(29_000_000, 29_000_400)
_TEXTS = st.tuples(st.text(max_size=5), st.text(max_size=5))


def _sums(model: str) -> st.SearchStrategy[Sums]:
    """Sums of acct-1 and a model, of whatever it counts into, with measures of its own."""
    extra = MODELS[model].extra
    ids = st.sampled_from(["a", "b#c"])
    account_id = st.just("acct-1")
    series = st.one_of(
        st.builds(Series, account_id, st.just(MODELS[model].record_type)),
        st.builds(Series, account_id, st.sampled_from(BREAKDOWNS), ids, ids),
    )
    places = st.builds(Target, series, _MINUTES)
    measures = st.builds(Measures, *[st.integers(-5, 10**12)] * (6 + len(extra)))
    return st.builds(
        Sums,
        st.dictionaries(places, measures, max_size=8),
        st.sets(places, max_size=3),
        st.sets(places, max_size=3),
        st.dictionaries(places, _TEXTS, max_size=2),
        st.dictionaries(places, st.integers(1, 9), max_size=2),
        st.dictionaries(places, st.integers(1, 9), max_size=2),
        st.just(extra),
    )


def _belonging(sums: Sums, account_id: str) -> Sums:
    """The same sums of another account: a strategy for each account would take long to build."""

    def of(place: Target) -> Target:
        return place._replace(series=place.series._replace(account_id=account_id))

    return Sums(
        {of(place): measures for place, measures in sums.minutes.items()},
        set(map(of, sums.unsure)),
        set(map(of, sums.unclear)),
        {of(place): texts for place, texts in sums.listed.items()},
        {of(place): number for place, number in sums.unlisted.items()},
        {of(place): number for place, number in sums.unread.items()},
        sums.extra,
    )


_SUMS = _sums("FeedbackItem")
_ENTRIES = st.one_of(
    *(
        st.tuples(
            st.builds(GroupKey, st.integers(0, 30_000), st.text(min_size=1), st.just(model)),
            _sums(model),
        )
        for model in ("Item", "FeedbackItem")
    )
)
_GROUPS: st.SearchStrategy[Groups] = st.lists(
    _ENTRIES, max_size=6, unique_by=lambda entry: entry[0]
).map(lambda entries: {key: _belonging(sums, key.account_id) for key, sums in entries})


_LARGE = settings(max_examples=40)
"""Of examples that take a while to draw."""


@_LARGE
@given(_GROUPS)
def test_groups_come_back_as_they_were_packed_in_the_order_of_their_keys(groups: Groups) -> None:
    read = [(packed.key, packed.sums()) for packed in unpack(pack(groups))]
    assert read == sorted(groups.items(), key=lambda item: item[0])


@_LARGE
@given(_GROUPS, st.integers(1, 9))
def test_every_group_of_a_part_is_in_its_partitions_block(groups: Groups, partitions: int) -> None:
    part = Part(3, {"id": {"S": "a"}}, 7, 1.5, 10.0, 11.0, {"accountId is missing": (1, ["x"])})
    content = encode(part, groups, partitions)
    head = decode_head(content[: head_length(content)])
    assert (head.number, head.next, head.rows, head.uncountable) == (
        3,
        {"id": {"S": "a"}},
        7,
        {"accountId is missing": (1, ["x"])},
    )
    found: Groups = {}
    for i in range(partitions):
        first, end = (head_length(content) + head.offsets[j] for j in (i, i + 1))
        packed = unpack(content[first:end]) if first < end else ()
        block = {each.key: each.sums() for each in packed}
        assert all(partition_of(k.account_id, k.day, partitions) == i for k in block)
        found |= block
    assert found == groups


@given(st.lists(_SUMS, max_size=4))
def test_sums_of_parts_are_the_sums_of_all(parts: list[Sums]) -> None:
    zero = Measures(*[0] * 9)
    whole = Sums(extra=MODELS["FeedbackItem"].extra)
    for part in parts:
        whole.merge(part)
    for place in whole.places():
        of_all = [part.minutes.get(place, zero) for part in parts]
        assert whole.at(place) == Measures(*map(sum, zip(*of_all, strict=True)))


_COSTS = st.sampled_from(
    [None, {"total_cost": 0.00123, "llm_calls": 2}, '{"total_cost": 0.5, "api_calls": 1}', {}]
)
_TIMES = st.sampled_from(
    [rows.CREATED_AT, "2026-11-22T12:05:30+02:00", "2026-11-22T10:05Z", "yesterday", rows.REMOVED]
)
_ROWS: st.SearchStrategy[tuple[str, Any]] = st.one_of(
    st.tuples(
        st.just("Item"),
        st.builds(rows.item, createdByType=st.sampled_from(["prediction", "x"]), createdAt=_TIMES),
    ),
    st.tuples(
        st.just("ScoreResult"),
        st.builds(
            rows.score_result,
            value=st.sampled_from(["Yes", "ERROR", ""]),
            code=st.sampled_from(["200", "500", rows.REMOVED]),
            cost=_COSTS,
            createdAt=_TIMES,
        ),
    ),
    st.tuples(
        st.just("Evaluation"),
        st.builds(rows.evaluation, cost=st.sampled_from([1.25, None]), createdAt=_TIMES),
    ),
)


@given(_ROWS)
def test_a_row_of_a_scan_counts_as_the_row_of_the_api_does(made: tuple[str, Any]) -> None:
    """And as the stream's image: a scan's row is one."""
    model, row = MODELS[made[0]], made[1]
    try:
        expected = contribution(model, row)
    except UncountableError as error:
        with pytest.raises(UncountableError, match=str(error)[:12]):
            part_of_image(model, image(row))
        return
    assert part_of_image(model, image(row))[0] == expected


def _plan(asked: dict[str, Any], **changes: Any) -> runs.Run:
    tables = {"Item": Table(1_000_000), "Task": Table(10, provisioned=40)}
    given = {"began": 5.0, "read_units": 1000.0, "concurrency": 8} | changes
    return plan_run({"run": "r"} | asked, tables, **given)


def test_a_plan_follows_the_tables_sizes() -> None:
    run = _plan({})
    assert run.segments == {"Item": 10, "Task": 1}
    assert run.partitions == 11
    assert runs.Run.from_json(run.as_json()) == run
    assert len(run.units(1)) == 11


def test_all_scanners_of_a_table_together_keep_to_its_read_units() -> None:
    assert _plan({}).read_units == {"Item": 125.0, "Task": 10.0}


@pytest.mark.parametrize(
    "asked",
    [
        {"run": ""},
        {"run": "a/b"},
        {"models": ["Nothing"]},
        {"models": "Item"},
        {"segments": 0},
        {"partitions": "4"},
        {"repair": "yes"},
    ],
)
def test_what_is_wrong_with_a_run_is_said(asked: dict[str, Any]) -> None:
    with pytest.raises(EventError):
        _plan(asked)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"acountId": "a", "start": "2026-11-22T00:00:00Z", "repar": False}, "acountId"),
        ({"models": ["Item"], "repar": False}, "repar"),
        ({"Comment": "Insert your JSON here"}, "Comment"),
    ],
)
def test_a_name_that_a_run_does_not_take_is_refused_not_taken_for_whole_tables(
    asked: dict[str, Any], name: str
) -> None:
    says = f"'{name}' is not known: a run takes run, repair, models, segments, partitions"
    with pytest.raises(EventError, match=says):
        _plan(asked)


def test_a_run_takes_all_that_it_knows() -> None:
    run = _plan({"repair": False, "models": ["Task"], "segments": 3, "partitions": 5})
    assert (run.repair, run.segments, run.partitions) == (False, {"Task": 3}, 5)
