import json
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from aggregated_metrics.core import buckets
from aggregated_metrics.core.changes import Delta
from aggregated_metrics.core.hours import (
    Bucket,
    Hour,
    HourId,
    Series,
    Tally,
    Write,
    composite_key,
    key_stem,
)
from aggregated_metrics.core.measures import INT_MAX, ZERO, Measures, shown
from aggregated_metrics.core.metadata import LEDGER_ENTRIES, MEMORY_SECONDS, Fence, Metadata

GRACE = 120
TEN = buckets.to_minute(datetime(2026, 11, 22, 10, tzinfo=UTC))
ID = HourId(Series("acct-1", "items"), TEN)
NOW = datetime(2026, 11, 22, 10, 0, 30, 123456, tzinfo=UTC)
AT = int(NOW.timestamp())
LATER = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE = Measures(1)


def stored(write: Write) -> dict[str, Any]:
    """The row that the API has after a write."""
    return {"metadata": None} | write.record


def saved(hour: Hour, now: datetime = NOW) -> Hour:
    """The hour as it is loaded after it was saved."""
    writes, _ = hour.writes(now, GRACE)
    return Hour(hour.id, [stored(write) for write in writes])


def take(hour: Hour, minute: int, shard: str, last: int, deltas: Any, now: datetime = NOW) -> Tally:
    return hour.apply(minute, shard, last, [Delta(*delta) for delta in deltas], now)


def all_writes(hour: Hour) -> list[Write]:
    for bucket in hour:
        bucket.dirty = True
    return hour.writes(NOW, GRACE)[0]


def ledger(bucket: Bucket) -> list[tuple[str, int]]:
    return [(shard, last) for shard, (last, _) in bucket.metadata.ledger.items()]


def rolled(*minutes: tuple[int, Measures]) -> Hour:
    hour = Hour(ID)
    for minute, measures in minutes:
        take(hour, TEN + minute, "shard", minute, [(minute, measures)])
    hour.roll_up(NOW)
    return hour


def count(hour: Hour, minute: int = 0, size: int = 1) -> int:
    bucket = hour.get(TEN + minute, size)
    return -1 if bucket is None else bucket.measures.count


# Keys


@pytest.mark.parametrize(
    ("scope", "stem"),
    [
        ((None, None), "items#"),
        (("scorecard-1", None), "items#scorecard-1#"),
        ((None, "score-1"), "items#score-1#"),
        (("scorecard-1", "score-1"), "items#score-1#"),
        (("", ""), "items#"),
    ],
)
def test_a_composite_key_is_type_scope_start_minutes(scope: Any, stem: str) -> None:
    series = Series("acct-1", "items", *scope)
    assert key_stem(series) == stem
    assert composite_key(series, TEN + 5, 5) == f"{stem}2026-11-22T10:05:00Z#5"


def test_an_hours_prefix_holds_its_77_keys_and_no_others() -> None:
    def keys(hour: int) -> list[str]:
        return [
            composite_key(ID.series, start, size)
            for size in buckets.SIZES
            for start in buckets.starts(hour, size)
        ]

    assert ID.prefix == "items#2026-11-22T10:"
    assert len(set(keys(TEN))) == 77
    assert all(key.startswith(ID.prefix) for key in keys(TEN))
    assert not any(key.startswith(ID.prefix) for key in keys(TEN - 60) + keys(TEN + 60))


# The ledger


def test_a_delivery_is_taken_in_once() -> None:
    hour = rolled((0, ONE))
    again = saved(hour)
    take(again, TEN, "shard", 0, [(0, ONE)])
    again.roll_up(NOW)
    assert count(again) == 1
    assert again.writes(NOW, GRACE)[0] == []


def test_a_redelivery_that_ends_earlier_adds_nothing() -> None:
    hour = Hour(ID)
    take(hour, TEN, "shard", 30, [(10, ONE), (20, ONE), (30, ONE)])
    take(hour, TEN, "shard", 20, [(10, ONE), (20, ONE)])
    assert count(hour) == 3


