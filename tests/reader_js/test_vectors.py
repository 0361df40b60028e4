"""The Python reader answers vectors.json as the JavaScript one does.

Random records, of streams that keep up and that do not, and calendars: `records` has key, complete,
fields and metadata; of each of `asks` the `points` are start, end (epoch minutes), sums, complete.
A new rule of both readers is a further ask.
"""

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aggregated_metrics import Summary, summarize, timeline
from aggregated_metrics.core.buckets import to_minute
from aggregated_metrics.core.errors import ArgumentError
from aggregated_metrics.core.measures import Measures

from testbench.counted import FakeClient, streams_record

type Case = tuple[dict[str, Any], dict[str, Any]]

WORLDS = json.loads(Path(__file__).with_name("vectors.json").read_text("utf-8"))["worlds"]
CASES = [(world, ask) for world in WORLDS for ask in world["asks"]]


@pytest.fixture(scope="module")
def clients() -> dict[str, FakeClient]:
    return {world["name"]: _client(world) for world in WORLDS}


def _client(world: dict[str, Any]) -> FakeClient:
    client = FakeClient()
    if world["asOf"] is not None:
        streams_record(client.api, {name: world[name] for name in ("asOf", "completeAfter")})
    for key, complete, fields, metadata in world["records"]:
        record_type, *_, start, minutes = key.split("#")
        row = {"accountId": "acct-1", "compositeKey": key, "recordType": record_type}
        row |= {"timeRangeStart": start, "timeRangeEnd": start, "numberOfMinutes": int(minutes)}
        row |= {**dict(zip(Measures._fields, fields, strict=True)), "complete": complete}
        row |= {"createdAt": start, "updatedAt": start}
        client.api.put("AggregatedMetrics", row | {"metadata": json.loads(metadata or "null")})
    return client


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]['name']}-{case[1]['start']}")
def test_the_python_reader_answers_each_vector(case: Case, clients: dict[str, FakeClient]) -> None:
    world, ask = case
    client, now = clients[world["name"]], datetime.fromisoformat(world["now"])
    if ask["points"] is None:
        with pytest.raises(ArgumentError, match=r"'item'.*tasks"):
            _read(client, now, ask)
        return
    found = _read(client, now, ask)
    assert [
        [to_minute(point.start), to_minute(point.end), list(point.measures), point.complete]
        for point in found
    ] == ask["points"]
    as_of = (world["asOf"] or {}).get(ask["recordType"])
    assert {point.as_of for point in found} <= {as_of and datetime.fromisoformat(as_of)}


def _read(client: FakeClient, now: datetime, ask: dict[str, Any]) -> list[Summary]:
    span = [datetime.fromisoformat(ask[name]) for name in ("start", "end")]
    asked = (client, "acct-1", *span, ask["recordType"], ask.get("scorecardId"), ask.get("scoreId"))
    if "step" not in ask:
        return [summarize(*asked, now=now)]
    step = ask["step"]
    length = timedelta(**step) if isinstance(step, dict) else step
    week = ask.get("weekStart", "monday")
    zone = ZoneInfo(ask["timeZone"])
    return timeline(*asked, step=length, zone=zone, week_start=week, now=now)
