"""Test vectors for both readers: stored records, what is asked, and the answer by brute force.

`python -m testbench.reading_vectors` writes tests/reader_js/vectors.json again. Neither reader is
used here: records are written out by hand, sums are taken minute by minute, and where points begin
is seen on the zone's clock at every minute. So both readers can be held against one file.
"""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

FILE = Path(__file__).parents[1] / "tests" / "reader_js" / "vectors.json"
MEASURES = (
    *("count", "cost", "decisionCount"),
    *("externalAiApiCount", "cachedAiApiCount", "errorCount"),
)
FEEDBACK = ("changedCount", "unchangedCount", "invalidCount")
COMPLETE_AFTER = 120
_INT_MAX = 2_147_483_647
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 1440

type Sums = tuple[int, ...]
type Ask = dict[str, Any]


def minute(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(minutes=1)


def moment(at: int) -> datetime:
    return _EPOCH + timedelta(minutes=at)


def text(at: int) -> str:
    return moment(at).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Series:
    """One series' minutes, and those hours of which only the 60-minute bucket is stored."""

    record_type: str
    scope: dict[str, str] = field(default_factory=dict)
    minutes: dict[int, Sums] = field(default_factory=dict)
    alone: dict[int, tuple[Sums, bool]] = field(default_factory=dict)
    late: set[int] = field(default_factory=set)

    @property
    def names(self) -> tuple[str, ...]:
        return MEASURES + (FEEDBACK if self.record_type == "feedbackItems" else ())

    @property
    def stem(self) -> str:
        scope = self.scope.get("scoreId") or self.scope.get("scorecardId")
        return f"{self.record_type}#{scope}#" if scope else f"{self.record_type}#"


@dataclass
class World:
    """An account at a time, with what its as-of record says (None: there is none)."""

    name: str
    now: datetime
    as_of: dict[str, str | None] | None
    series: list[Series] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)

    def until(self, series: Series) -> float:
        """The time up to which a series' buckets can be complete; before all for none."""
        as_of = (self.as_of or {}).get(series.record_type)
        return datetime.fromisoformat(as_of).timestamp() if as_of else float("-inf")


# --------------------------------------------------------------------------------------------------
# Records
# --------------------------------------------------------------------------------------------------
def records(world: World, draw: random.Random) -> Iterator[list[Any]]:
    """Every stored record: its key, whether it is complete, its fields, its metadata."""
    for series in world.series:
        for at, sums in sorted(series.minutes.items()):
            yield _record(series, at, 1, sums, _is_complete(world, series, at, 1))
        for size in (5, 15, 60):
            for start in sorted({at - at % size for at in series.minutes}):
                parts = [series.minutes.get(at) for at in range(start, start + size)]
                sums = _sum([part for part in parts if part], len(series.names))
                complete = _is_complete(world, series, start, size)
                if not complete:
                    recent = start + size > minute(world.now) - 50
                    if recent and draw.random() < 0.4:
                        continue  # minutes are written first: it is on its way
                    sums = tuple(draw.randint(0, value) for value in sums)  # it is behind them
                yield _record(series, start, size, sums, complete)
        for start, (sums, complete) in series.alone.items():
            yield _record(series, start, 60, sums, complete)


def _is_complete(world: World, series: Series, start: int, size: int) -> bool:
    is_late = any(at in series.late for at in range(start, start + size))
    return not is_late and (start + size) * 60 + COMPLETE_AFTER <= world.until(series)


def _record(series: Series, start: int, size: int, sums: Sums, complete: bool) -> list[Any]:
    shown = [min(max(value, 0), _INT_MAX) for value in sums]
    content: dict[str, Any] = dict(zip(FEEDBACK, shown[len(MEASURES) :], strict=False))
    beyond = {
        name: str(exact - value)
        for name, exact, value in zip(series.names, sums, shown, strict=True)
        if exact != value
    }
    if beyond and size == 1:
        content["beyond"] = beyond
    key = f"{series.stem}{text(start)}#{size}"
    return [key, complete, shown[: len(MEASURES)], json.dumps(content) if content else None]


