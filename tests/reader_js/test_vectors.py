"""The vectors are current, and the Python reader answers them as the JavaScript one does."""

import json
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from aggregated_metrics import Summary, summarize, timeline

from testbench.counted import FakeClient
from testbench.reading_vectors import FILE, MEASURES, minute, written

type Case = tuple[dict[str, Any], dict[str, Any]]

WORLDS = json.loads(FILE.read_text("utf-8"))["worlds"]
CASES = [(world, ask) for world in WORLDS for ask in world["asks"] if ask["points"] is not None]


def test_the_file_is_what_is_generated() -> None:
    assert FILE.read_text("utf-8") == written(), "run python -m testbench.reading_vectors"
    assert FILE.stat().st_size < 200_000


@pytest.fixture(scope="module")
def clients() -> dict[str, FakeClient]:
    return {world["name"]: _client(world) for world in WORLDS}


def _client(world: dict[str, Any]) -> FakeClient:
    client = FakeClient()
    for key, complete, fields, metadata in world["records"]:
        record_type, *_, start, minutes = key.split("#")
        row = {"accountId": "acct-1", "compositeKey": key, "recordType": record_type}
        row |= {"timeRangeStart": start, "timeRangeEnd": start, "numberOfMinutes": int(minutes)}
        row |= {**dict(zip(MEASURES, fields, strict=True)), "complete": complete}
        row |= {"createdAt": start, "updatedAt": start}
        client.api.put("AggregatedMetrics", row | ({"metadata": metadata} if metadata else {}))
    return client


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]['name']}-{case[1]['start']}")
def test_the_python_reader_answers_each_vector(case: Case, clients: dict[str, FakeClient]) -> None:
    world, ask = case
    found = _read(clients[world["name"]], datetime.fromisoformat(world["now"]), ask)
    assert [[minute(point.start), minute(point.end), list(point.measures)] for point in found] == [
        point[:3] for point in ask["points"]
    ]


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
