"""After faults during writes, the counts are exact."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from testbench.emulated.bench import Bench, wait
from testbench.emulated.functions import StreamLog


def test_an_api_that_cannot_be_reached_loses_and_doubles_nothing(
    bench: Bench, stream_log: StreamLog
) -> None:
    first, then = (
        bench.traffic(name, 120, minutes=10, hours_ago=3) for name in ("before", "while")
    )
    expected = bench.write(first)
    with (
        refused() as endpoint,
        bench.configured("StreamAggregatorFunction", GRAPHQL_ENDPOINT=endpoint),
    ):
        expected += bench.write(then)
        wait(lambda: stream_log.look().failures)
    stream_log.drain(expected)
    assert stream_log.records == expected
    assert bench.judge().differences == []


@contextmanager
def refused() -> Iterator[str]:
    """An endpoint without a server: its port stays reserved."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/graphql"
