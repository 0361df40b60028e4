"""Reading through the deployed API: what a dashboard does, in one line each."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from aggregated_metrics import breakdowns, complete_until, connect, summarize, timeline
from aggregated_metrics.core.measures import total
from aggregated_metrics.core.models import BUILT_IN
from aggregated_metrics.model import AggregatedMetrics

from aggregated_metrics_cli.overview import collect
from aggregated_metrics_cli.page import render
from testbench.emulated import check
from testbench.emulated.bench import Bench
from testbench.emulated.functions import StreamLog
from testbench.emulated.stack import APP_STACK, REGION
from testbench.traffic import ACCOUNTS


@pytest.fixture(scope="module")
def span(bench: Bench) -> tuple[datetime, datetime]:
    """Some hours with rows, all applied."""
    log = StreamLog(bench.stack)
    made = bench.traffic("reading", 300, minutes=90, hours_ago=5)
    log.drain(bench.write(made))
    check.sweep(bench.stack)
    return made.start - timedelta(minutes=7), made.end + timedelta(minutes=3)


def test_a_summary_equals_a_group_by_of_the_rows(
    bench: Bench, span: tuple[datetime, datetime]
) -> None:
    start, end = span
    counted = check.counted(bench.stack)
    for account in ACCOUNTS:
        for record_type in BUILT_IN.record_types:
            rows = [
                measures
                for (owner, name, at, minutes), measures in counted.items()
                if (owner, name, minutes) == (account, record_type, 1)
                and start <= datetime.fromisoformat(at) < end
            ]
            found = summarize(bench.reader, account, start, end, record_type).measures
            expected = tuple(map(sum, zip(*rows, strict=True))) or (0,) * len(found)
            shared = len(found)  # the oracle has every measure of every record type
            assert tuple(found) == expected[:shared], (account, record_type)
            assert not any(expected[shared:])


def test_a_timelines_points_add_up_to_the_summary(
    bench: Bench, span: tuple[datetime, datetime]
) -> None:
    whole = summarize(bench.reader, ACCOUNTS[0], *span, "items")
    points = timeline(bench.reader, ACCOUNTS[0], *span, "items", step=timedelta(minutes=10))
    assert whole.measures.count
    assert total(point.measures for point in points) == whole.measures


def test_a_stacks_name_and_the_environments_keys_are_enough_to_connect(
    bench: Bench, span: tuple[datetime, datetime], monkeypatch: pytest.MonkeyPatch
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
    client = connect(stack=APP_STACK)
    assert summarize(client, ACCOUNTS[0], *span, "items").measures.count
    until = complete_until(client, ACCOUNTS[0])
    assert until is None or until <= datetime.now(UTC)
    client._session.close()


def test_a_scope_is_found_and_shown(bench: Bench, span: tuple[datetime, datetime]) -> None:
    account, at = "scoped", span[0].replace(minute=0)
    for card, score in (("card-a", None), ("card-b", None), ("card-a", "score-1")):
        record_type = "scoreResultsByScore" if score else "scoreResultsByScorecard"
        for minutes in (1, 5, 15, 60):
            AggregatedMetrics.create_or_update(
                bench.vandal,
                account,
                record_type,
                at,
                at + timedelta(minutes=minutes),
                minutes,
                3,
                scorecard_id=card,
                score_id=score,
            )
    found = breakdowns(bench.reader, account, "scoreResultsByScorecard", "scoreResultsByScore")
    assert [each.scorecard_id for each in found["scoreResultsByScorecard"]] == ["card-a", "card-b"]
    page = render(collect(bench.reader, account, at, at + timedelta(hours=1)))
    assert "score-1" in page