# --------------------------------------------------------------------------------------------------
# Answers
# --------------------------------------------------------------------------------------------------
def answer(world: World, ask: Ask) -> list[list[Any]] | None:
    """The points of an ask: start, end, sums, complete; None where it is to be refused."""
    series = next((each for each in world.series if _is_of(each, ask)), None)
    if series is None:
        return None
    first, last = (
        -((_EPOCH - datetime.fromisoformat(ask[end])) // timedelta(minutes=1))
        for end in ("start", "end")
    )
    bounds = [first, last]
    if "step" in ask:
        bounds = edges(first, last, ask["step"], ask["timeZone"], ask.get("weekStart", "monday"))
    return [_point(world, series, *span) for span in pairwise(bounds)]


def _is_of(series: Series, ask: Ask) -> bool:
    scope = {name: ask[name] for name in ("scorecardId", "scoreId") if name in ask}
    return series.record_type == ask["recordType"] and series.scope == scope


def _point(world: World, series: Series, first: int, last: int) -> list[Any]:
    inside = [sums for at, sums in series.minutes.items() if first <= at < last]
    alone = [each for start, each in series.alone.items() if first <= start and start + 60 <= last]
    sums = _sum([*inside, *(sums for sums, _ in alone)], len(series.names))
    is_open = any(
        first <= at < last and not _is_complete(world, series, at, 1) for at in series.minutes
    ) or any(not complete for _, complete in alone)
    is_settled = last * 60 + COMPLETE_AFTER <= world.until(series)
    return [first, last, list(sums), is_settled and not is_open]


def _sum(parts: Sequence[Sums], number: int) -> Sums:
    """A minute with more removals than rows counts as none."""
    return tuple(sum(max(part[i], 0) for part in parts) for i in range(number))


def edges(first: int, last: int, step: Any, zone: str, week_start: str) -> list[int]:
    """Where points begin, seen on the zone's calendar minute by minute."""
    if first == last:
        return []
    today = _date(first, zone)
    begin = first
    while _date(begin - 1, zone) == today:
        begin -= 1
    length = step.get("minutes", 0) if isinstance(step, dict) else 0
    number = _numbering(step, today, week_start)
    found, newest = [first], today
    for at in range(first + 1, last):
        day = _date(at, zone)
        is_new = number(day) > number(newest) and not (length and _DAY % length)
        if is_new:
            begin = at
        if is_new or (length and (at - begin) % length == 0):
            found.append(at)
        newest = max(newest, day)
    return [*found, last]


def _date(at: int, zone: str) -> date:
    return moment(at).astimezone(ZoneInfo(zone)).date()


def _numbering(step: Any, first: date, week_start: str) -> Callable[[date], int]:
    """Which day, week or month of a chart a date is in."""
    if step == "month":
        return lambda day: day.year * 12 + day.month
    if step == "week":
        begins = first - timedelta(days=(first.weekday() + (week_start == "sunday")) % 7)
        return lambda day: (day - begins).days // 7
    return lambda day: (day - first).days // int(step.get("days", 1))


# --------------------------------------------------------------------------------------------------
# Worlds
# --------------------------------------------------------------------------------------------------
_NOW = datetime(2026, 3, 29, 10, 6, 40, tzinfo=UTC)
"""Some hours after clocks went forward in Berlin."""
_STEPS = (
    *({"minutes": 60}, {"minutes": 360}, {"minutes": 15}, {"minutes": 7 * 60}, {"minutes": 50}),
    *({"days": 1}, {"days": 2}, "week", "month"),
)
_ZONES = ("UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "Australia/Lord_Howe")
_CALENDARS: Sequence[tuple[str, str, str, Any]] = (
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


def worlds() -> Iterator[tuple[World, random.Random]]:
    """Streams that keep up, that stand still, of which nothing is known; and calendars."""
    kept_up = text(minute(_NOW))
    everything: dict[str, str | None] = dict.fromkeys(
        ("items", "scoreResults", "feedbackItems", "tasks", "scoreResultsByScorecard"), kept_up
    )
    behind = everything | {"items": "2026-03-29T07:00:30Z", "tasks": None}
    said: Mapping[str, dict[str, str | None] | None] = {
        "up to date": everything,
        "three hours behind": behind,
        "no as-of record": None,
    }
    for seed, (name, as_of) in enumerate(said.items()):
        draw = random.Random(seed)
        world = World(name, _NOW, as_of)
        world.series = list(_series(draw, busy=not seed))
        world.asks = [ask for _ in range(70 if not seed else 25) if (ask := _ask(draw, world))]
        if as_of is not None:
            world.asks.append(world.asks[0] | {"recordType": "item"})
        yield world, draw
    yield _calendars()


def _series(draw: random.Random, *, busy: bool) -> Iterator[Series]:
    scopes: Sequence[tuple[str, dict[str, str]]] = (
        *(("items", {}), ("scoreResults", {}), ("feedbackItems", {}), ("tasks", {})),
        ("scoreResultsByScorecard", {"scorecardId": "card é"}),
        ("scoreResultsByScore", {"scorecardId": "card é", "scoreId": "score"}),
    )
    last = minute(_NOW)
    for record_type, scope in scopes:
        series = Series(record_type, scope)
        for _ in range(26 if busy else 12):
            at = last - draw.choice((draw.randint(-5, 90), draw.randint(-5, 4 * _DAY)))
            series.minutes[at] = _sums(draw, len(series.names))
        series.late = {at for at in series.minutes if draw.random() < 0.08}
        if record_type == "tasks":
            _stand_alone(series, last)
        yield series


def _stand_alone(series: Series, last: int) -> None:
    """Hours of which only the rollup is left: minutes removed, or another writer's."""
    for days, complete in ((2, True), (3, False)):
        start = (last - days * _DAY) // 60 * 60
        series.minutes = {at: sums for at, sums in series.minutes.items() if at // 60 * 60 != start}
        series.late &= series.minutes.keys()
        series.alone[start] = ((days * 100, 5, 0, 0, 0, 0), complete)


def _sums(draw: random.Random, number: int) -> Sums:
    def value() -> int:
        kind = draw.random()
        if kind < 0.05:
            return _INT_MAX + draw.randint(-1, 10**10)
        return draw.randint(-3, 0) if kind < 0.1 else draw.randint(0, 40)

    return tuple(value() for _ in range(number))


def _ask(draw: random.Random, world: World) -> Ask | None:
    """Something to ask; None where a reader may refuse it or not: what is near is stored."""
    series = draw.choice(world.series)
    length = draw.choice((20, 200, _DAY, 2 * _DAY, 4 * _DAY)) * draw.random()
    end = draw.choice((_NOW, _NOW - timedelta(minutes=draw.random() * 3 * _DAY)))
    ask: Ask = {"recordType": series.record_type, **series.scope}
    ask |= {"start": _iso(end - timedelta(minutes=length)), "end": _iso(end)}
    if draw.random() < 0.5:
        steps = [
            step
            for step in _STEPS
            if not isinstance(step, dict) or length / step.get("minutes", 1e9) < 50
        ]
        ask |= {"step": draw.choice(steps), "timeZone": draw.choice(_ZONES)}
    is_stored = any(end - timedelta(minutes=length) <= moment(at) < end for at in series.minutes)
    is_named = world.as_of is None or series.record_type in world.as_of
    return ask if is_named or is_stored else None


def _calendars() -> tuple[World, random.Random]:
    draw = random.Random(99)
    world = World("calendars", datetime(2026, 12, 1, tzinfo=UTC), {"items": "2026-12-01T00:00:00Z"})
    world.series = [Series("items")]
    for zone, start, end, step in _CALENDARS:
        world.asks.append(
            {"recordType": "items", "start": start, "end": end, "step": step, "timeZone": zone}
        )
        if step == "week":
            world.asks.append(world.asks[-1] | {"weekStart": "sunday"})
        first, last = (minute(datetime.fromisoformat(each)) for each in (start, end))
        for _ in range(6):
            world.series[0].minutes[draw.randrange(first, last)] = _sums(draw, 6)
    return world, draw


def _iso(moment_: datetime) -> str:
    return moment_.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def generate() -> Mapping[str, Any]:
    """All vectors: the same ones every time."""
    return {
        "measures": [*MEASURES, *FEEDBACK],
        "worlds": [
            {
                "name": world.name,
                "now": _iso(world.now),
                "asOf": world.as_of,
                "completeAfter": COMPLETE_AFTER,
                "records": list(records(world, draw)),
                "asks": [{**ask, "points": answer(world, ask)} for ask in world.asks],
            }
            for world, draw in worlds()
        ],
    }


def written() -> str:
    """The file: a line for each record and ask."""
    made = generate()
    worlds_ = []
    for world in made["worlds"]:
        lines = {
            name: "[\n" + ",\n".join(_line(each) for each in world[name]) + "\n]"
            for name in ("records", "asks")
        }
        rest = {name: value for name, value in world.items() if name not in lines}
        listed = ", ".join(f'"{name}": {content}' for name, content in lines.items())
        worlds_.append(f"{_line(rest)[:-1]}, {listed}}}")
    return (
        f'{{"measures": {_line(made["measures"])}, "worlds": [\n' + ",\n".join(worlds_) + "\n]}\n"
    )


def _line(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


if __name__ == "__main__":
    FILE.write_text(written(), "utf-8")
