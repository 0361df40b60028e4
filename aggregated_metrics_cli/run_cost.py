"""What a backfill of a deployed stack's tables would cost and take."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aggregated_metrics.core.errors import SettingsError
from aggregated_metrics.core.record_types import MODELS
from aggregated_metrics.core.runs import LOOKS

from aggregated_metrics_cli.parameters import stream_parameter

_BYTES_A_UNIT = 8192
"""An eventually consistent read unit reads two times 4 KB."""
_BYTES_A_PAGE = 1_000_000
_DOLLARS_A_MILLION_UNITS = 0.125
_DOLLARS_A_MILLION_REQUESTS = 4.0
"""us-east-1, on demand: DynamoDB's reads and AppSync's requests."""
_ROWS_A_REQUEST = 10
"""A minute and its parents are a load and some aliases of a save, for each of two record types."""
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


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run would take; `requests` and `dollars` are at most so many."""

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
            {model: arn for model in MODELS if (arn := given.get(stream_parameter(model)))},
            float(given["BackfillReadUnits"]),
            int(given["BackfillConcurrency"]),
            int(given["SettleSeconds"]),
        )
    except KeyError as error:
        raise SettingsError(
            f"the stack {name} has no {error}: deploy this version first"
        ) from error


def cost_of(dynamodb: Any, stack: Stack, models: Sequence[str]) -> Cost:
    """What a run over these models' tables would take; DynamoDB counts rows every six hours."""
    rows: dict[str, int] = {}
    size = 0
    for model, arn in stack.streams.items():
        if not models or model in models:
            table = dynamodb.describe_table(TableName=arn.split("/")[1])["Table"]
            rows[model] = table.get("ItemCount", 0)
            size += table.get("TableSizeBytes", 0)
    units = len(LOOKS) * -(-size // _BYTES_A_UNIT)
    requests = -(-sum(rows.values()) // _ROWS_A_REQUEST)
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
