"""What every bucket must hold: a plain group-by of rows that shares no code with the package.

It is written from the table of what is counted (README), on plain rows, and is meant to be read
beside it. If this and the package make the same mistake, the mistake is in that table.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

type Row = Mapping[str, Any]
type Key = tuple[str, str, str, int]
"""Account, series, start (`2026-11-22T10:00:00Z`), minutes.

A series is a record type such as `items`, or one and its scope: `scoreResultsByScore#score-1`.
"""

MEASURES = (
    "count",
    "cost",
    "decisionCount",
    "externalAiApiCount",
    "cachedAiApiCount",
    "errorCount",
)
FEEDBACK = ("changedCount", "unchangedCount", "invalidCount")
"""Further measures of the series of feedback, after MEASURES; a bucket has them in metadata."""
SIZES = (1, 5, 15, 60)
_ERROR_CODE = 400
_SPLITS = {
    "Item": ("items", "createdByType", "Items"),
    "ScoreResult": ("scoreResults", "type", "ScoreResults"),
    "Task": ("tasks", None, ""),
    "Evaluation": ("evaluations", None, ""),
    "FeedbackItem": ("feedbackItems", None, ""),
    "Procedure": ("procedures", None, ""),
    "ChatSession": ("chatSessions", None, ""),
    "ChatMessage": ("chatMessages", None, ""),
}
MODELS = tuple(_SPLITS)
_BROKEN_DOWN = ("ScoreResult", "Evaluation", "FeedbackItem")
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,9})?)?"
    r"(?:Z|([+-])(\d\d):(\d\d)(?::(\d\d))?)"
)
_LARGEST = 2**31 - 1


def buckets_of(
    rows: Iterable[tuple[str, Row]], latest: datetime | None = None, *, breakdowns: bool = False
) -> dict[Key, tuple[int, ...]]:
    """The measures of every bucket of every size; MEASURES' order.

    Args:
        rows: model and row.
        latest: a row with a later time cannot be counted.
        breakdowns: whether rows are also counted by scorecard and by score.
    """
    sums: dict[Key, list[int]] = defaultdict(list)
    for model, row in rows:
        moment = when(row, model)
        if moment is None or (latest and moment > latest):
            continue
        added = _measures(model, row)
        for name in [*_record_types(model, row), *(_scoped(model, row) if breakdowns else ())]:
            for minutes in SIZES:
                key = (row["accountId"], name, _start(moment, minutes), minutes)
                sums[key] = [a + b for a, b in zip(sums[key] or [0] * 9, added, strict=False)]
    return {key: tuple(min(value, _LARGEST) for value in values) for key, values in sums.items()}


def held(bucket: Row) -> tuple[int, ...]:
    """What a stored bucket says: its fields, and for feedback what its metadata says as well."""
    numbers = [int(bucket.get(name) or 0) for name in MEASURES]
    if str(bucket["recordType"]).startswith("feedbackItems"):
        metadata = bucket.get("metadata") or {}
        while isinstance(metadata, str):
            metadata = json.loads(metadata)
        numbers += [int(metadata.get(name, 0)) for name in FEEDBACK]
    return tuple(numbers)


def key_of(bucket: Row) -> Key:
    """The key of a stored bucket."""
    series, start, minutes = str(bucket["compositeKey"]).rsplit("#", 2)
    return str(bucket["accountId"]), series, start, int(minutes)


def when(row: Row, model: str = "") -> datetime | None:
    """The instant of a countable row; None for a row that cannot be counted."""
    at = row.get("createdAt")
    if model == "FeedbackItem":
        times = (row.get(name) for name in ("editedAt", "updatedAt", "createdAt"))
        at = next((time for time in times if time is not None), None)
    match = _TIME.fullmatch(str(at)) if row.get("accountId") else None
    if match is None:
        return None
    *numbers, sign, hours, minutes, seconds = match.groups()
    offset = timedelta()
    if sign:
        offset = timedelta(hours=int(hours), minutes=int(minutes), seconds=int(seconds or 0))
        offset = -offset if sign == "-" else offset
    try:
        year, month, day, hour, minute, second = (int(number or 0) for number in numbers)
        return datetime(year, month, day, hour, minute, second, tzinfo=timezone(offset))
    except ValueError:
        return None


def _record_types(model: str, row: Row) -> list[str]:
    name, split_by, suffix = _SPLITS[model]
    split = row.get(split_by) if split_by else None
    return [name, f"{split}{suffix}"] if split in ("prediction", "evaluation") else [name]


def _scoped(model: str, row: Row) -> list[str]:
    if model not in _BROKEN_DOWN or not row.get("scorecardId"):
        return []
    name = _SPLITS[model][0]
    by_score = [f"{name}ByScore#{row['scoreId']}"] if row.get("scoreId") else []
    return [f"{name}ByScorecard#{row['scorecardId']}", *by_score]


def _start(moment: datetime, minutes: int) -> str:
    seconds = int(moment.timestamp())
    start = datetime.fromtimestamp(seconds - seconds % (minutes * 60), UTC)
    return start.strftime("%Y-%m-%dT%H:%M:%SZ")


def _measures(model: str, row: Row) -> tuple[int, ...]:
    if model in ("Item", "Procedure", "ChatSession", "ChatMessage"):
        return (1, 0, 0, 0, 0, 0)
    if model == "FeedbackItem":
        first, last = row.get("initialAnswerValue"), row.get("finalAnswerValue")
        invalid = row.get("isInvalid") is True or first is None or last is None
        changed = not invalid and str(first) != str(last)
        return (1, 0, 0, 0, 0, 0, int(changed), int(not invalid and not changed), int(invalid))
    if model == "Task":
        return (1, 0, 0, 0, 0, int(row.get("status") in ("FAILED", "ERROR")))
    if model == "Evaluation":
        failed = int(row.get("status") in ("FAILED", "ERROR"))
        return (1, _millionths(row.get("cost")), 0, 0, 0, failed)
    value, code, cost = row.get("value"), str(row.get("code")), row.get("cost")
    while isinstance(cost, str):
        cost = json.loads(cost)
    cost = cost or {}
    failed = str(value).lower() == "error" or (code.isdigit() and int(code) >= _ERROR_CODE)
    return (
        1,
        _millionths(cost.get("total_cost", cost.get("total_usd"))),
        int(bool(value) and not failed),
        int(cost.get("api_calls", cost.get("llm_calls", 0)) or 0),
        int(cost.get("cached_api_calls", cost.get("cached_llm_calls", 0)) or 0),
        int(failed),
    )


def _millionths(dollars: Any) -> int:
    if dollars is None:
        return 0
    return int((Decimal(str(dollars)) * 1_000_000).quantize(Decimal(1), ROUND_HALF_EVEN))
