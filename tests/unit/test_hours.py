import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aggregated_metrics.core import buckets
from aggregated_metrics.core.hours import (
    LEDGER_ENTRIES,
    Bucket,
    Hour,
    HourId,
    Series,
    Write,
    composite_key,
    key_stem,
    parse_metadata,
)
from aggregated_metrics.core.measures import INT_MAX, ZERO, Measures

GRACE = 120
TEN = buckets.to_minute(datetime(2026, 11, 22, 10, tzinfo=UTC))
ID = HourId(Series("acct-1", "items"), TEN)
NOW = datetime(2026, 11, 22, 10, 0, 30, 123456, tzinfo=UTC)
LATER = datetime(2026, 11, 22, 12, tzinfo=UTC)
ONE = Measures(1)


def stored(write: Write) -> dict[str, Any]:
    """The row that the API has after a write."""
    return {"metadata": None} | write.record


def saved(hour: Hour, now: datetime = NOW) -> Hour:
    """The hour as it is loaded after it was saved."""
    writes, _ = hour.writes(now, GRACE)
    return Hour(hour.id, [stored(write) for write in writes])


def rolled(*minutes: tuple[int, Measures]) -> Hour:
    hour = Hour(ID)
    for minute, measures in minutes:
        hour.take_in(TEN + minute, "shard", minute, [(minute, measures)])
    hour.roll_up()
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
    again.take_in(TEN, "shard", 0, [(0, ONE)])
    again.roll_up()
    assert count(again) == 1
    assert again.writes(NOW, GRACE)[0] == []


def test_a_redelivery_that_ends_earlier_adds_nothing() -> None:
    hour = Hour(ID)
    hour.take_in(TEN, "shard", 30, [(10, ONE), (20, ONE), (30, ONE)])
    hour.take_in(TEN, "shard", 20, [(10, ONE), (20, ONE)])
    assert count(hour) == 3


def test_a_redelivery_that_ends_later_adds_what_is_new() -> None:
    hour = Hour(ID)
    hour.take_in(TEN, "shard", 25, [(10, ONE), (20, ONE)])
    hour.take_in(TEN, "shard", 40, [(10, ONE), (20, ONE), (30, ONE), (40, ONE)])
    bucket = hour.get(TEN)
    assert bucket is not None
    assert (bucket.measures, bucket.ledger) == (Measures(4), [("shard", 40)])


def test_a_redelivery_that_begins_elsewhere_adds_what_is_new() -> None:
    hour = Hour(ID)
    hour.take_in(TEN, "shard", 20, [(10, ONE), (20, ONE)])
    hour.take_in(TEN, "shard", 30, [(20, ONE), (30, ONE)])
    assert count(hour) == 3


def test_after_a_shorter_redelivery_the_ledger_stays_where_it_was() -> None:
    hour = Hour(ID)
    hour.take_in(TEN, "shard", 30, [(10, ONE)])
    hour.take_in(TEN, "shard", 25, [(25, ONE)])
    assert count(hour) == 1


def test_each_minute_has_a_ledger_of_its_own() -> None:
    hour = Hour(ID)
    hour.take_in(TEN, "shard", 30, [(30, ONE)])
    hour.take_in(TEN + 1, "shard", 30, [(20, ONE)])
    assert (count(hour, 0), count(hour, 1)) == (1, 1)


def test_each_shard_has_an_entry_of_its_own() -> None:
    hour = Hour(ID)
    hour.take_in(TEN, "a", 30, [(30, ONE)])
    hour.take_in(TEN, "b", 10, [(10, ONE)])
    bucket = hour.get(TEN)
    assert bucket is not None
    assert bucket.ledger == [("a", 30), ("b", 10)]
    assert bucket.measures == Measures(2)


def test_numbers_compare_as_integers_not_as_text() -> None:
    nine, ten = 10**21 - 1, 10**21
    hour = Hour(ID)
    hour.take_in(TEN, "shard", nine, [(nine, ONE)])
    loaded = saved(hour)
    loaded.take_in(TEN, "shard", ten, [(ten, ONE)])
    loaded.take_in(TEN, "shard", nine, [(nine, ONE)])
    assert count(loaded) == 2


def test_the_ledger_is_stored_as_a_list_of_texts_that_json_cannot_harm() -> None:
    number = 10**21 + 1
    hour = Hour(ID)
    hour.take_in(TEN, "shard", number, [(number, ONE)])
    (write,), _ = hour.writes(NOW, GRACE)
    assert json.loads(write.record["metadata"]) == {"ledger": [["shard", str(number)]]}


def test_the_64_newest_shards_are_kept() -> None:
    hour = Hour(ID)
    for n in range(LEDGER_ENTRIES + 2):
        hour.take_in(TEN, f"s{n}", 5, [(5, ONE)])
    hour.take_in(TEN, "s2", 6, [(6, ONE)])
    hour.take_in(TEN, "new", 5, [(5, ONE)])
    bucket = hour.get(TEN)
    assert bucket is not None
    names = [name for name, _ in bucket.ledger]
    assert len(names) == LEDGER_ENTRIES == 64
    assert names[0] == "s4"
    assert names[-2:] == ["s2", "new"]


def test_a_batch_that_nets_to_zero_signs_the_ledger() -> None:
    hour = saved(rolled((0, ONE)))
    hour.take_in(TEN, "other", 9, [(8, ONE), (9, Measures(-1))])
    (write,), _ = hour.writes(NOW, GRACE)
    assert write.record["count"] == 1
    assert json.loads(write.record["metadata"])["ledger"] == [["shard", "0"], ["other", "9"]]
    hour.take_in(TEN, "other", 9, [(9, Measures(-1))])
    assert count(hour) == 1


