from datetime import timedelta
from typing import Any

import pytest
from aggregated_metrics.core import buckets
from aggregated_metrics.core.changes import (
    Batch,
    Folded,
    fold,
    model_of_stream,
    records_of,
    shard_digest,
)
from aggregated_metrics.core.errors import EventError, UncountableError
from aggregated_metrics.core.measures import Measures
from aggregated_metrics.core.series import HourId, Series

from testbench.counted import measured
from testbench.rows import REMOVED, evaluation, item, score_result, task
from testbench.streams import (
    CREATED,
    FIRST_SEQUENCE_NUMBER,
    SHARD_ID,
    Stream,
    event,
    stream_arn,
    table_arn,
    window_event,
)

type Sums = dict[tuple[str, str, str], tuple[int, ...]]


def sums(folded: Folded) -> Sums:
    """What is added, by account, record type and minute (`10:05`)."""
    found: Sums = {}
    for batch in folded.batches:
        for hour, at, deltas in batch.minutes():
            net = tuple(map(sum, zip(*(delta.measures for delta in deltas), strict=True)))
            minute = buckets.iso(at)[11:16]
            found[hour.series.account_id, hour.series.record_type, minute] = net
    return found


def one(folded: Folded) -> Batch:
    (batch,) = folded.batches
    return batch


def reasons(folded: Folded) -> list[str]:
    return [reject.reason for reject in folded.rejects]


def test_an_insert_adds_the_new_image() -> None:
    folded = fold(window_event(Stream("ScoreResult").insert(score_result())), {})
    added = measured("scoreResults", 1, 1230, 1, 2, 1, 0)
    assert sums(folded) == {
        ("acct-1", "scoreResults", "10:05"): added,
        ("acct-1", "predictionScoreResults", "10:05"): added,
    }


def test_a_remove_subtracts_the_old_image() -> None:
    folded = fold(window_event(Stream("Evaluation").remove(evaluation(status="FAILED"))), {})
    assert sums(folded) == {("acct-1", "evaluations", "10:05"): (-1, -1_250_000, 0, 0, 0, -1)}


def test_an_expiry_subtracts_nothing() -> None:
    folded = fold(window_event(Stream("Item").expire(item())), {})
    assert (folded.batches, folded.rejects) == ([], [])


@pytest.mark.parametrize(
    "identity", [{"type": "Service", "principalId": "replication.example"}, None, {}]
)
def test_a_remove_by_anybody_else_subtracts(identity: Any) -> None:
    record = Stream("Item").remove(item(createdByType=None)) | {"userIdentity": identity}
    assert sums(fold(window_event(record), {})) == {
        ("acct-1", "items", "10:05"): (-1, 0, 0, 0, 0, 0)
    }


def test_a_modify_adds_only_what_has_changed() -> None:
    change = Stream("Task").modify(task(status="RUNNING"), task(status="FAILED"))
    assert sums(fold(window_event(change), {})) == {
        ("acct-1", "tasks", "10:05"): (0, 0, 0, 0, 0, 1)
    }


def test_a_modify_that_changes_nothing_counted_touches_no_minute() -> None:
    change = Stream("ScoreResult").modify(score_result(), score_result(explanation="Better so."))
    assert fold(window_event(change), {}).batches == []


def test_a_modify_across_minutes_takes_from_one_and_gives_to_the_other() -> None:
    old = item(createdByType=None)
    change = Stream("Item").modify(old, old | {"createdAt": "2026-11-22T11:05+00:30"})
    assert sums(fold(window_event(change), {})) == {
        ("acct-1", "items", "10:05"): (-1, 0, 0, 0, 0, 0),
        ("acct-1", "items", "10:35"): (1, 0, 0, 0, 0, 0),
    }


def test_a_modify_across_accounts_takes_from_one_and_gives_to_the_other() -> None:
    change = Stream("Task").modify(task(), task(accountId="acct-2"))
    assert sums(fold(window_event(change), {})) == {
        ("acct-1", "tasks", "10:05"): (-1, 0, 0, 0, 0, 0),
        ("acct-2", "tasks", "10:05"): (1, 0, 0, 0, 0, 0),
    }


