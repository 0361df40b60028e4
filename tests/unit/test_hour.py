"""An hour's buckets: minutes are changed exactly once, rollups are their sums, writes are safe."""

from datetime import datetime
from typing import Any

import pytest
from aggregated_metrics.core.changes import Batch
from aggregated_metrics.core.hour import Bucket, Hour
from aggregated_metrics.core.measures import ZERO, Measures
from aggregated_metrics.core.metadata import CountedUntil
from aggregated_metrics.core.series import HourId, Series

from testbench.hours import (
    AT,
    GRACE,
    HOUR,
    LATER,
    MINUS_ONE,
    NOW,
    ONE,
    TEN,
    apply,
    bucket_of,
    counted,
    counts,
    delta,
    metadata,
    saved,
    stored,
)

T = AT - 60.0
KEY = "items#2026-11-22T10:00:00Z#"


def count(hour: Hour, minute: int = 0, size: int = 1) -> int:
    return bucket_of(hour, minute, size).measures.count


def written(hour: Hour, now: datetime = NOW) -> list[str]:
    """The keys of what would be written, without the series."""
    return [write.record["compositeKey"][6:] for write in hour.writes(now)]


def complete(hour: Hour, now: datetime = LATER) -> Hour:
    hour.close(now.timestamp(), GRACE)
    return saved(hour)


def test_a_batch_that_nets_to_zero_moves_the_checkpoint_and_its_new_part_counts() -> None:
    hour = counted({0: ONE})
    apply(hour, delta(8), delta(9, MINUS_ONE), shard="other")
    assert written(hour) == ["2026-11-22T10:00:00Z#1"]
    apply(hour, delta(9, MINUS_ONE), shard="other")
    assert count(hour) == 1
    apply(hour, delta(9, MINUS_ONE), delta(10, MINUS_ONE), shard="other")
    assert count(hour) == 0


@pytest.mark.parametrize(
    "deltas",
    [
        [],
        [delta(8), delta(8, MINUS_ONE)],
        [delta(8, MINUS_ONE), delta(8), delta(9), delta(9, MINUS_ONE)],
        [delta(8, ONE, indexed=False), delta(8, MINUS_ONE, indexed=False)],
    ],
)
def test_records_that_net_to_zero_one_by_one_change_nothing(deltas: Any) -> None:
    hour = counted({0: ONE})
    apply(hour, *deltas, shard="other", last=9)
    assert written(hour) == []


def test_evicted_checkpoints_are_counted() -> None:
    hour = Hour(HOUR)
    for n in range(514):
        apply(hour, delta(5), shard=f"s{n}")
    assert hour.evicted == 2


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize(
    ("created", "indexed", "applied"),
    [
        (T, True, (0, 0)),
        (T + 1, True, (1, 1)),
        (None, True, (1, 1)),
        (T, False, (1, 0)),
        (T + 1, False, (1, 1)),
    ],
)
def test_what_a_repair_has_counted_is_not_applied_and_the_checkpoint_moves(
    created: float | None, applied: tuple[int, int], *, indexed: bool, scan: bool
) -> None:
    hour = counted({0: ONE})
    hour.set_minute(TEN, Measures(5), ZERO if scan else None, T)
    hour = saved(hour)
    apply(hour, delta(9, created=created, indexed=indexed), shard="replayed")
    assert count(hour) == 5 + applied[scan]
    assert bucket_of(hour).unindexed.count == (0 if indexed else applied[scan])
    assert bucket_of(hour).metadata.checkpoints["replayed"] == (9, AT)


@pytest.mark.parametrize("given", [None, {"note": 1}, "theirs", {"checkpoints": []}])
def test_sums_that_another_writer_stored_are_marked_when_they_are_applied_to(given: Any) -> None:
    hour = saved(counted({0: ONE}), metadata=given)
    assert bucket_of(hour).is_foreign
    assert written(hour) == []
    apply(hour, delta(9))
    assert metadata(hour)["foreign"] is True
    apply(hour, delta(10))
    assert metadata(saved(hour))["foreign"] is True


def test_a_check_sets_the_indexed_part_and_keeps_the_rest() -> None:
    hour = Hour(HOUR)
    apply(hour, delta(1), delta(2, Measures(4), indexed=False))
    hour = saved(hour, metadata=stored(hour)[0]["metadata"][:-1] + ',"foreign":true,"note":1}')
    hour.set_minute(TEN, Measures(7), None, T)
    assert count(hour) == 11
    known = metadata(hour)
    assert known["checkpoints"] == [["shard", "2", AT]]
    assert known["countedUntil"] == [T, -1]
    assert (known["unindexed"], known["foreign"], known["note"]) == ({"count": "4"}, True, 1)


