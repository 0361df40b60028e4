"""Corrupts stored buckets behind the API's back, to see the damage found and repaired."""

import random
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from aggregated_metrics.model import AggregatedMetrics

from testbench.emulated.check import Buckets
from testbench.emulated.stack import EmulatedStack, StepError
from testbench.emulated.writing import update
from testbench.oracle import Key, series_of

_KINDS = ("wrong count", "wrong cost", "deleted minute")


class Damage(NamedTuple):
    """One minute, and what is done to it."""

    what: str
    key: Key
    bucket: AggregatedMetrics


def chosen(buckets: Buckets, hour: datetime, seed: int) -> list[Damage]:
    """A minute for every kind of damage, each of another record type.

    Rollups are spared: the next sweep may set them before a check does.

    Args:
        buckets: what is stored of one account.
        hour: the hour that the minutes are of.
        seed: chooses them.

    Raises:
        StepError: too few record types have rows in that hour.
    """
    draw = random.Random(f"damage/{seed}")
    of_type: dict[str, list[Key]] = defaultdict(list)
    for key, bucket in sorted(buckets.items()):
        # Those of breakdowns are reported with their scope apart, which a key has in it.
        is_minute = key[3] == 1 and "#" not in key[1]
        if is_minute and bucket.count and bucket.timeRangeStart.replace(minute=0) == hour:
            of_type[key[1]].append(key)
    if len(of_type) < len(_KINDS):
        raise StepError(f"{len(of_type)} record types are too few to corrupt: write more rows")
    names = draw.sample(sorted(of_type), len(_KINDS))
    keys = [draw.choice(of_type[name]) for name in names]
    return [Damage(kind, key, buckets[key]) for kind, key in zip(_KINDS, keys, strict=True)]


def corrupt(stack: EmulatedStack, damages: list[Damage]) -> None:
    """Do the damage."""
    dynamodb, table = stack.client("dynamodb"), stack.backend["AggregatedMetricsTableName"]
    for kind, _, bucket in damages:
        key = {"accountId": bucket.accountId, "compositeKey": bucket.compositeKey}
        changes: dict[str, dict[str, int] | None] = {
            "wrong count": {"count": bucket.count + 7},
            "wrong cost": {"cost": (bucket.cost or 0) + 70_000},
            "deleted minute": None,
        }
        update(dynamodb, table, key, changes[kind])


def drifted(report: Mapping[str, Any]) -> dict[Key, Mapping[str, Any]]:
    """The minutes that a report names; a sweep may have summed wrong ones up in rollups."""
    return {
        (each["accountId"], series_of(each), each["timeRangeStart"], 1): each
        for each in report["drift"]
        if each["numberOfMinutes"] == 1
    }
