"""The roles of template.yaml against what the layer sends: nothing is missing, nothing is spare."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from aggregated_metrics.core.models import BUILT_IN
from graphql import FieldNode, OperationDefinitionNode, parse

from aggregated_metrics_cli.documents import documents
from testbench.privileges import DOCUMENTS, actions_of, statements, statements_of
from testbench.templates import ROOT, resources, template

NOT_ENFORCED: Mapping[str, set[str]] = {
    "Log": {"logs:CreateLogStream", "logs:PutLogEvents"},
    "KeepFailedBatches": {"s3:PutObject"},  # Lambda's on-failure destination
    "FindFailedBatchesBucket": {"s3:ListBucket"},
}
"""Statements of what the emulator does without asking the role; tests/e2e tries all others."""
STREAMS = {"DescribeStream", "GetRecords", "GetShardIterator", "ListStreams"}


def fields_of(document: str) -> set[str]:
    """The fields of Query and Mutation that a document calls, as IAM names them."""
    return {
        f"{definition.operation.value.capitalize()}/fields/{field.name.value}"
        for definition in parse(document).definitions
        if isinstance(definition, OperationDefinitionNode)
        for field in definition.selection_set.selections
        if isinstance(field, FieldNode)
    }


FUNCTIONS = [
    name.removesuffix("Function")
    for name in resources("template.yaml", "AWS::Serverless::Function")
]
LISTINGS = {"!Ref": "ListingFieldArns"}
"""The fields of Query that list the rows of what is attached."""


def fields_in(parts: Iterable[dict[str, Any]]) -> set[str]:
    """The fields that statements allow: of LISTINGS, those that attach names for every model."""
    prefix = "${GraphQLApiArn}/types/"
    fields: set[str] = set()
    for part in parts:
        if part.get("Action") != "appsync:GraphQL":
            continue
        if part["Resource"] == LISTINGS:
            fields |= {f"Query/fields/{m.listing.query}" for m in BUILT_IN if m.listing}
        else:
            fields |= {resource["!Sub"].removeprefix(prefix) for resource in part["Resource"]}
    return fields


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_role_may_call_the_fields_of_its_documents_and_no_other(function: str) -> None:
    needed = set().union(*map(fields_of, DOCUMENTS[function]))
    assert fields_in(statements(function)) == needed


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_lambda_does_in_a_functions_name_is_allowed_and_no_more(function: str) -> None:
    found = {each.get("Sid"): actions_of([each]) for each in statements(function)}
    needed = NOT_ENFORCED if function == "StreamAggregator" else {"Log": NOT_ENFORCED["Log"]}
    assert {name: found[name] for name in NOT_ENFORCED if name in found} == needed


def test_the_streams_are_read_in_the_name_of_the_stream_function_alone() -> None:
    reading = [
        policy["Properties"]
        for policy in resources("template.yaml", "AWS::IAM::Policy").values()
        if "dynamodb:GetRecords" in actions_of(statements_of(policy["Properties"]))
    ]
    ((role,),) = (policy["Roles"] for policy in reading)
    assert role == {"!Ref": "StreamAggregatorRole"}
    actions = actions_of(statements_of(reading[0]))
    assert actions == {*(f"dynamodb:{name}" for name in STREAMS), "kms:Decrypt"}


def test_the_state_machine_may_invoke_its_two_functions_and_run_its_maps() -> None:
    granted = actions_of(statements("Backfill"))
    assert {action for action in granted if not action.startswith("logs:")} == {
        "lambda:InvokeFunction",
        "states:StartExecution",
        "states:DescribeExecution",
        "states:StopExecution",
        "states:RedriveExecution",
    }
    machine = template("template.yaml")["Resources"]["BackfillStateMachine"]["Properties"]
    text = (ROOT / machine["DefinitionUri"]).read_text()
    for name in machine["DefinitionSubstitutions"]:
        assert f"${{{name}}}" in text
        text = text.replace(f"${{{name}}}", "2")
    assert "${" not in text
    json.loads(text)


def test_only_the_backfill_scans() -> None:
    policies = resources("template.yaml", "AWS::IAM::Policy")
    scanning = [
        policy["Properties"]["Roles"]
        for policy in policies.values()
        if "dynamodb:Scan" in actions_of(statements_of(policy["Properties"]))
    ]
    assert scanning == [[{"!Ref": "BackfillerRole"}]]


READERS = {
    field
    for text in documents(BUILT_IN)
    for field in fields_of(text)
    if field.startswith("Query") and "AggregatedMetrics" in field
}
"""What readers call, and attach tries one of."""
PEOPLE: Mapping[str, set[str]] = {
    "ReadOnly": READERS | {"Query/fields/getAggregatedMetrics"},
    "Repair": set(),
    "Attach": {"Query/fields/listAggregatedMetrics"},
}


@pytest.mark.parametrize("person", PEOPLE)
def test_a_person_may_call_the_fields_of_its_commands_and_no_other(person: str) -> None:
    policy = resources("template.yaml", "AWS::IAM::ManagedPolicy")[f"{person}Policy"]
    parts = statements_of(policy["Properties"])
    assert fields_in(parts) == PEOPLE[person]


MOST = 6_144
"""Characters of a managed policy, white space not counted."""
_LONGEST = {
    "AWS::Partition": "aws-us-gov",
    "AWS::Region": "ap-southeast-1",
    "AWS::AccountId": "1" * 12,
    "AWS::StackName": "s" * 128,
    "GraphQLApiArn": f"arn:aws-us-gov:appsync:ap-southeast-1:{'1' * 12}:apis/{'a' * 26}",
}
_ARN = f"arn:aws-us-gov:dynamodb:ap-southeast-1:{'1' * 12}:"
_TABLES = 14
"""Eight built-in models and six custom ones."""


def longest(part: Any) -> Any:
    """A policy's part as CloudFormation resolves it, with every name as long as it may be."""
    made = part
    match part:
        case {"!Sub": str(text)}:
            made = re.sub(r"\$\{([^}]+)\}", lambda name: _LONGEST.get(name[1], "n" * 80), text)
        case {"!Ref": "TableArns"}:
            made = [f"{_ARN}table/{'t' * 60}"] * _TABLES
        case {"!Ref": _} | {"!GetAtt": _}:
            made = f"{_ARN}{'n' * 80}"
        case {"!If": [_, then, _]}:
            made = longest(then)
        case dict():
            made = {name: longest(each) for name, each in part.items()}
        case list():
            made = [longest(each) for each in part]
    return made


@pytest.mark.parametrize("person", PEOPLE)
def test_a_policy_is_small_enough_at_the_longest_names(person: str) -> None:
    policy = resources("template.yaml", "AWS::IAM::ManagedPolicy")[f"{person}Policy"]
    document = longest(policy["Properties"]["PolicyDocument"])
    assert "!" not in json.dumps(document)
    assert len(re.sub(r"\s", "", json.dumps(document))) < MOST


def test_only_who_repairs_may_change_anything() -> None:
    changing = ("Put", "Create", "Update", "Delete", "BatchWrite", "Send", "Invoke", "Start")
    for name, policy in resources("template.yaml", "AWS::IAM::ManagedPolicy").items():
        for action in actions_of(statements_of(policy["Properties"])):
            verb = action.partition(":")[2]
            assert name == "RepairPolicy" or not verb.startswith(changing), (name, action)
