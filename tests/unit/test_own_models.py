"""What an application has of a declared model: a schema that attach accepts, rows that count."""

import random
from datetime import UTC, datetime

import pytest
from aggregated_metrics.core.measures import total, zero
from aggregated_metrics.core.models import BUILT_IN
from graphql import build_schema

from aggregated_metrics_cli.declared import completed
from aggregated_metrics_cli.model_file import read_toml
from testbench import own_models
from testbench.fakes.models import PRELUDE, SCHEMA_PATH
from testbench.streams import image
from tests import reviews

AT = datetime(2026, 11, 22, 10, 5, 31, tzinfo=UTC)
TICKETS = """
[[models]]
name = "Ticket"
recordType = "tickets"
account = "tenant"
time = ["closedAt", "openedAt"]
identifier = "number"
split = { priority = { high = "urgentTickets" } }
breakdowns = { ticketsByTeam = ["teamId"] }
[models.measures]
lateCount = { equals = { priority = "high", "bill.state" = ["LATE", 2] } }
cost = { dollars = "bill.sums.total" }
replyCount = { number = "replies" }
editedCount = { present = "editor" }
"""


@pytest.mark.parametrize("toml", [reviews.toml(), TICKETS])
def test_a_declared_model_is_accepted_by_attach_and_its_rows_count(toml: str) -> None:
    document = read_toml(toml)
    sdl = PRELUDE + SCHEMA_PATH.read_text() + own_models.sdl(document)
    filled, findings = completed(document, build_schema(sdl, assume_valid=True))
    assert [each.found for each in findings if each.state == "wrong"] == []
    (declared,) = filled.models
    model, draw = BUILT_IN.declaring(filled)[declared.name], random.Random(1)
    rows = (own_models.row(declared, draw, AT, "acme", f"row-{n}") for n in range(40))
    parts = [part for row in rows if (part := model.part_of(image(row)))]
    sums = total((sums for _, sums, _ in parts), zero(model.extra)).named(model.extra)
    assert sums["count"] == 40
    assert all(sums[name] for name in declared.measures)
    series = {each for (_, who, _), *_ in parts for each in model.series(who)}
    assert {each.account_id for each in series} == {"acme"}
    assert {each.record_type for each in series} == {*model.counts_into}
