"""The whole path: tables, streams, functions, API."""

from testbench.emulated import check
from testbench.emulated.functions import StreamLog
from tests.e2e.bench import Bench


def test_buckets_equal_a_group_by_of_the_rows_and_the_others_are_in_quarantine(
    bench: Bench, stream_log: StreamLog
) -> None:
    """Rows of this hour, and of one that is over."""
    made = bench.traffic("path", 160, minutes=6, hours_ago=0)
    over = bench.traffic("path-over", 80, minutes=4, hours_ago=2)
    expected = bench.write(made) + bench.write(over)
    stream_log.drain(expected)
    assert (stream_log.records, stream_log.failures) == (expected, [])
    verdict = bench.judge()
    assert (verdict.differences, verdict.incomplete, verdict.premature) == ([], [], [])
    assert verdict.compared > 300
    assert verdict.complete > 200
    quarantined = {
        (message.model, message.id)
        for message in check.quarantined(bench.stack)
        if message.id.startswith("path-")
    }
    assert quarantined == made.uncountable | over.uncountable != set()
