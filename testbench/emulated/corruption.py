"""Corrupts stored buckets through the API, to see the damage found and repaired."""

import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from aggregated_metrics.adapters.appsync import AppSyncClient
from aggregated_metrics.model import AggregatedMetrics

from testbench.emulated.check import Buckets, key_of
from testbench.emulated.functions import StepError
from testbench.oracle import Key, series_of

DELETE = """
mutation DeleteBucket($input: DeleteAggregatedMetricsInput!) {
  deleteAggregatedMetrics(input: $input) { accountId compositeKey }
}
"""
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_KINDS = ("wrong count", "wrong cost", "deleted minute", "wrong rollup")


class Damage(NamedTuple):
    """One corrupted bucket; counts before and after, None where there is no bucket."""

    what: str
    key: Key
    before: int
    after: int | None


def corrupt(client: AppSyncClient, buckets: Buckets, hour: datetime, seed: int) -> list[Damage]:
    """Corrupt one account's bucket in every way, each of another record type.

    Args:
        client: one that may create, update and delete buckets.
        buckets: what is stored of one account.
        hour: the hour, which is over.
        seed: chooses the buckets.

    Raises:
        StepError: too few record types have rows in that hour.
    """
    draw = random.Random(f"damage/{seed}")
    of_type: dict[str, list[AggregatedMetrics]] = {}
    for record in buckets.values():
        # Those of breakdowns are reported with their scope apart, which a key has in it.
        if record.count and not record.scorecardId and _hour(record) == hour:
            of_type.setdefault(record.recordType, []).append(record)
    if len(of_type) < len(_KINDS):
        raise StepError(f"{len(of_type)} record types are too few to corrupt: write more rows")
    chosen = draw.sample(sorted(of_type), len(_KINDS))
    return [
        _damage(client, kind, draw, of_type[name])
        for kind, name in zip(_KINDS, chosen, strict=True)
    ]


def _hour(record: AggregatedMetrics) -> datetime:
    return record.timeRangeStart.replace(minute=0)


def _damage(
    client: AppSyncClient, kind: str, draw: random.Random, hour: list[AggregatedMetrics]
) -> Damage:
    is_rollup = kind == "wrong rollup"
    record = draw.choice([each for each in hour if (each.numberOfMinutes > 1) == is_rollup])
    if kind == "deleted minute":
        key = {"accountId": record.accountId, "compositeKey": record.compositeKey}
        client.execute(DELETE, {"input": key})
        return Damage(kind, key_of(record), record.count, None)
    by = draw.randrange(2, 40)
    after = record.count if kind == "wrong cost" else record.count + by
    AggregatedMetrics.create_or_update(
        client,
        record.accountId,
        record.recordType,
        record.timeRangeStart,
        record.timeRangeEnd,
        record.numberOfMinutes,
        after,
        record.complete,
        cost=(record.cost or 0) + by * 10_000 if kind == "wrong cost" else record.cost,
    )
    return Damage(kind, key_of(record), record.count, after)


def asked(account: str, hour: datetime, *, repair: bool) -> dict[str, Any]:
    """What the state machine is asked for: to check one hour of an account."""
    end = hour + timedelta(hours=1)
    span = {"start": hour.strftime(_TIME), "end": end.strftime(_TIME)}
    return {"range": {"accountId": account, **span, "repair": repair}}


def drifted(report: Mapping[str, Any]) -> dict[Key, Mapping[str, Any]]:
    """The buckets that a report names."""
    return {
        (each["accountId"], series_of(each), each["timeRangeStart"], each["numberOfMinutes"]): each
        for each in report["drift"]
    }
