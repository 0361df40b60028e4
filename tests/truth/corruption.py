"""What another writer does to buckets during a run: repaired damage, and harmless changes."""

import random
from collections.abc import Collection
from datetime import datetime

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
    """Remove some buckets that begin at `since` or later, or change what they hold.

    Returns the hours that they are in. Those of the models in `spared` stay, and those that alone
    know of unindexed rows: no check could bring that back.
    """
    first = since.strftime(_SECONDS)
    rows = [
        row
        for row in oracle.buckets_in(api)
        if oracle.model_of(row["recordType"]) not in spared
        and row["timeRangeStart"] >= first
        and not seams.holds_what_rows_do_not_show(row)
    ]
    hours = set()
    for row in draw.sample(rows, min(EACH_TIME, len(rows))):
        account, series, start, size = oracle.key_of(row)
        hours.add((account, series, f"{start[:14]}00:00Z"))
        if draw.random() < 0.5:
            api.remove("AggregatedMetrics", account, row["compositeKey"])
            continue
        # A rollup that holds more than its minutes may have lost them to a clean-up.
        by = draw.choice((-1, 1, 7)) if size == 1 else -1
        name = draw.choice(oracle.MEASURES)
        wrong = {name: max(0, (row.get(name) or 0) + by), "updatedAt": now.strftime(_FORMAT)}
        api.put("AggregatedMetrics", row | wrong)
    return hours


def write_foreign_metadata(api: FakeAppSync, draw: random.Random, now: datetime) -> None:
    """Let others keep things of their own in buckets, or of the wrong kind; no number changes."""
    rows = oracle.buckets_in(api)
    for row in draw.sample(rows, min(EACH_TIME, len(rows))):
        metadata = row.get("metadata")
        keeps = len(oracle.measures_of(row["recordType"])) > len(oracle.MEASURES)
        if row["numberOfMinutes"] > 1 and not keeps:
            metadata = draw.choice(_FOREIGN)  # parents keep nothing that counting needs
        elif isinstance(metadata, dict):
            metadata = metadata | {"note": draw.choice(_FOREIGN)}
        version = draw.choice((_LAST_VERSION, now.strftime(_FORMAT)))
        api.put("AggregatedMetrics", row | {"metadata": metadata, "updatedAt": version})
