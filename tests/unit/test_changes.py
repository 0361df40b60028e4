"""What a stream event's records change."""

from datetime import timedelta
from typing import Any

import pytest
from aggregated_metrics.core import changes
from aggregated_metrics.core.changes import Batch
from aggregated_metrics.core.errors import EventError
from aggregated_metrics.core.models import BUILT_IN

from testbench.rows import REMOVED, item, score_result, task
from testbench.streams import (
    CREATED,
    FIRST_SEQUENCE_NUMBER,
    Stream,
    event,
    stream_arn,
    window_event,
)

PLAIN = BUILT_IN.only(())
type Sums = dict[str, tuple[int, ...]]


def sums(batch: Batch) -> Sums:
    """What is added, by record type."""
    return {
        series.record_type: tuple(map(sum, zip(*(sums for _, sums, *_ in deltas), strict=True)))
        for (series, _), minutes in batch.hours.items()
        for deltas in minutes.values()
    }


def fold(given: Any) -> Batch:
    return changes.fold(given, PLAIN, {"calls": "Item"})


def reasons(batch: Batch) -> list[str]:
    return [reason for _, reason in batch.rejects]


TAKEN = (-1, 0, 0, 0, 0, 0)
ROW = item(createdByType=None)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (Stream("Item").expire(ROW), {}),
        (Stream("Item").remove(ROW) | {"userIdentity": None}, {"items": TAKEN}),
        (Stream("Item").remove(ROW) | {"userIdentity": {"principalId": "x"}}, {"items": TAKEN}),
        (Stream("ScoreResult").modify(score_result(), score_result(explanation="Better.")), {}),
        (
            Stream("Item").modify(item(createdByType="prediction"), ROW),
            {"items": (0,) * 6, "predictionItems": TAKEN},
        ),
    ],
)
def test_a_record_changes_the_series_that_its_row_leaves_or_enters(
    record: dict[str, Any], expected: Sums
) -> None:
    """Property tests have the rest; a minute that nets to zero is visited all the same."""
    batch = fold(window_event(record))
    assert (sums(batch), batch.rejects) == (expected, [])


def test_a_time_more_than_a_day_after_the_write_is_uncountable() -> None:
    late = CREATED + timedelta(days=1, minutes=1)
    for at in (CREATED.replace(year=1999), CREATED + timedelta(days=1), late):
        batch = fold(window_event(Stream("Task").insert(task(createdAt=at.isoformat()))))
        assert bool(batch.hours) is (at != late)
        assert ["more than a day after the write" in each for each in reasons(batch)] == (
            [True] * (at == late)
        )


def test_without_a_creation_time_any_nameable_time_is_countable() -> None:
    record = Stream("Task").insert(task(createdAt="2099-01-01T00:00:00Z"))
    del record["dynamodb"]["ApproximateCreationDateTime"]
    batch = fold(window_event(record))
    assert len(batch.hours) == 1
    assert (batch.newest, batch.first) == (None, None)


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
        *(
            (Stream("Item", view=view).insert(item()), "NEW_AND_OLD_IMAGES; set it on the stream")
            for view in ("KEYS_ONLY", "NEW_IMAGE", "OLD_IMAGE")
        ),
    ],
)
def test_what_is_no_stream_record_is_quarantined_and_the_rest_goes_on(
    record: dict[str, Any], reason: str
) -> None:
    good = Stream("Item", first=5).insert(item("good"))
    batch = fold(window_event(record, good))
    assert reason in reasons(batch)[0]
    assert len(sums(batch)) == 2


def test_records_of_no_known_table_are_quarantined() -> None:
    unknown, sourceless = Stream("Invoice").insert(item()), Stream("Item").insert(item())
    del sourceless["eventSourceARN"]
    for record in (unknown, sourceless):
        batch = fold(event(record))
        assert [rejected for rejected, _ in batch.rejects] == [record]
        assert "SOURCE_TABLES" in reasons(batch)[0]


def test_an_event_of_several_streams_is_refused() -> None:
    with pytest.raises(EventError, match="one stream"):
        fold(event(Stream("Item").insert(item()), Stream("Task").insert(task())))


def test_a_batch_is_named_after_its_shard_and_stream() -> None:
    record = Stream("Item").insert(item())
    events = [window_event(record), window_event(record, shard_id="shardId-2"), event(record)]
    events.append(window_event(Stream("Task").insert(task())))
    shards = {fold(each).shard for each in events}
    assert len(shards) == 4
    assert {len(shard) for shard in shards} == {12}
    assert fold(window_event(Stream("Item", first=5).insert(item()))).shard in shards


def test_without_a_shard_the_first_record_names_the_batch() -> None:
    stream = Stream("Item")
    first, second, third = (stream.insert(item(f"i{n}")) for n in range(3))
    shards = [
        fold(event(*records)).shard
        for records in ([first], [first, second], [first, second, third], [second, third])
    ]
    assert shards[0] == shards[1] == shards[2] != shards[3]


def test_the_last_number_is_the_greatest_of_all_records_compared_as_integers() -> None:
    stream = Stream("Item")
    records = [stream.insert(item("a")), stream.insert(item("b"))]
    records += [stream.modify(item("a"), item("a", text="new")), stream.insert(item(accountId=""))]
    batch = fold(window_event(*records))
    assert batch.last == fold(window_event(*records[::-1])).last
    assert batch.last == FIRST_SEQUENCE_NUMBER + 21
    assert len(str(batch.last)) > len(str(FIRST_SEQUENCE_NUMBER))


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
    batch = fold(window_event(Stream("Task").modify(task(**old), task(**new))))
    deltas = [each for hour in batch.hours.values() for found in hour.values() for each in found]
    assert [(sums[0], indexed) for _, sums, _, indexed in deltas] == expected
    hours = batch.unindexed_hours()
    assert len(hours) == any(not indexed for _, indexed in expected)


def test_the_event_of_a_window_names_the_stream_of_all_its_records() -> None:
    record = Stream("Item").insert(item())
    del record["eventSourceARN"]
    assert fold(window_event(record, arn=stream_arn("Item"))).model == "Item"


def test_a_batch_knows_its_first_and_its_newest_record_though_nothing_is_counted() -> None:
    stream = Stream("Task")
    times = [CREATED + timedelta(seconds=seconds) for seconds in (2, 9, 4)]
    records = [stream.modify(task(), task(command="go"), created=time) for time in times]
    batch = fold(window_event(*records))
    assert (batch.model, batch.hours) == ("Task", {})
    assert (batch.first, batch.newest) == (times[0].timestamp(), times[1].timestamp())


def test_a_final_invocation_may_have_no_records() -> None:
    final = window_event(final=True)
    assert fold(final) == Batch()
    del final["Records"]
    assert fold(final) == Batch()


@pytest.mark.parametrize(
    "given",
    [
        *[{"Records": None}, {"Records": "x"}, {"Records": [1]}, {"Records": {}}],
        *[{"Records": {"dynamodb": {}}}, {}, [], None, "x", {"detail": {}}],
    ],
)
def test_what_is_no_stream_event_is_refused_with_a_place_to_look(given: Any) -> None:
    with pytest.raises(EventError, match="events/stream_aggregator"):
        fold(given)
