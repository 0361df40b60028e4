"""What counting a batch costs: the fold, the whole invocation, and growth with the rows before it.

The fold is what counting adds to parsing the event. What is folded is freshly parsed, as in an
invocation: its objects are not in the processor's cache and no text's hash is known. It is compared
with parsing the same event and freeing it again.

The invocation is `lambda_handler`. The API and DynamoDB are another process, so what they compute
is not counted; signing, HTTP, JSON, logging and metrics are. The wall time has the answers' delay
in it, twice for a load and a save.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aggregated_metrics.core.changes import fold
from aggregated_metrics.core.models import BUILT_IN

from benchmarks import workloads
from benchmarks.measuring import Line, Sample, interleaved, line
from benchmarks.serving import Functions, Server, functions, serving

PLAIN = BUILT_IN.only(())
"""The models without breakdowns."""
RECORDS = 1000
IN_CACHE = 50
"""So many parsed records stay in a core's own cache."""
BUCKETS_AN_HOUR = 60 + 12 + 4 + 1
ROWS_A_PAGE = 1000
_MODEL = "ScoreResult"
_SIZES = {1: 1, 100: 1, 1000: 2, 4000: 5}
"""Records of a batch, and the minutes that they are spread over."""
_ANSWERS = (0.0, 0.020)


def folding(*, quick: bool) -> list[Line]:
    repeats = 15 if quick else 41
    lines: list[Line] = []
    for model, bar in (("ScoreResult", 0.4), ("Item", 0.3)):
        lines += _fold(f"{model} inserts", workloads.inserts(model, RECORDS), repeats, bar)
        lines += _fold(f"{model} updates", workloads.updates(model, RECORDS), repeats, None)
        event = workloads.untouched(model, RECORDS)
        lines += _fold(f"{model} updates of nothing counted", event, repeats, None)
    return lines


