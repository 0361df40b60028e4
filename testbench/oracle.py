"""What every bucket must hold: a plain group-by of rows that shares no code with the package.

It is written from docs/counting.md, on plain rows, and is meant to be read beside it. If this and
the package make the same mistake, the mistake is in that page. The model `Review` is the one that
docs/custom-models.md declares.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

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
"""The extra measures of the series of feedback, after MEASURES; a bucket has them in metadata."""
_EXTRA = {"FeedbackItem": FEEDBACK, "Review": ("wordCount",)}
SIZES = (1, 5, 15, 60)
_ERROR_CODE = 400
_KINDS = ("prediction", "evaluation")
_SPLITS: Mapping[str, tuple[str, str, tuple[str, ...], str]] = {
    "Item": ("items", "createdByType", _KINDS, "Items"),
    "ScoreResult": ("scoreResults", "type", _KINDS, "ScoreResults"),
    "Task": ("tasks", "", (), ""),
    "Evaluation": ("evaluations", "", (), ""),
    "FeedbackItem": ("feedbackItems", "", (), ""),
    "Procedure": ("procedures", "", (), ""),
    "ChatSession": ("chatSessions", "", (), ""),
    "ChatMessage": ("chatMessages", "", (), ""),
    "Review": ("reviews", "channel", ("phone", "mail"), "Reviews"),
}
MODELS = tuple(name for name in _SPLITS if name != "Review")
"""The models that need no declaration."""
TIMES: Mapping[str, tuple[str, ...]] = {
    "FeedbackItem": ("editedAt", "updatedAt", "createdAt"),
    "Review": ("reviewedAt", "createdAt"),
}
"""Where the first that a row has counts; every other model counts by createdAt."""
_ACCOUNTS = {"Review": "tenantId"}
_BROKEN_DOWN = ("ScoreResult", "Evaluation", "FeedbackItem", "Review")
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
        moment = when(model, row)
        if moment is None or (latest and moment > latest):
            continue
        added = _measures(model, row)
        for name in [*_record_types(model, row), *(_scoped(model, row) if breakdowns else ())]:
            for minutes in SIZES:
                key = (row[account_of(model)], name, _start(moment, minutes), minutes)
                sums[key] = [a + b for a, b in zip(sums[key] or [0] * 9, added, strict=False)]
    return {key: tuple(min(value, _LARGEST) for value in values) for key, values in sums.items()}


def buckets_in(api: Any) -> list[Row]:
    """The stored buckets of an API (a FakeAppSync), metadata as text.

    All but the record of how far streams are applied.
    """
    return [row for row in api.stored("AggregatedMetrics") if row["recordType"] != "_streams"]


def held(bucket: Row) -> tuple[int, ...]:
    """What a stored bucket says: its fields, and the extra measures that its metadata has."""
    numbers = [int(bucket.get(name) or 0) for name in MEASURES]
    if extra := measures_of(str(bucket["recordType"]))[len(MEASURES) :]:
        metadata = bucket.get("metadata") or {}
        while isinstance(metadata, str):
            metadata = json.loads(metadata)
        numbers += [int(metadata.get(name, 0)) for name in extra]
    return tuple(numbers)


@lru_cache(maxsize=4096)
def measures_of(series: str) -> tuple[str, ...]:
    """The names of a series' measures, in the order of their sums."""
    return MEASURES + _EXTRA.get(model_of(series), ())


@lru_cache(maxsize=4096)
def model_of(series: str) -> str:
    """The model whose rows a series counts; an empty text if none does."""
    name = re.sub("By(Scorecard|Score)$", "", series.partition("#")[0])
    for model, (record_type, _, kinds, suffix) in _SPLITS.items():
        if name in (record_type, *(f"{kind}{suffix}" for kind in kinds)):
            return model
    return ""


def account_of(model: str) -> str:
    """The attribute that names the account of a model's rows."""
    return _ACCOUNTS.get(model, "accountId")


def key_of(bucket: Row) -> Key:
    """The key of a stored bucket; in its composite key an id may be escaped, as in a URL."""
    series, start, minutes = str(bucket["compositeKey"]).rsplit("#", 2)
    return str(bucket["accountId"]), unquote(series), start, int(minutes)


def series_of(bucket: Row) -> str:
    """The series of a bucket whose composite key is not there."""
    scope = bucket.get("scoreId") or bucket.get("scorecardId")
    return f"{bucket['recordType']}#{scope}" if scope else str(bucket["recordType"])


def when(model: str, row: Row) -> datetime | None:
    """The instant of a countable row; None for a row that cannot be counted."""
    times = (row.get(name) for name in TIMES.get(model, ("createdAt",)))
    at = next((time for time in times if time is not None), None)
    is_row = row.get(account_of(model)) and row.get("_deleted") is not True
    match = _TIME.fullmatch(str(at)) if is_row else None
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
    name, split_by, kinds, suffix = _SPLITS[model]
    split = row.get(split_by)
    return [name, f"{split}{suffix}"] if split in kinds else [name]


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
    if model in ("Item", "ChatMessage"):
        return (1, 0, 0, 0, 0, 0)
    if model == "FeedbackItem":
        first, last = row.get("initialAnswerValue"), row.get("finalAnswerValue")
        invalid = row.get("isInvalid") is True or first is None or last is None
        changed = not invalid and str(first) != str(last)
        return (1, 0, 0, 0, 0, 0, int(changed), int(not invalid and not changed), int(invalid))
    if model in ("Task", "Procedure", "ChatSession"):
        return (1, 0, 0, 0, 0, int(row.get("status") in ("FAILED", "ERROR")))
    if model == "Evaluation":
        failed = int(row.get("status") in ("FAILED", "ERROR"))
        return (1, _millionths(row.get("cost")), 0, 0, 0, failed)
    if model == "Review":
        usage = _content(row.get("usage"))
        words = int((usage.get("detail") or {}).get("words") or 0)
        broken = int(row.get("state") == "BROKEN")
        return (1, _millionths(usage.get("total")), 0, 0, 0, broken, words)
    value, code, cost = row.get("value"), str(row.get("code")), _content(row.get("cost"))
    failed = str(value).lower() == "error" or (code.isdigit() and int(code) >= _ERROR_CODE)
    return (
        1,
        _millionths(cost.get("total_cost", cost.get("total_usd"))),
        int(bool(value) and not failed),
        int(cost.get("api_calls", cost.get("llm_calls", 0)) or 0),
        int(cost.get("cached_api_calls", cost.get("cached_llm_calls", 0)) or 0),
        int(failed),
    )


def _content(value: Any) -> Row:
    while isinstance(value, str):
        value = json.loads(value)
    return value or {}


def _millionths(dollars: Any) -> int:
    if dollars is None:
        return 0
    return int((Decimal(str(dollars)) * 1_000_000).quantize(Decimal(1), ROUND_HALF_EVEN))
