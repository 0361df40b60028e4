"""stream_aggregator's own handler, from the event to what is stored."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from aggregated_metrics import wiring
from aggregated_metrics.core.errors import (
    AuthorizationError,
    ContentionError,
    EventError,
    ServiceError,
    SettingsError,
    TransportError,
)

from testbench.fakes.endpoint import Answer, refusal
from testbench.fakes.signatures import Request
from testbench.in_process import Context, Stack
from testbench.oracle import buckets_of, held, key_of
from testbench.rows import evaluation, item, score_result, task
from testbench.streams import Stream, event, table_arn, window_event

FUNCTION = "stream_aggregator"


def stored(stack: Stack) -> dict[tuple[str, str, str, int], tuple[int, ...]]:
    """Every bucket that holds something."""
    found = {key_of(row): held(row) for row in stack.rows()}
    return {key: sums for key, sums in found.items() if any(sums)}


def expected(*rows: tuple[str, Mapping[str, Any]]) -> dict[tuple[str, str, str, int], Any]:
    return buckets_of(rows)


def kinds(stack: Stack, first: int = 0) -> list[str]:
    return ["save" if b"mutation" in e.body else "load" for e in stack.log[first:]]


def hundred() -> tuple[list[tuple[str, Any]], dict[str, Any]]:
    """100 score results of one account, within one minute."""
    stream = Stream("ScoreResult")
    rows = [
        score_result(
            f"r{n}",
            value="ERROR" if n % 10 == 0 else "Yes",
            type="prediction" if n % 2 else "evaluation",
            cost={"total_cost": n / 1000, "llm_calls": n % 3},
        )
        for n in range(100)
    ]
    made = window_event(*(stream.insert(row) for row in rows))
    return [("ScoreResult", row) for row in rows], made


# What it costs


def test_100_records_of_one_account_cost_2_requests_and_their_redelivery_1(stack: Stack) -> None:
    rows, made = hundred()
    assert stack.invoke(FUNCTION, made) == {"state": {}}
    assert kinds(stack) == ["load", "save"]
    assert stored(stack) == expected(*rows)
    assert stack.invoke(FUNCTION, made) == {"state": {}}
    assert kinds(stack, 2) == ["load"]
    assert stored(stack) == expected(*rows)


def test_a_batch_that_changes_nothing_counted_costs_none(stack: Stack) -> None:
    stream = Stream("ScoreResult")
    changes = [
        stream.modify(score_result(f"r{n}"), score_result(f"r{n}", explanation="Because."))
        for n in range(100)
    ]
    assert stack.invoke(FUNCTION, window_event(*changes)) == {"state": {}}
    assert stack.log == []
    assert stack.marks() == {}


def test_an_expiry_costs_none(stack: Stack) -> None:
    stack.invoke(FUNCTION, window_event(Stream("Item").expire(item())))
    assert stack.log == []


# What Lambda demands


@pytest.mark.parametrize("records", [[], None])
def test_a_final_invocation_without_records_gives_its_state(stack: Stack, records: Any) -> None:
    final = window_event(final=True) | {"Records": records}
    assert stack.invoke(FUNCTION, final) == {"state": {}}
    assert stack.log == []


def test_an_event_without_a_shard_gives_a_state_too(stack: Stack) -> None:
    assert stack.invoke(FUNCTION, event(Stream("Item").insert(item()))) == {"state": {}}


def test_what_is_no_stream_event_is_an_error(stack: Stack) -> None:
    with pytest.raises(EventError):
        stack.invoke(FUNCTION, {"detail-type": "Scheduled Event"})


def test_a_wrong_environment_is_an_error(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    wiring.process.cache_clear()
    monkeypatch.setenv("GRAPHQL_ENDPOINT", "http://metrics.example.com/graphql")
    with pytest.raises(SettingsError, match="GRAPHQL_ENDPOINT"):
        stack.invoke(FUNCTION, window_event(Stream("Item").insert(item())))


# What is counted


def test_every_change_of_every_model_ends_in_what_the_rows_come_to(stack: Stack) -> None:
    made, final = _lives()
    stack.invoke(FUNCTION, event(*made))
    assert stored(stack) == expected(*final)


def _lives() -> tuple[list[Any], list[tuple[str, Any]]]:
    """Inserts, changes across everything and removals; what is left of the rows."""
    items, results = Stream("Item"), Stream("ScoreResult")
    tasks, evaluations = Stream("Task"), Stream("Evaluation")
    moved = item("i1", createdAt="2026-11-21T23:59:59-00:30", createdByType="evaluation")
    other = score_result("r1", accountId="acct-2", value="error", cost='{"total_usd": 0.5}')
    failed = evaluation("e1", status="ERROR", cost=2.0000005)
    made = [
        items.insert(item("i1")),
        results.insert(score_result("r1")),
        items.insert(item("i2")),
        tasks.insert(task("t1")),
        items.modify(item("i1"), moved),
        results.modify(score_result("r1"), other),
        evaluations.insert(evaluation("e1")),
        tasks.remove(task("t1")),
        evaluations.modify(evaluation("e1"), failed),
        items.expire(item("i2")),
    ]
    return made, [
        ("Item", moved),
        ("Item", item("i2")),
        ("ScoreResult", other),
        ("Evaluation", failed),
    ]


def test_tables_in_one_event_are_counted_apart_and_redelivered_exactly(stack: Stack) -> None:
    made, final = _lives()
    for _ in range(2):
        stack.invoke(FUNCTION, event(*made))
    assert stored(stack) == expected(*final)


def test_several_accounts_are_counted_apart(stack: Stack) -> None:
    stream = Stream("Task")
    rows = [task(f"t{n}", accountId=f"acct-{n % 3}") for n in range(30)]
    stack.invoke(FUNCTION, window_event(*map(stream.insert, rows)))
    assert stored(stack) == expected(*(("Task", row) for row in rows))
    assert kinds(stack) == ["load", "save"]


def test_more_than_20_hours_and_50_buckets_in_one_batch_are_all_counted(stack: Stack) -> None:
    stream = Stream("ScoreResult")
    rows = [
        score_result(f"r{n}", createdAt=f"2026-11-{1 + n % 20:02}T{n % 24:02}:{n % 60:02}:00Z")
        for n in range(300)
    ]
    made = window_event(*map(stream.insert, rows))
    for _ in range(2):
        stack.invoke(FUNCTION, made)
    assert stored(stack) == expected(*(("ScoreResult", row) for row in rows))


def test_a_sum_beyond_32_bits_is_stored_as_the_largest_int_and_logged(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = Stream("Evaluation")
    rows = [evaluation(f"e{n}", cost=1500.5) for n in range(3)]
    stack.invoke(FUNCTION, window_event(*map(stream.insert, rows)))
    assert {row["cost"] for row in stack.rows()} == {2_147_483_647}
    assert {row["count"] for row in stack.rows()} == {3}
    (line,) = stack.lines()
    assert (line["level"], line["overflowed"]) == ("ERROR", 4)
    assert json.loads(capsys.readouterr().out)["Overflowed"] == [4.0]


def test_a_row_older_than_the_deployment_can_be_removed(stack: Stack) -> None:
    stream = Stream("Task")
    stack.invoke(FUNCTION, window_event(stream.insert(task("t1"))))
    removed = [stream.remove(task(f"old{n}")) for n in range(3)]
    stack.invoke(FUNCTION, window_event(*removed))
    assert {row["count"] for row in stack.rows()} == {0}
    assert stack.lines()[-1]["clamped"] == 1


# What happens when it comes again


def test_a_redelivery_that_ends_or_begins_elsewhere_counts_nothing_twice(stack: Stack) -> None:
    stream = Stream("Task")
    rows = [task(f"t{n}") for n in range(10)]
    made = [stream.insert(row) for row in rows]
    for begin, end in [(0, 4), (0, 2), (0, 7), (3, 5), (3, 10), (0, 10), (9, 10)]:
        stack.invoke(FUNCTION, window_event(*made[begin:end]))
        assert stack.row("tasks#2026-11-22T10:00:00Z#60")["count"] >= end
    assert stored(stack) == expected(*(("Task", row) for row in rows))


def test_two_shards_write_the_same_buckets(stack: Stack) -> None:
    rows = [task(f"t{n}") for n in range(6)]
    low, high = Stream("Task"), Stream("Task", first=5)
    first = window_event(*map(low.insert, rows[:3]))
    second = window_event(*map(high.insert, rows[3:]), shard_id="shardId-2")
    for made in (first, second, first, second):
        stack.invoke(FUNCTION, made)
    assert stored(stack) == expected(*(("Task", row) for row in rows))


def test_mending_a_quarantined_row_in_its_table_counts_it(stack: Stack) -> None:
    stream = Stream("Task")
    bad = task("t1", createdAt="soon")
    stack.invoke(FUNCTION, window_event(stream.insert(bad)))
    assert (stored(stack), len(stack.quarantined())) == ({}, 1)
    stack.invoke(FUNCTION, window_event(stream.modify(bad, task("t1"))))
    assert stored(stack) == expected(("Task", task("t1")))


def test_a_redriven_record_counts_once_however_often_it_is_sent(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the records of a table were refused until a setting named its model."""
    calls = Stream(f"{table_arn('calls')}/stream/2026-11-01T00:00:00.000")
    rows = [item(f"i{n}") for n in range(3)]
    stack.invoke(FUNCTION, window_event(*map(calls.insert, rows)))
    messages = stack.quarantined()
    assert all("name it in SOURCE_TABLES" in message["reason"] for message in messages)
    stack.rewire(monkeypatch, SOURCE_TABLES='{"calls": "Item"}')
    for _ in range(3):
        for message in messages:
            stack.invoke(FUNCTION, event(message["record"]))
    assert stored(stack) == expected(*(("Item", row) for row in rows))


