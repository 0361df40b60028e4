"""The fold: what counting adds to the CPU time that parsing the event costs anyhow.

What is folded is freshly parsed, as in an invocation: its objects are not in the processor's cache
and no text's hash is known. It is compared with parsing the same event and freeing it again.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aggregated_metrics.core.changes import fold
from aggregated_metrics.core.record_types import MODELS

from benchmarks import workloads
from benchmarks.measuring import Line, interleaved, line

RECORDS = 1000
IN_CACHE = 50
"""So many parsed records stay in a core's own cache."""
_GROUP = "fold"


def run(*, quick: bool) -> list[Line]:
    repeats = 15 if quick else 41
    lines: list[Line] = []
    for model, bar in (("ScoreResult", 0.4), ("Item", 0.3)):
        lines += _measure(f"{model} inserts", workloads.inserts(model, RECORDS), repeats, bar)
        lines += _measure(f"{model} updates", workloads.updates(model, RECORDS), repeats, None)
        event = workloads.untouched(model, RECORDS)
        lines += _measure(f"{model} updates of nothing counted", event, repeats, None)
    return lines


def _measure(what: str, event: Mapping[str, Any], repeats: int, bar: float | None) -> list[Line]:
    text = json.dumps(event)
    few = json.loads(text)["Records"][:IN_CACHE] * (RECORDS // IN_CACHE)
    taken = interleaved(
        {
            "parse": (lambda: text, json.loads),
            "fold": (lambda: json.loads(text), lambda fresh: fold(fresh, {})),
            "in cache": (lambda: {"Records": few}, lambda event: fold(event, {})),
        },
        repeats,
    )
    parse, folded, in_cache = taken["parse"], taken["fold"], taken["in cache"]
    per_record = 1e6 / RECORDS
    size = f"{len(text) // RECORDS} bytes a record"
    return [
        line(_GROUP, f"{what}: json.loads", parse.scaled(per_record), "µs/record", note=size),
        line(_GROUP, f"{what}: fold", folded.scaled(per_record), "µs/record"),
        line(_GROUP, f"{what}: fold / json.loads", folded.over(parse), "x", bar=bar),
        line(
            _GROUP,
            f"{what}: fold of {IN_CACHE} records over and over, which stay in the cache",
            in_cache.scaled(per_record),
            "µs/record",
        ),
    ]


def sums(event: Mapping[str, Any]) -> dict[tuple[str, str, int], tuple[int, ...]]:
    """What an event's deltas come to, by account, record type and minute."""
    return {
        (*target.series[:2], target.minute): tuple(
            map(sum, zip(*(delta.measures for delta in deltas), strict=True))
        )
        for batch in fold(event, {}).batches
        for target, deltas in batch.deltas.items()
    }


def recounted(model: str, rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, int], Any]:
    """The same by a plain loop over plain rows, which shares nothing with the layer but names."""
    counted: dict[tuple[str, str, int], list[int]] = {}
    for row in rows:
        hour, minute = int(row["createdAt"][11:13]), int(row["createdAt"][14:16])
        day = workloads.FIRST.replace(hour=0, minute=0, second=0, microsecond=0)
        at = int(day.timestamp()) // 60 + hour * 60 + minute
        cost = row.get("cost", {})
        failed = row.get("value") == "ERROR"
        adds = (
            1,
            round(cost.get("total_cost", 0) * 1e6),
            int(model == "ScoreResult" and not failed),
            cost.get("llm_calls", 0),
            cost.get("cached_llm_calls", 0),
            int(failed),
        )
        kind = row.get("type") or row.get("createdByType")
        plain = MODELS[model].record_type
        for name in (plain, f"{kind}{plain[0].upper()}{plain[1:]}")[: 2 if kind else 1]:
            sums_ = counted.setdefault((row["accountId"], name, at), [0] * 6)
            for i, value in enumerate(adds):
                sums_[i] += value
    return {place: tuple(values) for place, values in counted.items()}