def test_a_redelivery_that_ends_later_adds_what_is_new() -> None:
    hour = Hour(ID)
    take(hour, TEN, "shard", 25, [(10, ONE), (20, ONE)])
    take(hour, TEN, "shard", 40, [(10, ONE), (20, ONE), (30, ONE), (40, ONE)])
    bucket = hour.get(TEN)
    assert bucket is not None
    assert (bucket.measures, ledger(bucket)) == (Measures(4), [("shard", 40)])


def test_a_redelivery_that_begins_elsewhere_adds_what_is_new() -> None:
    hour = Hour(ID)
    take(hour, TEN, "shard", 20, [(10, ONE), (20, ONE)])
    take(hour, TEN, "shard", 30, [(20, ONE), (30, ONE)])
    assert count(hour) == 3


def test_after_a_shorter_redelivery_the_ledger_stays_where_it_was() -> None:
    hour = Hour(ID)
    take(hour, TEN, "shard", 30, [(10, ONE)])
    take(hour, TEN, "shard", 25, [(25, ONE)])
    assert count(hour) == 1


def test_each_minute_has_a_ledger_of_its_own() -> None:
    hour = Hour(ID)
    take(hour, TEN, "shard", 30, [(30, ONE)])
    take(hour, TEN + 1, "shard", 30, [(20, ONE)])
    assert (count(hour, 0), count(hour, 1)) == (1, 1)


def test_each_shard_has_an_entry_of_its_own() -> None:
    hour = Hour(ID)
    take(hour, TEN, "a", 30, [(30, ONE)])
    take(hour, TEN, "b", 10, [(10, ONE)])
    bucket = hour.get(TEN)
    assert bucket is not None
    assert ledger(bucket) == [("a", 30), ("b", 10)]
    assert bucket.measures == Measures(2)


def test_numbers_compare_as_integers_not_as_text() -> None:
    nine, ten = 10**21 - 1, 10**21
    hour = Hour(ID)
    take(hour, TEN, "shard", nine, [(nine, ONE)])
    loaded = saved(hour)
    take(loaded, TEN, "shard", ten, [(ten, ONE)])
    take(loaded, TEN, "shard", nine, [(nine, ONE)])
    assert count(loaded) == 2


def test_the_ledger_is_stored_as_a_list_of_texts_that_json_cannot_harm() -> None:
    number = 10**21 + 1
    hour = Hour(ID)
    take(hour, TEN, "shard", number, [(number, ONE)])
    (write,), _ = hour.writes(NOW, GRACE)
    assert json.loads(write.record["metadata"]) == {"ledger": [["shard", str(number), AT]]}


def test_a_shard_is_forgotten_when_the_stream_cannot_bring_it_again() -> None:
    hour = saved(rolled((0, ONE)))
    later = NOW + timedelta(seconds=MEMORY_SECONDS + 1)
    take(hour, TEN, "b", 1, [(1, ONE)], later)
    (write, *_), tally = hour.writes(later, GRACE)
    assert [entry[0] for entry in json.loads(write.record["metadata"])["ledger"]] == ["b"]
    assert tally.ledger_dropped == 0


def test_65_shards_and_a_replay_count_once() -> None:
    hour = Hour(ID)
    for _ in range(2):
        for n in range(65):
            take(hour, TEN, f"s{n}", 5, [(5, ONE)])
        hour = Hour(ID, [stored(write) for write in all_writes(hour)])
    assert count(hour) == 65


def test_younger_entries_beyond_512_are_dropped_and_tallied() -> None:
    hour = Hour(ID)
    for n in range(LEDGER_ENTRIES + 2):
        take(hour, TEN, f"s{n}", 5, [(5, ONE)], NOW + timedelta(seconds=n))
    (write, *_), tally = hour.writes(NOW + timedelta(seconds=LEDGER_ENTRIES + 2), GRACE)
    names = [entry[0] for entry in json.loads(write.record["metadata"])["ledger"]]
    assert (len(names), names[0], tally.ledger_dropped) == (512, "s2", 2)


