"""What a stream event's records change."""

from datetime import timedelta
from typing import Any

import pytest
from aggregated_metrics.core import buckets, changes
from aggregated_metrics.core.changes import Batch, Folded, records_of, shard_digest
from aggregated_metrics.core.errors import EventError
from aggregated_metrics.core.models import BUILT_IN
from aggregated_metrics.core.series import HourId, Series

from testbench.rows import REMOVED, evaluation, item, score_result, task
from testbench.streams import (
    CREATED,
    FIRST_SEQUENCE_NUMBER,
    SHARD_ID,
    Stream,
    event,
    stream_arn,
    window_event,
)

PLAIN = BUILT_IN.only(())
type Sums = dict[tuple[str, str, str], tuple[int, ...]]


def sums(folded: Folded) -> Sums:
    """What is added, by account, record type and minute (`10:05`)."""
    found: Sums = {}
    for batch in folded.batches:
        for hour, at, deltas in batch.minutes():
            net = tuple(map(sum, zip(*(sums for _, sums, *_ in deltas), strict=True)))
            minute = buckets.iso(at)[11:16]
            found[hour.series.account_id, hour.series.record_type, minute] = net
    return found


def fold(given: Any) -> Folded:
    return changes.fold(given, PLAIN, {"calls": "Item"})


def one(folded: Folded) -> Batch:
    (batch,) = folded.batches
    return batch


def reasons(folded: Folded) -> list[str]:
    return [reason for _, reason in folded.rejects]


def test_an_insert_adds_the_new_image() -> None:
    folded = fold(window_event(Stream("ScoreResult").insert(score_result())))
    added = (1, 1230, 1, 2, 1, 0)
    assert sums(folded) == {
        ("acct-1", "scoreResults", "10:05"): added,
        ("acct-1", "predictionScoreResults", "10:05"): added,
    }


def test_a_remove_subtracts_the_old_image() -> None:
    folded = fold(window_event(Stream("Evaluation").remove(evaluation(status="FAILED"))))
    assert sums(folded) == {("acct-1", "evaluations", "10:05"): (-1, -1_250_000, 0, 0, 0, -1)}


def test_an_expiry_subtracts_nothing() -> None:
    folded = fold(window_event(Stream("Item").expire(item())))
    assert (folded.hours(), folded.rejects) == (set(), [])


@pytest.mark.parametrize(
    "identity", [{"type": "Service", "principalId": "replication.example"}, None, {}]
)
def test_a_remove_by_anybody_else_subtracts(identity: Any) -> None:
    record = Stream("Item").remove(item(createdByType=None)) | {"userIdentity": identity}
    assert sums(fold(window_event(record))) == {("acct-1", "items", "10:05"): (-1, 0, 0, 0, 0, 0)}


def test_a_modify_adds_only_what_has_changed() -> None:
    change = Stream("Task").modify(task(status="RUNNING"), task(status="FAILED"))
    assert sums(fold(window_event(change))) == {("acct-1", "tasks", "10:05"): (0, 0, 0, 0, 0, 1)}


def test_a_modify_that_changes_nothing_counted_touches_no_minute() -> None:
    change = Stream("ScoreResult").modify(score_result(), score_result(explanation="Better so."))
    assert fold(window_event(change)).hours() == set()


def test_a_modify_across_minutes_takes_from_one_and_gives_to_the_other() -> None:
    old = item(createdByType=None)
    change = Stream("Item").modify(old, old | {"createdAt": "2026-11-22T11:05+00:30"})
    assert sums(fold(window_event(change))) == {
        ("acct-1", "items", "10:05"): (-1, 0, 0, 0, 0, 0),
        ("acct-1", "items", "10:35"): (1, 0, 0, 0, 0, 0),
    }


def test_a_modify_across_accounts_takes_from_one_and_gives_to_the_other() -> None:
    change = Stream("Task").modify(task(), task(accountId="acct-2"))
    assert sums(fold(window_event(change))) == {
        ("acct-1", "tasks", "10:05"): (-1, 0, 0, 0, 0, 0),
        ("acct-2", "tasks", "10:05"): (1, 0, 0, 0, 0, 0),
    }


