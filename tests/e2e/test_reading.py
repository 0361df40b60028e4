"""Reading through the deployed API: what a dashboard does."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from aggregated_metrics import complete_until, connect, summarize
from aggregated_metrics.core.models import BUILT_IN

from testbench.emulated import check
from testbench.emulated.bench import Bench
from testbench.emulated.functions import StreamLog
from testbench.emulated.stack import APP_STACK, REGION
from testbench.traffic import ACCOUNTS


def test_a_stacks_name_and_the_environments_keys_are_enough_to_read_what_the_rows_total(
    bench: Bench, stream_log: StreamLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = bench.stack.user("dashboard", *check.READ_FIELDS)
    may = {"Effect": "Allow", "Action": "cloudformation:DescribeStacks", "Resource": "*"}
    bench.stack.client("iam").put_user_policy(
        UserName="dashboard",
        PolicyName="stack",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [may]}),
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", user.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", user.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_ENDPOINT_URL", bench.stack.endpoint)
    made = bench.traffic("reading", 300, minutes=90, hours_ago=5)
    stream_log.drain(bench.write(made))
    start, end = made.start - timedelta(minutes=7), made.end + timedelta(minutes=3)
    counted, client = check.counted(bench.stack), connect(stack=APP_STACK)
    for record_type in BUILT_IN.record_types:
        rows = [
            measures
            for (owner, name, at, minutes), measures in counted.items()
            if (owner, name, minutes) == (ACCOUNTS[0], record_type, 1)
            and start <= datetime.fromisoformat(at) < end
        ]
        found = tuple(summarize(client, ACCOUNTS[0], start, end, record_type).measures)
        expected = tuple(map(sum, zip(*rows, strict=True))) or (0,) * len(found)
        assert found == expected[: len(found)]  # the oracle has the measures of all record types
        assert not any(expected[len(found) :])
    until = complete_until(client, ACCOUNTS[0])
    assert until is None or until <= datetime.now(UTC)
    client._session.close()
