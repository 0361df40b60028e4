"""A source table as the stack needs it: stream, index, key, other readers, rows. Reads only."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from aggregated_metrics.core.errors import UncountableError
from aggregated_metrics.core.record_types import MODELS
from aggregated_metrics.core.source_models import Model, contribution
from boto3.dynamodb.types import TypeDeserializer

from aggregated_metrics_cli.findings import Aws, Finding, unless_denied

VIEW_TYPE = "NEW_AND_OLD_IMAGES"
_SAMPLE = 50
_QUOTED = re.compile(r"""(['"]).*\1""", re.DOTALL)
"""A row's own content in the reason."""
_GEN2 = (
    "backend.data.resources.cfnResources.amplifyDynamoDbTables['{model}'].streamSpecification = "
    "{{ streamViewType: StreamViewType.NEW_AND_OLD_IMAGES }};"
)


def stream(model: str, table: Mapping[str, Any]) -> Finding:
    """Whether the table's stream carries what counting needs."""
    what = f"{model}: stream"
    given = table.get("StreamSpecification") or {}
    turn_on = (
        f"with Amplify Gen 2, in amplify/backend.ts (docs/amplify.md): {_GEN2.format(model=model)} "
        f"Without: aws dynamodb update-table --table-name {table['TableName']} "
        f"--stream-specification StreamEnabled=true,StreamViewType={VIEW_TYPE}"
    )
    if not given.get("StreamEnabled") or not table.get("LatestStreamArn"):
        return Finding(what, "wrong", "the table has no stream", turn_on)
    if given["StreamViewType"] != VIEW_TYPE:
        return Finding(
            what,
            "wrong",
            f"it carries {given['StreamViewType']}",
            "updates and removals need both images. Turn it off, which ends it for its other "
            "readers too (--stream-specification StreamEnabled=false), then: " + turn_on,
        )
    return Finding(what, "good", table["LatestStreamArn"].rsplit("/", 1)[1])


def readers(aws: Aws, model: str, table: Mapping[str, Any], stack: str) -> list[Finding]:
    """Who else reads the stream: two readers a shard at most, one with global tables."""
    found: list[Finding] = []
    what = f"{model}: readers"
    with unless_denied(found, what, "lambda"):
        pages = aws("lambda").get_paginator("list_event_source_mappings")
        functions = {
            mapping["FunctionArn"].split(":function:")[1].split(":")[0]
            for page in pages.paginate(EventSourceArn=table["LatestStreamArn"])
            for mapping in page["EventSourceMappings"]
        }
        ours = f"{stack}-StreamAggregatorFunction-"
        others = sorted(name for name in functions if not name.startswith(ours))
        most = 1 if table.get("Replicas") else 2
        if len(others) >= most:
            said = f"{', '.join(others)} read it; a shard takes {most} at most"
            remedy = "let one of them go, or both are throttled"
            found.append(Finding(what, "wrong", said, remedy))
        elif others:
            said = f"{others[0]} reads it too: with this stack two, the most that there may be"
            found.append(Finding(what, "note", said))
    return found


def key(aws: Aws, model: str, table: Mapping[str, Any]) -> tuple[list[Finding], str]:
    """The table's customer-managed KMS key, which reading its stream needs; empty if none."""
    arn = (table.get("SSEDescription") or {}).get("KMSMasterKeyArn", "")
    if not arn:
        return [], ""
    what = f"{model}: key"
    found: list[Finding] = []
    with unless_denied(found, what, "kms"):
        about = aws("kms").describe_key(KeyId=arn)["KeyMetadata"]
        if about["KeyManager"] != "CUSTOMER":
            return [], ""
        if not about["Enabled"]:
            said, remedy = f"{arn} is not enabled", "enable it: nothing reads the table without"
            return [Finding(what, "wrong", said, remedy)], arn
    said = "the customer's own: SourceKeyArns is written"
    return [*found, Finding(what, "good", said)], arn


def expiry(dynamodb: Any, model: str, table: str) -> list[Finding]:
    """Whether rows expire: a repair must not lower what they have counted."""
    found: list[Finding] = []
    what = f"{model}: expiry"
    with unless_denied(found, what, "dynamodb"):
        given = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        if given.get("TimeToLiveStatus") == "ENABLED":
            said = f"rows expire by {given.get('AttributeName')}"
            remedy = (
                f'set SourceLifetimeDays, such as {{"{model}": 90}}: older hours are then never '
                "lowered by a repair"
            )
            found.append(Finding(what, "note", said, remedy))
    return found


def sample(dynamodb: Any, model: str, table: str) -> list[Finding]:
    """Whether rows as they are can be counted; of some rows, and none of their contents is said."""
    found: list[Finding] = []
    what = f"{model}: rows"
    with unless_denied(found, what, "dynamodb"):
        items = dynamodb.scan(TableName=table, Limit=_SAMPLE)["Items"]
        if not items:
            return [Finding(what, "note", "the table is empty")]
        problems = Counter(filter(None, (_problem(MODELS[model], item) for item in items)))
        wrong = sum(problems.values())
        if not wrong:
            return [Finding(what, "good", f"{len(items)} sampled rows can be counted")]
        reasons = "; ".join(f"{reason} ({count})" for reason, count in problems.most_common(3))
        found.append(
            Finding(
                what,
                "wrong" if wrong == len(items) else "note",
                f"{wrong} of {len(items)} sampled rows cannot be counted: {reasons}",
                "such rows go to quarantine: correct their writer; a row counts when it is "
                "corrected",
            )
        )
    return found


def _problem(model: Model, item: Mapping[str, Any]) -> str:
    decode = TypeDeserializer().deserialize
    row = {name: decode(item[name]) for name in model.attributes if name in item}
    try:
        contribution(model, row)
    except UncountableError as error:
        return _QUOTED.sub("…", str(error))
    return ""


def index(
    what: str, table: Mapping[str, Any], keys: tuple[str, str], definition: str, use: str
) -> Finding:
    """Whether the table has an index on these keys."""
    for given in table.get("GlobalSecondaryIndexes") or ():
        if keys_of(given["KeySchema"]) == keys:
            return Finding(what, "good", given["IndexName"])
    return Finding(
        what,
        "wrong",
        f"none on {keys[0]} and {keys[1]}",
        f"{use}: add {definition} to the model's secondaryIndexes and deploy it",
    )


def keys_of(schema: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """The names of a key's attributes, the partition key first."""
    ordered = sorted(schema, key=lambda key: key["KeyType"] != "HASH")
    return tuple(key["AttributeName"] for key in ordered)