def test_a_modify_across_splits_leaves_the_whole_as_it_is() -> None:
    change = Stream("Item").modify(
        item(createdByType="prediction"), item(createdByType="evaluation")
    )
    assert sums(fold(window_event(change), {})) == {
        ("acct-1", "items", "10:05"): (0, 0, 0, 0, 0, 0),
        ("acct-1", "predictionItems", "10:05"): (-1, 0, 0, 0, 0, 0),
        ("acct-1", "evaluationItems", "10:05"): (1, 0, 0, 0, 0, 0),
    }


def test_an_uncountable_new_image_goes_to_quarantine_and_its_old_one_is_subtracted() -> None:
    change = Stream("Task").modify(task(), task(accountId=""))
    folded = fold(window_event(change), {})
    assert sums(folded) == {("acct-1", "tasks", "10:05"): (-1, 0, 0, 0, 0, 0)}
    assert [reject.record for reject in folded.rejects] == [change]


def test_mending_a_row_counts_it_and_subtracts_nothing() -> None:
    change = Stream("Task").modify(task(createdAt="soon"), task())
    folded = fold(window_event(change), {})
    assert sums(folded) == {("acct-1", "tasks", "10:05"): (1, 0, 0, 0, 0, 0)}
    assert folded.rejects == []


def test_a_change_between_two_uncountable_images_is_quarantined_with_nothing_subtracted() -> None:
    folded = fold(window_event(Stream("Task").modify(task(createdAt=""), task(accountId=""))), {})
    assert folded.batches == []
    assert len(folded.rejects) == 1