def test_a_modify_across_splits_leaves_the_whole_as_it_is() -> None:
    change = Stream("Item").modify(
        item(createdByType="prediction"), item(createdByType="evaluation")
    )
    assert sums(fold(window_event(change))) == {
        ("acct-1", "items", "10:05"): (0, 0, 0, 0, 0, 0),
        ("acct-1", "predictionItems", "10:05"): (-1, 0, 0, 0, 0, 0),
        ("acct-1", "evaluationItems", "10:05"): (1, 0, 0, 0, 0, 0),
    }


def test_an_uncountable_new_image_goes_to_quarantine_and_its_old_one_is_subtracted() -> None:
    change = Stream("Task").modify(task(), task(accountId=""))
    folded = fold(window_event(change))
    assert sums(folded) == {("acct-1", "tasks", "10:05"): (-1, 0, 0, 0, 0, 0)}
    assert [record for record, _ in folded.rejects] == [change]


def test_mending_a_row_counts_it_and_subtracts_nothing() -> None:
    change = Stream("Task").modify(task(createdAt="soon"), task())
    folded = fold(window_event(change))
    assert sums(folded) == {("acct-1", "tasks", "10:05"): (1, 0, 0, 0, 0, 0)}
    assert folded.rejects == []


def test_a_change_between_two_uncountable_images_is_quarantined_with_nothing_subtracted() -> None:
    folded = fold(window_event(Stream("Task").modify(task(createdAt=""), task(accountId=""))))
    assert folded.hours() == set()
    assert len(folded.rejects) == 1


def test_removing_an_uncountable_row_subtracts_nothing_and_is_no_news() -> None:
    folded = fold(window_event(Stream("Item").remove(item(accountId=REMOVED))))
    assert (folded.hours(), folded.rejects) == (set(), [])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"accountId": REMOVED}, "accountId is missing"),
        ({"createdAt": REMOVED}, "createdAt is missing"),
        ({"createdAt": "2026-11-22T10:05:30"}, "not an AWSDateTime"),
        ({"createdAt": "0001-01-01T00:00:00+01:00"}, "years 1 to 9999"),
    ],
)
def test_a_row_that_cannot_be_counted_says_why(row: dict[str, Any], reason: str) -> None:
    stream = Stream("Item")
    bad, good = stream.insert(item("bad", **row)), stream.insert(item("good"))
    folded = fold(window_event(bad, good))
    assert [record for record, _ in folded.rejects] == [bad]
    assert reason in reasons(folded)[0]
    assert sums(folded)["acct-1", "items", "10:05"] == (1, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(("later", "counted"), [(0, True), (1, False)])
def test_a_time_more_than_a_day_after_the_write_is_unreadable(later: int, counted: bool) -> None:
    at = CREATED + timedelta(days=1, minutes=later)
    folded = fold(window_event(Stream("Task").insert(task(createdAt=at.isoformat()))))
    assert bool(folded.hours()) is counted
    assert bool(folded.rejects) is not counted
    assert counted or "more than a day after the write" in reasons(folded)[0]


def test_a_row_may_be_written_years_late() -> None:
    row = task(createdAt="1999-12-31T23:59:59Z")
    assert fold(window_event(Stream("Task").insert(row))).rejects == []


def test_without_a_creation_time_any_nameable_time_is_readable() -> None:
    record = Stream("Task").insert(task(createdAt="2099-01-01T00:00:00Z"))
    del record["dynamodb"]["ApproximateCreationDateTime"]
    folded = fold(window_event(record))
    assert len(folded.hours()) == 1
    assert (folded.newest, one(folded).first) == (None, None)


@pytest.mark.parametrize("view", ["KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE"])
def test_another_view_type_is_quarantined_with_its_cure(view: str) -> None:
    folded = fold(window_event(Stream("Item", view=view).insert(item())))
    assert folded.hours() == set()
    assert "NEW_AND_OLD_IMAGES; set it on the stream" in reasons(folded)[0]


def _without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        record["dynamodb"].pop(name)
    return record


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (_without(Stream("Item").insert(item()), "SequenceNumber"), "no SequenceNumber"),
        (_without(Stream("Item").insert(item()), "NewImage"), "an image is missing"),
        (_without(Stream("Item").modify(item(), item()), "OldImage"), "an image is missing"),
        (Stream("Item").insert(item()) | {"eventName": "UPSERT"}, "'UPSERT'"),
        (Stream("Item").insert(item()) | {"dynamodb": "text"}, "not a stream record"),
        (Stream("Item").insert(item()) | {"dynamodb": None}, "not a stream record"),
        (
            Stream("Item").insert(item())
            | {
                "dynamodb": {
                    "SequenceNumber": "1",
                    "NewImage": {"accountId": "acct-1", "createdAt": {"S": "x"}},
                }
            },
            "not DynamoDB JSON",
        ),
    ],
)
def test_what_is_no_stream_record_is_quarantined_and_the_rest_goes_on(
    record: dict[str, Any], reason: str
) -> None:
    good = Stream("Item", first=5).insert(item("good"))
    folded = fold(window_event(record, good))
    assert reason in reasons(folded)[0]
    assert len(list(one(folded).minutes())) == 2


