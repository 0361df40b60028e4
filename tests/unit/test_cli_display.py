"""What people see."""

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from aggregated_metrics.adapters.quarantine import message
from aggregated_metrics.adapters.source_rows import Counted
from aggregated_metrics.core import buckets
from aggregated_metrics.core.changes import Reject
from aggregated_metrics.core.findings import Drift, Findings
from aggregated_metrics.core.hours import HourId, Series
from aggregated_metrics.core.measures import INT_MAX, Measures
from aggregated_metrics.core.ranges import Range
from rich.console import Console

from aggregated_metrics_cli import display
from aggregated_metrics_cli.bucket_tables import difference
from aggregated_metrics_cli.display import MOST_DRIFTS, Bars
from aggregated_metrics_cli.queue_repair import Job, QueueMessage
from aggregated_metrics_cli.show import Shown, bar, rounded, totals
from testbench import rows
from testbench.counted import measured
from testbench.streams import Stream

TEN = buckets.to_minute(datetime(2026, 11, 22, 10, tzinfo=UTC))
HOUR = HourId(Series("a", "items"), TEN)


def _text(drawn: Any, width: int = 120) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(drawn)
    return out.getvalue()


def _drift(minute: int = 0, size: int = 1) -> Drift:
    return Drift(HOUR, TEN + minute, size, Measures(7, cost=2_500_000), Measures(1), None)


def test_drift_is_listed_by_series_and_minute_with_what_differs() -> None:
    found = Findings(1, 2, 3, 1, [_drift(5), _drift(1)], [_drift(9)], [_drift(5)])
    lines = _text(display.findings(found, repair=True)).splitlines()
    listed = [line for line in lines if "items" in line]
    assert ["10:01" in listed[0], "10:05" in listed[1], "10:09" in listed[2]] == [True] * 3
    assert "count 7 → 1, cost $ 2.500000 → 0.000000" in listed[0]
    assert [line.split()[-1] for line in listed] == ["wrong", "repaired", "moving"]
    assert "2 wrong, 1 moving, 1 repaired" in lines[-2]
    assert "run this again in a few minutes" in lines[-1]


def test_drift_is_listed_for_each_account_with_whole_record_types_in_80_columns() -> None:
    accounts, splits = (UUID, "acct-2"), ("evaluationScoreResults", "predictionScoreResults")
    wrong = measured(splits[0], 123_456, 2_000_000_000, 123_456, 1, 1, 7)
    right = measured(splits[0], 1)
    drift = [
        Drift(HourId(Series(account, name), TEN), TEN, 60, wrong, right, None)
        for name in splits
        for account in accounts
    ]
    text = _text(display.findings(Findings(drift=drift, repaired=drift), repair=True), 80)
    titles = [line.strip() for line in text.splitlines() if line.startswith("account")]
    assert titles == [f"account {account}" for account in accounts]
    for name in splits:
        assert text.count(f" {name}   2026-11-22 10:00   60 ") == 2
    assert text.count(" repaired ") == 4
    assert "…" not in text


def test_nothing_found_is_one_line() -> None:
    text = _text(display.findings(Findings(hours=24), repair=False))
    assert text.strip() == "24 hours, 0 minutes, 0 rows: 0 wrong, 0 moving"


def test_unreadable_rows_and_completed_buckets_are_said_where_there_are_some() -> None:
    text = _text(display.findings(Findings(completed=1_234, unreadable=2), repair=True))
    assert "2 rows are unreadable" in text
    assert "1,234 elapsed buckets were not complete, and are now." in text


def test_a_long_list_is_cut_and_says_so() -> None:
    found = Findings(drift=[_drift(minute) for minute in range(MOST_DRIFTS + 5)])
    assert "… and 5 more: see --json" in _text(display.findings(found, repair=False))


def test_only_measures_that_differ_are_named() -> None:
    assert difference(Measures(1, errorCount=2), Measures(1)) == "errors 2 → 0"


@pytest.mark.parametrize(
    ("value", "most", "drawn"),
    [(0, 10, ""), (10, 10, "████"), (5, 10, "██"), (1, 1000, "▏"), (3, 0, ""), (9, 10, "███▋")],
)
def test_a_bar_is_as_long_as_its_share(value: int, most: int, drawn: str) -> None:
    if most == 0:
        value = 0
    assert bar(value, most, 4) == drawn


def test_a_chart_has_a_sum() -> None:
    shown = [Shown(TEN, Measures(2, cost=500_000), True), Shown(TEN + 5, Measures(1), None)]
    assert totals(shown) == Measures(3, cost=500_000)
    text = _text(display.chart(shown))
    assert "0.500000" in text
    assert text.splitlines()[-2].split()[:2] == ["sum", "3"]


USUAL = Measures(12_345, 12_345_678, 12_000, 24_690, 9_876, 123)
LARGE = Measures(1_234_567, INT_MAX, 1_234_000, 2_469_134, 987_654, 12_345)