def test_an_entry_without_a_time_is_kept_and_gets_one() -> None:
    note = json.dumps({"ledger": [["old", "7"]]})
    (write, *_), _ = rolled((0, ONE)).writes(NOW, GRACE)
    hour = Hour(ID, [stored(write) | {"metadata": note}])
    take(hour, TEN, "old", 7, [(7, ONE)])
    assert count(hour) == 1
    take(hour, TEN, "b", 1, [(1, ONE)])
    (write, *_), _ = hour.writes(NOW, GRACE)
    assert json.loads(write.record["metadata"])["ledger"] == [["old", "7", AT], ["b", "1", AT]]


def test_a_batch_that_nets_to_zero_signs_the_ledger() -> None:
    hour = saved(rolled((0, ONE)))
    take(hour, TEN, "other", 9, [(8, ONE), (9, Measures(-1))])
    (write,), _ = hour.writes(NOW, GRACE)
    assert write.record["count"] == 1
    assert json.loads(write.record["metadata"])["ledger"] == [
        ["shard", "0", AT],
        ["other", "9", AT],
    ]
    take(hour, TEN, "other", 9, [(9, Measures(-1))])
    assert count(hour) == 1


def test_of_a_batch_that_nets_to_zero_the_part_that_is_new_counts() -> None:
    hour = Hour(ID)
    take(hour, TEN, "shard", 8, [(8, ONE)])
    take(hour, TEN, "shard", 9, [(8, ONE), (9, Measures(-1))])
    assert count(hour) == 0


@pytest.mark.parametrize(
    "deltas",
    [
        [(8, ONE), (8, Measures(-1))],
        [(8, Measures(-1)), (9, ONE), (9, Measures(-1)), (8, ONE)],
        [(8, Measures(-1)), (9, Measures(-1)), (8, ONE), (9, ONE)],
        [],
    ],
)
def test_records_that_net_to_zero_one_by_one_change_nothing(deltas: Any) -> None:
    hour = saved(rolled((0, ONE)))
    take(hour, TEN, "other", 9, deltas)
    assert hour.writes(NOW, GRACE)[0] == []


def test_a_redelivery_changes_nothing_not_even_the_order_of_the_ledger() -> None:
    hour = Hour(ID)
    take(hour, TEN, "a", 9, [(8, ONE), (9, Measures(-1))])
    take(hour, TEN, "b", 9, [(8, ONE)])
    loaded = saved(hour)
    take(loaded, TEN, "a", 9, [(8, ONE), (9, Measures(-1))])
    assert loaded.writes(NOW, GRACE)[0] == []


def test_other_metadata_stays_beside_the_ledger() -> None:
    hour = rolled((0, ONE))
    (write, *_), _ = hour.writes(NOW, GRACE)
    note = json.dumps({"note": "kept", "ledger": [["shard", "0"]]})
    loaded = Hour(ID, [stored(write) | {"metadata": note}])
    take(loaded, TEN, "b", 1, [(1, ONE)])
    (write, *_), _ = loaded.writes(NOW, GRACE)
    assert json.loads(write.record["metadata"]) == {
        "note": "kept",
        "ledger": [["shard", "0", AT], ["b", "1", AT]],
    }


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, {}),
        ('{"a": 1}', {"a": 1}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ({"a": 1}, {"a": 1}),
        ("[1]", {"other": [1]}),
        ("3", {"other": 3}),
        ("not JSON", {"other": "not JSON"}),
        ('{"ledger": null}', {"other": {"ledger": None}}),
        ('{"ledger": {"a": 1}, "n": 2}', {"n": 2, "other": {"ledger": {"a": 1}}}),
        ('{"ledger": [["a"]], "fence": "x"}', {"other": {"ledger": [["a"]], "fence": "x"}}),
    ],
)
def test_metadata_of_others_is_kept_and_never_in_the_way(given: Any, kept: Any) -> None:
    (write, *_), _ = rolled((0, ONE)).writes(NOW, GRACE)
    hour = Hour(ID, [stored(write) | {"metadata": given}])
    take(hour, TEN, "b", 1, [(1, ONE)])
    (write, *_), _ = hour.writes(NOW, GRACE)
    metadata = json.loads(write.record["metadata"])
    assert metadata.pop("ledger") == [["b", "1", AT]]
    assert metadata == kept