def test_an_unknown_table_quarantines_its_records_and_only_them() -> None:
    unknown = Stream("Invoice").insert(item())
    folded = fold(event(unknown, Stream("Item").insert(item())))
    assert [record for record, _ in folded.rejects] == [unknown]
    assert len(folded.batches) == 1


def test_a_record_without_a_source_is_quarantined() -> None:
    record = Stream("Item").insert(item())
    del record["eventSourceARN"]
    assert "SOURCE_TABLES" in reasons(fold(event(record)))[0]


def test_a_batch_is_named_after_its_shard_and_stream() -> None:
    stream = Stream("Item")
    record = stream.insert(item())
    batch = one(fold(window_event(record)))
    assert batch.shard == shard_digest(stream_arn("Item"), SHARD_ID)
    others = {
        one(fold(window_event(record, shard_id="shardId-2"))).shard,
        one(fold(event(record))).shard,
        one(fold(window_event(Stream("Task").insert(task())))).shard,
    }
    assert len(others | {batch.shard}) == 4


def test_without_a_shard_the_first_record_names_the_batch() -> None:
    stream = Stream("Item")
    first, second, third = (stream.insert(item(f"i{n}")) for n in range(3))
    shards = [
        one(fold(event(*records))).shard
        for records in ([first], [first, second], [first, second, third], [second, third])
    ]
    assert shards[0] == shards[1] == shards[2] != shards[3]


def test_the_last_number_is_the_greatest_of_all_records_compared_as_integers() -> None:
    stream = Stream("Item")
    records = [stream.insert(item("a")), stream.insert(item("b"))]
    records += [stream.modify(item("a"), item("a", text="new")), stream.insert(item(accountId=""))]
    batch = one(fold(window_event(*records)))
    assert batch.last == one(fold(window_event(*records[::-1]))).last
    assert batch.last == FIRST_SEQUENCE_NUMBER + 21
    assert len(str(batch.last)) > len(str(FIRST_SEQUENCE_NUMBER))


def test_deltas_keep_their_records_numbers() -> None:
    stream = Stream("Task")
    folded = fold(window_event(*(stream.insert(task(f"t{n}")) for n in range(3))))
    minute = buckets.to_minute(buckets.parse("2026-11-22T10:05Z"))
    hour = HourId(Series("acct-1", "tasks"), buckets.floor(minute, buckets.HOUR))
    deltas = one(folded).hours[hour][minute]
    at = CREATED.timestamp()
    numbers = [FIRST_SEQUENCE_NUMBER + 7 * n for n in range(3)]
    assert deltas == [(number, (1, 0, 0, 0, 0, 0), at, True) for number in numbers]


def deltas(*changes: Any) -> list[tuple[int, bool]]:
    """What a change of items adds to the count, with index status."""
    folded = fold(window_event(*changes))
    return [
        (sums[0], indexed)
        for hour, _, deltas in one(folded).minutes()
        for _, sums, _, indexed in deltas
        if hour.series.record_type == "tasks"
    ]


