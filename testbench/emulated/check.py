"""Compares what the API holds with a group-by of the tables' rows."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from aggregated_metrics.adapters.appsync import AppSyncClient, open_session
from aggregated_metrics.model import AggregatedMetrics
from boto3.dynamodb.types import TypeDeserializer
from botocore.credentials import Credentials

from testbench import oracle
from testbench.emulated.functions import invoke, persistently
from testbench.emulated.stack import REGION, SOURCE_MODELS, EmulatedStack, StepError
from testbench.traffic import ACCOUNTS

_FIRST = datetime(2026, 1, 1, tzinfo=UTC)
"""Before every row of the tests."""
_DAY = timedelta(days=1)
_SWEEPS = 10
_deserialize = TypeDeserializer().deserialize

type Buckets = Mapping[oracle.Key, AggregatedMetrics]


class Difference(NamedTuple):
    """A bucket whose stored sums are not those of its rows."""

    key: oracle.Key
    stored: tuple[int, ...] | None
    counted: tuple[int, ...]


@dataclass
class Verdict:
    """The result of a comparison.

    Attributes:
        compared: buckets that were compared.
        differences: those that are not equal.
        incomplete: buckets that had elapsed when the last sweep began, and are not complete.
        premature: buckets that are complete and have not elapsed yet.
        complete: buckets that are complete.
    """

    compared: int = 0
    differences: list[Difference] = field(default_factory=list)
    incomplete: list[oracle.Key] = field(default_factory=list)
    premature: list[oracle.Key] = field(default_factory=list)
    complete: int = 0

    @property
    def is_good(self) -> bool:
        """Whether everything is as it should be."""
        return bool(self.compared) and not (self.differences or self.incomplete or self.premature)


class Quarantined(NamedTuple):
    """A message in quarantine: the model, which row's version, and why."""

    model: str
    id: str
    reason: str


def api_client(stack: EmulatedStack, credentials: Credentials) -> AppSyncClient:
    """A client of the API that signs with these credentials."""
    return AppSyncClient(stack.graphql_endpoint, open_session(credentials, REGION))


def sweep(stack: EmulatedStack) -> datetime:
    """Sweep until nothing is due; returns when the last sweep began. A StepError if it fails."""
    for _ in range(_SWEEPS):
        began = datetime.now(UTC)
        result = persistently(lambda: invoke(stack, "BucketSweeperFunction", {}))
        if not result["waiting"]:
            return began
    raise StepError(f"hours are still waiting after {_SWEEPS} sweeps", stack.emulator_log)


def source_rows(stack: EmulatedStack) -> Iterator[tuple[str, oracle.Row]]:
    """Model and row of everything in the source tables, read from DynamoDB."""
    scan = stack.client("dynamodb").get_paginator("scan")
    for model in SOURCE_MODELS:
        for page in scan.paginate(TableName=stack.table(model), ConsistentRead=True):
            for item in page["Items"]:
                yield model, {name: _deserialize(value) for name, value in item.items()}


def counted(stack: EmulatedStack) -> dict[oracle.Key, tuple[int, ...]]:
    """What every bucket of the traffic's accounts must hold."""
    broken_down = stack.app_parameters()["Breakdowns"].split(",")
    found = oracle.buckets_of(source_rows(stack), datetime.now(UTC) + _DAY, breakdowns=True)
    return {
        key: sums
        for key, sums in found.items()
        if key[0] in ACCOUNTS and ("#" not in key[1] or key[1].partition("#")[0] in broken_down)
    }


def stored(client: AppSyncClient, accounts: Iterable[str]) -> dict[oracle.Key, AggregatedMetrics]:
    """Every bucket of the accounts, read through the API."""
    span, listed = (_FIRST, datetime.now(UTC) + _DAY), AggregatedMetrics.list_by_time_range
    return {
        oracle.key_of(vars(record)): record
        for account in accounts
        for record in persistently(partial(listed, client, account, *span))
    }


def judge(stack: EmulatedStack, client: AppSyncClient, grace: timedelta) -> tuple[Verdict, Buckets]:
    """Sweep, and compare every bucket of the traffic's accounts with all rows by now.

    Args:
        stack: where all streams are applied.
        client: reads the API.
        grace: how long after its end a bucket is complete.
    """
    swept = sweep(stack)
    found = stored(client, ACCOUNTS)  # of one's own models, too
    buckets = {key: each for key, each in found.items() if oracle.model_of(key[1]) in SOURCE_MODELS}
    expected, verdict, now = counted(stack), Verdict(), datetime.now(UTC)
    for key in sorted(expected.keys() | buckets.keys()):
        verdict.compared += 1
        record = buckets.get(key)
        held = None if record is None else oracle.held(vars(record))
        wanted = expected.get(key, (0,) * len(held or oracle.MEASURES))
        if held != wanted and (held is not None or any(wanted)):
            verdict.differences.append(Difference(key, held, wanted))
        if record is None:
            continue
        verdict.complete += record.complete
        elapses = record.timeRangeEnd + grace
        if elapses <= swept and not record.complete:
            verdict.incomplete.append(key)
        if elapses > now and record.complete:
            verdict.premature.append(key)
    return verdict, buckets


def quarantined(stack: EmulatedStack) -> list[Quarantined]:
    """What is in quarantine; the messages stay there."""
    sqs, url = stack.client("sqs"), stack.app["QuarantineQueueUrl"]
    messages: list[dict[str, Any]] = []
    while more := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=120
    ).get("Messages"):
        messages += more
    for each in messages:
        handle = each["ReceiptHandle"]
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
    return [_quarantined(json.loads(each["Body"])) for each in messages]


def _quarantined(body: Mapping[str, Any]) -> Quarantined:
    record = body["record"]
    model = str(record["eventSourceARN"]).split("/")[1].partition("-")[0]
    identity = (record["dynamodb"].get("NewImage") or {}).get("id", {}).get("S")
    reason = re.sub(r"'[^']*'|\d{4}-\d\d-\d\dT\S+", "…", body["reason"])
    return Quarantined(model, str(identity), reason)