# Clamping and 32 bits


def test_a_count_never_goes_below_zero_and_says_so() -> None:
    hour = saved(rolled((0, Measures(1, 50))))
    tally = take(hour, TEN, "b", 1, [(1, Measures(-2, -10))])
    bucket = hour.get(TEN)
    assert bucket is not None
    assert (shown(bucket.measures), tally.clamped) == (Measures(0, 40), 1)


def test_what_is_clamped_away_is_settled_by_what_comes_later() -> None:
    """A row from before the deployment is removed: the next one must not make up for it twice."""
    hour = Hour(ID)
    assert take(hour, TEN, "b", 1, [(1, Measures(-1))]).clamped == 1
    hour = saved(hour)
    take(hour, TEN, "b", 1, [(1, Measures(-1))])
    take(hour, TEN, "a", 1, [(1, ONE)])
    assert count(hour) == 0
    (write,), _ = hour.writes(NOW, GRACE)
    assert write.record["count"] == 0


def test_a_sum_beyond_32_bits_is_written_as_the_largest_int_and_tallied() -> None:
    hour = rolled((0, Measures(1, INT_MAX)), (1, Measures(1, 1)))
    writes, tally = hour.writes(NOW, GRACE)
    costs = {write.record["compositeKey"][6:]: write.record["cost"] for write in writes}
    assert costs == {
        "2026-11-22T10:00:00Z#1": INT_MAX,
        "2026-11-22T10:01:00Z#1": 1,
        "2026-11-22T10:00:00Z#5": INT_MAX,
        "2026-11-22T10:00:00Z#15": INT_MAX,
        "2026-11-22T10:00:00Z#60": INT_MAX,
    }
    assert tally.overflowed == 3


def test_a_saturated_parent_that_is_still_so_is_not_written_again() -> None:
    hour = saved(rolled((0, Measures(1, INT_MAX)), (1, Measures(1, 1))))
    hour.roll_up(NOW)
    assert hour.writes(NOW, GRACE)[0] == []


# Parents


def test_parents_are_the_sums_of_their_minutes() -> None:
    hour = rolled((0, Measures(1, 10)), (4, Measures(2, 20)), (5, Measures(4)), (59, Measures(8)))
    assert {(b.start - TEN, b.size): b.measures.count for b in hour if b.size > 1} == {
        (0, 5): 3,
        (5, 5): 4,
        (55, 5): 8,
        (0, 15): 7,
        (45, 15): 8,
        (0, 60): 15,
    }
    top = hour.get(TEN, 60)
    assert top is not None
    assert top.measures.cost == 30


def test_a_parent_whose_minutes_were_pruned_is_never_lowered() -> None:
    rows = [stored(write) for write in rolled((0, Measures(6))).writes(NOW, GRACE)[0]]
    hour = Hour(ID, [row for row in rows if not row["compositeKey"].endswith("#1")])
    old = NOW + timedelta(seconds=MEMORY_SECONDS + 1)
    hour.roll_up(old)
    assert hour.writes(old, GRACE)[0] == []
    for shard in ("late", "later"):
        take(hour, TEN, shard, 1, [(1, ONE)], old)
        hour.roll_up(old)
        hour = Hour(ID, [stored(w) for w in all_writes(hour)])
    assert {bucket.size: bucket.measures.count for bucket in hour} == {1: 2, 5: 8, 15: 8, 60: 8}


