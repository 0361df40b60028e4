"""Stored hours against what two passes counted: what is wrong, in flux, deferred or right."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from aggregated_metrics.core.findings import (
    LISTED,
    Findings,
    Verdict,
    by_index,
    by_scan,
    differing,
    judge,
)
from aggregated_metrics.core.hour import Hour
from aggregated_metrics.core.measures import INT_MAX, Measures
from aggregated_metrics.core.series import HourId, Series
from aggregated_metrics.core.totals import MinuteTotal, Totals

from testbench.hours import HOUR, NOW, ONE, TEN, apply, counted, delta, saved, stored

T = NOW.timestamp() + 1
"""After every version that these hours were written with."""
CHECKED = NOW + timedelta(minutes=10)

type Minutes = Mapping[int, MinuteTotal]


def totals(minutes: Minutes) -> Totals:
    """Totals of one pass, by minute of the hour."""
    made = Totals()
    for minute, total in minutes.items():
        made.put(HOUR, TEN + minute, total)
    return made


def rows(number: int, mark: int = 7, unindexed: int = 0, more: int = 0) -> MinuteTotal:
    return MinuteTotal(Measures(number, more), Measures(unindexed), mark)


def index(hour: Hour, first: Minutes, second: Minutes, until: float = T, **options: Any) -> Verdict:
    """What a check through an index finds: the second pass counts what differed in the first."""
    marks = [number for pair in differing(hour, totals(first)).items() for number in pair]
    found = by_index({HOUR: marks}, totals(second), hour)
    return judge(hour, found, CHECKED, (until, until), scan=False, **options)


def scan(
    hour: Hour,
    first: Minutes,
    second: Minutes,
    until: float = T,
    began: float = T - 0.5,
    **options: Any,
) -> Verdict:
    """What a Scan finds."""
    found = by_scan(totals(first), totals(second), hour)
    return judge(hour, found, CHECKED, (began, until), scan=True, **options)


def is_right(verdict: Verdict) -> bool:
    return not any(verdict)


def drift(verdict: Verdict) -> list[tuple[int, int, int]]:
    """Size, stored count and counted count of each wrong bucket."""
    return [(size, had["count"], has["count"]) for _, size, had, has in verdict.drift]


BOTH = pytest.mark.parametrize("check", [index, scan])


@BOTH
@pytest.mark.parametrize(
    ("found", "wrong"),
    [
        ({0: rows(1)}, {}),
        ({}, {0: 0}),
        ({0: rows(2)}, {0: 2}),
        ({0: rows(1), 3: rows(4)}, {3: 4}),
        ({3: rows(1)}, {0: 0, 3: 1}),
    ],
    ids=["right", "no row", "a row more", "a minute without a bucket", "another minute"],
)
def test_a_minute_that_both_passes_agree_on_and_that_differs_is_wrong(
    check: Any, found: Minutes, wrong: Mapping[int, int]
) -> None:
    verdict = check(counted({0: ONE}), found, found)
    assert {m - TEN: total.indexed.count for m, total in verdict.wrong.items()} == wrong
    assert {d[0] - TEN: d[3]["count"] for d in verdict.drift} == wrong
    assert not verdict.in_flux


@BOTH
@pytest.mark.parametrize("more", [0, 1])
def test_a_sum_beyond_32_bits_is_compared_whole(check: Any, more: int) -> None:
    hour, found = counted({0: Measures(1, INT_MAX + 5)}), {0: rows(1, more=INT_MAX + 5 + more)}
    assert is_right(check(hour, found, found)) is not more


@BOTH
@pytest.mark.parametrize("second", [rows(2, mark=8), rows(0, mark=0), rows(3)])
def test_passes_with_different_fingerprints_leave_a_minute_that_differs(
    check: Any, second: MinuteTotal
) -> None:
    """With equal ones they have read the same rows."""
    verdict = check(counted({0: ONE}), {0: rows(2)}, {0: second})
    left = {TEN} if second.fingerprint != 7 else set()
    assert (verdict.in_flux, set(verdict.wrong)) == (left, {TEN} - left)


@pytest.mark.parametrize(("began", "right"), [(T - 0.5, True), (T - 60, False)])
def test_of_a_minute_that_the_first_scan_found_right_the_stream_brings_the_rest(
    began: float, *, right: bool
) -> None:
    """If nothing was written since it began: a row that came late may stand for a lost one."""
    verdict = scan(counted({0: ONE}), {0: rows(1)}, {0: rows(2, mark=8)}, began=began)
    assert is_right(verdict) is right


@BOTH
@pytest.mark.parametrize(("seconds", "left"), [(0, set()), (-1.000001, {TEN})])
def test_a_minute_that_was_written_after_t_is_left(
    check: Any, seconds: float, left: set[int]
) -> None:
    verdict = check(counted({0: ONE}), {0: rows(2)}, {0: rows(2)}, until=T + seconds)
    assert (verdict.in_flux, set(verdict.wrong)) == (left, {TEN} - left)


@BOTH
def test_a_version_that_lies_ahead_of_the_clock_holds_nothing_up(check: Any) -> None:
    hour = saved(counted({0: ONE}), updatedAt="2027-01-01T00:00:00Z")
    assert set(check(hour, {0: rows(2)}, {0: rows(2)}).wrong) == {TEN}


@pytest.mark.parametrize(
    ("first", "second", "deferred"),
    [
        (rows(2), rows(2, 8), set()),
        (rows(2), rows(2), set()),
        (rows(1), rows(1, 8, unindexed=1), {TEN}),
        (rows(1, unindexed=1), rows(1, 8, unindexed=1), {TEN}),
    ],
    ids=["the passes differ", "written since", "its part differs", "it is not what is stored"],
)
def test_an_unindexed_part_in_flux_is_left_to_another_scan_the_rest_to_any_check(
    first: MinuteTotal, second: MinuteTotal, deferred: set[int]
) -> None:
    verdict = scan(counted({0: ONE}), {0: first}, {0: second}, until=T - 60, began=T - 120)
    assert (verdict.in_flux, verdict.deferred) == ({TEN}, deferred)


def with_unindexed(count: int) -> Hour:
    """An hour whose minute has an indexed row, and unindexed ones."""
    hour = Hour(HOUR)
    apply(hour, delta(1), delta(2, ONE), delta(3, Measures(count - 1), indexed=False))
    apply(hour, delta(4, Measures(-1)), delta(5, ONE, indexed=False))
    hour.roll_up()
    return saved(hour)


def test_a_check_through_an_index_trusts_the_unindexed_part_and_a_scan_compares_it() -> None:
    hour, right = with_unindexed(4), {0: rows(1, unindexed=4)}
    assert is_right(index(hour, {0: rows(1)}, {0: rows(1)}))
    assert drift(index(hour, {0: rows(2)}, {0: rows(2)}))[0] == (1, 5, 6)
    assert is_right(scan(hour, right, right))
    moved = {0: rows(2, unindexed=3)}
    assert set(scan(hour, moved, moved).wrong) == {TEN}


@pytest.mark.parametrize("found", [1, 2])
@pytest.mark.parametrize("removed", [-1, -2])
def test_an_unindexed_part_below_zero_is_left_to_a_scan(removed: int, found: int) -> None:
    """A row from before the stream was removed: the index check would take one row too few."""
    hour, seen = with_unindexed(removed), {0: rows(found)}
    verdict = index(hour, seen, seen)
    assert (verdict.deferred, dict(verdict.wrong), verdict.drift) == ({TEN}, {}, [])
    assert set(scan(hour, seen, seen).wrong) == {TEN}


def test_sums_of_another_writer_are_left_to_a_scan_where_they_differ() -> None:
    hour = saved(counted({0: ONE}), metadata={"note": 1})
    verdict = index(hour, {0: rows(2)}, {0: rows(2)})
    assert (verdict.deferred, dict(verdict.wrong), verdict.drift) == ({TEN}, {}, [])
    assert is_right(index(hour, {0: rows(1)}, {0: rows(1)}))
    assert set(scan(hour, {0: rows(2)}, {0: rows(2)}).wrong) == {TEN}


def test_a_scan_ends_the_mark_of_another_writer_though_the_sums_are_right() -> None:
    hour = saved(counted({0: ONE}), metadata={"foreign": True, "countedUntil": [1, 1]})
    assert is_right(index(hour, {0: rows(1)}, {0: rows(1)}))
    assert set(scan(hour, {0: rows(1)}, {0: rows(1)}).wrong) == {TEN}


@BOTH
@pytest.mark.parametrize(
    ("found", "right"), [({}, True), ({0: rows(3)}, True), ({0: rows(3, more=5)}, False)]
)
def test_rows_that_have_expired_lower_nothing(check: Any, found: Minutes, *, right: bool) -> None:
    assert is_right(check(counted({0: Measures(2, 5)}), found, found, expired=True)) is right


@BOTH
@pytest.mark.parametrize("found", [{}, {0: rows(1)}])
def test_a_minute_that_could_not_be_read_is_wrong_whatever_it_holds(
    check: Any, found: Minutes
) -> None:
    first, *others = stored(counted({0: ONE}))
    hour = Hour(HOUR, others, (), [first["compositeKey"]])
    assert set(check(hour, found, found).wrong) == {TEN}


def test_a_long_list_is_cut_but_counted_and_a_result_is_json() -> None:
    findings = Findings()
    hour = HourId(Series("a", "scoreResultsByScore", "card", "score"), TEN)
    for n in range(LISTED + 5):
        findings.report_drift(hour, (TEN + n, 1, {"count": 0}, {"count": 1}))
        findings.report_not_reached("a: Item", 2)
    result = findings.as_result()
    assert (result["driftCount"], len(result["drift"])) == (LISTED + 5, LISTED)
    assert (result["notReachedCount"], len(result["notReached"])) == (2 * (LISTED + 5), LISTED)
    assert json.loads(json.dumps(result)) == result
    assert result["drift"][0] == {
        "accountId": "a",
        "recordType": "scoreResultsByScore",
        "scorecardId": "card",
        "scoreId": "score",
        "timeRangeStart": "2026-11-22T10:00:00Z",
        "numberOfMinutes": 1,
        "stored": {"count": 0},
        "counted": {"count": 1},
    }


def test_a_result_fits_step_functions_whatever_ids_it_names() -> None:
    findings = Findings()
    hour = HourId(Series("a" * 1_400, "scoreResultsByScore", "c" * 900, "s" * 900), TEN)
    for n in range(LISTED):
        findings.report_drift(hour, (TEN + n, 1, {"count": 0}, {"count": 1}))
        findings.report_not_reached(f"{hour.series.account_id}: ScoreResult")
    result = findings.as_result()
    assert 100_000 < len(json.dumps(result)) < 250_000
    assert result["driftCount"] == LISTED
