"""After faults during writes, the counts are exact."""

from testbench.emulated.functions import StreamLog, wait
from tests.e2e.bench import Bench


def test_an_api_that_refuses_loses_and_doubles_nothing(bench: Bench, stream_log: StreamLog) -> None:
    first, then = (bench.traffic(name, 40, minutes=4, hours_ago=3) for name in ("before", "while"))
    expected = bench.write(first)
    with bench.without("StreamAggregator", "updateAggregatedMetrics"):
        expected += bench.write(then)
        wait(lambda: stream_log.look().failures)
    stream_log.drain(expected)
    assert stream_log.records == expected
    assert bench.judge().differences == []
