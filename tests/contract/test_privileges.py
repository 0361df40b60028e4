"""The roles of template.yaml against what the layer sends: nothing is missing, nothing is spare."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from aggregated_metrics.adapters.hour_store import load_document, save_document
from aggregated_metrics.adapters.source_rows import SourceRows
from aggregated_metrics.core.hours import Bucket, HourId, Series, Write
from aggregated_metrics.core.record_types import MODELS
from graphql import FieldNode, OperationDefinitionNode, parse

from tests.contract.templates import resources, template

HOUR = HourId(Series("acct-1", "items"), 0)
WRITES = [
    Write(HOUR, Bucket(0, 1), {}, None),
    Write(HOUR, Bucket(1, 1), {}, {"updatedAt": {"eq": "2026-11-22T10:00:00.000000Z"}}),
]
BUCKETS = [load_document([HOUR])[0], save_document(WRITES)[0]]


class Asked:
    """A client that keeps the documents it is asked to carry out."""

    def __init__(self) -> None:
        self.documents: list[str] = []

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        del variables
        self.documents.append(query)
        return {"page": {"items": [], "nextToken": None}}


def listings() -> list[str]:
    client = Asked()
    source = SourceRows(client, clock=lambda: datetime(2026, 11, 22, 10, tzinfo=UTC))
    for model in MODELS.values():
        source.count(model, "acct-1", [0])
    return client.documents


DOCUMENTS: Mapping[str, list[str]] = {
    "StreamAggregator": BUCKETS,
    "BucketSweeper": BUCKETS,
    "Reconciler": [*BUCKETS, *listings()],
}
OTHER_ACTIONS: Mapping[str, set[str]] = {
    "StreamAggregator": {
        "dynamodb:BatchWriteItem",  # PendingHours.mark
        "sqs:SendMessage*",  # Quarantine.send
        "s3:PutObject",  # Lambda's on-failure destination
        "s3:ListBucket",
        "dynamodb:DescribeStream",  # Lambda's event source mapping
        "dynamodb:GetRecords",
        "dynamodb:GetShardIterator",
        "dynamodb:ListStreams",
    },
    "BucketSweeper": {
        "dynamodb:Query",  # PendingHours.due
        "dynamodb:UpdateItem",  # PendingHours.settle
    },
    "Reconciler": {
        "dynamodb:Query",  # PendingHours.closed
        "dynamodb:BatchWriteItem",  # PendingHours.mark
        "dynamodb:DeleteItem",  # PendingHours.remove
        "cloudwatch:GetMetricStatistics",  # IteratorAge.seconds
    },
}
EVERY_FUNCTION = {
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "xray:PutTraceSegments",
    "xray:PutTelemetryRecords",
}


def statements(function: str) -> Iterable[dict[str, Any]]:
    role = f"{function}Role"
    for policy in template("template.yaml")["Resources"][role]["Properties"]["Policies"]:
        yield from policy["PolicyDocument"]["Statement"]
    for policy in resources("template.yaml", "AWS::IAM::Policy").values():
        if policy["Properties"]["Roles"] == [{"!Ref": role}]:
            yield from policy["Properties"]["PolicyDocument"]["Statement"]


def fields_of(document: str) -> set[str]:
    """The fields of Query and Mutation that a document calls, as IAM names them."""
    return {
        f"{definition.operation.value.capitalize()}/fields/{field.name.value}"
        for definition in parse(document).definitions
        if isinstance(definition, OperationDefinitionNode)
        for field in definition.selection_set.selections
        if isinstance(field, FieldNode)
    }


def granted_fields(function: str) -> set[str]:
    prefix = "${GraphQLApiArn}/types/"
    return {
        resource["!Sub"].removeprefix(prefix)
        for statement in statements(function)
        if statement["Action"] == "appsync:GraphQL"
        for resource in statement["Resource"]
    }


def granted_actions(function: str) -> set[str]:
    actions: set[str] = set()
    for statement in statements(function):
        action = statement["Action"]
        actions |= set(action if isinstance(action, list) else [action])
    return actions


def test_every_function_is_looked_at() -> None:
    functions = resources("template.yaml", "AWS::Serverless::Function")
    assert {f"{name}Function" for name in DOCUMENTS} == functions.keys()


@pytest.mark.parametrize("function", DOCUMENTS)
def test_a_role_may_call_the_fields_of_its_documents_and_no_other(function: str) -> None:
    needed = set().union(*map(fields_of, DOCUMENTS[function]))
    assert granted_fields(function) == needed


@pytest.mark.parametrize("function", OTHER_ACTIONS)
def test_a_role_may_do_what_its_function_does_and_no_more(function: str) -> None:
    expected = {"appsync:GraphQL"} | OTHER_ACTIONS[function] | EVERY_FUNCTION
    assert granted_actions(function) == expected


def test_the_backfill_may_run_the_reconciler_and_its_own_days() -> None:
    granted = granted_actions("Backfill")
    assert {action for action in granted if not action.startswith(("logs:", "xray:"))} == {
        "lambda:InvokeFunction",
        "states:StartExecution",
        "states:DescribeExecution",
        "states:StopExecution",
        "states:RedriveExecution",
    }
    machine = template("template.yaml")["Resources"]["BackfillStateMachine"]["Properties"]
    text = machine["DefinitionString"]["!Sub"].replace("${BackfillConcurrency}", "2")
    states = json.loads(text)["States"]
    tasks = [states["Plan"], states["Days"]["ItemProcessor"]["States"]["Check"]]
    assert {task["Arguments"]["FunctionName"] for task in tasks} == {"${ReconcilerFunction.Arn}"}
    assert states["Days"]["Label"] == "Days"  # named in BackfillMapPolicy
