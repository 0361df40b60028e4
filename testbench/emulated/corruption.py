"""Corrupts buckets through the API, and has the reconciler find and repair them."""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from aggregated_metrics.adapters.appsync import AppSyncClient
from aggregated_metrics.core.record_types import RECORD_TYPES
from aggregated_metrics.model import AggregatedMetrics

from testbench.emulated.check import Buckets, key_of
from testbench.emulated.functions import StepError, invoke
from testbench.emulated.stack import EmulatedStack
from testbench.oracle import Key

_DELETE = """
mutation DeleteBucket($input: DeleteAggregatedMetricsInput!) {
  deleteAggregatedMetrics(input: $input) { accountId compositeKey }
}
"""
_HOUR = timedelta(hours=1)
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_RUNS = 20


class Damage(NamedTuple):
    """One corrupted bucket; counts before and after, None where there is no bucket."""

    what: str
    key: Key
    before: int | None
    after: int | None


@dataclass
class Checked:
    """What the reconciler found in all ranges together; drift is as in its result."""

    hours: int = 0
    minutes: int = 0
    repaired: int = 0
    moving: int = 0
    drift: dict[Key, dict[str, Any]] = field(default_factory=dict)

    def finds(self, damage: Damage) -> bool:
        """Whether a damage was reported."""
        return damage.key in self.drift


def corrupt(client: AppSyncClient, buckets: Buckets, seed: int, each: int = 2) -> list[Damage]:
    """Corrupt so many buckets in every way, each in an hour of its own.

    Args:
        client: one that may create, update and delete buckets.
        buckets: what is stored.
        seed: chooses the buckets.
        each: how many buckets for each kind of damage.
    """
    # Those of breakdowns are reported with their scope apart, which a key has in it.
    buckets = {key: bucket for key, bucket in buckets.items() if key[1] in RECORD_TYPES}
    draw = random.Random(f"damage/{seed}")
    hours: dict[tuple[str, str, datetime], list[AggregatedMetrics]] = {}
    for record in buckets.values():
        start = record.timeRangeStart.replace(minute=0)
        hours.setdefault((record.accountId, record.recordType, start), []).append(record)
    # Every kind of damage must find its bucket in the hour that falls to it.
    places = [
        hour
        for _, hour in sorted(hours.items())
        if {r.numberOfMinutes > 1 for r in hour if r.count} == {True, False}
    ]
    draw.shuffle(places)
    kinds = [kind for kind in _KINDS for _ in range(each)]
    if len(places) < len(kinds):
        raise StepError(
            f"too few hours to corrupt: {len(places)}, not {len(kinds)}; write more rows"
        )
    return [kind(client, draw, hour) for kind, hour in zip(kinds, places, strict=False)]


def _set(
    client: AppSyncClient,
    record: AggregatedMetrics,
    what: str,
    *,
    count: int | None = None,
    cost: int | None = None,
) -> Damage:
    after = record.count if count is None else count
    AggregatedMetrics.create_or_update(
        client,
        record.accountId,
        record.recordType,
        record.timeRangeStart,
        record.timeRangeEnd,
        record.numberOfMinutes,
        after,
        record.complete,
        cost=cost,
    )
    return Damage(what, key_of(record), record.count, after)


def _one(draw: random.Random, hour: list[AggregatedMetrics], *sizes: int) -> AggregatedMetrics:
    return draw.choice([each for each in hour if each.numberOfMinutes in sizes and each.count])


def _wrong_count(
    client: AppSyncClient, draw: random.Random, hour: list[AggregatedMetrics]
) -> Damage:
    record = _one(draw, hour, 1)
    return _set(client, record, "wrong count", count=record.count + draw.randrange(2, 40))


def _wrong_cost(
    client: AppSyncClient, draw: random.Random, hour: list[AggregatedMetrics]
) -> Damage:
    record = _one(draw, hour, 1)
    return _set(client, record, "wrong cost", cost=(record.cost or 0) + 123_456)


def _wrong_parent(
    client: AppSyncClient, draw: random.Random, hour: list[AggregatedMetrics]
) -> Damage:
    record = _one(draw, hour, 5, 15, 60)
    return _set(client, record, "wrong parent", count=record.count + 7)


