"""The dashboard of docs/grafana.md asks the API for what it shows."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aggregated_metrics.core.series import Series

from testbench.counted import FakeClient, every, keep_up, measured, store
from testbench.templates import ROOT

PAGE = (ROOT / "docs" / "grafana.md").read_text()
DAY = datetime(2026, 11, 22, tzinfo=UTC)
VALUES = {
    "account": "acct-1",
    "record_type": "scoreResults",
    "__from:date:YYYY-MM-DD": "2026-11-22",
}
(POLICY,) = (json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
DASHBOARD = json.loads((ROOT / "docs" / "grafana.json").read_text())
TARGETS: list[dict[str, Any]] = [
    target for panel in DASHBOARD["panels"] for target in panel["targets"]
]


def filled(text: str) -> str:
    """As Grafana fills its variables in."""
    return re.sub(r"\$\{(.*?)\}", lambda found: VALUES[found[1]], text)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target["root_selector"][:20])
def test_a_panel_gets_a_days_hours_and_as_of_when_in_one_request(target: dict[str, Any]) -> None:
    client = FakeClient()
    counted = every("2026-11-22 10:00", "2026-11-22 12:00", measured("scoreResults", 2, 5))
    store(client.api, Series("acct-1", "scoreResults"), counted, DAY + timedelta(days=1))
    keep_up(client.api, DAY + timedelta(days=1), "scoreResults")
    options = target["url_options"]
    assert (options["method"], options["body_type"]) == ("POST", "graphql")
    data = client.execute(filled(options["body_graphql_query"]))
    hours = {row["timeRangeStart"]: row["count"] for k, row in data.items() if k != "asOf" and row}
    assert hours == {"2026-11-22T10:00:00Z": 120, "2026-11-22T11:00:00Z": 120}
    assert len(data) == 25
    assert json.loads(data["asOf"]["metadata"])["asOf"] == {"scoreResults": "2026-11-23T00:00:00Z"}


def test_the_panels_show_what_the_query_selects_by_days_in_utc_like_the_keys() -> None:
    assert DASHBOARD["timezone"] == "utc"
    for target in TARGETS:
        selected = set(re.findall(r"\w+", target["url_options"]["body_graphql_query"]))
        used = set(re.findall(r"(?<=: )(\w+)", target["root_selector"])) - {"lookup"}
        assert used <= selected
        for column in target["columns"]:
            assert f'"{column["selector"]}":' in target["root_selector"]


def test_the_policy_allows_the_field_that_is_asked_and_no_other() -> None:
    (statement,) = POLICY["Statement"]
    asked = {
        field
        for target in TARGETS
        for field in re.findall(r": (\w+)\(", target["url_options"]["body_graphql_query"])
    }
    assert asked == {statement["Resource"].rpartition("/")[2]}
    assert statement["Action"] == "appsync:GraphQL"