@pytest.mark.parametrize(
    ("measures", "row"),
    [
        (USUAL, "11-22 10:00 12,345 12.345678 12,000 24,690 9,876 123 yes ████████"),
        (LARGE, "11-22 10:00 1.23M 2,147 1.23M 2.47M 988k 12.3k yes ████████"),
    ],
)
def test_a_chart_is_readable_in_80_columns(measures: Measures, row: str) -> None:
    lines = _text(display.chart([Shown(TEN, measures, True)] * 3), 80).splitlines()
    header = "start (UTC) count cost $ decisions AI calls cached errors done"
    assert " ".join(lines[1].split()) == header
    assert [" ".join(line.split()) for line in lines[3:6]] == [row] * 3
    assert not any("…" in line for line in lines)


def test_a_chart_says_where_it_has_rounded() -> None:
    assert "Rounded" in _text(display.chart([Shown(TEN, LARGE, True)]), 80)
    assert "Rounded" not in _text(display.chart([Shown(TEN, LARGE, True)]), 120)
    assert "Rounded" not in _text(display.chart([Shown(TEN, USUAL, True)]), 80)


def test_a_chart_names_the_year_where_there_is_room() -> None:
    assert "2026-11-22 10:00" in _text(display.chart([Shown(TEN, USUAL, True)]), 120)


@pytest.mark.parametrize("name", Measures._fields)
@pytest.mark.parametrize("digits", range(1, 15))
def test_a_rounded_measure_has_at_most_six_characters(name: str, digits: int) -> None:
    assert len(rounded(name, 10**digits - 1)) <= 6
    assert len(rounded(name, 10**digits)) <= 6


def _job(reason: str, left: str | None, *hours: HourId) -> Job:
    record = Stream("ScoreResult").insert(rows.score_result(UUID))
    body = message(Reject(record, reason), "2026-11-22T10:05:31.123+00:00")
    return Job(QueueMessage("m", "r", json.loads(body)), hours=frozenset(hours), left=left)


UUID = "3f2b8c1e-5a77-4c1e-9d0b-7f6a5e4d3c2b"
LONG = "createdAt 2026-11-25T10:05:00Z is more than a day after the write"


def test_a_redriven_record_names_its_row_whole_in_80_columns() -> None:
    results = [_job(LONG, LONG), _job(LONG, None, HOUR)]
    text = _text(display.redriven(results, dry=True), 80)
    assert text.count(f" {UUID} ") == text.count(" ScoreResult ") == 2
    assert text.count("11-22 10:05") == 2
    words = " ".join(text.replace(UUID, "").split())
    assert words.count("→ 1 hours would be checked") == 1
    assert "…" not in text
    assert "1 would be done and deleted, 1 would be left in the queue" in text


def test_what_is_so_now_is_said_only_where_it_is_not_the_reason() -> None:
    text = _text(display.redriven([_job("because", "because")], dry=False))
    assert text.count("because") == 1
    assert text.count("→") == 1, "in the header"
    assert "→ why" in _text(display.redriven([_job("because", "why")], dry=False))
    assert "→ 1 hours are right" in _text(
        display.redriven([_job("because", None, HOUR)], dry=False)
    )
    assert "→ it counts nowhere" in _text(display.redriven([_job("because", None)], dry=False))


def test_batches_that_are_left_are_named_with_the_reason() -> None:
    done = Job(None, "s3://b/one", frozenset([HOUR]), rejects=[Reject({}, "x")])
    text = _text(display.batches([done, Job(None, "s3://b/two", left="why")], Findings()))
    assert "s3://b/one: 1 hours are right, 1 records are in quarantine" in text
    assert "s3://b/two: why" in text
    assert "1 batches done, 1 left" in text
    assert "0 batches done, none left" in _text(display.batches([], Findings()))


def test_progress_tells_steps_and_where_to_go_on() -> None:
    out = io.StringIO()
    day = Range("a", ("items",), TEN, TEN + 60)
    with Bars(Console(file=out, width=160), each_part=True) as progress:
        progress.begin(2)
        progress.page(Counted(rows=1000))
        progress.part(day, day, Findings(rows=1000, drift=[_drift()]))
    assert "2026-11-22 items…: 1,000 rows, 1 wrong, 0 repaired" in out.getvalue()
    assert "go on with --end 2026-11-22T11:00:00Z" in out.getvalue()


def test_hours_that_their_rows_do_not_decide_are_named() -> None:
    hour = HourId(Series("acct-1", "tasks"), buckets.minute_of("2026-11-22T10:00:00Z"))
    text = _text(display.findings(Findings(undecided={hour}), repair=True))
    assert "1 hours differ" in text
    assert "acct-1 tasks 2026-11-22T10:00:00Z" in text