def test_of_a_batch_that_nets_to_zero_the_part_that_is_new_counts() -> None:
    hour = Hour(ID)
    hour.take_in(TEN, "shard", 8, [(8, ONE)])
    hour.take_in(TEN, "shard", 9, [(8, ONE), (9, Measures(-1))])
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
    hour.take_in(TEN, "other", 9, deltas)
    assert hour.writes(NOW, GRACE)[0] == []


def test_a_redelivery_changes_nothing_not_even_the_order_of_the_ledger() -> None:
    hour = Hour(ID)
    hour.take_in(TEN, "a", 9, [(8, ONE), (9, Measures(-1))])
    hour.take_in(TEN, "b", 9, [(8, ONE)])
    loaded = saved(hour)
    loaded.take_in(TEN, "a", 9, [(8, ONE), (9, Measures(-1))])
    assert loaded.writes(NOW, GRACE)[0] == []


def test_other_metadata_stays_beside_the_ledger() -> None:
    hour = rolled((0, ONE))
    (write, *_), _ = hour.writes(NOW, GRACE)
    note = json.dumps({"note": "kept", "ledger": [["shard", "0"]]})
    loaded = Hour(ID, [stored(write) | {"metadata": note}])
    loaded.take_in(TEN, "b", 1, [(1, ONE)])
    (write, *_), _ = loaded.writes(NOW, GRACE)
    assert json.loads(write.record["metadata"]) == {
        "note": "kept",
        "ledger": [["shard", "0"], ["b", "1"]],
    }


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (None, {}),
        ('{"a": 1}', {"a": 1}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ({"a": 1}, {"a": 1}),
        ("[1]", {}),
        ("3", {}),
    ],
)
def test_metadata_is_read_in_every_form(given: Any, read: dict[str, Any]) -> None:
    assert parse_metadata(given) == read


# Clamping and 32 bits


def test_a_count_never_goes_below_zero_and_says_so() -> None:
    hour = saved(rolled((0, Measures(1, 50))))
    tally = hour.take_in(TEN, "b", 1, [(1, Measures(-2, -10))])
    bucket = hour.get(TEN)
    assert bucket is not None
    assert (bucket.measures, tally.clamped) == (Measures(0, 40), 1)


def test_what_is_clamped_away_whole_signs_the_ledger_too() -> None:
    """Delivered again after another row was counted, it would take that row away."""
    hour = Hour(ID)
    assert hour.take_in(TEN, "b", 1, [(1, Measures(-1))]).clamped == 1
    hour.take_in(TEN, "a", 1, [(1, ONE)])
    assert hour.take_in(TEN, "b", 1, [(1, Measures(-1))]).clamped == 0
    assert count(hour) == 1


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
    hour.roll_up()
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


def test_a_parent_without_minutes_becomes_zero() -> None:
    rows = [stored(write) for write in rolled((0, ONE)).writes(NOW, GRACE)[0]]
    hour = Hour(ID, [row for row in rows if not row["compositeKey"].endswith("#1")])
    hour.roll_up()
    assert {bucket.measures for bucket in hour} == {ZERO}


def test_only_what_has_changed_is_written() -> None:
    hour = saved(rolled((0, ONE), (30, ONE)))
    hour.take_in(TEN + 31, "b", 1, [(1, ONE)])
    hour.roll_up()
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
    hour.roll_up()
    assert [write.bucket.size for write in hour.writes(NOW, GRACE)[0]] == [5, 15, 60]


def test_rows_with_other_keys_are_ignored() -> None:
    (write, *_), _ = rolled((0, ONE)).writes(NOW, GRACE)
    keys = ("items#2026-11-22T10:00:00.000Z#1", "items#2026-11-22T10:01:00Z#5")
    assert list(Hour(ID, [stored(write) | {"compositeKey": key} for key in keys])) == []


# Writes


def test_a_new_bucket_is_created_with_all_its_fields() -> None:
    series = Series("acct-1", "items", "scorecard-1", "score-1")
    hour = Hour(HourId(series, TEN))
    hour.take_in(TEN, "shard", 1, [(1, Measures(1, 2, 3, 4, 5, 6))])
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
        "metadata": '{"ledger":[["shard","1"]]}',
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
    hour.take_in(TEN, "b", 1, [(1, ONE)])
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
    hour.take_in(TEN, "b", 1, [(1, ONE)])
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
    stale.take_in(TEN, "shard", 0, [(0, ONE)])
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
    hour.take_in(TEN, "b", 1, [(1, ONE)])
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


def test_a_minute_can_be_set_and_keeps_its_ledger() -> None:
    hour = saved(rolled((0, ONE)))
    hour.set_minute(TEN, Measures(5))
    (write,), _ = hour.writes(NOW, GRACE)
    assert write.record["count"] == 5
    assert json.loads(write.record["metadata"]) == {"ledger": [["shard", "0"]]}


def test_setting_what_is_stored_changes_nothing() -> None:
    hour = saved(rolled((0, Measures(1, INT_MAX + 5))))
    hour.set_minute(TEN, Measures(1, INT_MAX + 5))
    hour.set_minute(TEN + 1, ZERO)
    assert hour.writes(NOW, GRACE)[0] == []