def test_removing_an_uncountable_row_subtracts_nothing_and_is_no_news() -> None:
    folded = fold(window_event(Stream("Item").remove(item(accountId=REMOVED))), {})
    assert (folded.batches, folded.rejects) == ([], [])


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
    folded = fold(window_event(bad, good), {})
    assert [reject.record for reject in folded.rejects] == [bad]
    assert reason in reasons(folded)[0]
    assert sums(folded)["acct-1", "items", "10:05"] == (1, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(("later", "counted"), [(0, True), (1, False)])
def test_a_time_more_than_a_day_after_the_write_is_unreadable(later: int, counted: bool) -> None:
    at = CREATED + timedelta(days=1, minutes=later)
    folded = fold(window_event(Stream("Task").insert(task(createdAt=at.isoformat()))), {})
    assert bool(folded.batches) is counted
    assert bool(folded.rejects) is not counted
    assert counted or "more than a day after the write" in reasons(folded)[0]


def test_a_row_may_be_written_years_late() -> None:
    row = task(createdAt="1999-12-31T23:59:59Z")
    assert fold(window_event(Stream("Task").insert(row)), {}).rejects == []


def test_without_a_creation_time_any_nameable_time_is_readable() -> None:
    record = Stream("Task").insert(task(createdAt="2099-01-01T00:00:00Z"))
    del record["dynamodb"]["ApproximateCreationDateTime"]
    folded = fold(window_event(record), {})
    assert len(folded.batches) == 1
    assert folded.newest is None


@pytest.mark.parametrize("view", ["KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE"])
def test_another_view_type_is_quarantined_with_its_cure(view: str) -> None:
    folded = fold(window_event(Stream("Item", view=view).insert(item())), {})
    assert folded.batches == []
    assert "NEW_AND_OLD_IMAGES; set it on the table's stream" in reasons(folded)[0]


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
        (Stream("Item").insert(item()) | {"dynamodb": None}, "no SequenceNumber"),
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
    folded = fold(window_event(record, good), {})
    assert reason in reasons(folded)[0]
    assert len(list(one(folded).minutes())) == 2


@pytest.mark.parametrize(
    ("table", "model"),
    [
        ("Item-abcdefghij-NONE", "Item"),
        ("ScoreResult-abcdefghij-dev", "ScoreResult"),
        ("Task-x-y-z", "Task"),
        ("Evaluation", "Evaluation"),
    ],
)
def test_amplifys_table_names_say_their_model(table: str, model: str) -> None:
    assert model_of_stream(f"{table_arn(table)}/stream/2026", {}).name == model


@pytest.mark.parametrize(
    "table",
    [
        "FeedbackItems-abcdefghij-NONE",
        "ItemArchive-abcdefghij-NONE",
        "item-abcdefghij-NONE",
        "prod-Item",
        "Items",
        "-Item",
    ],
)
def test_only_the_exact_model_name_is_known_and_the_error_names_the_setting(table: str) -> None:
    with pytest.raises(UncountableError, match="SOURCE_TABLES") as caught:
        model_of_stream(f"{table_arn(table)}/stream/2026", {})
    assert f'{{"{table}": "Item"}}' in str(caught.value)


def test_a_setting_names_the_model_of_any_table() -> None:
    arn = f"{table_arn('calls')}/stream/2026"
    assert model_of_stream(arn, {"calls": "Item"}).name == "Item"
    assert model_of_stream(f"{table_arn('Item-a-b')}/stream/1", {"Item-a-b": "Task"}).name == "Task"


def test_an_unknown_table_quarantines_its_records_and_only_them() -> None:
    unknown = Stream("Invoice").insert(item())
    folded = fold(event(unknown, Stream("Item").insert(item())), {})
    assert [reject.record for reject in folded.rejects] == [unknown]
    assert len(folded.batches) == 1


def test_a_record_without_a_source_is_quarantined() -> None:
    record = Stream("Item").insert(item())
    del record["eventSourceARN"]
    assert "SOURCE_TABLES" in reasons(fold(event(record), {}))[0]


def test_a_batch_is_named_after_its_shard_and_stream() -> None:
    stream = Stream("Item")
    record = stream.insert(item())
    batch = one(fold(window_event(record), {}))
    assert batch.shard == shard_digest(stream_arn("Item"), SHARD_ID)
    others = {
        one(fold(window_event(record, shard_id="shardId-2"), {})).shard,
        one(fold(event(record), {})).shard,
        one(fold(window_event(Stream("Task").insert(task())), {})).shard,
    }
    assert len(others | {batch.shard}) == 4


def test_without_a_shard_the_first_record_names_the_batch() -> None:
    stream = Stream("Item")
    first, second, third = (stream.insert(item(f"i{n}")) for n in range(3))
    shards = [
        one(fold(event(*records), {})).shard
        for records in ([first], [first, second], [first, second, third], [second, third])
    ]
    assert shards[0] == shards[1] == shards[2] != shards[3]


def test_the_last_number_is_the_greatest_of_all_records_compared_as_integers() -> None:
    stream = Stream("Item")
    records = [stream.insert(item("a")), stream.insert(item("b"))]
    records += [stream.modify(item("a"), item("a", text="new")), stream.insert(item(accountId=""))]
    batch = one(fold(window_event(*records), {}))
    assert batch.last == one(fold(window_event(*records[::-1]), {})).last
    assert batch.last == FIRST_SEQUENCE_NUMBER + 21
    assert len(str(batch.last)) > len(str(FIRST_SEQUENCE_NUMBER))


def test_deltas_keep_their_records_numbers() -> None:
    stream = Stream("Task")
    folded = fold(window_event(*(stream.insert(task(f"t{n}")) for n in range(3))), {})
    minute = buckets.to_minute(buckets.parse("2026-11-22T10:05Z"))
    hour = HourId(Series("acct-1", "tasks"), buckets.floor(minute, buckets.HOUR))
    deltas = one(folded).hours[hour][minute]
    assert [delta.number - FIRST_SEQUENCE_NUMBER for delta in deltas] == [0, 7, 14]
    assert {delta.measures for delta in deltas} == {Measures(1)}


def test_several_tables_in_one_event_are_several_batches() -> None:
    folded = fold(event(Stream("Item").insert(item()), Stream("Task").insert(task())), {})
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
    assert fold(window_event(*records), {}).newest == times[1].timestamp()


def test_a_final_invocation_may_have_no_records() -> None:
    final = window_event(final=True)
    assert records_of(final) == []
    del final["Records"]
    assert records_of(final) == []
    assert fold(final, {}) == Folded()


@pytest.mark.parametrize(
    "given",
    [{}, {"Records": None}, {"Records": "x"}, {"Records": [1]}, [], None, "x", {"detail": {}}],
)
def test_what_is_no_stream_event_is_refused_with_a_place_to_look(given: Any) -> None:
    with pytest.raises(EventError, match="events/stream_aggregator"):
        fold(given, {})