def _fold(what: str, event: Mapping[str, Any], repeats: int, bar: float | None) -> list[Line]:
    text = json.dumps(event)
    few = json.loads(text)["Records"][:IN_CACHE] * (RECORDS // IN_CACHE)
    taken = interleaved(
        {
            "parse": (lambda: text, json.loads),
            "fold": (lambda: json.loads(text), lambda fresh: fold(fresh, PLAIN, {})),
            "in cache": (lambda: {"Records": few}, lambda event: fold(event, PLAIN, {})),
        },
        repeats,
    )
    parse, folded, in_cache = taken["parse"], taken["fold"], taken["in cache"]
    per_record = 1e6 / RECORDS
    size = f"{len(text) // RECORDS} bytes a record"
    return [
        line("fold", f"{what}: json.loads", parse.scaled(per_record), "µs/record", note=size),
        line("fold", f"{what}: fold", folded.scaled(per_record), "µs/record"),
        line("fold", f"{what}: fold / json.loads", folded.over(parse), "x", bar=bar),
        line(
            "fold",
            f"{what}: fold of {IN_CACHE} records over and over, which stay in the cache",
            in_cache.scaled(per_record),
            "µs/record",
        ),
    ]


def sums(event: Mapping[str, Any]) -> dict[tuple[str, str, int], tuple[int, ...]]:
    """What an event's deltas come to, by account, record type and minute."""
    return {
        (*hour.series[:2], minute): tuple(
            map(sum, zip(*(adds for _, adds, *_ in deltas), strict=True))
        )
        for batch in fold(event, PLAIN, {}).batches
        for hour, minute, deltas in batch.minutes()
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
        plain = BUILT_IN[model].record_type
        for name in (plain, f"{kind}{plain[0].upper()}{plain[1:]}")[: 2 if kind else 1]:
            sums_ = counted.setdefault((row["accountId"], name, at), [0] * len(adds))
            for i, value in enumerate(adds):
                sums_[i] += value
    return {place: tuple(values) for place, values in counted.items()}


def handling(*, quick: bool) -> list[Line]:
    lines: list[Line] = []
    for delay in _ANSWERS:
        with serving(delay) as server, functions(server) as invoked:
            for records, minutes in _SIZES.items():
                repeats = _repeats(records, quick=quick)
                lines += _times(server, invoked, records, minutes, delay, repeats)
            if not delay:
                lines += _requests(server, invoked)
    with serving() as server, functions(server, BREAKDOWNS="all") as invoked:
        lines += _broken_down(server, invoked)
    return lines


def _repeats(records: int, *, quick: bool) -> int:
    most = 5 if quick else 21
    return max(3, most if records <= 1000 else most // 3)


def _times(
    server: Server, invoked: Functions, records: int, minutes: int, delay: float, repeats: int
) -> list[Line]:
    server.post("/reset")
    batches = _batches(records, minutes)
    invoked.invoke("stream_aggregator", next(batches))
    cpu, wall = [], []
    for _ in range(repeats):
        event = next(batches)
        began, at = time.process_time(), time.perf_counter()
        invoked.invoke("stream_aggregator", event)
        cpu.append((time.process_time() - began) * 1000)
        wall.append((time.perf_counter() - at) * 1000)
    what = f"{records} records, answers in {delay * 1000:.0f} ms"
    return [
        line("handler", f"{what}: CPU", Sample(cpu), "ms"),
        line("handler", f"{what}: wall", Sample(wall), "ms"),
    ]


def _requests(server: Server, invoked: Functions) -> Iterator[Line]:
    """Counts, which do not vary."""
    for records, minutes in _SIZES.items():
        server.post("/reset")
        batches = _batches(records, minutes)
        invoked.invoke("stream_aggregator", next(batches))
        event = next(batches)
        with invoked.counted() as traffic:
            invoked.invoke("stream_aggregator", event)
        what = f"{records} records of one account in {minutes} min"
        yield Line("handler", f"{what}: GraphQL requests", traffic.requests, "", bar=2)
        yield Line("handler", f"{what}: buckets written", traffic.writes, "")
        yield Line("handler", f"{what}: sent", traffic.sent, "bytes")
        yield Line("handler", f"{what}: received", traffic.received, "bytes")
        if records == 100:
            yield from _again(invoked, event)


def _broken_down(server: Server, invoked: Functions) -> Iterator[Line]:
    """What the breakdowns by scorecard and score add; counts, which do not vary."""
    for scores in (1, 20):
        server.post("/reset")
        first = workloads.FIRST_NUMBER
        invoked.invoke("stream_aggregator", workloads.of_scores(100, scores, first=first))
        event = workloads.of_scores(100, scores, first=first + 1_000)
        with invoked.counted() as traffic:
            invoked.invoke("stream_aggregator", event)
        what = f"100 records of one account and {scores} scores, all breakdowns"
        yield Line("handler", f"{what}: GraphQL requests", traffic.requests, "", bar=4)
        yield Line("handler", f"{what}: buckets written", traffic.writes, "")
        yield Line("handler", f"{what}: sent", traffic.sent, "bytes")


def _again(invoked: Functions, event: Any) -> Iterator[Line]:
    with invoked.counted() as traffic:
        invoked.invoke("stream_aggregator", event)
    yield Line("handler", "the same 100 delivered again: requests", traffic.requests, "", bar=1)
    yield Line(
        "handler", "the same 100 delivered again: buckets written", traffic.writes, "", bar=0
    )
    with invoked.counted() as traffic:
        invoked.invoke("stream_aggregator", workloads.untouched(_MODEL, 100))
    what = "100 updates of nothing counted: requests"
    yield Line("handler", what, traffic.requests, "", bar=0)
    recount = recounted_requests(record_types=3, hours=2, rows={_MODEL: 100, "Item": 100})
    what = "100 records by recounting two hours: requests, worked out"
    yield Line("handler", what, recount, "", note="one request a bucket, one a page of rows")


def _batches(records: int, minutes: int) -> Iterator[Any]:
    """The same rows' worth again and again, as new records of one shard."""
    first = workloads.FIRST_NUMBER
    while True:
        yield workloads.inserts(_MODEL, records, minutes=minutes, first=first)
        first += 10 * records


def growth(*, quick: bool) -> list[Line]:
    """One batch of 100 where the hour, the account and the day hold ever more rows."""
    lines: list[Line] = []
    with serving() as server, functions(server) as invoked:
        measured: dict[int, tuple[int, int, float]] = {}
        batches = _batches(100, 1)
        for rows in (10**2, 10**4, 10**6):
            server.post("/reset")
            server.post("/put", stored_day(rows))
            invoked.invoke("stream_aggregator", next(batches))
            with invoked.counted() as traffic:
                invoked.invoke("stream_aggregator", next(batches))
            cpu = []
            for _ in range(3 if quick else 15):
                event = next(batches)
                began = time.process_time()
                invoked.invoke("stream_aggregator", event)
                cpu.append((time.process_time() - began) * 1000)
            what = f"100 records onto {rows:,} rows in the hour, 24 times that in the day"
            base = measured.setdefault(10**2, (traffic.requests, _bytes(traffic), 0.0))
            more = traffic.requests - base[0]
            lines += [
                Line("growth", f"{what}: GraphQL requests", traffic.requests, "", bar=2),
                Line("growth", f"{what}: requests more than onto 100", more, "", bar=0),
                Line("growth", f"{what}: bytes", _bytes(traffic), "bytes"),
                Line("growth", f"{what}: bytes / those onto 100", _bytes(traffic) / base[1], "x"),
                line("growth", f"{what}: CPU", Sample(cpu), "ms"),
            ]
    return lines


def _bytes(traffic: Any) -> int:
    return int(traffic.sent + traffic.received)


def stored_day(rows_an_hour: int) -> list[dict[str, Any]]:
    """The buckets of a day that has so many rows in each hour."""
    return [
        bucket
        for hour in range(24)
        for record_type, share in workloads.SHARES.items()
        for bucket in workloads.stored_hour(record_type, hour, rows_an_hour * share)
    ]


def recounted_requests(*, record_types: int, hours: int, rows: Mapping[str, int]) -> int:
    """Requests of the known best elsewhere for one batch, as arithmetic. Nobody's code is here.

    It recounts the last hours at every batch: it lists the rows through the API, a thousand a
    request, and writes every bucket of 1, 5, 15 and 60 minutes with a request of its own.
    """
    pages = sum(max(1, -(-number // ROWS_A_PAGE)) for number in rows.values())
    return pages + record_types * hours * BUCKETS_AN_HOUR
