"""Stream events of lifelike rows: the attributes, sizes and types that AppSync puts into a table.

Rows are spread over a number of minutes, and a third each is a prediction, an evaluation and
neither. AWSJSON attributes are Maps, as AppSync stores them. Every workload is the same in every
run: nothing here is random.
"""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from testbench.streams import FIRST_SEQUENCE_NUMBER, Stream, window_event

type Event = dict[str, Any]
type Row = dict[str, Any]

ACCOUNT = "9c1b7c3a-52a5-4a0e-9c55-6d1f0f0a7e11"
FIRST = datetime(2026, 11, 22, 10, 0, 12, 345000, tzinfo=UTC)
HOUR = FIRST.replace(minute=0, second=0, microsecond=0)
FIRST_NUMBER = FIRST_SEQUENCE_NUMBER
SHARES = {"scoreResults": 1.0, "predictionScoreResults": 1 / 3, "evaluationScoreResults": 1 / 3}
_KINDS = ("prediction", "evaluation", None)
_EXPLANATION = (
    "The agent greeted the caller by name and offered help within the first twenty seconds."
)
_TEXT = "Agent: Good morning, thank you for calling. Caller: Hello, it is about my plan."


def item(number: int, *, minutes: int = 1, account: str = ACCOUNT) -> Row:
    """An Item: a call that is to be scored."""
    kind = _KINDS[number % 3]
    created = _time(number, minutes)
    row = {
        "id": _uuid(number),
        "accountId": account,
        "externalId": f"call-{number:09d}",
        "description": "Inbound call of 4 minutes",
        "isEvaluation": kind == "evaluation",
        "createdByType": kind,
        "identifiers": [{"name": "Call", "value": str(20_000_000 + number)}],
        "metadata": {"channel": "phone", "seconds": 241, "queue": "sales-east", "schema": 3},
        "text": _TEXT,
        "__typename": "Item",
        "createdAt": created,
        "updatedAt": created,
    }
    return {name: value for name, value in row.items() if value is not None}