def test_a_scan_sets_both_parts_and_ends_what_is_foreign() -> None:
    hour = saved(counted({0: ONE}), metadata={"note": 1})
    apply(hour, delta(9))
    hour.set_minute(TEN, Measures(7), Measures(2), T)
    known = metadata(hour)
    assert count(hour) == 9
    assert known["countedUntil"] == [T, T]
    assert (known["unindexed"], known["note"]) == ({"count": "2"}, 1)
    assert "foreign" not in known


def test_a_check_keeps_a_scans_t_for_the_unindexed_part() -> None:
    hour = Hour(HOUR)
    hour.set_minute(TEN, ONE, ZERO, T)
    hour.set_minute(TEN, ONE, None, T + 30)
    assert bucket_of(hour).metadata.counted_until == CountedUntil(T + 30, T)


@pytest.mark.parametrize("gone", [1, 5, 60])
def test_a_rollup_is_made_or_replaced_by_its_stored_minutes_alone(gone: int) -> None:
    rows = stored(counted({0: Measures(6)}))
    hour = Hour(HOUR, [row for row in rows if row["compositeKey"] != f"{KEY}{gone}"])
    assert bool(hour.wrong_rollups()) is True
    if gone == 1:
        apply(hour, delta(9), shard="late")
    hour.roll_up()
    assert set(counts(saved(hour)).values()) == {1 if gone == 1 else 6}
    assert hour.wrong_rollups() == []


def test_a_rollup_sums_what_its_minutes_show_below_zero() -> None:
    hour = counted({0: MINUS_ONE, 1: Measures(3)})
    assert (count(hour), count(hour, 0, 5)) == (-1, 3)


def test_a_sum_below_zero_is_kept_exactly_and_settled_by_what_comes_later() -> None:
    hour = Hour(HOUR)
    apply(hour, delta(1, MINUS_ONE))
    hour = saved(hour)
    assert stored(hour)[0]["count"] == 0
    assert metadata(hour)["beyond"] == {"count": "-1"}
    apply(hour, delta(2), delta(3))
    assert count(hour) == 1
    assert "beyond" not in metadata(saved(hour))


def test_a_bucket_closes_when_its_end_and_the_grace_are_over() -> None:
    for seconds, closed in ((179.999, 0), (180, 1), (420, 2)):
        hour = counted({0: ONE})
        hour.close(TEN * 60 + seconds, GRACE)
        assert [write.record["complete"] for write in hour.writes(NOW)] == [True] * closed


def test_a_late_row_leaves_its_hour_complete() -> None:
    """Whether its bucket exists or not: new ones under a complete rollup are created complete."""
    hour = complete(counted({0: ONE}))
    for minute in (0, 1, 7):
        apply(hour, delta(1), minute=minute, shard="late")
    hour.roll_up()
    assert len(written(hour)) == 7
    assert all(write.record["complete"] for write in hour.writes(NOW))
    assert hour.due(GRACE) is None


def test_a_new_bucket_under_rollups_that_are_still_open_is_open() -> None:
    hour = counted({0: ONE})
    hour.close(TEN * 60 + 5 * 60 + GRACE, GRACE)
    apply(hour, delta(1), minute=4, shard="late")
    apply(hour, delta(1), minute=5, shard="late")
    assert (bucket_of(hour, 4).complete, bucket_of(hour, 5).complete) == (True, False)


def test_an_hour_is_due_when_its_next_open_bucket_elapses() -> None:
    hour = counted({0: ONE, 7: ONE})
    start = TEN * 60 + GRACE
    assert hour.due(GRACE) == start + 60
    for over, following in [(1, 5), (5, 8), (8, 10), (10, 15), (15, 60), (60, None)]:
        hour.close(start + over * 60, GRACE)
        assert hour.due(GRACE) == (None if following is None else start + following * 60)
    assert Hour(HOUR).due(GRACE) is None


def test_a_new_bucket_is_created_with_all_its_fields() -> None:
    hour = Hour(HourId(Series("acct-1", "items", "scorecard-1", "score-1"), TEN))
    apply(hour, delta(1, Measures(1, 2, 3, 4, 5, 6)))
    (write,) = hour.writes(NOW)
    assert (write.is_new, write.condition) == (True, None)
    names = ("cost", "decisionCount", "externalAiApiCount", "cachedAiApiCount", "errorCount")
    assert write.record == dict(zip(("count", *names), range(1, 7), strict=True)) | {
        "accountId": "acct-1",
        "compositeKey": "items#score-1#2026-11-22T10:00:00Z#1",
        "recordType": "items",
        "scorecardId": "scorecard-1",
        "scoreId": "score-1",
        "timeRangeStart": "2026-11-22T10:00:00Z",
        "timeRangeEnd": "2026-11-22T10:01:00Z",
        "numberOfMinutes": 1,
        "complete": False,
        **dict.fromkeys(("createdAt", "updatedAt"), "2026-11-22T10:00:30.123456Z"),
        "metadata": f'{{"checkpoints":[["shard","1",{AT}]]}}',
    }


