"""What the functions ask of the API, and what the roles of template.yaml allow."""

from collections.abc import Iterable, Mapping
from typing import Any

from aggregated_metrics.adapters.appsync import operation_name
from aggregated_metrics.core.models import BUILT_IN

from aggregated_metrics_cli.documents import documents
from testbench.templates import resources, template

_BUCKETS = ("LoadHours", "SaveHours")


def _asked(*names: str) -> list[str]:
    """The documents whose operations begin with these names."""
    return [text for text in documents(BUILT_IN) if operation_name(text).startswith(names)]


DOCUMENTS: Mapping[str, list[str]] = {
    "StreamAggregator": _asked(*_BUCKETS),
    "BucketSweeper": _asked(*_BUCKETS),
    "Reconciler": _asked(*_BUCKETS, "FindHours", "Count"),
    "Backfiller": _asked(*_BUCKETS, "FindHours"),
}


def statements(function: str) -> Iterable[dict[str, Any]]:
    """What a function's role allows."""
    role = f"{function}Role"
    policies = [
        *template("template.yaml")["Resources"][role]["Properties"].get("Policies", ()),
        *(
            policy["Properties"]
            for policy in resources("template.yaml", "AWS::IAM::Policy").values()
            if {"!Ref": role} in policy["Properties"]["Roles"]
        ),
    ]
    for policy in policies:
        yield from statements_of(policy)


def actions_of(statements: Iterable[dict[str, Any]]) -> set[str]:
    """The actions that statements name."""
    found: set[str] = set()
    for statement in statements:
        action = statement["Action"]
        found |= {action} if isinstance(action, str) else {*action}
    return found


def statements_of(policy: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """A policy's statements, those under a condition too."""
    for statement in policy["PolicyDocument"]["Statement"]:
        yield statement["!If"][1] if "!If" in statement else statement
