"""The roles of template.yaml against what the layer sends: nothing is missing, nothing is spare."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from aggregated_metrics.core.models import BUILT_IN
from graphql import FieldNode, OperationDefinitionNode, parse

from aggregated_metrics_cli.documents import documents
from testbench.privileges import DOCUMENTS, actions_of, statements, statements_of
from testbench.templates import resources

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
        if "appsync:GraphQL" not in actions_of([part]):
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


def test_streams_and_tables_are_read_in_the_name_of_one_function_each() -> None:
    streams, tables = the_one_that_may("dynamodb:GetRecords"), the_one_that_may("dynamodb:Scan")
    assert streams["Roles"] == [{"!Ref": "StreamAggregatorRole"}]
    assert tables["Roles"] == [{"!Ref": "BackfillerRole"}]
    actions = {*(f"dynamodb:{name}" for name in STREAMS), "kms:Decrypt"}
    assert actions_of(statements_of(streams)) == actions


def test_the_state_machine_may_invoke_its_two_functions_and_run_its_maps() -> None:
    granted = actions_of(statements("Backfill"))
    assert {action for action in granted if not action.startswith("logs:")} == {
        "lambda:InvokeFunction",
        "states:StartExecution",
        "states:DescribeExecution",
        "states:StopExecution",
        "states:RedriveExecution",
    }


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


@pytest.mark.parametrize("person", PEOPLE)
def test_a_policy_is_small_enough_at_long_names(person: str) -> None:
    """A managed policy may have 6,144 characters; an application may have fourteen tables."""
    policy = resources("template.yaml", "AWS::IAM::ManagedPolicy")[f"{person}Policy"]
    text = json.dumps(policy["Properties"]["PolicyDocument"])
    names = sum(map(text.count, ("${", '"!Ref"', '"!GetAtt"')))
    tables = text.count('"TableArns"')
    assert len(text) + 80 * names + 14 * 150 * tables < 6_144


def the_one_that_may(action: str) -> dict[str, Any]:
    """The properties of the one inline policy that allows an action."""
    found: list[dict[str, Any]] = [
        policy["Properties"]
        for policy in resources("template.yaml", "AWS::IAM::Policy").values()
        if action in actions_of(statements_of(policy["Properties"]))
    ]
    (policy,) = found
    return policy


def test_only_who_repairs_may_change_anything() -> None:
    changing = ("Put", "Create", "Update", "Delete", "BatchWrite", "Send", "Invoke", "Start")
    for name, policy in resources("template.yaml", "AWS::IAM::ManagedPolicy").items():
        for action in actions_of(statements_of(policy["Properties"])):
            verb = action.partition(":")[2]
            assert name == "RepairPolicy" or not verb.startswith(changing), (name, action)
