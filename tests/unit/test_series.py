"""What a series is, and which buckets it has."""

from aggregated_metrics.core.series import HourId, Series, hour_key, key_stem

TEN = 29_680_680 // 60 * 60


def test_series_with_the_same_keys_are_the_same() -> None:
    one, other = Series("a", "x", "card-1", "score"), Series("a", "x", "card-2", "score")
    assert one == other
    assert {HourId(one, TEN): 1} == {HourId(other, TEN): 1}


def test_an_id_in_a_key_has_no_separator_and_is_no_time() -> None:
    stems = [
        key_stem(Series("a", "x", id_)) for id_ in ("q#tone", "100%", "2026-11-22T08:", "2026-1")
    ]
    assert stems == ["x#q%23tone#", "x#100%25#", "x#%32026-11-22T08:#", "x#2026-1#"]


def test_a_pending_hours_key_names_the_hour_and_then_the_account() -> None:
    plain, scoped = Series("a#items", "items"), Series("a", "xByScore", "card", "q#tone")
    assert hour_key(HourId(plain, TEN)) == "2026-06-07T14#items##a#items"
    assert hour_key(HourId(scoped, TEN)) == "2026-06-07T14#xByScore#q%23tone#a"
