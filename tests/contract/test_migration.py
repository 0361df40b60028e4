"""What docs/migration.md claims of models, breakdowns and permissions."""

import re
from datetime import UTC, datetime

import aggregated_metrics
import pytest
from aggregated_metrics.adapters.hour_documents import FIELDS
from aggregated_metrics.core.models import BUILT_IN
from aggregated_metrics.core.series import Series

from testbench.counted import FakeClient, every, measured, store
from testbench.templates import ROOT

PAGE = (ROOT / "docs" / "migration.md").read_text()
SCHEMA = (ROOT / "testbench" / "amplify" / "schema.graphql").read_text()


def test_the_breakdowns_that_are_stored_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = FakeClient()
    for card in ("a", "b"):
        counted = every("2026-11-22 10:00", "2026-11-22 11:00", measured("feedbackItems", 1))
        series = Series("acct-1", "feedbackItemsByScorecard", card)
        store(client.api, series, counted, datetime(2026, 11, 23, tzinfo=UTC))
    monkeypatch.setattr(aggregated_metrics, "connect", lambda _: client, raising=False)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, list[str]] = {}
    exec(compile(code, "migration.md", "exec"), names)
    assert capsys.readouterr().out == "{'feedbackItemsByScorecard': 2}\n"
    assert sorted(names["names"]) == sorted(BUILT_IN.breakdowns)


def test_the_fields_to_add_are_those_that_may_be_missing() -> None:
    (kind,) = re.findall(r"type AggregatedMetrics .*?\{(.*?)\}", SCHEMA, re.DOTALL)
    optional = set(re.findall(r"(\w+): \w+$", kind, re.MULTILINE)) - {"scorecardId", "scoreId"}
    (listed,) = re.findall(r"\*\*Fields\*\*: (.*?), all optional", PAGE)
    assert set(re.findall(r"`(\w+)`", listed)) == optional
    assert optional <= set(FIELDS.split())


def test_the_mutations_to_deny_are_all_that_write_counts() -> None:
    (mutations,) = re.findall(r"^type Mutation \{(.*?)^\}", SCHEMA, re.MULTILINE | re.DOTALL)
    written = set(re.findall(r"(\w+AggregatedMetrics)\(", mutations))
    assert set(re.findall(r"`((?:create|update|delete)AggregatedMetrics)`", PAGE)) == written
