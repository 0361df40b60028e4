"""Score results as AppSync stores them, in stream events: their attributes, sizes and types.

A third each is a prediction, an evaluation and neither. AWSJSON attributes are Maps. Nothing here
is random.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from testbench.streams import FIRST_SEQUENCE_NUMBER, Stream
from testbench.traffic import text
from tests.truth import seams

type Row = dict[str, Any]

ACCOUNT = "9c1b7c3a-52a5-4a0e-9c55-6d1f0f0a7e11"
FIRST = datetime(2026, 11, 22, 10, 0, 12, 345000, tzinfo=UTC)
_KINDS = ("prediction", "evaluation", None)
_EXPLANATION = (
    "The agent greeted the caller by name and offered help within the first twenty seconds."
)


def score_result(number: int, *, scores: int = 1) -> Row:
    """A ScoreResult with its explanation and its costs; of so many scores in turn, five a card."""
    score, kind = number % scores, _KINDS[number % 3]
    created = text(FIRST + timedelta(milliseconds=number))
    row = {
        "id": _uuid(number),
        "accountId": ACCOUNT,
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


def inserts(records: int, *, scores: int = 1, first: int = FIRST_SEQUENCE_NUMBER) -> seams.Call:
    """A batch that inserts so many rows of one minute."""
    stream, created = Stream("ScoreResult", first=first), FIRST + timedelta(minutes=1)
    made = (score_result(number, scores=scores) for number in range(records))
    return received([stream.insert(row, created=created) for row in made])


def untouched(records: int) -> seams.Call:
    """A batch whose updates change nothing that is counted."""
    stream = Stream("ScoreResult")
    made = map(score_result, range(records))
    return received([stream.modify(row, row | {"explanation": "other"}) for row in made])


def received(records: list[Any]) -> seams.Call:
    """As a process sees it that has parsed it: no two records share an object."""
    function, event = seams.aggregate(records, "shardId-00000001795000000000-a1b2c3d4")
    return function, json.loads(json.dumps(event))


def _uuid(number: int) -> str:
    return f"{number * 2_654_435_761 % 2**32:08x}-7d3a-4c11-9f60-{number:012x}"
