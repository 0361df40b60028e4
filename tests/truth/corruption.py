"""What another writer does to buckets during a run: repaired damage, and harmless changes."""

import random
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from testbench import oracle
from testbench.fakes.appsync import FakeAppSync
from tests.truth import seams

EACH_TIME = 3
_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
_SECONDS = "%Y-%m-%dT%H:%M:%SZ"
_LAST_VERSION = "9999-12-31T23:59:59.999999Z"
_FOREIGN = (
    "a text",
    7,
    [1, 2],
    {seams.META[0]: None},
    dict.fromkeys(seams.META[:2], "x"),
    {seams.META[-1]: [1]},
)

type Hour = tuple[str, str, str]
"""Account, series, start of the clock hour."""


def corrupt(
    api: FakeAppSync,
    draw: random.Random,
    now: datetime,
    *,
    since: datetime,
    spared: Collection[str],
) -> set[Hour]:
    """Corrupt some buckets that begin at `since` or later, of any model but those spared.

    Returns the hours that they are in. What only a bucket knows of unindexed rows stays.
    """
    first = since.strftime(_SECONDS)
    stored = oracle.buckets_in(api)
    keys = {(row["accountId"], row["compositeKey"]) for row in stored}
    rows = [
        row
        for row in stored
        if oracle.model_of(row["recordType"]) not in spared
        and row["timeRangeStart"] >= first
        and not seams.holds_what_rows_do_not_show(row)
    ]
    hours = set()
    for row in _parsed(api, draw.sample(rows, min(EACH_TIME, len(rows)))):
        hours.add(_hour_of(row))
        match draw.randrange(3):
            case 0:
                api.remove("AggregatedMetrics", row["accountId"], row["compositeKey"])
                continue
            case 1:
                name = draw.choice(oracle.measures_of(row["recordType"]))
                # A parent that holds more than its minutes may have lost them to a clean-up.
                steps = (-1, 1, 7) if row["numberOfMinutes"] == 1 else (-1,)
                metadata = row if name in row else row["metadata"] or {}
                wrong = {name: max(0, (metadata.get(name) or 0) + draw.choice(steps))}
                if metadata is not row:
                    wrong = {"metadata": metadata | wrong}
            case _:
                wrong = _surplus(draw, row)
                if (row["accountId"], wrong["compositeKey"]) in keys:
                    continue
        version = {"updatedAt": now.strftime(_FORMAT)}
        api.put("AggregatedMetrics", row | wrong | version)
    return hours


def _parsed(api: FakeAppSync, sample: list[oracle.Row]) -> Iterator[dict[str, Any]]:
    found = (api.row("AggregatedMetrics", row["accountId"], row["compositeKey"]) for row in sample)
    return filter(None, found)


def _surplus(draw: random.Random, row: Mapping[str, Any]) -> dict[str, Any]:
    """A minute in the same hour, which most likely no row was created in."""
    start = f"{row['timeRangeStart'][:14]}{draw.randrange(60):02}:00Z"
    moment = datetime.fromisoformat(start)
    return {
        "compositeKey": f"{oracle.key_of(row)[1]}#{start}#1",
        "timeRangeStart": start,
        "timeRangeEnd": (moment + timedelta(minutes=1)).strftime(_SECONDS),
        "numberOfMinutes": 1,
        "count": draw.randrange(1, 9),
        "metadata": None,
    }


def _hour_of(row: Mapping[str, Any]) -> Hour:
    account, series, start, _ = oracle.key_of(row)
    return account, series, f"{start[:14]}00:00Z"


def write_foreign_metadata(api: FakeAppSync, draw: random.Random, now: datetime) -> None:
    """Let others keep things of their own in buckets, or of the wrong kind; no number changes."""
    rows = oracle.buckets_in(api)
    for row in _parsed(api, draw.sample(rows, min(EACH_TIME, len(rows)))):
        metadata = row.get("metadata")
        keeps = len(oracle.measures_of(row["recordType"])) > len(oracle.MEASURES)
        if row["numberOfMinutes"] > 1 and not keeps:
            metadata = draw.choice(_FOREIGN)  # parents keep nothing that counting needs
        elif isinstance(metadata, dict):
            metadata = metadata | {"note": draw.choice(_FOREIGN)}
        version = draw.choice((_LAST_VERSION, now.strftime(_FORMAT)))
        api.put("AggregatedMetrics", row | {"metadata": metadata, "updatedAt": version})
