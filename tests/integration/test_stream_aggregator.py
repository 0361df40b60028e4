"""stream_aggregator, from the event to what is stored."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from aggregated_metrics.core.errors import (
    AuthorizationError,
    ContentionError,
    ServiceError,
    TransportError,
)
from aggregated_metrics.core.measures import INT_MAX

from testbench import oracle
from testbench.fakes.endpoint import Answer, refusal
from testbench.fakes.signatures import Request
from testbench.rows import chat_message, evaluation, feedback_item, item, score_result, task
from testbench.streams import Stream, event, window_event
from testbench.world import World
from tests.conftest import NOW

HOUR = "2026-11-22T10:00:00Z#60"
MINUTE = "2026-11-22T10:05:00Z#1"


def count(world: World, *records: Any, **named: Any) -> Any:
    return world.invoke("stream_aggregator", window_event(*records, **named))


def kinds(world: World, work: Callable[[], object]) -> list[str]:
    """What is asked of the API meanwhile."""
    return ["save" if b"mutation" in each.body else "load" for each in world.requests(work)]


def expected(*rows: tuple[str, Any], breakdowns: bool = False) -> Any:
    return oracle.buckets_of(rows, breakdowns=breakdowns)


# What it costs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("breakdowns", "most"), [("", 2), ("all", 4)])
def test_100_records_of_20_scores_cost_few_requests_and_their_redelivery_one(
    breakdowns: str, most: int
) -> None:
    world = World(now=NOW, breakdowns=breakdowns)
    rows = [
        score_result(
            f"r{n}",
            value="ERROR" if n % 10 == 0 else "Yes",
            type="prediction" if n % 2 else "evaluation",
            cost={"total_cost": n / 1000, "llm_calls": n % 3},
            scoreId=f"score-{n % 20}",
            scorecardId=f"scorecard-{n % 4}",
        )
        for n in range(100)
    ]
    records = [*map(Stream("ScoreResult").insert, rows)]
    assert len(kinds(world, lambda: count(world, *records))) <= most
    assert kinds(world, lambda: count(world, *records)) == ["load"]
    counted = expected(*(("ScoreResult", row) for row in rows), breakdowns=bool(breakdowns))
    assert world.stored() == counted


def test_10_000_records_of_a_minute_cost_two_requests(world: World) -> None:
    records = [*map(Stream("Item").insert, (item(f"i{n}") for n in range(10_000)))]
    assert kinds(world, lambda: count(world, *records)) == ["load", "save"]
    assert world.bucket(f"items#{HOUR}")["count"] == 10_000


@pytest.mark.parametrize(
    "record",
    [
        Stream("ScoreResult").modify(score_result(), score_result(explanation="Because.")),
        Stream("Item").expire(item()),
    ],
    ids=["nothing counted changes", "expired"],
)
def test_what_changes_no_count_costs_no_request(world: World, record: Any) -> None:
    assert count(world, record) == {"state": {}}
    assert world.log == []
    assert world.items("entry") == {}


def test_an_invocation_reports_numbers_and_no_contents(world: World) -> None:
    secret = item("id-secret", accountId="acct-secret", text="text-secret")
    stream = Stream("Item")
    count(world, stream.insert(secret), stream.insert(secret | {"createdAt": "secret"}))
    (report,) = world.reports
    assert "secret" not in json.dumps(report)
    assert (report["records"], report["written"], report["quarantined"]) == (2, 8, 1)


# What is counted ----------------------------------------------------------------------------------


def test_every_change_of_every_model_is_counted_and_redelivered_exactly(world: World) -> None:
    items, results = Stream("Item"), Stream("ScoreResult")
    tasks, evaluations = Stream("Task"), Stream("Evaluation")
    moved = item("i1", createdAt="2026-11-21T23:59:59-00:30", createdByType="evaluation")
    other = score_result("r1", accountId="acct-2", value="error", cost='{"total_usd": 0.5}')
    failed = evaluation("e1", status="ERROR", cost=2.0000005)
    records = [
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
    left = ("Item", moved), ("Item", item("i2")), ("ScoreResult", other), ("Evaluation", failed)
    for _ in range(2):
        world.invoke("stream_aggregator", event(*records))
        assert world.stored() == expected(*left)


def test_more_hours_and_buckets_than_a_request_takes_are_counted(world: World) -> None:
    rows = [
        score_result(
            f"r{n}",
            createdAt=f"2026-11-{1 + n % 20:02}T{n % 24:02}:{n % 60:02}:00Z",
            accountId=f"acct-{n % 3}",
        )
        for n in range(300)
    ]
    records = [*map(Stream("ScoreResult").insert, rows)]
    for _ in range(2):
        count(world, *records)
    assert world.stored() == expected(*(("ScoreResult", row) for row in rows))


def test_a_breakdowns_bucket_names_its_scorecard_and_its_score() -> None:
    world = World(now=NOW, breakdowns="all")
    count(world, Stream("ScoreResult").insert(score_result()))
    by_card = world.bucket(f"scoreResultsByScorecard#scorecard-1#{HOUR}")
    by_score = world.bucket(f"scoreResultsByScore#score-1#{MINUTE}")
    names = [(each["scorecardId"], each.get("scoreId")) for each in (by_card, by_score)]
    assert names == [("scorecard-1", None), ("scorecard-1", "score-1")]
    assert by_score["cost"] == 1230


def test_feedbacks_own_measures_are_in_the_metadata_of_every_size(world: World) -> None:
    rows = [
        feedback_item("a"),
        feedback_item("b", finalAnswerValue="No"),
        feedback_item("c", isInvalid=True),
        feedback_item("d", initialAnswerValue=None),
    ]
    count(world, *map(Stream("FeedbackItem").insert, rows))
    found = [[each["metadata"][name] for name in oracle.FEEDBACK] for each in world.buckets()]
    assert found == [[1, 1, 2]] * 4


def test_a_sum_beyond_32_bits_is_stored_as_the_largest_int_and_kept(world: World) -> None:
    stream, minutes = Stream("Evaluation"), ("05", "05", "06")
    rows = [
        evaluation(f"e{n}", cost=1500.5, createdAt=f"2026-11-22T10:{minute}:00Z")
        for n, minute in enumerate(minutes)
    ]
    count(world, *map(stream.insert, rows))
    assert world.reports[-1]["overflowed"] == 4
    costs = [world.bucket(f"evaluations#{key}")["cost"] for key in (HOUR, MINUTE)]
    assert costs == [INT_MAX, INT_MAX]
    assert world.bucket("evaluations#2026-11-22T10:06:00Z#1")["cost"] == 1_500_500_000
    count(world, stream.remove(rows[0]))
    assert world.bucket(f"evaluations#{MINUTE}")["cost"] == 1_500_500_000


# Deliveries ---------------------------------------------------------------------------------------


def test_concurrent_invocations_conflict_and_all_count(world: World) -> None:
    """Others write between the load and the save of the first, and once within its save."""
    rows = [task(f"t{n}") for n in range(4)]
    records = [Stream("Task").insert(row) for row in rows]
    waiting = [1, 2]

    def meanwhile(request: Request) -> None:
        if waiting and b"mutation" not in request.body:
            n = waiting.pop()
            count(world, records[n], shard_id=f"shardId-{n}")

    def within() -> None:
        world.api.pause = None
        count(world, records[3], shard_id="shardId-3")

    world.after = meanwhile
    world.api.pause = within
    count(world, records[0])
    assert world.stored() == expected(*(("Task", row) for row in rows))
    assert sum(report["conflicts"] for report in world.reports) > 0


# Records that cannot be counted -------------------------------------------------------------------


def test_what_cannot_be_counted_goes_whole_to_quarantine_and_the_batch_goes_on(
    world: World,
) -> None:
    stream, unknown = Stream("Item"), Stream("Invoice")
    bad = [stream.insert(item("a", accountId="")), unknown.insert(item("b"))]
    world.invoke("stream_aggregator", event(bad[0], stream.insert(item("c")), bad[1]))
    assert world.stored() == expected(("Item", item("c")))
    kept = {message["record"]["eventID"]: message["record"] for message in world.quarantined()}
    assert kept == {record["eventID"]: record for record in bad}
    assert world.reports[-1]["quarantined"] == 2


@pytest.mark.parametrize(
    ("model", "bad", "good"),
    [
        ("Task", task(createdAt="soon"), task()),
        ("ChatMessage", chat_message(accountId=None), chat_message()),
        ("FeedbackItem", feedback_item(editedAt="yesterday"), feedback_item()),
    ],
)
def test_a_quarantined_row_counts_when_its_table_is_corrected(
    world: World, model: str, bad: Any, good: Any
) -> None:
    stream = Stream(model)
    count(world, stream.insert(bad))
    assert (world.stored(), len(world.quarantined())) == ({}, 1)
    count(world, stream.modify(bad, good))
    assert world.stored() == expected((model, good))


def test_a_quarantine_that_fails_raises_after_counting_and_the_redelivery_is_exact(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream("Item")
    records = stream.insert(item("a", accountId="")), stream.insert(item("c"))
    refused = {"Failed": [{"Id": "0", "Code": "InternalError"}]}
    monkeypatch.setattr(world.queue, "send_message_batch", lambda **_: refused)
    with pytest.raises(ServiceError):
        count(world, *records)
    monkeypatch.undo()
    for _ in range(2):
        assert world.stored() == expected(("Item", item("c")))
        count(world, *records)
    assert len(world.quarantined()) == 2


def test_a_hostile_row_never_stops_its_shard(world: World) -> None:
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
    count(world, *records, stream.insert(score_result("good")))
    assert world.bucket(f"scoreResults#{MINUTE}")["count"] == 4
    assert len(world.quarantined()) == 7


# What fails ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "raised"),
    [
        (refusal(403, "AccessDeniedException", "No."), AuthorizationError),
        (refusal(503, "ServiceUnavailable", "Later."), TransportError),
    ],
)
def test_an_api_that_refuses_fails_the_batch_and_counts_nothing(
    world: World, given: Answer, raised: type[Exception]
) -> None:
    world.before = lambda _: given
    with pytest.raises(raised):
        count(world, Stream("Task").insert(task()))
    assert world.stored() == {}


def test_a_batch_that_has_no_time_left_fails_and_its_redelivery_is_exact(world: World) -> None:
    record = Stream("Task").insert(task())
    world.seconds_left = 51
    world.after = lambda _: world.clock.advance(50)
    with pytest.raises(ContentionError, match="the rest comes again"):
        count(world, record)
    world.after = lambda _: None
    count(world, record)
    assert world.stored() == expected(("Task", task()))