def pruned(*minutes: tuple[int, Measures], gone: int = 60) -> tuple[Hour, datetime]:
    """An hour of long ago whose minutes before `gone` somebody has removed."""
    rows = [stored(write) for write in rolled(*minutes).writes(NOW, GRACE)[0]]
    for row in rows:
        row["kept"] = row["numberOfMinutes"] > 1 or row["timeRangeStart"][14:16] >= f"{gone:02}"
    return Hour(ID, [row for row in rows if row["kept"]]), NOW + timedelta(days=3)


def test_a_parent_without_minutes_is_not_lowered_by_a_crash_between_minute_and_parent() -> None:
    hour, now = pruned((0, Measures(6)))
    take(hour, TEN, "late", 1, [(1, ONE)], now)
    (minute,) = [w for w in hour.writes(now, GRACE)[0] if w.bucket.size == 1]
    parents = [stored(write) for write in rolled((0, Measures(6))).writes(NOW, GRACE)[0][1:]]
    again = Hour(ID, [stored(minute), *parents])
    again.roll_up(now + timedelta(seconds=30))
    assert {bucket.size: bucket.measures.count for bucket in again} == {1: 1, 5: 7, 15: 7, 60: 7}


def test_a_late_delta_for_the_only_minute_of_an_old_hour_is_no_sign_of_pruning() -> None:
    rows = [stored(write) for write in rolled((0, Measures(6))).writes(NOW, GRACE)[0]]
    hour, now = Hour(ID, rows), NOW + timedelta(days=3)
    take(hour, TEN, "late", 1, [(1, ONE)], now)
    (minute,) = hour.writes(now, GRACE)[0]
    again = Hour(ID, [stored(minute) | {"createdAt": rows[0]["createdAt"]}, *rows[1:]])
    again.roll_up(now)
    assert {bucket.measures.count for bucket in again} == {7}


def test_an_hour_of_which_some_minutes_were_pruned_keeps_what_they_came_to() -> None:
    hour, now = pruned((0, Measures(6)), (30, Measures(2)), gone=15)
    take(hour, TEN + 31, "late", 1, [(1, ONE)], now)
    hour.roll_up(now)
    assert (count(hour, 0, 60), count(hour, 0, 15), count(hour, 30, 15)) == (9, 6, 3)


def test_setting_the_minutes_again_ends_what_was_kept_for_them() -> None:
    hour, now = pruned((0, Measures(6)), (7, Measures(1)))
    take(hour, TEN + 8, "late", 1, [(1, ONE)], now)
    hour.roll_up(now)
    hour = Hour(ID, [stored(write) for write in all_writes(hour)])
    fence = Fence(0, 0, 0)
    for minute, measures in ((0, Measures(6)), (7, ONE)):
        hour.set_minute(TEN + minute, measures, fence)
    hour.roll_up(now)
    assert (count(hour, 0, 60), count(hour, 0, 15), count(hour, 5, 5)) == (8, 8, 2)
    assert hour.pruned(now) == {}


def test_a_parent_that_was_written_without_its_minute_is_not_taken_for_pruned() -> None:
    rows = [stored(write) for write in rolled((0, ONE)).writes(NOW, GRACE)[0]]
    hour = Hour(ID, [row for row in rows if not row["compositeKey"].endswith("#1")])
    take(hour, TEN, "shard", 0, [(0, ONE)])
    hour.roll_up(NOW)
    assert {bucket.measures for bucket in hour} == {ONE}


