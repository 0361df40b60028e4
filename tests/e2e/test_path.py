"""The whole path: tables, streams, functions, API."""

from datetime import timedelta

import pytest

from testbench.emulated import check, corruption
from testbench.emulated.bench import Bench
from testbench.emulated.check import Buckets, Verdict
from testbench.emulated.functions import StreamLog, execute

ACCOUNT = "acme"


@pytest.fixture(scope="module")
def judged(bench: Bench) -> tuple[Verdict, Buckets]:
    """600 rows, written and applied: some of this hour, and some of the one before the last."""
    log = StreamLog(bench.stack)
    expected = bench.write(bench.traffic("path", 400, minutes=30, hours_ago=0))
    expected += bench.write(bench.traffic("path-over", 200, minutes=15, hours_ago=2))
    log.drain(expected)
    assert log.records == expected
    assert not log.failures
    return bench.judge()


def test_every_bucket_equals_a_group_by_of_the_rows(judged: tuple[Verdict, Buckets]) -> None:
    verdict, _ = judged
    assert verdict.differences == []
    assert verdict.compared > 500


def test_every_elapsed_bucket_is_complete_and_no_other(judged: tuple[Verdict, Buckets]) -> None:
    verdict, _ = judged
    assert verdict.incomplete == []
    assert verdict.premature == []
    assert verdict.complete > 400


def test_quarantine_holds_the_uncountable_rows_and_only_them(
    bench: Bench, judged: tuple[Verdict, Buckets]
) -> None:
    assert judged
    messages = {
        (message.model, message.id)
        for message in check.quarantined(bench.stack)
        if message.table in bench.stack.tables.values()
    }
    assert messages == bench.uncountable
    assert messages


def test_a_repair_finds_just_the_corrupted_buckets_and_repairs_them(
    bench: Bench, judged: tuple[Verdict, Buckets]
) -> None:
    verdict, buckets = judged
    assert not verdict.differences
    hour = (bench.now - timedelta(hours=2)).replace(minute=0)
    if bench.now.minute < 15:
        hour -= timedelta(hours=1)
    mine = {key: each for key, each in buckets.items() if key[0] == ACCOUNT}
    damages = corruption.corrupt(bench.vandal, mine, hour, seed=3)
    report = execute(bench.stack, corruption.asked(ACCOUNT, hour, repair=True))
    assert corruption.drifted(report).keys() == {each.key for each in damages}
    assert (report["repaired"], report["inFlux"]) == (len(damages), 0)
    verdict, _ = bench.judge()
    assert verdict.differences == []
