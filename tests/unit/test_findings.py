"""Stored hours against what two passes counted: what is wrong, in flux, foreign or right."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from aggregated_metrics.core.findings import (
    LISTED,
    Drift,
    Findings,
    IndexCounted,
    ScanCounted,
    Verdict,
    differing,
    judge,
)
from aggregated_metrics.core.hour import Hour
from aggregated_metrics.core.measures import INT_MAX, ZERO, Measures
from aggregated_metrics.core.series import HourId, Series, Target
from aggregated_metrics.core.totals import MinuteTotal, Totals

from testbench.hours import HOUR, NOW, ONE, SERIES, TEN, apply, counted, delta, saved, stored

NONE = MinuteTotal(ZERO, ZERO, 0)
T = NOW.timestamp() + 1
"""After every version that these hours were written with."""
CHECKED = NOW + timedelta(minutes=10)

type Minutes = Mapping[int, tuple[Measures, Measures, int]]


def totals(minutes: Minutes) -> Totals:
    """Totals of one pass: indexed, unindexed and fingerprint, by minute of the hour."""
    made = Totals()
    for minute, total in minutes.items():
        made.put(Target(SERIES, TEN + minute), MinuteTotal(*total))
    return made


def rows(number: int, mark: int = 7, unindexed: int = 0) -> tuple[Measures, Measures, int]:
    return Measures(number), Measures(unindexed), mark


def by_index(hour: Hour, first: Minutes, second: Minutes, **options: Any) -> Verdict:
    """What a check through an index finds: the second pass counts what differed in the first."""
    differed = dict(differing(hour, totals(first), NONE))
    passes = IndexCounted({HOUR: differed}, totals(second), NONE)
    return judge(hour, passes, options.pop("until", T), CHECKED, **options)


def by_scan(hour: Hour, first: Minutes, second: Minutes, **options: Any) -> Verdict:
    """What a Scan finds."""
    passes = ScanCounted(totals(first), totals(second), NONE, options.pop("began", T - 0.5))
    return judge(hour, passes, options.pop("until", T), CHECKED, **options)


def is_right(verdict: Verdict) -> bool:
    return not any((verdict.wrong, verdict.in_flux, verdict.foreign, verdict.drift))


BOTH = pytest.mark.parametrize("check", [by_index, by_scan])


@BOTH
@pytest.mark.parametrize("stored_counts", [{}, {0: ONE}, {0: ONE, 7: Measures(3, 5)}])
def test_what_is_right_is_right(check: Any, stored_counts: Mapping[int, Measures]) -> None:
    found = {minute: (sums, ZERO, 7) for minute, sums in stored_counts.items()}
    assert is_right(check(counted(stored_counts), found, found))


@BOTH
@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ({}, {0: 0}),
        ({0: rows(2)}, {0: 2}),
        ({0: rows(1), 3: rows(4)}, {3: 4}),
        ({3: rows(1)}, {0: 0, 3: 1}),
    ],
    ids=["no row", "a row more", "a minute without a bucket", "another minute"],
)
def test_a_minute_that_both_passes_agree_on_and_that_differs_is_wrong(
    check: Any, found: Minutes, wrong: Mapping[int, int]
) -> None:
    verdict = check(counted({0: ONE}), found, found)
    assert {m - TEN: total.indexed.count for m, total in verdict.wrong.items()} == wrong
    assert {d.start - TEN: d.counted.count for d in verdict.drift} == wrong
    assert not verdict.in_flux


@BOTH
def test_a_sum_beyond_32_bits_is_compared_whole(check: Any) -> None:
    hour = counted({0: Measures(1, INT_MAX + 5)})
    assert is_right(check(hour, *[{0: (Measures(1, INT_MAX + 5), ZERO, 7)}] * 2))
    assert check(hour, *[{0: (Measures(1, INT_MAX + 6), ZERO, 7)}] * 2).wrong


# In flux ------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("second", [{0: rows(2, mark=8)}, {}, {0: rows(3)}])
def test_passes_with_different_fingerprints_leave_a_minute_that_differs(
    check: Any, second: Minutes
) -> None:
    verdict = check(counted({0: ONE}), {0: rows(2)}, second)
    if second == {0: rows(3)}:
        assert set(verdict.wrong) == {TEN}, "the same rows: their fingerprint says so"
    else:
        assert (verdict.in_flux, dict(verdict.wrong)) == (frozenset({TEN}), {})


@pytest.mark.parametrize(("began", "right"), [(T - 0.5, True), (T - 60, False)])
def test_of_a_minute_that_the_first_scan_found_right_the_stream_brings_the_rest(
    began: float, *, right: bool
) -> None:
    """If nothing was written since it began: a row that came late may stand for a lost one."""
    verdict = by_scan(counted({0: ONE}), {0: rows(1)}, {0: rows(2, mark=8)}, began=began)
    assert is_right(verdict) is right


@BOTH
@pytest.mark.parametrize(("seconds", "is_left"), [(0, False), (-1.000001, True)])
def test_a_minute_that_was_written_after_t_is_left(
    check: Any, seconds: float, *, is_left: bool
) -> None:
    verdict = check(counted({0: ONE}), {0: rows(2)}, {0: rows(2)}, until=T + seconds)
    assert bool(verdict.in_flux) is is_left
    assert bool(verdict.wrong) is not is_left


@BOTH
def test_a_version_that_lies_ahead_of_the_clock_holds_nothing_up(check: Any) -> None:
    hour = saved(counted({0: ONE}), updatedAt="2027-01-01T00:00:00Z")
    assert set(check(hour, {0: rows(2)}, {0: rows(2)}).wrong) == {TEN}


@pytest.mark.parametrize(
    ("first", "second", "unindexed"),
    [
        (rows(2), rows(2, 8), False),
        (rows(2), rows(2), False),
        (rows(1), rows(1, 8, unindexed=1), True),
        (rows(1, unindexed=1), rows(1, 8, unindexed=1), True),
    ],
    ids=["the passes differ", "written since", "its part differs", "it is not what is stored"],
)
def test_a_scan_says_whether_the_unindexed_part_is_in_flux(
    first: Any, second: Any, *, unindexed: bool
) -> None:
    """That part is left to another Scan, the rest to any check."""
    since = {"until": T - 60, "began": T - 120}
    verdict = by_scan(counted({0: ONE}), {0: first}, {0: second}, **since)
    assert verdict.in_flux
    assert verdict.unindexed_in_flux is unindexed


# Unindexed and foreign ----------------------------------------------------------------------------


def _with_unindexed() -> Hour:
    hour = Hour(HOUR)
    apply(hour, delta(1), delta(2, Measures(4), indexed=False))
    hour.roll_up()
    return saved(hour)


def test_a_check_through_an_index_trusts_the_unindexed_part() -> None:
    assert is_right(by_index(_with_unindexed(), {0: rows(1)}, {0: rows(1)}))
    verdict = by_index(_with_unindexed(), {0: rows(2)}, {0: rows(2)})
    assert [(d.stored.count, d.counted.count) for d in verdict.drift] == [(5, 6)]


def test_a_scan_compares_both_parts_each_for_itself() -> None:
    right = {0: rows(1, unindexed=4)}
    assert is_right(by_scan(_with_unindexed(), right, right))
    moved = {0: rows(2, unindexed=3)}
    assert set(by_scan(_with_unindexed(), moved, moved).wrong) == {TEN}


def test_sums_of_another_writer_are_left_to_a_scan() -> None:
    hour = saved(counted({0: ONE}), metadata={"note": 1})
    verdict = by_index(hour, {0: rows(2)}, {0: rows(2)})
    assert (set(verdict.foreign), dict(verdict.wrong), verdict.drift) == ({TEN}, {}, ())
    assert is_right(by_index(hour, {0: rows(1)}, {0: rows(1)}))
    assert set(by_scan(hour, {0: rows(2)}, {0: rows(2)}).wrong) == {TEN}


@pytest.mark.parametrize("removed", [Measures(-1), Measures(-2, 5)])
@pytest.mark.parametrize("found", [1, 2])
def test_an_unindexed_part_below_zero_is_left_to_a_scan(removed: Measures, found: int) -> None:
    """A row from before the stream was removed: the index check would take one row too few."""
    hour = Hour(HOUR)
    apply(hour, delta(1), delta(2, Measures(1)), delta(3, removed, indexed=False))
    hour.roll_up()
    verdict = by_index(saved(hour), {0: rows(found)}, {0: rows(found)})
    assert (set(verdict.foreign), dict(verdict.wrong), verdict.drift) == ({TEN}, {}, ())
    assert set(by_scan(saved(hour), {0: rows(found)}, {0: rows(found)}).wrong) == {TEN}


def test_a_scan_ends_the_mark_of_another_writer_though_the_sums_are_right() -> None:
    hour = saved(counted({0: ONE}), metadata={"foreign": True, "countedUntil": [1, 1]})
    assert is_right(by_index(hour, {0: rows(1)}, {0: rows(1)}))
    assert set(by_scan(hour, {0: rows(1)}, {0: rows(1)}).wrong) == {TEN}


# Expired rows, unreadable buckets, rollups --------------------------------------------------------


@BOTH
def test_rows_that_have_expired_lower_nothing(check: Any) -> None:
    hour = counted({0: Measures(2, 5)})
    for found, right in (
        ({}, True),
        ({0: rows(3)}, True),
        ({0: (Measures(3, 5), ZERO, 7)}, False),
    ):
        assert is_right(check(hour, found, found, expired=True)) is right


@BOTH
@pytest.mark.parametrize("found", [{}, {0: rows(1)}])
def test_a_minute_that_could_not_be_read_is_wrong_whatever_it_holds(
    check: Any, found: Minutes
) -> None:
    first, *others = stored(counted({0: ONE}))
    hour = Hour(HOUR, others, (), [first["compositeKey"]])
    assert set(check(hour, found, found).wrong) == {TEN}


@BOTH
def test_a_rollup_is_reported_where_it_is_not_the_sum_of_its_stored_minutes(check: Any) -> None:
    broken = [
        row | ({"count": 9} if row["compositeKey"].endswith("#60") else {})
        for row in stored(counted({0: ONE}))
    ]
    verdict = check(Hour(HOUR, broken), {0: rows(1)}, {0: rows(1)})
    assert [(d.size, d.stored.count, d.counted.count) for d in verdict.drift] == [(60, 9, 1)]
    assert not verdict.wrong


@BOTH
@pytest.mark.parametrize(("sixty", "reported"), [(1, []), (5, []), (9, [(60, 9, 1)])])
def test_over_a_wrong_minute_a_rollup_is_reported_only_if_it_is_wrong_by_itself(
    check: Any, sixty: int, reported: list[tuple[int, int, int]]
) -> None:
    """It is the sum of what was counted (1), or of what is stored (5), or of neither."""
    counts = {"#1": 5, "#5": 1, "#15": 1, "#60": sixty}
    broken = [
        row | {"count": count}
        for row in stored(counted({0: ONE}))
        for end, count in counts.items()
        if row["compositeKey"].endswith(f"Z{end}")
    ]
    drift = check(Hour(HOUR, broken), {0: rows(1)}, {0: rows(1)}).drift
    found = [(d.size, d.stored.count, d.counted.count) for d in drift]
    assert found == [(1, 5, 1), *reported]


# Findings -----------------------------------------------------------------------------------------


def test_a_long_list_is_cut_but_counted_and_a_result_is_json() -> None:
    findings = Findings()
    hour = HourId(Series("a", "scoreResultsByScore", "card", "score"), TEN)
    for n in range(LISTED + 5):
        findings.report_drift(Drift(hour, TEN + n, 1, ZERO, ONE, ()))
        findings.report_not_reached("a: Item", 2)
    result = findings.as_result()
    assert (result["driftCount"], len(result["drift"])) == (LISTED + 5, LISTED)
    assert (result["notReachedCount"], len(result["notReached"])) == (2 * (LISTED + 5), LISTED)
    assert json.loads(json.dumps(result)) == result
    assert len(json.dumps(result)) < 200_000
    assert (
        result["drift"][0].items()
        >= {
            "accountId": "a",
            "recordType": "scoreResultsByScore",
            "scorecardId": "card",
            "scoreId": "score",
            "timeRangeStart": "2026-11-22T10:00:00Z",
            "numberOfMinutes": 1,
        }.items()
    )