@pytest.mark.parametrize(
    ("loaded", "version"),
    [
        ("2026-11-22T09:00:00Z", "2026-11-22T10:00:30.123456Z"),
        ("2026-11-22T10:00:00.5+00:00", "2026-11-22T10:00:30.123456Z"),
        ("2026-11-22T10:00:30.123456Z", "2026-11-22T10:00:30.123457Z"),
        ("2026-11-22T10:00:30.123456789Z", "2026-11-22T10:00:30.123457Z"),
        ("2026-11-22T10:01Z", "2026-11-22T10:01:00.000001Z"),
        ("2026-11-22T10:01:30.123456Z", "2026-11-22T10:01:30.123457Z"),
        ("2026-11-22T10:01:30.123457Z", "2026-11-22T10:00:30.123456Z"),
        ("9999-12-31T23:59:59.999999Z", "2026-11-22T10:00:30.123456Z"),
    ],
)
def test_an_update_replaces_the_raw_version_by_a_greater_one_unless_that_lies_ahead(
    loaded: str, version: str
) -> None:
    hour = saved(counted({0: ONE}), updatedAt=loaded)
    apply(hour, delta(1), shard="b")
    (write,) = hour.writes(NOW)
    assert (write.is_new, write.condition) == (False, {"updatedAt": {"eq": loaded}})
    assert write.record["updatedAt"] == write.bucket.version == version
    assert not {"recordType", "createdAt"} & write.record.keys()


def test_microseconds_are_written_even_when_they_are_zero() -> None:
    (row, *_) = stored(counted({0: ONE}), LATER)
    assert row["updatedAt"] == "2026-11-22T12:00:00.000000Z"


def test_a_version_that_lies_ahead_of_the_clock_is_old() -> None:
    old = (None, "2026-11-22T10:00:00Z", "2026-11-22T10:02:00Z")
    for version in (*old, "2026-11-22T10:00:00.000001Z", "2026-11-22T10:01:30Z"):
        bucket = Bucket(TEN, 1, version=version)
        assert bucket.was_written_by(TEN * 60, NOW) is (version in old)


def test_a_stale_read_does_not_hide_what_has_been_written() -> None:
    hour = Hour(HOUR)
    apply(hour, delta(1))
    known = [write.bucket for write in hour.writes(NOW)]
    stale = Hour(HOUR)
    for bucket in known:
        stale.overlay(bucket)
    apply(stale, delta(1))
    assert written(stale) == []
    apply(stale, delta(2))
    assert count(stale) == 2
    assert known[0].metadata.checkpoints["shard"] == (1, AT), "what is known stays as it was"


def _flawed(key: str) -> Hour:
    rows = stored(counted({0: ONE, 5: ONE}))
    return Hour(HOUR, [row for row in rows if row["compositeKey"] != key], (), [key, "items#x"])


def test_an_unreadable_rollup_is_written_whole_and_without_a_condition() -> None:
    hour = _flawed(f"{KEY}60")
    assert not hour.has_unreadable_minutes
    hour.roll_up()
    (write,) = hour.writes(NOW)
    assert (write.is_new, write.condition, write.record["count"]) == (False, None, 2)
    assert write.record.keys() >= {"recordType", "numberOfMinutes", "createdAt", "timeRangeEnd"}


def test_nothing_is_applied_beside_an_unreadable_minute_and_a_check_replaces_it() -> None:
    hour = _flawed(f"{KEY}1")
    assert hour.has_unreadable_minutes
    hour.apply_batch(Batch("b", last=9, hours={HOUR: {TEN + 5: [delta(9)]}}), NOW)
    assert written(hour) == []
    hour.close(LATER.timestamp(), GRACE)
    assert [bucket.complete for bucket in hour].count(False) == 1, "the one that is not known"
    hour.set_minute(TEN, Measures(3), None, T)
    hour.roll_up()
    write = next(write for write in hour.writes(NOW) if write.bucket.size == 1)
    assert (write.is_new, write.condition, write.record["count"]) == (False, None, 3)
    assert count(hour, 0, 60) == 4
