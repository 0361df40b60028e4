"""The emulated stack, once for all tests of this tier."""

from collections.abc import Iterator

import pytest

from testbench.emulated import check
from testbench.emulated.functions import StreamLog
from testbench.emulated.stack import LOCAL, EmulatedStack
from tests.e2e.bench import GRACE, Bench


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    parameters = {
        "GraceSeconds": str(int(GRACE.total_seconds())),
        "SettleSeconds": "1",
        "Dashboard": "true",
        "Breakdowns": "feedbackItemsByScorecard",
        "Models": "",
        # each function at once is a process to start
        "BackfillConcurrency": "2",
    }
    with EmulatedStack(LOCAL / "e2e", parameters) as stack:
        reader = check.api_client(stack, stack.person("reader", "ReadOnlyPolicy"))
        yield Bench(stack, reader)
        reader._session.close()


@pytest.fixture
def stream_log(bench: Bench) -> StreamLog:
    """What the stream function logs during the test."""
    return StreamLog(bench.stack)