def score_result(number: int, *, minutes: int = 1, account: str = ACCOUNT, scores: int = 1) -> Row:
    """A ScoreResult with its explanation and its costs; of so many scores in turn, five a card."""
    score = number % scores
    kind = _KINDS[number % 3]
    created = _time(number, minutes)
    row = {
        "id": _uuid(number),
        "accountId": account,
        "value": "ERROR" if number % 50 == 0 else "Yes" if number % 4 else "No",
        "explanation": _EXPLANATION,
        "confidence": 0.93,
        "correct": True,
        "type": kind,
        "status": "COMPLETED",
        "code": "200",
        "itemId": _uuid(number // 10),
        "scorecardId": f"4b8a4bb0-5d5d-4b52-8a1d-1b39e7d7b{1 + score // 5:03}",
        "scoreId": f"8b3f6ad2-0a5b-43c5-91b0-7a2f2f2bb{2 + score:03}",
        "scoringJobId": _uuid(number // 100),
        "cost": {
            "total_cost": round(0.000123 + number % 97 * 0.000011, 6),
            "llm_calls": 1 + number % 3,
            "cached_llm_calls": number % 2,
            "prompt_tokens": 1804,
            "completion_tokens": 96,
        },
        "metadata": {"model": "large-2026-08", "attempts": 1, "temperature": 0},
        "__typename": "ScoreResult",
        "createdAt": created,
        "updatedAt": created,
    }
    return {name: value for name, value in row.items() if value is not None}


MAKERS = {"Item": item, "ScoreResult": score_result}


def inserts(
    model: str,
    records: int,
    *,
    minutes: int = 1,
    account: str = ACCOUNT,
    first: int = FIRST_SEQUENCE_NUMBER,
) -> Event:
    """An event that inserts so many rows of one account, as Lambda's runtime hands it over."""
    stream, make = Stream(model, first=first), MAKERS[model]
    rows = (make(number, minutes=minutes, account=account) for number in range(records))
    return _received(
        window_event(
            *(stream.insert(row, created=FIRST + timedelta(minutes=minutes)) for row in rows)
        )
    )


def of_scores(records: int, scores: int, *, first: int = FIRST_SEQUENCE_NUMBER) -> Event:
    """An event that inserts so many score results of so many scores, all in one minute."""
    stream = Stream("ScoreResult", first=first)
    rows = (score_result(number, scores=scores) for number in range(records))
    created = FIRST + timedelta(minutes=1)
    return _received(window_event(*(stream.insert(row, created=created) for row in rows)))


def updates(model: str, records: int, *, minutes: int = 1) -> Event:
    """An event that updates so many rows: two images each, and for a ScoreResult another cost."""
    stream, make = Stream(model), MAKERS[model]
    changes = []
    for number in range(records):
        old = make(number, minutes=minutes)
        new = old | {"updatedAt": _time(number, minutes + 1)}
        if "cost" in old:
            new["cost"] = old["cost"] | {"total_cost": round(old["cost"]["total_cost"] * 2, 6)}
        changes.append(stream.modify(old, new, created=FIRST + timedelta(minutes=minutes)))
    return _received(window_event(*changes))


def untouched(model: str, records: int) -> Event:
    """An event whose updates change nothing that is counted."""
    stream, make = Stream(model), MAKERS[model]
    rows = (make(number) for number in range(records))
    return _received(
        window_event(*(stream.modify(row, row | {"externalId": "other"}) for row in rows))
    )


def stored_hour(record_type: str, hour: int, rows: float) -> list[Row]:
    """The 77 buckets of an hour of FIRST's day, with so many rows spread over its minutes."""
    start = FIRST.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(hours=hour)
    return [
        _bucket(record_type, start + timedelta(minutes=minute), size, round(rows * size / 60))
        for size in (1, 5, 15, 60)
        for minute in range(0, 60, size)
    ]


def counted_hour(record_type: str, counts: Sequence[int]) -> list[Row]:
    """The buckets of FIRST's hour that hold something, from the counts of its minutes."""
    return [
        _bucket(record_type, HOUR + timedelta(minutes=first), size, rows, only_count=True)
        for size in (1, 5, 15, 60)
        for first in range(0, 60, size)
        if (rows := sum(counts[first : first + size]))
    ]


def _bucket(
    record_type: str, start: datetime, size: int, count: int, *, only_count: bool = False
) -> Row:
    begins, ends = (f"{at:%Y-%m-%dT%H:%M:%SZ}" for at in (start, start + timedelta(minutes=size)))
    row = {
        "accountId": ACCOUNT,
        "compositeKey": f"{record_type}#{begins}#{size}",
        "recordType": record_type,
        "timeRangeStart": begins,
        "timeRangeEnd": ends,
        "numberOfMinutes": size,
        "count": count,
        "cost": count * 600,
        "decisionCount": count,
        "externalAiApiCount": count * 2,
        "cachedAiApiCount": count // 2,
        "errorCount": count // 50,
        "complete": False,
        "createdAt": ends,
        "updatedAt": ends.replace("Z", ".123456Z"),
    }
    if only_count:
        names = ("cost", "decisionCount", "externalAiApiCount", "cachedAiApiCount", "errorCount")
        row |= dict.fromkeys(names, 0)
    ledger = [["a1b2c3d4e5f6", str(FIRST_NUMBER - 1)]]
    return row | ({"metadata": {"ledger": ledger}} if size == 1 else {})


def _received(event: Event) -> Event:
    """As a process sees it that has parsed it: no two records share an object."""
    received: Event = json.loads(json.dumps(event))
    return received


def _time(number: int, minutes: int) -> str:
    moment = FIRST + timedelta(minutes=number % minutes, milliseconds=number)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _uuid(number: int) -> str:
    return f"{number * 2_654_435_761 % 2**32:08x}-7d3a-4c11-9f60-{number:012x}"