def test_only_what_has_changed_is_written() -> None:
    hour = saved(rolled((0, ONE), (30, ONE)))
    take(hour, TEN + 31, "b", 1, [(1, ONE)])
    hour.roll_up(NOW)
    assert [write.record["compositeKey"] for write in hour.writes(NOW, GRACE)[0]] == [
        "items#2026-11-22T10:31:00Z#1",
        "items#2026-11-22T10:30:00Z#5",
        "items#2026-11-22T10:30:00Z#15",
        "items#2026-11-22T10:00:00Z#60",
    ]


def test_minutes_are_written_before_parents() -> None:
    sizes = [write.bucket.size for write in rolled((0, ONE), (30, ONE)).writes(NOW, GRACE)[0]]
    assert sizes == sorted(sizes)


def test_a_missing_parent_is_made_though_its_minutes_have_not_changed() -> None:
    rows = [stored(write) for write in rolled((0, ONE)).writes(NOW, GRACE)[0]]
    hour = Hour(ID, [row for row in rows if row["compositeKey"].endswith("#1")])
    hour.roll_up(NOW)
    assert [write.bucket.size for write in hour.writes(NOW, GRACE)[0]] == [5, 15, 60]


def test_rows_with_other_keys_are_ignored() -> None:
    (write, *_), _ = rolled((0, ONE)).writes(NOW, GRACE)
    keys = ("items#2026-11-22T10:00:00.000Z#1", "items#2026-11-22T10:01:00Z#5")
    assert list(Hour(ID, [stored(write) | {"compositeKey": key} for key in keys])) == []


# Writes


def test_a_new_bucket_is_created_with_all_its_fields() -> None:
    series = Series("acct-1", "items", "scorecard-1", "score-1")
    hour = Hour(HourId(series, TEN))
    take(hour, TEN, "shard", 1, [(1, Measures(1, 2, 3, 4, 5, 6))])
    (write,), _ = hour.writes(NOW, GRACE)
    assert write.condition is None
    assert write.record == {
        "accountId": "acct-1",
        "compositeKey": "items#score-1#2026-11-22T10:00:00Z#1",
        "count": 1,
        "cost": 2,
        "decisionCount": 3,
        "externalAiApiCount": 4,
        "cachedAiApiCount": 5,
        "errorCount": 6,
        "complete": False,
        "updatedAt": "2026-11-22T10:00:30.123456Z",
        "metadata": f'{{"ledger":[["shard","1",{AT}]]}}',
        "recordType": "items",
        "timeRangeStart": "2026-11-22T10:00:00Z",
        "timeRangeEnd": "2026-11-22T10:01:00Z",
        "numberOfMinutes": 1,
        "createdAt": "2026-11-22T10:00:30.123456Z",
        "scorecardId": "scorecard-1",
        "scoreId": "score-1",
    }


def test_a_loaded_bucket_is_updated_under_the_raw_version_it_was_loaded_with() -> None:
    (write, *_), _ = rolled((0, ONE)).writes(NOW, GRACE)
    raw = "2026-11-22T10:00:00.5+00:00"
    hour = Hour(ID, [stored(write) | {"updatedAt": raw}])
    take(hour, TEN, "b", 1, [(1, ONE)])
    (write,), _ = hour.writes(NOW, GRACE)
    assert write.condition == {"updatedAt": {"eq": raw}}
    assert "recordType" not in write.record
    assert "createdAt" not in write.record


@pytest.mark.parametrize(
    ("loaded", "written"),
    [
        ("2026-11-22T10:00:30.123456Z", "2026-11-22T10:00:30.123457Z"),
        ("2026-11-22T10:00:30.123456789Z", "2026-11-22T10:00:30.123457Z"),
        ("2026-11-22T11:00:00.999999Z", "2026-11-22T11:00:01.000000Z"),
        ("2026-11-22T11:00Z", "2026-11-22T11:00:00.000001Z"),
        ("2026-11-22T09:00:00Z", "2026-11-22T10:00:30.123456Z"),
    ],
)
def test_a_version_is_always_greater_than_the_one_it_replaces(loaded: str, written: str) -> None:
    (write, *_), _ = rolled((0, ONE)).writes(NOW, GRACE)
    hour = Hour(ID, [stored(write) | {"updatedAt": loaded}])
    take(hour, TEN, "b", 1, [(1, ONE)])
    (write,), _ = hour.writes(NOW, GRACE)
    assert write.record["updatedAt"] == written


