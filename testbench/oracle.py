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
"""Account, record type, start (`2026-11-22T10:00:00Z`), minutes."""

MEASURES = (
    "count",
    "cost",
    "decisionCount",
    "externalAiApiCount",
    "cachedAiApiCount",
    "errorCount",
)
SIZES = (1, 5, 15, 60)
_ERROR_CODE = 400
_SPLITS = {
    "Item": ("items", "createdByType", "Items"),
    "ScoreResult": ("scoreResults", "type", "ScoreResults"),
    "Task": ("tasks", None, ""),
    "Evaluation": ("evaluations", None, ""),
}
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:\.\d{1,9})?)?"
    r"(?:Z|([+-])(\d\d):(\d\d)(?::(\d\d))?)"
)
_LARGEST = 2**31 - 1


def buckets_of(
    rows: Iterable[tuple[str, Row]], latest: datetime | None = None
) -> dict[Key, tuple[int, ...]]:
    """The measures of every bucket of every size; MEASURES' order.

    Args:
        rows: model and row.
        latest: a row with a later time cannot be counted.
    """
    sums: dict[Key, list[int]] = defaultdict(lambda: [0] * len(MEASURES))
    for model, row in rows:
        moment = when(row)
        if moment is None or (latest and moment > latest):
            continue
        added = _measures(model, row)
        for name in _record_types(model, row):
            for minutes in SIZES:
                key = (row["accountId"], name, _start(moment, minutes), minutes)
                for i, value in enumerate(added):
                    sums[key][i] += value
    return {key: tuple(min(value, _LARGEST) for value in values) for key, values in sums.items()}


def when(row: Row) -> datetime | None:
    """The instant of a countable row; None for a row that cannot be counted."""
    match = _TIME.fullmatch(str(row.get("createdAt"))) if row.get("accountId") else None
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


def _start(moment: datetime, minutes: int) -> str:
    seconds = int(moment.timestamp())
    start = datetime.fromtimestamp(seconds - seconds % (minutes * 60), UTC)
    return start.strftime("%Y-%m-%dT%H:%M:%SZ")


def _measures(model: str, row: Row) -> tuple[int, ...]:
    if model == "Item":
        return (1, 0, 0, 0, 0, 0)
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
