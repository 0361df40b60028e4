"""Sums and charts equal brute force over the minutes, on any range."""

from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

from aggregated_metrics import Summary, cover, summarize, timeline
from aggregated_metrics.core import buckets
from aggregated_metrics.core.cover import Step, Weekday, edges
from aggregated_metrics.core.hour import Write
from aggregated_metrics.core.measures import INT_MAX, Measures, total
from aggregated_metrics.core.series import Series
from hypothesis import example, given, settings
from hypothesis import strategies as st

from testbench.counted import FakeClient, brute_force, store

NOW = datetime(2026, 3, 29, 10, 6, 40, tzinfo=UTC)
"""Some hours after clocks went forward in Berlin."""
SPAN = 3 * 24 * 60
FIRST = buckets.to_minute(NOW) - SPAN

type Span = tuple[datetime, datetime]

moments = st.datetimes(datetime(2026, 3, 26), datetime(2026, 3, 30), timezones=st.just(UTC))  # noqa: DTZ001 - the zone is drawn
ranges = st.tuples(
    moments, st.one_of(moments, st.integers(0, 90).map(lambda m: NOW + timedelta(minutes=m)))
).map(lambda pair: (min(pair), max(pair)))
sizes = st.one_of(st.integers(-2, 50), st.integers(INT_MAX - 2, INT_MAX + 2))
measures = st.builds(Measures, sizes, sizes, st.integers(0, 3))
places = st.one_of(
    st.integers(FIRST, FIRST + SPAN + 10), st.integers(FIRST + SPAN - 90, FIRST + SPAN + 10)
)
counted = st.dictionaries(places, measures, max_size=40)
scopes = st.sampled_from([(None, None), ("card", None), ("card", "score")])
steps: st.SearchStrategy[Step] = st.one_of(
    st.integers(5, 3 * 60).map(lambda minutes: timedelta(minutes=minutes)),
    st.sampled_from([timedelta(hours=36), timedelta(days=1), timedelta(days=2)]),
    st.sampled_from(["week", "month"]),
)
zones = st.sampled_from(
    [UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kolkata"), timezone(timedelta(minutes=-200))]
)


def is_rollup_of_now(write: Write) -> bool:
    """The sweeper is yet to write it: minutes are written first."""
    bucket = write.bucket
    return bucket.size > 1 and bucket.end > buckets.to_minute(NOW) - 2


@given(moments, moments)
def test_a_cover_tiles_its_range(a: datetime, b: datetime) -> None:
    start, end = sorted((a, b))
    tiles = cover(start, end)
    minutes = [
        moment + timedelta(minutes=offset) for moment, size in tiles for offset in range(size)
    ]
    first = buckets.to_minute(start - timedelta(microseconds=1)) + 1
    last = buckets.to_minute(end - timedelta(microseconds=1)) + 1
    assert minutes == [buckets.to_datetime(minute) for minute in range(first, last)]
    assert all(
        buckets.floor(buckets.to_minute(moment), size) == buckets.to_minute(moment)
        for moment, size in tiles
    )


@given(moments, st.integers(0, 300))
def test_no_other_cover_has_fewer_buckets(start: datetime, length: int) -> None:
    first = buckets.to_minute(start)
    fewest = {first: 0}
    for end in range(first + 1, first + length + 1):
        fewest[end] = min(
            fewest[end - size] + 1
            for size in buckets.SIZES
            if end % size == 0 and end - size >= first
        )
    moments_ = buckets.to_datetime(first), buckets.to_datetime(first + length)
    assert len(cover(*moments_)) == fewest[first + length]


@settings(max_examples=150)
@given(counted, ranges, steps, zones, scopes)
def test_a_timeline_tiles_its_range_and_each_point_is_the_sum_of_its_minutes(
    counted: dict[int, Measures],
    span: Span,
    step: Step,
    zone: tzinfo,
    scope: tuple[str | None, str | None],
) -> None:
    client = FakeClient()
    for other in ((None, None), ("card", None), ("card", "score")):
        sums = counted if other == scope else dict.fromkeys(counted, Measures(7, 7, 7, 7, 7, 7))
        series = Series("acct-1", "items", *other)
        store(client.api, series, sums, NOW, left_out=is_rollup_of_now)
    asked = (client, "acct-1", *span, "items", *scope)
    points = timeline(*asked, step=step, zone=zone, now=NOW)
    _tile(points)
    for point in points:
        assert point.measures == brute_force(counted, point.start, point.end)
    whole = brute_force(counted, *span)
    assert total(point.measures for point in points) == summarize(*asked, now=NOW).measures == whole


def _tile(points: list[Summary]) -> None:
    for one, next_ in pairwise(points):
        assert one.end == next_.start
    assert all(point.start < point.end for point in points)


ZONES = sorted(available_timezones())
"""Every zone of tzdata. Since 1975 their offsets are whole minutes."""
days = st.dates(date(1975, 1, 3), date(2037, 12, 20))
calendar_steps: st.SearchStrategy[Step] = st.one_of(
    st.sampled_from(["week", "month", timedelta(days=1), timedelta(days=2), timedelta(hours=7)]),
    st.sampled_from([n for n in range(1, 1440) if 1440 % n == 0]).map(
        lambda minutes: timedelta(minutes=minutes)
    ),
)
weekdays: st.SearchStrategy[Weekday] = st.sampled_from(["monday", "sunday"])


def edges_by_the_clock(
    first: int, last: int, step: Step, zone: tzinfo, week_start: str
) -> list[int]:
    """Where points begin and end, seen on the zone's clock minute by minute."""
    whole_days = isinstance(step, str) or not step % timedelta(days=1)
    size = 0 if whole_days else step // timedelta(minutes=1)  # type: ignore[operator]
    restarts = whole_days or 1440 % size == 0
    found, begin, today = [], first, date.min
    newest = buckets.to_datetime(first - 2 * 1440 - 1).astimezone(zone).date()
    for at in range(first - 2 * 1440, last):
        day = buckets.to_datetime(at).astimezone(zone).date()
        passed = [newest + timedelta(days=n + 1) for n in range((day - newest).days)]
        newest = max(newest, day)
        if passed and (restarts or at <= first):
            begin = at
        today = newest if at <= first else today
        starts = whole_days and any(_is_first(each, step, today, week_start) for each in passed)
        if at > first and ((at - begin) % size == 0 if size else starts):
            found.append(at)
    return [first, *found, last]


def _is_first(day: date, step: Step, today: date, week_start: str) -> bool:
    if isinstance(step, timedelta):
        return not (day - today) % step
    return day.day == 1 if step == "month" else f"{day:%A}".lower() == week_start


@settings(max_examples=150)
@given(st.sampled_from(ZONES), days, st.integers(0, 1439), calendar_steps, weekdays)
@example("Pacific/Apia", date(2011, 12, 28), 5, timedelta(days=1), "monday")
@example("Pacific/Apia", date(2011, 12, 28), 5, timedelta(hours=6), "monday")
@example("Pacific/Kwajalein", date(1993, 8, 19), 0, timedelta(hours=1), "monday")
@example("Australia/Lord_Howe", date(2026, 4, 3), 0, timedelta(hours=1), "monday")
@example("Australia/Lord_Howe", date(2026, 10, 2), 0, timedelta(hours=1), "monday")
@example("America/St_Johns", date(1988, 10, 28), 0, timedelta(minutes=30), "monday")
@example("America/St_Johns", date(1988, 10, 28), 0, timedelta(days=1), "monday")
@example("America/Havana", date(2026, 10, 30), 0, timedelta(hours=6), "monday")
@example("America/Santiago", date(2026, 9, 4), 0, timedelta(days=1), "monday")
@example("America/Sao_Paulo", date(2018, 11, 2), 0, timedelta(hours=4), "monday")
@example("Africa/Casablanca", date(2026, 2, 13), 0, "week", "sunday")
def test_points_begin_where_the_zones_clock_says(
    name: str, day: date, minute: int, step: Step, week_start: Weekday
) -> None:
    zone = ZoneInfo(name)
    first = buckets.to_minute(datetime(day.year, day.month, day.day, tzinfo=UTC)) + minute
    last = first + 3 * 1440
    expected = edges_by_the_clock(first, last, step, zone, week_start)
    assert edges(first, last, step, zone, week_start) == expected