# What happens when something is in the way


def test_what_cannot_be_counted_is_quarantined_and_the_batch_goes_on(stack: Stack) -> None:
    stream, foreign = Stream("Item"), Stream("Invoice")
    bad = [stream.insert(item("a", accountId="")), foreign.insert(item("b"))]
    stack.invoke(FUNCTION, event(bad[0], stream.insert(item("c")), bad[1]))
    assert stored(stack) == expected(("Item", item("c")))
    messages = {m["record"]["eventID"]: m for m in stack.quarantined()}
    assert [messages[record["eventID"]]["record"] for record in bad] == bad
    assert stack.lines()[-1]["quarantined"] == 2


def test_a_quarantine_that_fails_raises_after_counting_and_the_redelivery_is_exact(
    stack: Stack,
) -> None:
    stream = Stream("Item")
    made = window_event(stream.insert(item("a", accountId="")), stream.insert(item("c")))
    stack.sqs.delete_queue(QueueUrl=stack.queue_url)
    with pytest.raises(ServiceError):
        stack.invoke(FUNCTION, made)
    assert stored(stack) == expected(("Item", item("c")))
    stack.sqs.create_queue(QueueName="quarantine")
    stack.invoke(FUNCTION, made)
    assert stored(stack) == expected(("Item", item("c")))
    assert len(stack.quarantined()) == 1


