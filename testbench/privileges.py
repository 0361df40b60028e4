"""What the layer asks of the API, and what the roles of template.yaml allow."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from aggregated_metrics.adapters.hour_documents import day_document, load_document, save_document
from aggregated_metrics.adapters.hour_store import HourStore
from aggregated_metrics.adapters.source_rows import SourceRows
from aggregated_metrics.core.hours import Bucket, HourId, Series, Write
from aggregated_metrics.core.record_types import MODELS

from testbench.templates import resources, template

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
        source.count(model, "acct-1", [0], [("", None)])
    return client.documents


def scopes() -> str:
    """What a check asks of the buckets of a breakdown before it loads them."""
    client = Asked()
    store = HourStore(client, clock=lambda: datetime(2026, 11, 22, 10, tzinfo=UTC), grace=120)
    store.scoped_hours("acct-1", "scoreResultsByScore", [0])
    return client.documents[0]


DOCUMENTS: Mapping[str, list[str]] = {
    "StreamAggregator": BUCKETS,
    "BucketSweeper": BUCKETS,
    "Backfiller": [*BUCKETS, scopes(), day_document([(HOUR.series, 0)], [None])[0]],
    "Reconciler": [*BUCKETS, scopes(), *listings()],
}


def statements(function: str) -> Iterable[dict[str, Any]]:
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


def statements_of(policy: dict[str, Any]) -> Iterable[dict[str, Any]]:
    """A policy's statements, those under a condition too."""
    for statement in policy["PolicyDocument"]["Statement"]:
        yield statement["!If"][1] if "!If" in statement else statement