LATE = {"updatedAt": "2026-11-22T09:00:00Z"}
"""An update whose clock was slow: the index lists the row before its hour."""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, LATE, [(-1, True), (1, False)]),
        (LATE, {}, [(-1, False), (1, True)]),
        (LATE, LATE | {"status": "FAILED"}, [(0, False)]),
        (LATE, LATE | {"updatedAt": "2026-11-22T08:00:00Z"}, []),
        ({}, {"updatedAt": "2026-11-23T08:00:00Z"}, []),
        ({}, {"status": REMOVED}, [(-1, True), (1, False)]),
        ({}, {"_deleted": True}, [(-1, True)]),
        (LATE | {"_deleted": True}, LATE, [(1, False)]),
        ({"_deleted": True}, {"_deleted": True, "status": "FAILED"}, []),
    ],
)
def test_an_update_has_a_delta_for_each_index_status_that_its_row_leaves_or_enters(
    old: dict[str, Any], new: dict[str, Any], expected: list[tuple[int, bool]]
) -> None:
    change = Stream("Task").modify(task(**old), task(**new))
    assert deltas(change) == expected
    hours = fold(window_event(change)).unindexed_hours()
    assert len(hours) == any(not indexed for _, indexed in expected)


def test_a_batch_knows_its_model_and_its_first_record_though_nothing_is_counted() -> None:
    stream = Stream("Task")
    records = [
        stream.modify(task(), task(command="wait"), created=CREATED - timedelta(hours=3)),
        stream.modify(task(), task(command="go"), created=CREATED),
    ]
    batch = one(fold(window_event(*records)))
    assert (batch.model, batch.first) == ("Task", (CREATED - timedelta(hours=3)).timestamp())
    assert not batch.hours


def test_the_event_of_a_window_names_the_stream_of_all_its_records() -> None:
    records = [Stream("Item").insert(item())]
    del records[0]["eventSourceARN"]
    assert one(fold(window_event(*records, arn=stream_arn("Item")))).model == "Item"


def test_only_the_breakdowns_that_are_on_are_counted() -> None:
    old, new = score_result(), score_result(scoreId="score-2")
    moved = window_event(Stream("ScoreResult").modify(old, new))
    assert fold(moved).hours() == set()
    on = changes.fold(moved, BUILT_IN.only({"scoreResultsByScore"}), {})
    nets = {
        (hour.series.record_type, hour.series.scope_id): sum(sums[0] for _, sums, *_ in deltas)
        for hour, _, deltas in one(on).minutes()
    }
    assert nets == {
        ("scoreResults", None): 0,
        ("predictionScoreResults", None): 0,
        ("scoreResultsByScore", "score-1"): -1,
        ("scoreResultsByScore", "score-2"): 1,
    }


def test_several_tables_in_one_event_are_several_batches() -> None:
    folded = fold(event(Stream("Item").insert(item()), Stream("Task").insert(task())))
    assert len(folded.batches) == 2
    assert {hour.series.record_type for hour in folded.hours()} == {
        "items",
        "predictionItems",
        "tasks",
    }


def test_the_newest_record_tells_how_fresh_the_batch_is() -> None:
    stream = Stream("Task")
    times = [CREATED, CREATED + timedelta(seconds=9), CREATED + timedelta(seconds=4)]
    records = [stream.insert(task(f"t{n}"), created=time) for n, time in enumerate(times)]
    assert fold(window_event(*records)).newest == times[1].timestamp()


def test_a_final_invocation_may_have_no_records() -> None:
    final = window_event(final=True)
    assert records_of(final) == []
    del final["Records"]
    assert records_of(final) == []
    assert fold(final) == Folded()


@pytest.mark.parametrize(
    "given",
    [{}, {"Records": None}, {"Records": "x"}, {"Records": [1]}, [], None, "x", {"detail": {}}],
)
def test_what_is_no_stream_event_is_refused_with_a_place_to_look(given: Any) -> None:
    with pytest.raises(EventError, match="events/stream_aggregator"):
        fold(given)
