"""What the code relies on in template.yaml."""

from collections.abc import Iterator
from typing import Any

from tests.contract.templates import resources, template

MODELS = {"Item", "ScoreResult", "Task", "Evaluation"}
MAPPINGS = resources("template.yaml", "AWS::Lambda::EventSourceMapping")


def _statements() -> Iterator[dict[str, Any]]:
    for role in resources("template.yaml", "AWS::IAM::Role").values():
        for policy in role["Properties"]["Policies"]:
            yield from policy["PolicyDocument"]["Statement"]
    for policy in resources("template.yaml", "AWS::IAM::Policy").values():
        yield from policy["Properties"]["PolicyDocument"]["Statement"]


def test_every_model_has_an_optional_mapping() -> None:
    assert MAPPINGS.keys() == {f"{model}Events" for model in MODELS}
    for model in MODELS:
        mapping = MAPPINGS[f"{model}Events"]
        assert mapping["Properties"]["EventSourceArn"] == {"!Ref": f"{model}StreamArn"}
        condition = template("template.yaml")["Conditions"][mapping["Condition"]]
        assert condition == {"!Not": [{"!Equals": [{"!Ref": f"{model}StreamArn"}, ""]}]}


def test_mappings_name_the_shard_and_keep_its_order() -> None:
    """The ledger needs both: see "Ledger" in docs/architecture.md."""
    for mapping in MAPPINGS.values():
        assert mapping["Properties"]["TumblingWindowInSeconds"] == 900
        assert mapping["Properties"]["ParallelizationFactor"] == 1
        assert mapping["Properties"]["BisectBatchOnFunctionError"] is False


def test_mappings_start_at_the_oldest_record_and_keep_what_ages_out() -> None:
    for mapping in MAPPINGS.values():
        assert mapping["Properties"]["StartingPosition"] == "TRIM_HORIZON"
        assert mapping["Properties"]["MaximumRecordAgeInSeconds"] == 23 * 3600
        destination = mapping["Properties"]["DestinationConfig"]["OnFailure"]["Destination"]
        assert destination == {"!GetAtt": "FailedBatchesBucket.Arn"}


def test_functions_have_roles_of_their_own() -> None:
    functions = resources("template.yaml", "AWS::Serverless::Function").values()
    roles = [function["Properties"]["Role"]["!GetAtt"] for function in functions]
    assert len(set(roles)) == len(roles)
    assert not any("Policies" in function["Properties"] for function in functions)


def test_roles_may_touch_named_resources_only() -> None:
    for statement in _statements():
        if statement.get("Sid") == "Trace":  # X-Ray knows no resources
            continue
        named = statement["Resource"]
        for resource in named if isinstance(named, list) else [named]:
            assert isinstance(resource, dict), statement
        if statement["Action"] == "appsync:GraphQL":
            assert all("*" not in resource["!Sub"] for resource in statement["Resource"])


def test_every_stream_permission_is_as_optional_as_its_mapping() -> None:
    policies = resources("template.yaml", "AWS::IAM::Policy")
    for name, mapping in MAPPINGS.items():
        policy = policies[mapping["DependsOn"]]
        assert policy["Condition"] == mapping["Condition"], name
        (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
        assert statement["Resource"] == mapping["Properties"]["EventSourceArn"]
