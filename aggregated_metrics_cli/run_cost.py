"""What a backfill of a deployed stack's tables would cost and take."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from aggregated_metrics.core.changes import model_of_stream
from aggregated_metrics.core.errors import SettingsError
from aggregated_metrics.core.record_types import BREAKDOWNS, MODELS
from aggregated_metrics.core.runs import LOOKS
from aggregated_metrics.core.source_models import Model

_BYTES_A_UNIT = 8192
"""An eventually consistent read unit reads two times 4 KB."""
_BYTES_A_PAGE = 1_000_000
_DOLLARS_A_MILLION_UNITS = 0.125
_DOLLARS_A_MILLION_REQUESTS = 4.0
"""us-east-1, on demand: DynamoDB's reads and AppSync's requests."""
_HOURS_A_REQUEST = 40 / 6
"""Six requests find, load and save forty hours that have one row each: four buckets an hour."""
_REQUESTS_A_SECOND = 20


@dataclass(frozen=True, slots=True)
class Stack:
    """What a deployed stack says of itself."""

    machine: str
    bucket: str
    streams: Mapping[str, str]
    read_units: float
    concurrency: int
    settle: int
    breakdowns: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run would take; `requests`, `dollars` and `minutes` are the most.

    So many they are if each row has an hour to itself. Rows that share their minutes cost less.
    """

    rows: Mapping[str, int]
    read_units: int
    scans: int
    requests: int
    dollars: float
    minutes: float


def stack_of(cloudformation: Any, name: str) -> Stack:
    """What the stack's outputs and parameters say.

    Raises:
        SettingsError: it is no stack of this application, or an older one.
    """
    described = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
    outputs = {each["OutputKey"]: each["OutputValue"] for each in described.get("Outputs", ())}
    given = {
        each["ParameterKey"]: each["ParameterValue"] for each in described.get("Parameters", ())
    }
    try:
        return Stack(
            outputs["BackfillStateMachine"],
            outputs["BackfillBucket"],
            _streams(given["StreamArns"], given.get("SourceTables", "{}")),
            float(given["BackfillReadUnits"]),
            int(given["BackfillConcurrency"]),
            int(given["SettleSeconds"]),
            _breakdowns(given.get("Breakdowns", "")),
        )
    except KeyError as error:
        raise SettingsError(
            f"the stack {name} has no {error}: deploy this version first"
        ) from error


def cost_of(dynamodb: Any, stack: Stack, models: Sequence[str]) -> Cost:
    """What a run over these models' tables would take; DynamoDB counts rows every six hours."""
    rows: dict[str, int] = {}
    size = hours = 0
    for model, arn in stack.streams.items():
        if not models or model in models:
            table = dynamodb.describe_table(TableName=arn.split("/")[1])["Table"]
            rows[model] = table.get("ItemCount", 0)
            size += table.get("TableSizeBytes", 0)
            hours += rows[model] * _series_of(MODELS[model].only(stack.breakdowns))
    units = len(LOOKS) * -(-size // _BYTES_A_UNIT)
    requests = ceil(hours / _HOURS_A_REQUEST)
    dollars = (units * _DOLLARS_A_MILLION_UNITS + requests * _DOLLARS_A_MILLION_REQUESTS) / 1e6
    seconds = units / stack.read_units + requests / (_REQUESTS_A_SECOND * stack.concurrency)
    return Cost(
        rows,
        units,
        len(LOOKS) * -(-size // _BYTES_A_PAGE),
        requests,
        dollars,
        (seconds + stack.settle) / 60,
    )


def _series_of(model: Model) -> int:
    """How many series a row counts into at most."""
    return 1 + bool(model.splits) + len(model.scopes)


def _streams(given: str, source_tables: str) -> dict[str, str]:
    """Model name to the ARN of its table's stream."""
    named = json.loads(source_tables)
    return {model_of_stream(arn, named).name: arn for arn in given.split(",") if arn}


def _breakdowns(given: str) -> Collection[str]:
    return BREAKDOWNS if given == "all" else given.split(",")