def test_microseconds_are_written_even_when_they_are_zero() -> None:
    (write, *_), _ = rolled((0, ONE)).writes(datetime(2026, 11, 22, 10, tzinfo=UTC), GRACE)
    assert write.record["updatedAt"] == "2026-11-22T10:00:00.000000Z"


# Stale reads


def test_a_stale_read_does_not_hide_what_has_been_written() -> None:
    fresh = rolled((0, ONE))
    known = [write.bucket for write in fresh.writes(NOW, GRACE)[0]]
    stale = Hour(ID)
    for bucket in known:
        stale.overlay(bucket)
    take(stale, TEN, "shard", 0, [(0, ONE)])
    assert count(stale) == 1
    assert stale.writes(NOW, GRACE)[0] == []


def test_a_newer_read_is_not_hidden() -> None:
    fresh = rolled((0, ONE))
    known = [write.bucket for write in fresh.writes(NOW, GRACE)[0]]
    newer = saved(rolled((0, Measures(7))), NOW + timedelta(seconds=1))
    for bucket in known:
        newer.overlay(bucket)
    assert count(newer) == 7


# Completing


@pytest.mark.parametrize(("seconds", "complete"), [(179.999, False), (180, True), (181, True)])
def test_a_bucket_is_complete_when_its_end_and_the_grace_are_over(
    seconds: float, complete: bool
) -> None:
    now = buckets.to_datetime(TEN) + timedelta(seconds=seconds)
    assert Bucket(TEN, 1).elapsed(now, GRACE) is complete
    hour = rolled((0, ONE))
    written = {write.bucket.size: write.record["complete"] for write in hour.writes(now, GRACE)[0]}
    assert written == {1: complete, 5: False, 15: False, 60: False}
    closing = saved(rolled((0, ONE)))
    closing.close(now, GRACE)
    assert [write.bucket.size for write in closing.writes(now, GRACE)[0]] == [1] * complete


def test_a_late_delta_leaves_a_complete_bucket_complete() -> None:
    hour = saved(rolled((0, ONE)), LATER)
    take(hour, TEN, "b", 1, [(1, ONE)])
    (write,), _ = hour.writes(NOW, GRACE)
    assert (write.record["complete"], write.record["count"]) == (True, 2)


def test_what_is_closed_already_is_not_written_again() -> None:
    hour = saved(rolled((0, ONE)), LATER)
    hour.close(LATER, GRACE)
    assert hour.writes(LATER, GRACE)[0] == []


def test_an_hour_is_due_when_its_next_incomplete_bucket_elapses() -> None:
    hour = rolled((0, ONE), (7, ONE))
    start = TEN * 60 + GRACE
    assert hour.due(GRACE) == start + 60
    for over, following in [(1, 5), (5, 8), (8, 10), (10, 15), (15, 60), (60, None)]:
        hour.close(buckets.to_datetime(TEN + over) + timedelta(seconds=GRACE), GRACE)
        assert hour.due(GRACE) == (None if following is None else start + following * 60)


def test_an_empty_hour_has_nothing_due() -> None:
    assert Hour(ID).due(GRACE) is None


# Setting


FENCE = Fence(AT - 100.0, AT - 60.0, AT - 20.0, (("2026-11-22T10:", None),))


def test_a_minute_can_be_set_and_keeps_its_ledger() -> None:
    hour = saved(rolled((0, ONE)))
    hour.set_minute(TEN, Measures(5), FENCE)
    (write,), _ = hour.writes(NOW, GRACE)
    assert write.record["count"] == 5
    metadata = json.loads(write.record["metadata"])
    assert metadata["ledger"] == [["shard", "0", AT]]
    assert Metadata.parse(metadata).fence == FENCE


