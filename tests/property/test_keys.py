"""Different series and hours never share a key, nor is one's prefix another's."""

from aggregated_metrics.core import buckets
from aggregated_metrics.core.series import HourId, Series, composite_key, hour_key
from hypothesis import given
from hypothesis import strategies as st

TIME = "2026-11-22T10:00:00Z"
HOUR = buckets.minute_of(TIME)
IDS = (
    st.text(min_size=1)
    | st.text(alphabet="#%23aq", min_size=1)
    | st.sampled_from(
        [
            "q",
            "q#tone",
            "q%23tone",
            TIME,
            f"{TIME}#1",
            f"q#{TIME}#60",
            TIME[:14],
            "%32",
            "check",
            "~",
        ]
    )
)
SCOPES = st.tuples(st.none(), st.none()) | st.tuples(IDS, st.none()) | st.tuples(IDS, IDS)
SERIES = st.builds(
    lambda account, name, ids: Series(account, name, *ids),
    IDS,
    st.sampled_from(["items", "itemsByScore", "a"]),
    SCOPES,
)
HOURS = st.builds(HourId, SERIES, st.sampled_from([HOUR, HOUR + 60, HOUR - 600]))


def test_different_hours_share_no_key_of_the_pending_hours() -> None:
    """Wherever text can move between an account and a scope."""
    ids = ("a", "items", "a#", "#a", "a#items", "items##a", "a#a", "%23a", "#", "%")
    series = {Series(a, name, s) for a in ids for name in ("items", "a") for s in (None, *ids)}
    hours = [HourId(each, HOUR + minutes) for each in series for minutes in (0, 60)]
    assert len({*map(hour_key, hours)}) == len(hours)


@given(HOURS, HOURS, st.integers(0, 59), st.sampled_from(buckets.SIZES))
def test_an_hours_prefix_holds_its_own_keys_and_no_other_hours(
    one: HourId, other: HourId, minute: int, size: int
) -> None:
    other = other._replace(series=Series(one.series.account_id, *other.series[1:]))
    key = composite_key(other.series, buckets.floor(other.start + minute, size), size)
    assert key.startswith(one.prefix) == (one == other)
