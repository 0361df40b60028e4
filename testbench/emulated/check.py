"""Compares what the API holds with a group-by of the tables' rows."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from aggregated_metrics.adapters.appsync import AppSyncClient, open_session
from aggregated_metrics.model import AggregatedMetrics
from boto3.dynamodb.types import TypeDeserializer
from botocore.credentials import Credentials as BotoCredentials

from testbench import oracle
from testbench.emulated.functions import StepError, invoke, persistently
from testbench.emulated.stack import REGION, SOURCE_MODELS, Credentials, EmulatedStack

READ_FIELDS = (
    "Query/fields/getAggregatedMetrics",
    "Query/fields/listAggregatedMetrics",
    "Query/fields/listAggregatedMetricsByAccountIdAndTimeRangeStartAndRecordType",
    "Query/fields/listAggregatedMetricsByAccountIdAndRecordTypeAndTimeRangeStart",
)
WRITE_FIELDS = tuple(
    f"Mutation/fields/{kind}AggregatedMetrics" for kind in ("create", "update", "delete")
)
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
    """A message in quarantine: why, from which table, and which row's version."""

    reason: str
    table: str
    id: str

    @property
    def model(self) -> str:
        """The model that the table's name begins with."""
        return self.table.partition("-")[0]


def api_client(stack: EmulatedStack, credentials: Credentials) -> AppSyncClient:
    """A client of the API that signs with these credentials."""
    http = open_session(
        BotoCredentials(credentials.access_key, credentials.secret_key, credentials.token), REGION
    )
    return AppSyncClient(stack.graphql_endpoint, http)


def sweep(stack: EmulatedStack) -> tuple[datetime, int]:
    """Sweep until nothing is due; returns when the last sweep began and what was written.

    Raises:
        StepError: a sweep failed, or sweeping does not end.
    """
    written = 0
    for _ in range(_SWEEPS):
        began = datetime.now(UTC)
        result = persistently(lambda: invoke(stack, "BucketSweeperFunction", {}))
        written += result["written"]
        if not result["waiting"]:
            return began, written
    raise StepError(
        f"hours are still waiting after {_SWEEPS} sweeps. Its log: {stack.emulator_log}"
    )


def source_rows(stack: EmulatedStack) -> Iterator[tuple[str, oracle.Row]]:
    """Model and row of everything in the source tables, read from DynamoDB."""
    scan = stack.client("dynamodb").get_paginator("scan")
    for model in SOURCE_MODELS:
        for page in scan.paginate(TableName=stack.tables[model], ConsistentRead=True):
            for item in page["Items"]:
                yield model, {name: _deserialize(value) for name, value in item.items()}


def counted(stack: EmulatedStack) -> dict[oracle.Key, tuple[int, ...]]:
    """What every bucket must hold."""
    names = [name for name in stack.app_parameters().get("Breakdowns", "").split(",") if name]
    latest = datetime.now(UTC) + _DAY
    found = oracle.buckets_of(source_rows(stack), latest, breakdowns=bool(names))
    return {
        key: measures
        for key, measures in found.items()
        if "#" not in key[1] or names == ["all"] or key[1].partition("#")[0] in names
    }


def stored(client: AppSyncClient, accounts: Iterable[str]) -> dict[oracle.Key, AggregatedMetrics]:
    """Every bucket of the accounts, read through the API."""
    span = _FIRST, datetime.now(UTC) + _DAY
    return {
        key_of(record): record
        for account in accounts
        for record in AggregatedMetrics.list_by_time_range(client, account, *span)
    }


def key_of(record: AggregatedMetrics) -> oracle.Key:
    """The key by which the group-by names this bucket."""
    return oracle.key_of(vars(record))


def measures_of(record: AggregatedMetrics) -> tuple[int, ...]:
    """Its measures, in the group-by's order."""
    return oracle.held(vars(record))


def compare(
    expected: Mapping[oracle.Key, tuple[int, ...]],
    buckets: Buckets,
    *,
    swept: datetime,
    grace: timedelta,
) -> Verdict:
    """Compare every bucket that is there or should be; one that is not there holds nothing.

    Args:
        expected: the group-by.
        buckets: the API's; read before this call.
        swept: when the last sweep began.
        grace: how long after its end a bucket is complete.
    """
    verdict = Verdict()
    now = datetime.now(UTC)
    for key in sorted(expected.keys() | buckets.keys()):
        verdict.compared += 1
        record = buckets.get(key)
        held = None if record is None else measures_of(record)
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
    return verdict


def quarantined(stack: EmulatedStack) -> list[Quarantined]:
    """What is in quarantine; the messages stay there."""
    sqs, url = stack.client("sqs"), stack.app["QuarantineQueueUrl"]
    found, handles = [], []
    while messages := sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, VisibilityTimeout=120
    ).get("Messages"):
        for message in messages:
            handles.append(message["ReceiptHandle"])
            found.append(_quarantined(json.loads(message["Body"])))
    for handle in handles:
        sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=0)
    return found


def _quarantined(body: Mapping[str, Any]) -> Quarantined:
    reason = re.sub(r"'[^']*'|\d{4}-\d\d-\d\dT\S+", "…", body["reason"])
    record = body["record"]
    image = record["dynamodb"].get("NewImage") or {}
    table = str(record["eventSourceARN"]).split("/")[1]
    return Quarantined(reason, table, str(image.get("id", {}).get("S")))