def test_a_hostile_row_never_stops_its_shard(stack: Stack) -> None:
    stream = Stream("ScoreResult")
    hostile: list[dict[str, Any]] = [
        {"type": {"a": "prediction"}},
        {"type": ["prediction"]},
        {"createdAt": "0001-01-01T00:00:00+01:00"},
        {"createdAt": "9999-12-31T23:59:59Z"},
        {"cost": '{"llm_calls": 1e9999999}'},
        {"cost": '{"total_cost": 1e999999}'},
        {"cost": "[" * 100_000},
        {"cost": {"total_cost": "x" * 300_000}},
        {"accountId": {"a": 1}},
        {"value": ["ERROR"], "code": [500]},
    ]
    records = [stream.insert(score_result(f"h{n}", **row)) for n, row in enumerate(hostile)]
    assert stack.invoke(FUNCTION, window_event(*records, stream.insert(score_result("good"))))
    assert stack.row("scoreResults#2026-11-22T10:05:00Z#1")["count"] == 4
    assert len(stack.quarantined()) == 7


@pytest.mark.parametrize(
    ("given", "raised"),
    [
        (refusal(403, "AccessDeniedException", "No."), AuthorizationError),
        (refusal(503, "ServiceUnavailable", "Later."), TransportError),
    ],
)
def test_an_api_that_refuses_fails_the_batch_and_counts_nothing(
    stack: Stack, given: Answer, raised: type[Exception]
) -> None:
    stack.gate.before = lambda _: given
    with pytest.raises(raised):
        stack.invoke(FUNCTION, hundred()[1])
    assert stack.rows() == []
    assert stack.lines()[-1]["error"] == raised.__name__


def test_when_the_time_is_over_the_batch_fails_and_comes_again(stack: Stack) -> None:
    rows, made = hundred()

    def dawdle(_: Request) -> None:
        stack.clock.advance(seconds=50)

    stack.gate.after = dawdle
    with pytest.raises(ContentionError, match="the rest comes again"):
        stack.invoke(FUNCTION, made, Context(stack.clock, seconds=51))
    stack.gate.after = lambda _: None
    stack.invoke(FUNCTION, made)
    assert stored(stack) == expected(*rows)


def test_concurrent_invocations_conflict_and_all_count(stack: Stack) -> None:
    """Others come in between the load and the save of the first, and once within its save."""
    rows = [task(f"t{n}") for n in range(4)]
    events = [
        window_event(Stream("Task").insert(row), shard_id=f"shardId-{n}")
        for n, row in enumerate(rows)
    ]
    waiting = events[1:3]

    def meanwhile(request: Request) -> None:
        if waiting and b"mutation" not in request.body:
            stack.invoke(FUNCTION, waiting.pop())

    def within() -> None:
        stack.api.pause = None
        stack.invoke(FUNCTION, events[3])

    stack.gate.after = meanwhile
    stack.api.pause = within
    stack.invoke(FUNCTION, events[0])
    assert waiting == []
    assert stored(stack) == expected(*(("Task", row) for row in rows))
    assert sum(line["conflicts"] for line in stack.lines()) > 0


def test_each_invocation_logs_one_line_without_contents(stack: Stack) -> None:
    stream = Stream("Item")
    secret = item("id-secret", accountId="acct-secret", text="text-secret")
    stack.invoke(
        FUNCTION,
        window_event(stream.insert(secret), stream.insert(secret | {"createdAt": "secret"})),
    )
    (line,) = stack.lines()
    assert "secret" not in json.dumps(line)
    assert set(line) >= {
        "shard",
        "records",
        "hours",
        "written",
        "conflicts",
        "retries",
        "quarantined",
        "milliseconds",
        "requestId",
    }
