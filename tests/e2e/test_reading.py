"""Reading through the deployed API: what a dashboard does."""

from datetime import UTC, datetime, timedelta

import pytest
from aggregated_metrics import complete_until, connect, summarize

from testbench import rows
from testbench.emulated.functions import wait
from testbench.emulated.stack import APP_STACK
from tests.e2e.bench import HOUR, Bench


def test_a_stacks_name_and_the_environments_keys_are_enough_to_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = bench.stack.person("dashboard", "ReadOnlyPolicy")
    for name, value in bench.stack.variables(who).items():
        monkeypatch.setenv(name, value)
    bench.put("Task", rows.task("read", accountId="dashboard"))
    wait(lambda: bench.stored("dashboard"))
    client = connect(stack=APP_STACK)
    found = summarize(client, "dashboard", HOUR, HOUR + timedelta(hours=1), "tasks")
    assert found.measures.count == 1
    until = complete_until(client, "dashboard")
    assert until is None or until <= datetime.now(UTC)
    client._session.close()
