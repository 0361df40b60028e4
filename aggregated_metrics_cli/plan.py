"""What a scan of whole tables reads and costs, before it starts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aggregated_metrics_cli.deployment import Deployment
from aggregated_metrics_cli.errors import CommandError

_PASSES = 2
_BYTES_A_UNIT = 8192
"""An eventually consistent read unit reads two times 4 KB."""
_DOLLARS_A_MILLION_UNITS = 0.125
"""us-east-1, on demand."""


def lines(plan: Mapping[str, Any]) -> Iterator[str]:
    """A plan for people."""
    for model, number in plan["rows"].items():
        yield f"{model}: about {number:,} rows"
    yield (
        f"{plan['readUnits']:,} read units in two passes, ${plan['dollars']:,.2f} at us-east-1's "
        "price; writing what differs comes on top"
    )


def plan_of(deployment: Deployment, models: Sequence[str]) -> dict[str, Any]:
    """What a scan of these models' tables takes; of all attached tables if none is named.

    Rows are as DynamoDB counts them every six hours; dollars are for reading in both passes.

    Raises:
        CommandError: a model is not attached.
    """
    tables = attached(deployment.stack)
    if unknown := [name for name in models if name not in tables]:
        raise CommandError(f"{unknown[0]!r} is not attached; attached: {', '.join(tables)}")
    wanted = models or list(tables)
    describe = deployment.aws("dynamodb").describe_table
    described = {name: describe(TableName=tables[name])["Table"] for name in wanted}
    size = sum(table.get("TableSizeBytes", 0) for table in described.values())
    units = _PASSES * -(-size // _BYTES_A_UNIT)
    rows = {name: table.get("ItemCount", 0) for name, table in described.items()}
    dollars = units * _DOLLARS_A_MILLION_UNITS / 1e6
    return {"rows": rows, "readUnits": units, "dollars": dollars}


def attached(stack: Mapping[str, str]) -> dict[str, str]:
    """Model to table, by the stack's parameters; Amplify's tables begin with the model's name."""
    named = json.loads(stack.get("SourceTables") or "{}")
    tables = (arn.split("/")[1] for arn in stack.get("StreamArns", "").split(",") if "/" in arn)
    return {named.get(table) or table.partition("-")[0]: table for table in tables}