def test_setting_what_is_stored_changes_nothing() -> None:
    hour = saved(rolled((0, Measures(1, INT_MAX + 5))))
    hour.set_minute(TEN, Measures(1, INT_MAX + 5), FENCE)
    hour.set_minute(TEN + 1, ZERO, FENCE)
    assert hour.writes(NOW, GRACE)[0] == []


@pytest.mark.parametrize(
    ("delta", "counts"),
    [
        (Delta(9, ONE, FENCE.at), 5),
        (Delta(9, ONE, FENCE.at + 1), 6),
        (Delta(9, ONE, None), 6),
        (Delta(9, ONE, FENCE.at, "2026-11-22T11:00:00Z"), 5),
        (Delta(9, ONE, FENCE.at, "2026-11-20T10:00:00Z"), 6),
        (Delta(9, ONE, FENCE.at, None, 1), 6),
    ],
    ids=["up to it", "after it", "undated", "read", "not read", "in no index"],
)
def test_what_a_repair_has_counted_is_not_applied_and_the_ledger_is_signed(
    delta: Delta, counts: int
) -> None:
    hour = saved(rolled((0, ONE)))
    hour.set_minute(TEN, Measures(5), FENCE)
    hour = Hour(ID, [stored(write) for write in all_writes(hour)])
    take(hour, TEN, "replayed", 9, [delta])
    assert count(hour) == counts
    assert ("replayed", 9) in ledger(hour.get(TEN) or Bucket(TEN, 1))


def test_a_fence_is_forgotten_when_the_stream_has_forgotten_what_it_holds() -> None:
    hour = saved(rolled((0, ONE)))
    hour.set_minute(TEN, Measures(5), FENCE)
    later = NOW + timedelta(seconds=MEMORY_SECONDS)
    take(hour, TEN, "b", 9, [Delta(9, ONE, later.timestamp())], later)
    (write, *_), _ = hour.writes(later, GRACE)
    assert "fence" not in json.loads(write.record["metadata"])


def test_clamping_does_not_depend_on_the_order_of_delivery() -> None:
    deltas = [Measures(-1, -1_000_000), Measures(1, 250_000), Measures(1, 0)]
    sums = set()
    for order in permutations(deltas):
        hour = Hour(ID)
        for n, measures in enumerate(order):
            take(hour, TEN, f"s{n}", 1, [(1, measures)])
            hour = saved(hour)
        bucket = hour.get(TEN)
        assert bucket is not None
        sums.add((bucket.measures, shown(bucket.measures)))
    assert sums == {(Measures(1, -750_000), Measures(1, 0))}


def test_a_version_of_the_last_year_is_replaced_by_another() -> None:
    (write, *_), _ = rolled((0, ONE)).writes(NOW, GRACE)
    last = "9999-12-31T23:59:59.999999Z"
    hour = Hour(ID, [stored(write) | {"updatedAt": last}])
    take(hour, TEN, "b", 1, [(1, ONE)])
    (write,), _ = hour.writes(NOW, GRACE)
    assert write.condition == {"updatedAt": {"eq": last}}
    assert write.record["updatedAt"] == "2026-11-22T10:00:30.123456Z"


def test_a_minute_keeps_where_its_rows_are_listed() -> None:
    hour = Hour(ID)
    for n, text in enumerate(("2026-11-20T10:00:00Z", "2026-11-19T10:00:00Z", "2026-11-21")):
        take(hour, TEN, "a", n, [Delta(n, ONE, AT, text)])
    take(hour, TEN, "a", 7, [Delta(7, ONE, AT, None, 1)])
    bucket = saved(hour).get(TEN)
    assert bucket is not None
    assert bucket.metadata.listed == ("2026-11-19T10:00:00Z", "2026-11-21")
    assert bucket.metadata.unlisted == 1