def _missing_minute(
    client: AppSyncClient, draw: random.Random, hour: list[AggregatedMetrics]
) -> Damage:
    record = _one(draw, hour, 1)
    key = {"accountId": record.accountId, "compositeKey": record.compositeKey}
    client.execute(_DELETE, {"input": key})
    return Damage("missing minute", key_of(record), record.count, None)


def _surplus_minute(
    client: AppSyncClient, draw: random.Random, hour: list[AggregatedMetrics]
) -> Damage:
    """A minute without a bucket between others; where there is none, a wrong count instead.

    Not a later one: it would be complete before its time, and no repair takes that back.
    """
    start = hour[0].timeRangeStart.replace(minute=0)
    taken = {record.timeRangeStart for record in hour if record.numberOfMinutes == 1}
    last = (max(taken) - start) // timedelta(minutes=1)
    free = {start + timedelta(minutes=i) for i in range(last)} - taken
    if not free:
        return _wrong_count(client, draw, hour)
    at = draw.choice(sorted(free))
    record = AggregatedMetrics.create_or_update(
        client,
        hour[0].accountId,
        hour[0].recordType,
        at,
        at + timedelta(minutes=1),
        1,
        count=3,
    )
    return Damage("surplus minute", key_of(record), None, 3)


_KINDS: tuple[Callable[[AppSyncClient, random.Random, list[AggregatedMetrics]], Damage], ...] = (
    _wrong_count,
    _wrong_cost,
    _missing_minute,
    _surplus_minute,
    _wrong_parent,
)


def reconcile(
    stack: EmulatedStack,
    keys: Iterable[Key],
    *,
    repair: bool,
) -> Checked:
    """Have the reconciler check every hour that one of these buckets lies in.

    Raises:
        StepError: it failed, or it comes to no end.
    """
    checked = Checked()
    for event in events(keys, repair=repair):
        for result in _runs(stack, event):
            checked.hours += result["hours"]
            checked.minutes += result["minutes"]
            checked.repaired += result["repaired"]
            checked.moving += result["movingCount"]
            for drift in result["drift"]:
                names = ("accountId", "recordType", "timeRangeStart", "numberOfMinutes")
                account, record_type, start, minutes = (drift[name] for name in names)
                checked.drift[account, record_type, start, minutes] = drift
    return checked


def events(keys: Iterable[Key], *, repair: bool) -> list[dict[str, Any]]:
    """The reconciler's events for the hours of these buckets: consecutive hours in one."""
    hours: dict[str, set[datetime]] = {}
    for account, _, start, _ in keys:
        moment = datetime.strptime(start, _TIME).replace(tzinfo=UTC, minute=0)
        hours.setdefault(account, set()).add(moment)
    return [
        {
            "accountId": account,
            "start": start.strftime(_TIME),
            "end": end.strftime(_TIME),
            "repair": repair,
        }
        for account, starts in sorted(hours.items())
        for start, end in _stretches(sorted(starts))
    ]


def _stretches(hours: list[datetime]) -> Iterator[tuple[datetime, datetime]]:
    start = end = hours[0]
    for hour in hours:
        if hour > end:
            yield start, end
            start = hour
        end = hour + _HOUR
    yield start, end


def _runs(stack: EmulatedStack, event: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The results of an event and of those that it asks to go on with."""
    for _ in range(_RUNS):
        if event is None:
            return
        result = invoke(stack, "ReconcilerFunction", event)
        yield result
        event = result["next"]
    raise StepError(f"the reconciler is not done after {_RUNS} runs. Its log: {stack.emulator_log}")


def is_explained(drift: Iterable[Key], damages: Iterable[Damage]) -> bool:
    """Whether every drift is a corrupted bucket, or a parent of a corrupted minute."""
    corrupted = {damage.key for damage in damages}
    hours = {(account, name, start[:13]) for account, name, start, _ in corrupted}
    return all(
        key in corrupted or (key[3] > 1 and (key[0], key[1], key[2][:13]) in hours) for key in drift
    )
