"""Test vectors for both readers: stored records, what is asked, and the answer by brute force.

`python -m testbench.reading_vectors` writes tests/reader_js/vectors.json again. Sums are taken
minute by minute, and where points begin is seen on the zone's clock at every minute.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from aggregated_metrics.core.buckets import parse, to_datetime, to_minute
from aggregated_metrics.core.measures import INT_MAX, Measures, clamped, total, zero
from aggregated_metrics.core.models import BUILT_IN
from aggregated_metrics.core.series import Series

from testbench.counted import GRACE, store
from testbench.fakes.appsync import FakeAppSync

FILE = Path(__file__).parents[1] / "tests" / "reader_js" / "vectors.json"
MEASURES = (*Measures._fields, *BUILT_IN.extra_measures("feedbackItems"))
ACCOUNT = "acct-1"
_DAY = 1440
_NOW = datetime(2026, 3, 29, 10, 6, 40, tzinfo=UTC)
"""Some hours after clocks went forward in Berlin."""
_SERIES = (
    *(Series(ACCOUNT, name) for name in ("items", "scoreResults", "feedbackItems", "tasks")),
    Series(ACCOUNT, "scoreResultsByScorecard", "card é"),
    Series(ACCOUNT, "scoreResultsByScore", "card é", "score"),
)
_STEPS = (
    *({"minutes": n} for n in (60, 360, 15, 7 * 60, 50)),
    *({"days": 1}, {"days": 2}, "week", "month"),
)
_ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe")
_CALENDARS: tuple[tuple[str, str, str, Any], ...] = (
    ("Pacific/Apia", "2011-12-28T09:00:00Z", "2012-01-02T12:00:00Z", {"days": 1}),
    ("Pacific/Apia", "2011-12-28T09:00:00Z", "2012-01-02T12:00:00Z", {"minutes": 720}),
    ("Asia/Beirut", "2026-03-27T12:00:00Z", "2026-03-31T12:00:00Z", {"days": 1}),
    ("America/Santiago", "2026-04-03T00:30:00Z", "2026-04-06T12:00:00Z", {"days": 1}),
    ("America/Santiago", "2026-09-05T00:30:00Z", "2026-09-07T12:00:00Z", {"minutes": 180}),
    ("America/St_Johns", "2006-10-27T12:00:00Z", "2006-10-30T12:00:00Z", {"days": 1}),
    ("America/St_Johns", "2006-10-28T12:00:00Z", "2006-10-29T12:00:00Z", {"minutes": 240}),
    ("Australia/Lord_Howe", "2026-04-04T00:00:00Z", "2026-04-05T12:00:00Z", {"minutes": 60}),
    ("Europe/Berlin", "2026-10-24T10:00:00Z", "2026-10-26T10:00:00Z", {"minutes": 360}),
    ("Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T04:00:00Z", {"minutes": 60}),
    ("America/New_York", "2026-02-11T09:30:00Z", "2026-05-02T00:00:00Z", "month"),
    ("America/New_York", "2026-02-11T09:30:00Z", "2026-04-02T00:00:00Z", "week"),
    ("America/New_York", "2026-02-27T09:30:00Z", "2026-03-12T00:00:00Z", {"days": 3}),
)

type Ask = dict[str, Any]
type Counted = Mapping[Series, Mapping[int, Measures]]
type AsOf = Mapping[str, str | None] | None


def generate() -> Iterator[dict[str, Any]]:
    """Streams that keep up, that stand still, of which nothing is known; and calendars."""
    names = ("items", "scoreResults", "feedbackItems", "tasks", "scoreResultsByScorecard")
    everything = dict.fromkeys(names, "2026-03-29T10:06:00Z")
    behind = everything | {"items": "2026-03-29T07:00:30Z", "tasks": None}
    said: dict[str, AsOf] = {
        "up to date": everything,
        "three hours behind": behind,
        "no as-of record": None,
    }
    for seed, (name, as_of) in enumerate(said.items()):
        draw = random.Random(seed)
        counted = {each: _minutes(draw, each, 12 if seed else 26) for each in _SERIES}
        asks = [ask for _ in range(25 if seed else 70) if (ask := _ask(draw, counted, as_of))]
        asks += [asks[0] | {"recordType": "item"}] if as_of else []
        yield _world(name, _NOW, as_of, counted, asks, draw)
    yield _calendars(random.Random(99))


def _minutes(draw: random.Random, series: Series, number: int) -> dict[int, Measures]:
    names = BUILT_IN.extra_measures(series.record_type)
    now = to_minute(_NOW)
    ages = (draw.choice((draw.randint(-5, 90), draw.randint(-5, 4 * _DAY))) for _ in range(number))
    return {now - age: _sums(draw, len(zero(names))) for age in ages}


def _sums(draw: random.Random, number: int) -> Measures:
    """More than a field holds, more removals than rows, or anything between."""
    kinds = ((INT_MAX - 1, 10**10), (-3, 0), *((0, 40) for _ in range(18)))
    return Measures(*(draw.randint(*draw.choice(kinds)) for _ in range(number)))


def _ask(draw: random.Random, counted: Counted, as_of: AsOf) -> Ask | None:
    """Something to ask; None where a reader may refuse it or not: what is near is stored."""
    series = draw.choice([*counted])
    length = timedelta(minutes=draw.choice((20, 200, _DAY, 2 * _DAY, 4 * _DAY)) * draw.random())
    end = draw.choice((_NOW, _NOW - timedelta(minutes=draw.random() * 3 * _DAY)))
    ask: Ask = {"recordType": series.record_type, **series.scope_as_json()}
    ask |= {"start": _iso(end - length), "end": _iso(end)}
    if draw.random() < 0.5:
        most = length / timedelta(minutes=50)
        steps = [each for each in _STEPS if not isinstance(each, dict) or _size(each) > most]
        ask |= {"step": draw.choice(steps), "timeZone": draw.choice(_ZONES)}
    is_stored = any(end - length <= to_datetime(at) < end for at in counted[series])
    return ask if as_of is None or series.record_type in as_of or is_stored else None


def _size(step: Mapping[str, int]) -> int:
    return step.get("minutes") or step["days"] * _DAY


def _calendars(draw: random.Random) -> dict[str, Any]:
    asks: list[Ask] = []
    minutes: dict[int, Measures] = {}
    for zone, start, end, step in _CALENDARS:
        ask: Ask = {"recordType": "items", "start": start, "end": end}
        ask |= {"step": step, "timeZone": zone}
        asks += [ask, *([ask | {"weekStart": "sunday"}] if step == "week" else [])]
        span = to_minute(parse(start)), to_minute(parse(end))
        minutes |= {draw.randrange(*span): _sums(draw, 6) for _ in range(6)}
    now = datetime(2026, 12, 1, tzinfo=UTC)
    return _world("calendars", now, {"items": _iso(now)}, {_SERIES[0]: minutes}, asks, draw)


def _world(
    name: str, now: datetime, as_of: AsOf, counted: Counted, asks: list[Ask], draw: random.Random
) -> dict[str, Any]:
    late = {(each, at) for each in counted for at in counted[each] if draw.random() < 0.15}

    def is_complete(series: Series, first: int, last: int) -> bool:
        text = (as_of or {}).get(series.record_type)
        is_late = any((series, at) in late for at in range(first, last))
        return not is_late and bool(text) and last * 60 + GRACE <= parse(str(text)).timestamp()

    return {
        "name": name,
        "now": _iso(now),
        "asOf": as_of,
        "completeAfter": GRACE,
        "records": [*_records(now, counted, is_complete, draw)],
        "asks": [ask | {"points": _answer(counted, is_complete, ask)} for ask in asks],
    }


type IsComplete = Callable[[Series, int, int], bool]


def _records(
    now: datetime, counted: Counted, is_complete: IsComplete, draw: random.Random
) -> Iterator[list[Any]]:
    """Every stored record: its key, whether it is complete, its fields, its metadata."""
    api = FakeAppSync()
    for series, minutes in counted.items():
        store(api, series, minutes, now)
    for row in api.rows("AggregatedMetrics"):
        series = Series(ACCOUNT, row["recordType"], row.get("scorecardId"), row.get("scoreId"))
        start, size = to_minute(parse(row["timeRangeStart"])), row["numberOfMinutes"]
        complete = is_complete(series, start, start + size)
        fields = [row.get(name) or 0 for name in Measures._fields]
        if size > 1 and not complete:
            if start + size > to_minute(now) - 50 and draw.random() < 0.6:
                continue  # minutes are written first: it is on its way
            fields = [draw.randint(0, value) for value in fields]  # it is behind them
        metadata = row.get("metadata")
        yield [row["compositeKey"], complete, fields, metadata and json.dumps(metadata)]


def _answer(counted: Counted, is_complete: IsComplete, ask: Ask) -> list[list[Any]] | None:
    """The points of an ask: start, end, sums, complete; None where it is to be refused."""
    series = Series(ACCOUNT, ask["recordType"], ask.get("scorecardId"), ask.get("scoreId"))
    if series not in counted:
        return None
    minutes, none = counted[series], zero(BUILT_IN.extra_measures(series.record_type))
    first, last = (int(-(-parse(ask[end]).timestamp() // 60)) for end in ("start", "end"))
    bounds = [first, last]
    if "step" in ask:
        zone = ZoneInfo(ask["timeZone"])
        bounds = edges(first, last, ask["step"], zone, ask.get("weekStart", "monday"))
    points: list[list[Any]] = []
    for start, end in pairwise(bounds):
        sums = total((clamped(minutes[at]) for at in minutes if start <= at < end), none)
        points.append([start, end, sums, is_complete(series, start, end)])
    return points


def edges(first: int, last: int, step: Any, zone: tzinfo, week_start: str) -> list[int]:
    """Where points begin and end, seen on the zone's clock minute by minute."""
    size = step.get("minutes", 0) if isinstance(step, dict) else 0
    restarts = not size or _DAY % size == 0
    found, begin, today = [], first, date.min
    newest = to_datetime(first - 2 * _DAY - 1).astimezone(zone).date()
    for at in range(first - 2 * _DAY, last):
        day = to_datetime(at).astimezone(zone).date()
        passed = [newest + timedelta(days=n + 1) for n in range((day - newest).days)]
        newest = max(newest, day)
        if passed and (restarts or at <= first):
            begin = at
        today = newest if at <= first else today
        starts = not size and any(_is_first(d, step, today, week_start) for d in passed)
        if at > first and ((at - begin) % size == 0 if size else starts):
            found.append(at)
    return [first, *found, last] if first < last else []


def _is_first(day: date, step: Any, today: date, week_start: str) -> bool:
    if step == "month":
        return day.day == 1
    if step == "week":
        return f"{day:%A}".lower() == week_start
    return not (day - today).days % step["days"]


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def written() -> str:
    """The file: a line for each record and ask."""
    made = {"measures": MEASURES, "worlds": [*generate()]}
    text = json.dumps(made, separators=(",", ":"), ensure_ascii=False)
    return text.replace('],["', '],\n["').replace("},{", "},\n{") + "\n"


if __name__ == "__main__":
    FILE.write_text(written(), "utf-8")
